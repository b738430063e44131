// Losses on a device: value, gradient in the outputs, Hessian in the outputs times a direction, and its root.
#pragma once

#include "cuda/workspace.h"
#include "net/call.h"

namespace fnn::FNN_ISA::device {

// The examples of a batch in device memory. Their targets and weights stand in `order` (null: as they come),
// where the batch begins at `first`, and with each step of a training so many more.
template <class T>
struct Examples {
    const std::int64_t* labels = nullptr;
    const T* values = nullptr;
    const T* weights = nullptr;
    const std::int64_t* order = nullptr;
    const Now* now = nullptr;
    index first = 0, per_step = 0, out = 0;

    FNN_HD index place(index row) const { return first + now->step * per_step + row; }
    FNN_HD index example(index row) const { return order != nullptr ? order[place(row)] : place(row); }
    FNN_HD T target(index row, index j) const {
        const index e = example(row);
        return labels != nullptr ? T(labels[e] == j ? 1 : 0) : values[e * out + j];
    }
    FNN_HD T weight(index row) const { return weights != nullptr ? weights[example(row)] : T(1); }
};

template <class T>
struct Losses {
    // Into ws.losses and ws.right what each row has, times its weight; da of the output = factor times weight
    // times the gradient.
    static void forward(Workspace<T>&, const LossSpec&, const Examples<T>&, T factor);
    // rd of the output = factor times weight times the Hessian times ra.
    static void tangent(Workspace<T>&, const LossSpec&, const Examples<T>&, T factor);
    // rd of the output = S u, where S S' is factor times weight times the Hessian: u (n, out) in the order of
    // the examples, or null for the column-th unit vector.
    static void root(Workspace<T>&, const LossSpec&, const Examples<T>&, T factor, const T* u, index column);
    // Of the empirical Fisher matrix: rd = scale da, where scale is <da, ra> / (factor weight), or, of the
    // root of the matrix, 1 / sqrt(factor weight).
    static void outer(Workspace<T>&, const Examples<T>&, T factor, bool root);
};

extern template struct Losses<float>;
extern template struct Losses<double>;

}  // namespace fnn::FNN_ISA::device
