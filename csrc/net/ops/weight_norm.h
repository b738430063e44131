// A dense layer whose matrix is w = g v/|v| of each column. net/weight_norm.h computes w before, and of its
// gradient that of v and g afterwards (what net/gradient.h gives for g is overwritten): in between it is w.
#pragma once

#include "net/ops/dense.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct WeightNorm : Dense<T> {
    // For fixed parameters it is linear; in them it is not, as traces take it to be.
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/true, /*exact_traces=*/false};
};

}  // namespace fnn::FNN_ISA::net
