// Losses over rows of outputs: value, gradient, and Hessian in the outputs times a direction.
#pragma once

#include "exec/elementwise.h"
#include "exec/reduce.h"
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
    T* normaliser;  // of the softmax
    T* mass;        // of the targets
    std::uint8_t* right;
};

// ---- softmax cross-entropy

// The target of output j of one row: a label, or probabilities.
template <class T>
struct OneHot {
    int label;
    T operator()(index j) const { return int(j) == label ? 1 : 0; }
};

template <class T>
struct Probabilities {
    const T* row;
    T operator()(index j) const { return row[j]; }
};

template <class T>
struct Exponentials {
    T* e;
    const T* z;
    T max;
    void operator()(index j) const { e[j] = rules::CrossEntropy<T>::exponential(z[j], max); }
};

template <class T, class Target>
struct CrossEntropyGradient {
    T* dz;  // holds the exponentials
    Target target;
    T per_sum, mass, factor;
    index first;
    void operator()(index j) const {
        dz[j] = factor * rules::CrossEntropy<T>::gradient(dz[j] * per_sum, target(first + j), mass);
    }
};

template <class T>
struct Scale {
    T* x;
    T factor;
    void operator()(index j) const { x[j] *= factor; }
};

template <class T>
struct CrossEntropyCurvature {
    T* rdz;  // holds the softmax
    const T* rz;
    T mean, mass, factor;
    void operator()(index j) const {
        rdz[j] = factor * rules::CrossEntropy<T>::curvature(rdz[j], rz[j], mean, mass);
    }
};

template <class T>
struct AddLogNormaliser {
    T* loss;
    const T *sum, *mass;
    void operator()(index r) const { loss[r] += rules::CrossEntropy<T>::log_normaliser(sum[r], mass[r]); }
};

// e = exp(z - max z) for one row; gives the largest z and the sum.
template <class T>
inline void softmax_row(Panels<T> e, Panels<const T> z, index r, T& max, T& sum) {
    max = exec::reduce_row(z, r, exec::Max<T>{});
    exec::Vector<T> sums{};
    for (index p = 0; p < z.count(); ++p) {
        exec::elementwise({0, z.width(p)}, Exponentials<T>{e.row(p, r), z.row(p, r), max});
        sums = exec::reduce_vectors(sums, e.row(p, r), z.used(p), exec::Add<T>{});
    }
    sum = exec::reduce_lanes<T>(sums, exec::Add<T>{});
}

template <class T, class Target>
inline void cross_entropy_gradient(Panels<T> dz, index r, Target target, T sum, T mass, T factor) {
    for (index p = 0; p < dz.count(); ++p) {
        T* d = dz.row(p, r);
        exec::elementwise({0, dz.used(p)}, CrossEntropyGradient<T, Target>{d, target, 1 / sum, mass, factor,
                                                                           p * Panels<T>::full});
        for (index j = dz.used(p); j < dz.width(p); ++j) d[j] = 0;
    }
}

// The scores of the given rows, and dz = factor times the gradient.
template <class T>
inline void cross_entropy(const Batch<T>& batch, Panels<const T> z, Panels<T> dz, Range rows, T factor,
                          const RowScores<T>& scores) {
    using Rule = rules::CrossEntropy<T>;
    constexpr index full = Panels<T>::full;
    for (index r = rows.begin; r < rows.end; ++r) {
        T max, sum;
        softmax_row(dz, z, r, max, sum);
        const index guess = exec::find_in_row(z, r, max);
        T value = 0, mass = 1;
        if (batch.targets.labels != nullptr) {
            const auto label = batch.label(r);
            value = Rule::value(z.row(label / full, r)[label % full], 1, max);
            scores.right[r] = guess == label;
            cross_entropy_gradient(dz, r, OneHot<T>{int(label)}, sum, mass, factor);
        } else {
            const T* t = batch.values(r);
            index likeliest = 0;
            mass = 0;
            for (index j = 0; j < z.cols; ++j) {
                mass += t[j];
                value += Rule::value(z.row(j / full, r)[j % full], t[j], max);
                if (t[j] > t[likeliest]) likeliest = j;
            }
            scores.right[r] = guess == likeliest;
            cross_entropy_gradient(dz, r, Probabilities<T>{t}, sum, mass, factor);
        }
        scores.loss[r] = value;
        scores.normaliser[r] = sum;
        scores.mass[r] = mass;
    }
    exec::elementwise(rows, AddLogNormaliser<T>{scores.loss, scores.normaliser, scores.mass});
}

// rdz = factor times the Hessian times rz.
template <class T>
inline void cross_entropy_tangent(const Batch<T>& batch, Panels<const T> z, Panels<const T> rz, Panels<T> rdz,
                                  Range rows, T factor) {
    for (index r = rows.begin; r < rows.end; ++r) {
        T max, sum, mass = 1;
        softmax_row(rdz, z, r, max, sum);
        if (batch.targets.values != nullptr) {
            mass = 0;
            for (index j = 0; j < z.cols; ++j) mass += batch.values(r)[j];
        }
        for (index p = 0; p < z.count(); ++p) exec::elementwise({0, z.used(p)}, Scale<T>{rdz.row(p, r), 1 / sum});
        const T mean = exec::dot_row<T>(rdz, rz, r);
        for (index p = 0; p < z.count(); ++p) {
            exec::elementwise({0, z.used(p)},
                              CrossEntropyCurvature<T>{rdz.row(p, r), rz.row(p, r), mean, mass, factor});
            for (index j = z.used(p); j < z.width(p); ++j) rdz.row(p, r)[j] = 0;
        }
    }
}

// ---- losses that are means over the outputs of a function of one output

template <class T, class Rule>
struct ElementwiseGradient {
    T* dz;
    const T *z, *t;
    T factor;
    void operator()(index j) const { dz[j] = factor * Rule::gradient(z[j], t[j]); }
};

template <class T, class Rule>
struct ElementwiseCurvature {
    T* rdz;
    const T *z, *t, *rz;
    T factor;
    void operator()(index j) const { rdz[j] = factor * Rule::curvature(z[j], t[j], rz[j]); }
};

template <class T, class Rule>
inline void elementwise_loss(const Batch<T>& batch, Panels<const T> z, Panels<T> dz, Range rows, T factor,
                             const RowScores<T>& scores) {
    for (index r = rows.begin; r < rows.end; ++r) {
        T value = 0;
        for (index p = 0; p < z.count(); ++p) {
            const T *zr = z.row(p, r), *t = batch.values(r) + p * Panels<T>::full;
            T* d = dz.row(p, r);
            for (index j = 0; j < z.used(p); ++j) value += Rule::value(zr[j], t[j]);
            exec::elementwise({0, z.used(p)}, ElementwiseGradient<T, Rule>{d, zr, t, factor / T(z.cols)});
            for (index j = z.used(p); j < z.width(p); ++j) d[j] = 0;
        }
        scores.loss[r] = value / T(z.cols);
        scores.right[r] = 0;
    }
}

template <class T, class Rule>
inline void elementwise_loss_tangent(const Batch<T>& batch, Panels<const T> z, Panels<const T> rz, Panels<T> rdz,
                                     Range rows, T factor) {
    for (index r = rows.begin; r < rows.end; ++r)
        for (index p = 0; p < z.count(); ++p) {
            const T* t = batch.values(r) + p * Panels<T>::full;
            T* rd = rdz.row(p, r);
            exec::elementwise({0, z.used(p)}, ElementwiseCurvature<T, Rule>{rd, z.row(p, r), t, rz.row(p, r),
                                                                            factor / T(z.cols)});
            for (index j = z.used(p); j < z.width(p); ++j) rd[j] = 0;
        }
}

// ---- by name

template <class T>
inline void loss_forward(Loss loss, const Batch<T>& batch, Panels<const T> z, Panels<T> dz, Range rows, T factor,
                         const RowScores<T>& scores) {
    switch (loss) {
        case Loss::cross_entropy: return cross_entropy(batch, z, dz, rows, factor, scores);
        case Loss::mse: return elementwise_loss<T, rules::SquaredError<T>>(batch, z, dz, rows, factor, scores);
    }
}

template <class T>
inline void loss_tangent(Loss loss, const Batch<T>& batch, Panels<const T> z, Panels<const T> rz, Panels<T> rdz,
                         Range rows, T factor) {
    switch (loss) {
        case Loss::cross_entropy: return cross_entropy_tangent(batch, z, rz, rdz, rows, factor);
        case Loss::mse:
            return elementwise_loss_tangent<T, rules::SquaredError<T>>(batch, z, rz, rdz, rows, factor);
    }
}

}  // namespace fnn::FNN_ISA::net
