// What the drop-in does around the update of a step.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "bindings/updater.h"
#include "optim/around.h"

namespace fnn::bindings {

// What Python holds as `Around`. A step is one call, whole or not made at all: what may fail comes first, and
// no signal comes between.
class BoundAround : public Shared {
   public:
    explicit BoundAround(std::shared_ptr<BoundUpdater> of);

    void set_options(const AroundOptions& options);

    void step(const py::object& grads);
    void ascend(const py::object& grads);
    void descend();

    // The parameters hold their averages from `show_averages` to `show_parameters`.
    void show_averages();
    void show_parameters();

    // What a later step needs, by name: the list of the vectors of each kind, None in that of gradients for a
    // tensor that has had none.
    py::dict buffers();
    void set_buffer(const std::string& name, const py::list& given);

    Around core;

   private:
    Tensors& tensors() const { return *updater_->tensors; }
    void begin(const py::object& grads, const Loops& loops);
    void reserve(Kept kind);
    void release();  // what is not needed any more

    std::shared_ptr<BoundUpdater> updater_;
    std::array<std::vector<py::array>, all_kept.size()> arrays_;  // what the core keeps, for each tensor
};

}  // namespace fnn::bindings
