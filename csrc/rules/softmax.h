// The softmax p_j = e^(z_j) / sum_k e^(z_k) of a row: everything is a function of z - max z. Its Jacobian is
// diag(p) - p p', which is symmetric. An infinite z has the p of the limit, 0 or 1; where there is none, as
// of two that are both +inf, or all -inf, p is NaN.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Softmax {
    FNN_RULE static T exponential(T z, T max) { return select(z == max, T(1), exp(z - max)); }
    FNN_RULE static T logarithm(T z, T max, T log_sum) { return select(z == max, T(0), z - max) - log_sum; }
    // A sum of exponentials that is `least` if only the largest counts: NaN if others are the same infinity.
    FNN_RULE static T decided(T sum, T least, T max) { return select(sum == least, sum, sum + (max - max)); }
    // Jacobian times r; mean = sum_j p_j r_j
    FNN_RULE static T product(T p, T r, T mean) { return p * (r - mean); }
    // The tangent of this along rp and rr; change = sum_j rp_j r_j + p_j rr_j
    FNN_RULE static T product_tangent(T p, T rp, T r, T rr, T mean, T change) {
        return rp * (r - mean) + p * (rr - change);
    }
};

}  // namespace fnn::FNN_ISA::rules
