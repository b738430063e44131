// Elementwise optimizer rules: (parameter, gradient, state...) -> new values, with torch's names and
// formulas. A rule is made once per step; what does not depend on the element is computed then, in float64.
// The number of states, and so of further arguments, is `states`.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

FNN_RULE float square_root(float x) { return __builtin_sqrtf(x); }
FNN_RULE double square_root(double x) { return __builtin_sqrt(x); }

// p -= lr g, with weight decay as an L2 penalty. Robbins and Monro (1951).
template <class T>
struct SGD {
    static constexpr int states = 0;
    T lr, weight_decay;
    FNN_HD void operator()(T& p, T g) const { p = p - lr * mul_add(weight_decay, p, g); }
};

// Heavy-ball momentum, Polyak (1964): v = momentum v + g, p -= lr v; Nesterov (1983) as in Sutskever et al.
// (2013): p -= lr (g + momentum v).
template <class T, bool Nesterov>
struct Momentum {
    static constexpr int states = 1;
    T lr, weight_decay, momentum;
    FNN_HD void operator()(T& p, T g, T& v) const {
        g = mul_add(weight_decay, p, g);
        v = mul_add(momentum, v, g);
        p = p - lr * (Nesterov ? mul_add(momentum, v, g) : v);
    }
};

// Adam, Kingma and Ba (2015); weight decay as an L2 penalty, or decoupled: AdamW, Loshchilov and Hutter
// (2019).
template <class T, bool Decoupled>
struct Adam {
    static constexpr int states = 2;
    T beta2, eps, weight_decay;
    T gain1, gain2;     // 1 - beta1, 1 - beta2
    T step_size;        // lr / (1 - beta1^t)
    T root_correction;  // 1 / sqrt(1 - beta2^t)
    T shrink;           // 1 - lr weight_decay

    FNN_HD void operator()(T& p, T g, T& m, T& v) const {
        if constexpr (Decoupled)
            p = p * shrink;
        else
            g = mul_add(weight_decay, p, g);
        m = mul_add(gain1, g - m, m);
        v = mul_add(beta2, v, gain2 * g * g);
        p = p - step_size * m / (square_root(v) * root_correction + eps);
    }
};

}  // namespace fnn::FNN_ISA::rules
