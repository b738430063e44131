// Steps on the user's own parameters.
#pragma once

#include <memory>
#include <vector>

#include "bindings/tensors.h"
#include "optim/updater.h"

namespace fnn::bindings {

// Of the present instruction set, with the present number of threads.
Loops loops_of_call();

// What Python holds as `Updater`: which tensor belongs to which group, and (update, lr) of each, or None
// where it is left alone. Each hyper-parameter is a number, or an array of those of the next `steps` steps.
// States are vectors, one list for each: of as many numbers as the tensor has or as its rule says.
class BoundUpdater : public Shared {
   public:
    BoundUpdater(std::shared_ptr<Tensors> tensors, const std::vector<int>& group_of, int n_groups);

    void set_updates(const py::list& updates, index steps);
    void set_rates(const std::vector<double>& rates);  // of each group, where they are numbers
    void set_states(const py::list& states);
    void set_missed(const std::vector<index>& missed);

    // stream: of a GPU where the parameters are there, the gradients behind whose work they come.
    void step(const py::object& grads, std::uintptr_t stream, bool waits);

    const std::shared_ptr<Tensors> tensors;
    Updater core;

   private:
    std::vector<py::array> schedules_, states_;  // what the core has views of
};

}  // namespace fnn::bindings
