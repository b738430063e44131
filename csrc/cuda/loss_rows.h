// The formulas of rules/losses.h, put together as in net/ops/loss.h, for one row at a time: a warp has each.
#pragma once

#include "cuda/kernels/rows.h"
#include "cuda/losses.h"
#include "rules/losses.h"

namespace fnn::FNN_ISA::device {

// Outputs and targets of a row.
template <class T>
struct Row {
    const Examples<T>& examples;
    const T* z;
    index row, out;
    rules::LabelSmoothing<T> smoothing;
    bool smooths;

    __device__ T t(index j) const {
        const T own = examples.target(row, j);
        return smooths ? smoothing(own) : own;
    }
};

template <class T>
struct Scores {
    T value, right;
};

// p = softmax(z), with what is exact of it where the largest is near 1: see the rule.
template <class T>
struct Probabilities {
    using Rule = rules::Softmax<T>;
    const T* z;
    Largest<T> guess;
    T rest, scale, share;

    __device__ Probabilities(const T* z, index out, const Warp& warp)
        : z(z), guess(warp.largest<T>(out, [&](index j) { return z[j]; })) {
        T sum = 0;
        warp.each(out, [&](index j) {
            const T e = Rule::exponential(z[j], guess.value);
            sum += j == guess.where ? e - 1 : e;
        });
        rest = Rule::decided(warp.sum(sum), T(0), guess.value);
        scale = 1 / (1 + rest);
        share = rest * scale;
    }
    __device__ bool is_largest(index j) const { return j == guess.where; }
    __device__ T operator()(index j) const { return Rule::exponential(z[j], guess.value) * scale; }
    __device__ T logarithm(index j, T log_sum) const { return Rule::logarithm(z[j], guess.value, log_sum); }
};

template <class T>
__device__ T mass_of(const Row<T>& row, const Warp& warp) {
    T sum = 0;
    warp.each(row.out, [&](index j) { sum += row.t(j); });
    return warp.sum(sum);
}

template <class T>
__device__ bool is_likeliest(const Row<T>& row, index where, const Warp& warp) {
    return warp.largest<T>(row.out, [&](index j) { return row.t(j); }).where == where;
}

template <class T>
struct CrossEntropy {
    using Rule = rules::CrossEntropy<T>;
    using Penalty = rules::NegativeEntropy<T>;
    T penalty;

    __device__ Scores<T> forward(const Row<T>& row, T factor, T* dz, const Warp& warp) const {
        const Probabilities<T> p(row.z, row.out, warp);
        const T mass = mass_of(row, warp);
        T value = 0, energy = 0;
        const T log_sum = rules::log1p(p.rest);
        warp.each(row.out, [&](index j) {
            const T t = row.t(j), own = p(j);
            dz[j] = factor * (p.is_largest(j) ? Rule::largest_gradient(p.share, t, mass)
                                              : Rule::gradient(own, t, mass));
            value += Rule::value(row.z[j], t, p.guess.value);
            energy += Penalty::value(own, p.logarithm(j, log_sum));
        });
        value = Rule::log_normaliser(p.rest, mass) + warp.sum(value);
        if (penalty != 0) {
            energy = warp.sum(energy);
            warp.each(row.out, [&](index j) {
                dz[j] += factor * penalty * Penalty::gradient(p(j), p.logarithm(j, log_sum), energy);
            });
            value += penalty * energy;
        }
        return {value, T(is_likeliest(row, p.guess.where, warp) ? 1 : 0)};
    }
    __device__ void tangent(const Row<T>& row, T factor, const T* rz, T* rdz, const Warp& warp) const {
        const Probabilities<T> p(row.z, row.out, warp);
        const T mass = mass_of(row, warp), log_sum = rules::log1p(p.rest);
        const T origin = rz[p.guess.where < row.out ? p.guess.where : 0];
        T from_origin = 0, energy = 0, mean = 0;
        warp.each(row.out, [&](index j) {
            from_origin += p(j) * (rz[j] - origin);
            energy += Penalty::value(p(j), p.logarithm(j, log_sum));
            mean += p(j) * rz[j];
        });
        from_origin = warp.sum(from_origin);
        warp.each(row.out, [&](index j) {
            rdz[j] = factor * Rule::curvature(p(j), rz[j] - origin, from_origin, mass);
        });
        if (penalty == 0) return;
        energy = warp.sum(energy), mean = warp.sum(mean);
        T rate = 0;
        warp.each(row.out,
                  [&](index j) { rate += Penalty::gradient(p(j), p.logarithm(j, log_sum), energy) * rz[j]; });
        rate = warp.sum(rate);
        warp.each(row.out, [&](index j) {
            rdz[j] += factor * penalty *
                      Penalty::curvature(p(j), p.logarithm(j, log_sum), energy, rz[j], mean, rate);
        });
    }
    template <class U>
    __device__ void root(const Row<T>& row, T factor, const U& u, T* s, const Warp& warp) const {
        const Probabilities<T> p(row.z, row.out, warp);
        const T mass = mass_of(row, warp);
        T others = 0, largest = 0;
        warp.each(row.out, [&](index j) {
            const T part = rules::square_root(p(j)) * u(j);
            (p.is_largest(j) ? largest : others) += part;
        });
        others = warp.sum(others), largest = warp.sum(largest);
        warp.each(row.out, [&](index j) {
            const T own = rules::square_root(p(j));
            s[j] = rules::square_root(factor * mass) * (p.is_largest(j)
                                                            ? Rule::largest_factor(own, u(j), others, p.share)
                                                            : Rule::factor(own, u(j), others, largest));
        });
    }
};

template <class T>
struct MultiMargin {
    rules::MultiMargin<T> rule;

    // That of the right class.
    __device__ T right_score(const Row<T>& row, const Warp& warp) const {
        T score = 0;
        warp.each(row.out, [&](index j) { score = row.t(j) != 0 ? row.z[j] : score; });
        const index where =
            warp.largest<T>(row.out, [&](index j) { return row.t(j) != 0 ? T(1) : T(0); }).where;
        return __shfl_sync(0xffffffffu, score, int(where) % Warp::lanes);
    }
    __device__ Scores<T> forward(const Row<T>& row, T factor, T* dz, const Warp& warp) const {
        const T score = right_score(row, warp), share = 1 / T(row.out);
        T value = 0, pushed = 0;
        warp.each(row.out, [&](index j) {
            const T gradient = factor * share * rule.gradient(row.z[j], score);
            const T of_right = rules::zero_of(row.z[j]);  // NaN, of a class alone, too
            const bool is_right = row.t(j) != 0;
            value += is_right ? of_right : 2 * share * rule.half_value(row.z[j], score);
            pushed += is_right ? of_right : gradient;
            dz[j] = gradient;
        });
        value = warp.sum(value), pushed = warp.sum(pushed);
        warp.each(row.out, [&](index j) { dz[j] = row.t(j) != 0 ? -pushed : dz[j]; });
        const index guess = warp.largest<T>(row.out, [&](index j) { return row.z[j]; }).where;
        return {value, T(is_likeliest(row, guess, warp) ? 1 : 0)};
    }
    __device__ void tangent(const Row<T>& row, T, const T* rz, T* rdz, const Warp& warp) const {
        root(row, T(0), [&](index j) { return rz[j]; }, rdz, warp);
    }
    // Zeros, or NaN.
    template <class U>
    __device__ void root(const Row<T>& row, T, const U& u, T* s, const Warp& warp) const {
        const T score = right_score(row, warp);
        warp.each(row.out, [&](index j) {
            s[j] = row.t(j) != 0 ? rules::zero_of(row.z[j]) * u(j) : rule.curvature(row.z[j], score, u(j));
        });
    }
};

// Means over the outputs of a function of one output; a row is right if all outputs are.
template <class T, class Rule>
struct Elementwise {
    Rule rule;

    __device__ Scores<T> forward(const Row<T>& row, T factor, T* dz, const Warp& warp) const {
        const T share = 1 / T(row.out);
        T value = 0;
        bool right = true;
        warp.each(row.out, [&](index j) {
            const T z = row.z[j], t = row.t(j);
            value += share * rule.value(z, t);
            dz[j] = factor * share * rule.gradient(z, t);
            right = right && rule.is_right(z, t);
        });
        return {warp.sum(value), T(warp.all(right) ? 1 : 0)};
    }
    __device__ void tangent(const Row<T>& row, T factor, const T* rz, T* rdz, const Warp& warp) const {
        warp.each(row.out, [&](index j) {
            rdz[j] = factor * (1 / T(row.out)) * rule.curvature(row.z[j], row.t(j), rz[j]);
        });
    }
    template <class U>
    __device__ void root(const Row<T>& row, T factor, const U& u, T* s, const Warp& warp) const {
        warp.each(row.out, [&](index j) {
            const T own = factor * (1 / T(row.out)) * rule.curvature(row.z[j], row.t(j), T(1));
            s[j] = rules::square_root(own) * u(j);
        });
    }
};

}  // namespace fnn::FNN_ISA::device
