// Losses of one row: value, gradient in the outputs z, and Hessian in the outputs times a direction r.
// Reductions over rows and outputs are those of torch.nn; the callers multiply by their factors.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// Softmax cross-entropy -sum_j t_j log p_j with p = softmax(z), for any finite z: everything is a function
// of z - max z. `sum` is the sum of the exponentials, `mass` the sum of the targets (one for a label).
template <class T>
struct CrossEntropy {
    FNN_HD static T exponential(T z, T max) { return exp(z - max); }
    // The part of the value that belongs to an output of target t, but for t log(sum).
    FNN_HD static T value(T z, T t, T max) { return t != 0 ? t * (max - z) : 0; }
    FNN_HD static T log_normaliser(T sum, T mass) { return mass * log(sum); }
    FNN_HD static T gradient(T p, T t, T mass) { return p * mass - t; }
    // (diag(p) - p p') r; mean = sum_j p_j r_j
    FNN_HD static T curvature(T p, T r, T mean, T mass) { return mass * p * (r - mean); }
};

// (z - t)^2
template <class T>
struct SquaredError {
    FNN_HD static T value(T z, T t) { return (z - t) * (z - t); }
    FNN_HD static T gradient(T z, T t) { return 2 * (z - t); }
    FNN_HD static T curvature(T, T, T r) { return 2 * r; }
};

}  // namespace fnn::FNN_ISA::rules
