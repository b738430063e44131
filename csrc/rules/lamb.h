// LAMB, You et al. (2020), one number at a time: Adam's direction, whose length in each tensor is then made a
// multiple of that of the parameters.
#pragma once

#include "rules/updates.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct LAMB {
    Moments<T> moments;
    T eps, weight_decay;
    T correction;       // 1 / (1 - beta1^t)
    T root_correction;  // 1 / sqrt(1 - beta2^t)

    FNN_HD T direction(T p, T m, T v) const {
        return mul_add(weight_decay, p, correction * m / (square_root(v) * root_correction + eps));
    }
};

}  // namespace fnn::FNN_ISA::rules
