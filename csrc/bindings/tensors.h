// The user's own parameters, updated where they lie.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bindings/network.h"
#include "bindings/overlap.h"
#include "bindings/tree.h"

namespace fnn::bindings {

// Float arrays in a tree, each with the order in which its numbers are counted: as they lie in memory if they
// lie there without gaps in C or in Fortran order, and else in C order.
class Tensors : public Shared {
   public:
    // `convert(leaf, path)` gives the array that a leaf is.
    Tensors(const py::object& params, py::object convert);

    std::size_t size() const { return tensors_.size(); }
    std::vector<py::array> arrays() const;
    std::vector<std::string> paths() const;
    std::vector<std::string> keys() const;

    // While it lives, no other call uses these tensors. Throws std::runtime_error while another one does.
    class Use {
       public:
        explicit Use(Tensors& tensors);
        ~Use();
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

       private:
        Tensors& tensors_;
    };

    // Checks a tree of gradients and keeps their arrays until the use ends. For None there is no array, or
    // one of zeros.
    enum class None { nothing, zeros };
    void read(const py::object& grads, None none);
    // Which tensors have a gradient, and not None.
    const std::vector<bool>& present() const { return present_; }

    bool is_float64(std::size_t i) const { return tensors_[i].is_float64; }
    std::string path(std::size_t i) const { return tree_.path(i, "params"); }
    // Whether its numbers are counted in Fortran order, the first axis fastest.
    std::vector<bool> are_fortran() const;
    // Its parts along an axis of the array, all of it where that is a vector or a scalar.
    Units units(std::size_t i, index axis) const;

    template <class T>
    Segment<T> segment(std::size_t i) {
        Tensor& t = tensors_[i];
        Segment<T> s;
        s.parameters = static_cast<T*>(t.array.mutable_data());
        s.length = t.array.size();
        s.parameter_places = t.places;
        s.dims = int(t.shape.size());
        s.shape = t.shape.data();
        s.fortran = t.fortran;
        return s;
    }
    // The gradient that was read.
    template <class T>
    void set_gradient(Segment<T>& s, std::size_t i) const {
        s.gradient = gradients_[i] ? static_cast<const T*>(gradients_[i].data()) : nullptr;
        s.gradient_places = tensors_[i].gradient_places;
    }

   private:
    struct Tensor {
        py::array array;
        bool is_float64;
        bool fortran;                       // counted so
        std::vector<index> shape, strides;  // in the order of counting
        std::vector<index> gradient_strides;
        Places places, gradient_places;
    };

    void read_gradient(std::size_t i, py::object& leaf, None none);
    void check_apart_from_parameters(const py::array& gradient, std::size_t i) const;

    Tree tree_;
    py::object convert_;
    std::vector<Tensor> tensors_;
    std::vector<std::pair<Span, std::size_t>> spans_;  // of the parameters, in rising order
    bool spans_are_apart_ = true;
    bool in_use_ = false;
    std::vector<py::object> leaves_;
    std::vector<py::array> gradients_;
    std::vector<bool> present_;
};

// An update of tensors, by groups: which tensor belongs to which, and (update, lr) of each, or None where it
// is left alone. Each hyper-parameter is a number, or an array of those of the next `steps` steps. States are
// vectors, one list for each: of as many numbers as the tensor has or as its rule says.
class Updater : public Shared {
   public:
    Updater(std::shared_ptr<Tensors> tensors, const std::vector<int>& group_of, int n_groups);

    void set_updates(const py::list& updates, index steps);
    void set_rates(const std::vector<double>& rates);  // of each group, where they are numbers
    void set_states(const py::list& states);

    // One step, of which `steps` counts those taken.
    void step(const py::object& grads);
    index steps = 0;

    // How many of them each tensor had no part in: its gradient was None, as if there had been no step.
    std::vector<index> missed;

    // The parts of a step, to be called while the tensors are in use. `read` may fail and changes nothing;
    // `update` does not fail. Tensors without gradient are left alone but those of `also`.
    void read(const py::object& grads, Tensors::None none = Tensors::None::nothing,
              const std::vector<bool>& also = {});
    void update(const GradientMap& map);
    // Of the step for which gradients were read: whether a tensor takes part.
    const std::vector<bool>& present() const { return present_; }

    // Tensors with as many steps, by groups.
    template <class T>
    struct Part {
        std::vector<Segment<T>> segments;
        std::vector<index> starts;
        std::vector<std::size_t> tensors;
        std::vector<Group> groups;
        std::vector<std::size_t> group_of;  // of each of these groups, among all
    };
    template <class T>
    struct Typed {
        std::vector<Segment<T>> segments;
        std::vector<index> starts = {0};
        std::vector<std::size_t> tensors;  // of each segment
        std::vector<Group> groups;
        Part<T> part;  // of a step in which some tensors have no part, or had none in an earlier one
        Arena arena;
        void* scratch = nullptr;  // of a step, in the arena
    };

    // f(typed) for the tensors of each type.
    template <class F>
    void for_types(const F& f) {
        f(float32_);
        f(float64_);
    }

    Tensors& tensors() { return *tensors_; }

   private:
    void check_states();
    void set_numbers_of_step();
    void take_part();
    template <class T>
    Step<T> step_of(const Typed<T>& typed, const GradientMap& map) const;

    std::shared_ptr<Tensors> tensors_;
    int n_groups_;
    int threads_ = 1;  // of the step for which gradients were read
    Typed<float> float32_;
    Typed<double> float64_;
    std::vector<Schedules> schedules_;  // of each group
    index first_ = 0, end_ = 0;         // the steps for which they are
    std::vector<py::array> held_;
    bool states_are_checked_ = false;
    std::vector<bool> present_;
    bool in_part_ = false;  // whether a step is of `part`
};

}  // namespace fnn::bindings
