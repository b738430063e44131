// The softmax p_j = e^(z_j) / sum_k e^(z_k) of a row, for any finite z: everything is a function of
// z - max z. Its Jacobian is diag(p) - p p', which is symmetric.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Softmax {
    FNN_RULE static T exponential(T z, T max) { return exp(z - max); }
    FNN_RULE static T logarithm(T z, T max, T log_sum) { return z - max - log_sum; }
    // Jacobian times r; mean = sum_j p_j r_j
    FNN_RULE static T product(T p, T r, T mean) { return p * (r - mean); }
    // The tangent of this along rp and rr; change = sum_j rp_j r_j + p_j rr_j
    FNN_RULE static T product_tangent(T p, T rp, T r, T rr, T mean, T change) {
        return rp * (r - mean) + p * (rr - change);
    }
};

}  // namespace fnn::FNN_ISA::rules
