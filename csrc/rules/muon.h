// Muon, Jordan et al. (2024), one number at a time: what surrounds its orthogonalisation.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Muon {
    T momentum, gain;  // and 1 - momentum
    bool nesterov;
    T step_size;  // of one matrix
    T decay;      // lr weight_decay

    // The momentum `m`; gives what is to be orthogonalised.
    FNN_HD T average(T g, T& m) const {
        m = mul_add(gain, g - m, m);
        return nesterov ? mul_add(momentum, m - g, g) : m;
    }
    FNN_HD void move(T& p, T direction) const { p = p - mul_add(decay, p, step_size * direction); }
};

}  // namespace fnn::FNN_ISA::rules
