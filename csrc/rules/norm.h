// Normalisation: h = (x - mean) s with s = 1 / sqrt(variance + eps), where mean and variance are those of
// some numbers, as of a row or a column, and m() is the mean over these. For numbers and for vectors of them.
//
// Derivatives: with r the tangent, c = m(h rx) is what moves s: rs = -s s c. The Jacobian of h in x is
// symmetric, so that one formula serves both ways. Where mean and variance are constants, m() is 0.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

struct Norm {
    template <class V>
    FNN_RULE static V normalize(V x, V mean, V s) {
        return (x - mean) * s;
    }
    // The Jacobian times r; mean = m(r), along = m(h r).
    template <class V>
    FNN_RULE static V product(V s, V h, V r, V mean, V along) {
        return s * (r - mean - h * along);
    }
    // The tangent of that along rh and rr; c as above, change = m(rr), bend = m(rh r + h rr).
    template <class V>
    FNN_RULE static V product_tangent(V s, V h, V rh, V r, V rr, V mean, V along, V c, V change, V bend) {
        return product(s, h, rr, change, bend) - s * (rh * along + c * product(s, h, r, mean, along));
    }
};

// Mean and sum of squared deviations of n numbers become those of these and others, of which there are
// `before`: T. F. Chan, G. H. Golub, R. J. LeVeque (1979), "Updating formulae and a pairwise algorithm for
// computing sample variances".
template <class V>
FNN_RULE void merge_moments(V& mean, V& m2, double n, V other_mean, V other_m2, double before) {
    const double share = n / (before + n);
    const V d = mean - other_mean;
    mean = other_mean + d * share;
    m2 = other_m2 + m2 + d * d * (before * share);
}

}  // namespace fnn::FNN_ISA::rules
