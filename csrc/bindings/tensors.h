// The user's own parameters, updated where they lie.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings/network.h"
#include "bindings/overlap.h"
#include "bindings/tree.h"
#include "optim/rows.h"

namespace fnn::bindings {

// Float arrays in a tree, each with the order in which its numbers are counted: as they lie in memory if they
// lie there without gaps in C or in Fortran order, and else in C order.
class Tensors : public Shared {
   public:
    // `convert(leaf, path, stream)` gives the array that a leaf is; on a GPU ready for that stream, which
    // is 0 on the processor.
    Tensors(const py::object& params, py::object convert);

    std::size_t size() const { return tensors_.size(); }
    // The GPU in whose memory all of them lie, by whose addresses their arrays go; null: the processor.
    const Device* device() const { return device_; }
    const std::string& device_name() const { return device_name_; }
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
    // one of zeros. On a GPU they are ready for what is queued on that stream.
    enum class None { nothing, zeros };
    void read(const py::object& grads, None none, std::uintptr_t stream = 0);
    // Which tensors have a gradient, and not None.
    const std::vector<bool>& present() const { return present_; }

    std::string path(std::size_t i) const { return tree_.path(i, "params"); }
    // Whether its numbers are counted in Fortran order, the first axis fastest.
    std::vector<bool> are_fortran() const;
    // As the core takes them, and the gradients that were read.
    std::vector<TensorView> views();
    const std::vector<GradientView>& gradients() const { return gradients_; }
    // The data of an array for tensor i: so many numbers of its type one after another, to be written to.
    VectorView vector_of(std::size_t i, py::array& array, const char* name, index length) const;
    // The parts of each along an axis of its array, all of it where that is a vector or a scalar.
    std::vector<Units> units(index axis) const;

   private:
    struct Tensor {
        py::array array;
        bool is_float64;
        bool fortran;                       // counted so
        std::vector<index> shape, strides;  // in the order of counting
        std::vector<index> gradient_strides;
        Places places;
    };

    py::array array_of(const py::object& leaf, const std::string& path, std::uintptr_t stream);
    void stay_on(const std::string& gpu, const std::string& path);
    void read_gradient(std::size_t i, py::object& leaf, None none, std::uintptr_t stream);
    void check_apart_from_parameters(const py::array& gradient, std::size_t i) const;

    Tree tree_;
    py::object convert_;
    bool on_gpu_ = false;
    std::string device_name_ = "cpu";
    const Device* device_ = nullptr;
    std::vector<Tensor> tensors_;
    std::vector<std::pair<Span, std::size_t>> spans_;  // of the parameters, in rising order
    bool spans_are_apart_ = true;
    bool in_use_ = false;
    std::vector<py::object> leaves_;
    std::vector<py::array> held_;  // the gradients
    std::vector<GradientView> gradients_;
    std::vector<bool> present_;
};

}  // namespace fnn::bindings
