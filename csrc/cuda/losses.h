// Losses on a device: value, gradient in the outputs, Hessian in the outputs times a direction, and its root.
#pragma once

#include "cuda/workspace.h"
#include "net/call.h"

namespace fnn::FNN_ISA::device {

// How the examples of a step are mixed with others: see net/mixing.h.
struct Mixture {
    double share;
    index shift;
};

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
    const Mixture* mixtures = nullptr;  // by step, or null
    index rows = 0;                     // of the epoch, where there are some

    FNN_HD index place(index row) const { return first + now->step * per_step + row; }
    FNN_HD index at(index place) const { return order != nullptr ? order[place] : place; }
    FNN_HD index example(index row) const { return at(place(row)); }
    FNN_HD T target(index row, index j) const {
        if (!mixes()) return target_of(example(row), j);
        const T all = weight(row), own = share() * weight_of(example(row)) / all,
                other = rest() * weight_of(partner(row)) / all;
        T mixed = 0;
        if (own > 0) mixed += own * target_of(example(row), j);
        if (other > 0) mixed += other * target_of(partner(row), j);
        return mixed;
    }
    FNN_HD T weight(index row) const {
        if (weights == nullptr) return 1;
        if (!mixes()) return weight_of(example(row));
        return share() * weight_of(example(row)) + rest() * weight_of(partner(row));
    }
    // Of X (all, cols).
    FNN_HD T input(const T* X, index cols, index row, index j) const {
        const T own = X[example(row) * cols + j];
        return mixes() ? share() * own + rest() * X[partner(row) * cols + j] : own;
    }

   private:
    FNN_HD bool mixes() const { return mixtures != nullptr && mixtures[now->step].shift != 0; }
    FNN_HD T share() const { return T(mixtures[now->step].share); }
    FNN_HD T rest() const { return T(1 - mixtures[now->step].share); }
    FNN_HD index partner(index row) const {
        const index begin = now->step * per_step, left = rows - begin,
                    size = left < per_step ? left : per_step;
        const index moved = place(row) + mixtures[now->step].shift;
        return at(moved < begin + size ? moved : moved - size);
    }
    FNN_HD T target_of(index e, index j) const {
        return labels != nullptr ? T(labels[e] == j ? 1 : 0) : values[e * out + j];
    }
    FNN_HD T weight_of(index e) const { return weights != nullptr ? weights[e] : T(1); }
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
    // rd of the output = da of it times a number of each row, where w = factor times weight: of the empirical
    // Fisher matrix <da, ra> / w; of its root 1 / sqrt(w); for the gradient of the row's own loss 1 / w.
    enum class Of { matrix, root, example };
    static void outer(Workspace<T>&, const Examples<T>&, T factor, Of of);
};

extern template struct Losses<float>;
extern template struct Losses<double>;

}  // namespace fnn::FNN_ISA::device
