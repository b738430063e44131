// Tensors in a row, as the loops over them take them.
#pragma once

#include <cstddef>
#include <vector>

#include "optim/spec.h"

namespace fnn {

// A tensor of the caller's, of either type. Shapes are in the order of counting.
struct TensorView {
    bool is_float64;
    void* parameters;
    index length;
    Places places;
    int dims;
    const index* shape;
    bool fortran;
};

// Its gradient; null: none.
struct GradientView {
    const void* numbers = nullptr;
    Places places;
};

// What belongs to a tensor one number after another.
struct VectorView {
    void* numbers = nullptr;
    index length = 0;
};

// The units along an axis, counted from either end; all of a vector or a scalar is one.
Units units_along(index axis, const std::vector<index>& shape, bool fortran);

template <class T>
struct Row {
    std::vector<Segment<T>> segments;
    std::vector<index> starts = {0};
    std::vector<std::size_t> tensors;  // of each segment

    void add(const Segment<T>& segment, std::size_t tensor) {
        segments.push_back(segment);
        starts.push_back(starts.back() + segment.length);
        tensors.push_back(tensor);
    }
    void clear() {
        segments.clear();
        starts.assign(1, 0);
        tensors.clear();
    }
    Segments<T> view() const { return {segments.data(), starts.data(), index(segments.size())}; }

    // By tensor: gradients and states that lie one number after another.
    void set_gradients(const std::vector<void*>& vectors) {
        for (std::size_t s = 0; s < segments.size(); ++s) {
            segments[s].gradient = static_cast<const T*>(vectors[tensors[s]]);
            segments[s].gradient_places = {};
        }
    }
    void set_first_states(const std::vector<void*>& vectors) {
        for (std::size_t s = 0; s < segments.size(); ++s)
            segments[s].states[0] = static_cast<T*>(vectors[tensors[s]]);
    }
};

// One of each type.
template <template <class> class Of>
struct Both {
    Of<float> float32;
    Of<double> float64;

    Of<float>& of(float) { return float32; }
    Of<double>& of(double) { return float64; }

    // f(one, T{}) for both.
    template <class F>
    void for_types(const F& f) {
        f(float32, float{});
        f(float64, double{});
    }
};

}  // namespace fnn
