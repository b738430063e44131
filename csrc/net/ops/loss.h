// Losses over rows of outputs: value, gradient, and Hessian in the outputs times a direction.
#pragma once

#include <algorithm>
#include <utility>

#include "exec/elementwise.h"
#include "exec/transpose.h"
#include "net/call.h"
#include "rules/losses.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// Which example stands in which row of a batch, and its target.
template <class T>
struct Batch {
    Targets<T> targets;
    const std::int64_t* order = nullptr;  // null: as they come
    index first = 0;                      // position of row 0
    index out = 0;

    index example(index row) const { return order ? order[first + row] : first + row; }
    const T* values(index row) const { return targets.values + example(row) * out; }
    std::int64_t label(index row) const { return targets.labels[example(row)]; }
};

// What a loss leaves for each row of a batch.
template <class T>
struct RowScores {
    T* loss;
    std::uint8_t* right;
};

// As many rows as a vector has lanes, transposed: for each output the rows side by side, so that reductions
// over the outputs are elementwise, and every formula vectorises over rows.
template <class T>
struct Block {
    static constexpr index w = exec::lanes<T>;

    index out;      // rows of each of the following (out, w), which reach to a whole number of vectors
    T *z, *t, *dz;  // outputs, targets, and the gradient
    T *rz, *rdz;    // a direction, and the Hessian times it

    // Elements of scratch memory for one block.
    static index size(index out, bool tangent) { return (tangent ? 5 : 3) * exec::divide_up(out, w) * w * w; }

    Block(T* scratch, index out, bool tangent) : out(out) {
        const index each = exec::divide_up(out, w) * w * w;
        z = scratch;
        t = z + each;
        dz = t + each;
        rz = tangent ? dz + each : nullptr;
        rdz = tangent ? rz + each : nullptr;
    }

    void load_targets(const Batch<T>& batch, index first, index n) {
        std::fill(t, t + out * w, T(0));
        for (index r = 0; r < n; ++r) {
            if (batch.targets.labels != nullptr)
                t[batch.label(first + r) * w + r] = 1;
            else
                for (index j = 0; j < out; ++j) t[j * w + r] = batch.values(first + r)[j];
        }
    }

    // f(r) for the rows of the block, which do not see each other.
    template <class F>
    static void for_rows(const F& f) {
        exec::elementwise({0, w}, f);
    }

    // Clears what the padding of the outputs would get.
    void clear_padding(T* x) const { std::fill(x + out * w, x + exec::divide_up(out, w) * w * w, T(0)); }
};

// A number for each row of a block.
template <class T>
struct alignas(exec::vector_bytes) Lanes {
    T at[exec::lanes<T>];
    explicit Lanes(T x) {
        for (T& a : at) a = x;
    }
    T& operator[](index r) { return at[r]; }
    T operator[](index r) const { return at[r]; }
};

// The largest of x (out, w) over the outputs, and the first that has it.
template <class T>
struct Largest {
    Lanes<T> value{0}, where{0};

    Largest(const T* x, index out) {
        exec::Vector<T> best = exec::load(x), at{};
        for (index j = 1; j < out; ++j) {
            const exec::Vector<T> xj = exec::load(x + j * Block<T>::w);
            at = xj > best ? exec::broadcast(T(j)) : at;
            best = xj > best ? xj : best;
        }
        exec::store(value.at, best);
        exec::store(where.at, at);
    }
};

// p = softmax(z); gives the sums of exp(z - max).
template <class T>
inline Lanes<T> softmax(T* p, const T* z, index out, const Lanes<T>& max) {
    using Rule = rules::CrossEntropy<T>;
    constexpr index w = Block<T>::w;
    Lanes<T> sum(0), scale(0);
    for (index j = 0; j < out; ++j)
        Block<T>::for_rows([&, pj = p + j * w, zj = z + j * w](index r) {
            pj[r] = Rule::exponential(zj[r], max[r]);
            sum[r] += pj[r];
        });
    Block<T>::for_rows([&](index r) { scale[r] = 1 / sum[r]; });
    for (index j = 0; j < out; ++j) Block<T>::for_rows([&, pj = p + j * w](index r) { pj[r] *= scale[r]; });
    return sum;
}

template <class T>
inline Lanes<T> sum_over_outputs(const T* x, index out) {
    Lanes<T> sum(0);
    for (index j = 0; j < out; ++j)
        Block<T>::for_rows([&, xj = x + j * Block<T>::w](index r) { sum[r] += xj[r]; });
    return sum;
}

template <class T>
inline void cross_entropy(const Block<T>& b, T factor, Lanes<T>& loss, Lanes<T>& right) {
    using Rule = rules::CrossEntropy<T>;
    constexpr index w = Block<T>::w;
    const Largest<T> guess(b.z, b.out), likeliest(b.t, b.out);
    const Lanes<T>& max = guess.value;
    const Lanes<T> sum = softmax(b.dz, b.z, b.out, max);
    const Lanes<T> mass = sum_over_outputs(b.t, b.out);
    Block<T>::for_rows([&](index r) {
        loss[r] = Rule::log_normaliser(sum[r], mass[r]);
        right[r] = guess.where[r] == likeliest.where[r] ? 1 : 0;
    });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, t = b.t + j * w, dz = b.dz + j * w](index r) {
            loss[r] += Rule::value(z[r], t[r], max[r]);
            dz[r] = factor * Rule::gradient(dz[r], t[r], mass[r]);
        });
}

template <class T>
inline void cross_entropy_tangent(const Block<T>& b, T factor) {
    using Rule = rules::CrossEntropy<T>;
    constexpr index w = Block<T>::w;
    Lanes<T> mean(0);
    softmax(b.rdz, b.z, b.out, Largest<T>(b.z, b.out).value);
    const Lanes<T> mass = sum_over_outputs(b.t, b.out);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, p = b.rdz + j * w, rz = b.rz + j * w](index r) { mean[r] += p[r] * rz[r]; });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, p = b.rdz + j * w, rz = b.rz + j * w](index r) {
            p[r] = factor * Rule::curvature(p[r], rz[r], mean[r], mass[r]);
        });
}

// Losses that are means over the outputs of a function of one output.
template <class Rule, class T>
inline void elementwise_loss(const Block<T>& b, T factor, Lanes<T>& loss, Lanes<T>& right) {
    constexpr index w = Block<T>::w;
    const T share = 1 / T(b.out);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, t = b.t + j * w, dz = b.dz + j * w](index r) {
            loss[r] += Rule::value(z[r], t[r]);
            dz[r] = factor * share * Rule::gradient(z[r], t[r]);
        });
    Block<T>::for_rows([&](index r) {
        loss[r] *= share;
        right[r] = 0;
    });
}

template <class Rule, class T>
inline void elementwise_loss_tangent(const Block<T>& b, T factor) {
    const T share = 1 / T(b.out);
    exec::elementwise({0, b.out * Block<T>::w}, [&, f = factor * share](index i) {
        b.rdz[i] = f * Rule::curvature(b.z[i], b.t[i], b.rz[i]);
    });
}

// The scores of the given rows, and dz = factor times the gradient.
template <class T>
inline void loss_forward(Loss loss, const Batch<T>& batch, Panels<const T> z, Panels<T> dz, Range rows,
                         T factor, const RowScores<T>& scores, T* scratch) {
    Block<T> b(scratch, z.cols, false);
    for (index first = rows.begin; first < rows.end; first += b.w) {
        const index n = exec::min(rows.end - first, b.w);
        exec::load_columns(b.z, z, first, n);
        b.load_targets(batch, first, n);
        Lanes<T> value(0), right(0);
        switch (loss) {
            case Loss::cross_entropy:
                cross_entropy(b, factor, value, right);
                break;
            case Loss::mse:
                elementwise_loss<rules::SquaredError<T>>(b, factor, value, right);
                break;
        }
        b.clear_padding(b.dz);
        exec::store_columns(dz, b.dz, first, n);
        for (index r = 0; r < n; ++r) {
            scores.loss[first + r] = value[r];
            scores.right[first + r] = right[r] != 0;
        }
    }
}

// The softmax of the given rows, in place.
template <class T>
inline void softmax_rows(Panels<T> z, Range rows, T* scratch) {
    Block<T> b(scratch, z.cols, false);
    for (index first = rows.begin; first < rows.end; first += b.w) {
        const index n = exec::min(rows.end - first, b.w);
        exec::load_columns<T>(b.z, z, first, n);
        softmax(b.dz, b.z, b.out, Largest<T>(b.z, b.out).value);
        b.clear_padding(b.dz);
        exec::store_columns(z, b.dz, first, n);
    }
}

// rdz = factor times the Hessian in the outputs times rz.
template <class T>
inline void loss_tangent(Loss loss, const Batch<T>& batch, Panels<const T> z, Panels<const T> rz,
                         Panels<T> rdz, Range rows, T factor, T* scratch) {
    Block<T> b(scratch, z.cols, true);
    for (index first = rows.begin; first < rows.end; first += b.w) {
        const index n = exec::min(rows.end - first, b.w);
        exec::load_columns(b.z, z, first, n);
        exec::load_columns(b.rz, rz, first, n);
        b.load_targets(batch, first, n);
        switch (loss) {
            case Loss::cross_entropy:
                cross_entropy_tangent(b, factor);
                break;
            case Loss::mse:
                elementwise_loss_tangent<rules::SquaredError<T>>(b, factor);
                break;
        }
        b.clear_padding(b.rdz);
        exec::store_columns(rdz, b.rdz, first, n);
    }
}

}  // namespace fnn::FNN_ISA::net
