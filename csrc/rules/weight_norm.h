// Weight normalisation, w = g v/|v|: a column of weights as its length and a direction. T. Salimans, D. P.
// Kingma (2016), "Weight normalization: a simple reparameterization to accelerate training of deep neural
// networks", NeurIPS.
//
// Of a column, in float64; d is the gradient of w, and r... are derivatives along (rv, rg):
//
//   w = scale v, and rw = scale rv + rscale v
//   dg = along(<v, d>), and dv = scale d - back v
//   rdv = scale rd + rscale d - back rv - rback v
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

struct WeightNorm {
    double norm = 0, scale = 0;  // |v| and g/|v|

    FNN_HD static WeightNorm of(double g, double norm) { return {norm, g / norm}; }

    // The length along v of a vector x, given <v, x>: so is dg that of d, and rnorm that of rv.
    FNN_HD double along(double product) const { return product / norm; }
    FNN_HD double along_tangent(double along, double rproduct, double rnorm) const {
        return (rproduct - along * rnorm) / norm;
    }
    FNN_HD double scale_tangent(double rg, double rnorm) const { return (rg - scale * rnorm) / norm; }
    FNN_HD double back(double dg) const { return scale * dg / norm; }
    FNN_HD double back_tangent(double dg, double rdg, double rscale, double rnorm) const {
        return (rscale * dg + scale * rdg - back(dg) * rnorm) / norm;
    }
};

}  // namespace fnn::FNN_ISA::rules
