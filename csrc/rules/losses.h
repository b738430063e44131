// Losses: value, gradient in the outputs z, and Hessian in the outputs times a direction r, for any z: where
// z is infinite, their limits, and where z is NaN value and gradient are NaN, and the curvature if it depends
// on z. Differences that may overflow where the value does not are taken of halves. Reductions over rows and
// outputs are those of torch.nn; the callers multiply by their factors. At a kink the gradient is taken as 0.
#pragma once

#include "rules/math.h"
#include "rules/softmax.h"

namespace fnn::FNN_ISA::rules {

// 0, but NaN for NaN.
template <class T>
FNN_RULE T zero_of(T x) {
    return select(x == x, T(0), x);
}

// ---- of a row of scores, one for each class ---------------------------------------------------------------

// Softmax cross-entropy -sum_j t_j log p_j with p = softmax(z): everything is a function of z - max z.
// `mass` is the sum of the targets (one for a label). Of a prediction that is nearly sure p is nearly 1 where
// z is largest, at w: so that nothing cancels there, `rest` is the sum of the other exponentials, and their
// share 1 - p_w = rest / (1 + rest).
template <class T>
struct CrossEntropy {
    // The part of the value that belongs to an output of target t, but for t log(1 + rest).
    FNN_RULE static T value(T z, T t, T max) {
        return ((t == 0) | (z == max)) ? 0 : 2 * t * (max / 2 - z / 2);
    }
    FNN_RULE static T log_normaliser(T rest, T mass) { return mass * log1p(rest); }
    FNN_RULE static T gradient(T p, T t, T mass) { return p * mass - t; }
    FNN_RULE static T largest_gradient(T share, T t, T mass) { return (mass - t) - share * mass; }
    // r is counted from that of w; mean = sum_j p_j r_j
    FNN_RULE static T curvature(T p, T r, T mean, T mass) { return mass * Softmax<T>::product(p, r, mean); }
    // S u where S S' is this curvature for a mass of one: S = diag(root) - p root' with root = sqrt(p);
    // others = sum_j root_j u_j but for j = w
    FNN_RULE static T factor(T root, T u, T others, T largest) {
        return root * (u - root * (others + largest));
    }
    FNN_RULE static T largest_factor(T root, T u, T others, T share) {
        return root * (u * share - root * others);
    }
};

// The target t mixed with the uniform distribution over `classes`: Szegedy et al. (2016).
template <class T>
struct LabelSmoothing {
    T keep, share;
    LabelSmoothing(double smoothing, index classes)
        : keep(T(1 - smoothing)), share(T(smoothing / double(classes))) {}
    FNN_RULE T operator()(T t) const { return t * keep + share; }
};

// sum_j p_j log p_j, minus the entropy of p = softmax(z): what Pereyra et al. (2017) add to the loss of a
// prediction that is too sure. l = log p; energy = sum_j p_j l_j; a p that is zero counts nothing.
template <class T>
struct NegativeEntropy {
    FNN_RULE static T value(T p, T l) { return p != 0 ? p * l : 0; }
    FNN_RULE static T gradient(T p, T l, T energy) { return p != 0 ? p * (l - energy) : 0; }
    // mean = sum_j p_j r_j; energy_rate = sum_j gradient_j r_j
    FNN_RULE static T curvature(T p, T l, T energy, T r, T mean, T energy_rate) {
        return p != 0 ? p * ((r - mean) * (l - energy + 1) - energy_rate) : 0;
    }
};

// sum_j max(0, margin - z_y + z_j) over the classes j other than the right one, y: Crammer and Singer (2001),
// summed as in torch. Of one j: z is its score, right that of y; and of half the loss.
template <class T>
struct MultiMargin {
    T margin;
    FNN_RULE T half_slack(T z, T right) const { return (margin / 2 - right / 2) + z / 2; }
    FNN_RULE T half_value(T z, T right) const {
        return select(half_slack(z, right) < 0, T(0), half_slack(z, right));
    }
    // of the whole, in z_j; in z_y it is minus the sum of these
    FNN_RULE T gradient(T z, T right) const {
        return select(half_slack(z, right) > 0, T(1), zero_of(half_slack(z, right)));
    }
    FNN_RULE T curvature(T z, T right, T r) const { return zero_of(half_slack(z, right)) * r; }
};

// ---- of one output z with target t, averaged over the outputs ---------------------------------------------

// For losses that know no right and wrong.
template <class T>
struct Regression {
    FNN_RULE static bool is_right(T, T) { return false; }
};

// -t log s - (1 - t) log(1 - s) with s = 1 / (1 + exp(-z)) the probability of a target t = 1.
template <class T>
struct BinaryCrossEntropy {
    // of terms that are not negative: nothing cancels
    FNN_RULE static T value(T z, T t) {
        const T slope = select(z > 0, 1 - t, -t);
        return select(slope == 0, T(0), z * slope) + log1p(exp(-abs(z)));
    }
    FNN_RULE static T gradient(T z, T t) {
        const T e = exp(-abs(z)), near = 1 / (1 + e), far = e / (1 + e);  // s and 1 - s, or 1 - s and s
        return (1 - t) * select(z > 0, near, far) - t * select(z > 0, far, near);
    }
    FNN_RULE static T curvature(T z, T, T r) {
        const T e = exp(-abs(z));
        return e / ((1 + e) * (1 + e)) * r;
    }
    FNN_RULE static bool is_right(T z, T t) { return (z > 0) == (t > T(0.5)); }
};

// max(0, 1 - t z), t = -1 or 1: Cortes and Vapnik (1995).
template <class T>
struct Hinge {
    FNN_RULE static T slack(T z, T t) { return 1 - t * z; }
    FNN_RULE static T value(T z, T t) { return select(slack(z, t) < 0, T(0), slack(z, t)); }
    FNN_RULE static T gradient(T z, T t) { return select(slack(z, t) > 0, -t, zero_of(slack(z, t))); }
    FNN_RULE static T curvature(T z, T t, T r) { return zero_of(slack(z, t)) * r; }
    FNN_RULE static bool is_right(T z, T t) { return (z > 0) == (t > 0); }
};

// (z - t)^2
template <class T>
struct SquaredError : Regression<T> {
    FNN_RULE static T value(T z, T t) { return (z - t) * (z - t); }
    FNN_RULE static T gradient(T z, T t) { return 2 * (z - t); }
    FNN_RULE static T curvature(T, T, T r) { return 2 * r; }
};

// |z - t|
template <class T>
struct AbsoluteError : Regression<T> {
    FNN_RULE static T value(T z, T t) { return abs(z - t); }
    FNN_RULE static T gradient(T z, T t) {
        const T d = z - t;
        return select(d > 0, T(1), select(d < 0, T(-1), d));
    }
    FNN_RULE static T curvature(T z, T t, T r) { return zero_of(z - t) * r; }
};

// (z - t)^2 / 2 up to |z - t| = delta, and from there on straight: Huber (1964).
template <class T>
struct Huber : Regression<T> {
    T delta;
    explicit Huber(double delta) : delta(T(delta)) {}
    FNN_RULE T value(T z, T t) const {
        const T a = abs(z - t), half = abs(z / 2 - t / 2);
        return select(a <= delta, a * (a / 2), 2 * (delta * (half - delta / 4)));
    }
    FNN_RULE T gradient(T z, T t) const {
        const T d = z - t;
        return select(d > delta, delta, select(d < -delta, -delta, d));
    }
    FNN_RULE T curvature(T z, T t, T r) const {
        const T a = abs(z - t);
        return select(a <= delta, T(1), zero_of(a)) * r;
    }
};

// exp(z) - t z: minus the log-likelihood of a count t of rate exp(z), but for log t!.
template <class T>
struct Poisson : Regression<T> {
    FNN_RULE static T value(T z, T t) {
        const T rate = exp(z);
        return select((t == 0) | (rate == Format<T>::infinity), rate, rate - t * z);
    }
    FNN_RULE static T gradient(T z, T t) { return exp(z) - t; }
    FNN_RULE static T curvature(T z, T, T r) { return exp(z) * r; }
};

// log(cosh(z - t)), with a small relative error everywhere: with h = tanh|d|, it is |d| - log(1 + h), and
// near 0, where that would cancel, -log(1 - h^2) / 2.
template <class T>
struct LogCosh : Regression<T> {
    FNN_RULE static T value(T z, T t) {
        const T a = abs(z - t), h = tanh(a);
        const bool small = a < 1;
        const T l = log1p(select(small, -h * h, h));
        return select(small, l / -2, a - l);
    }
    FNN_RULE static T gradient(T z, T t) { return tanh(z - t); }
    // 1 / cosh^2
    FNN_RULE static T curvature(T z, T t, T r) {
        const T e = exp(-2 * abs(z - t));
        return 4 * e / ((1 + e) * (1 + e)) * r;
    }
};

// q (t - z) where that is positive, (1 - q) (z - t) elsewhere: its mean is smallest where z is the q-quantile
// of t. Koenker and Bassett (1978).
template <class T>
struct Quantile : Regression<T> {
    T below, above;  // the slopes to the left and to the right of t
    explicit Quantile(double q) : below(T(-q)), above(T(1 - q)) {}
    FNN_RULE T value(T z, T t) const { return 2 * ((z / 2 - t / 2) * select(z < t, below, above)); }
    FNN_RULE T gradient(T z, T t) const {
        const T d = z - t;
        return select(d > 0, above, select(d < 0, below, d));
    }
    FNN_RULE T curvature(T z, T t, T r) const { return zero_of(z - t) * r; }
};

}  // namespace fnn::FNN_ISA::rules
