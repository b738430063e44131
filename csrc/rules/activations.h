// Activations: value, and first and second derivative as functions of the value a = f(z).
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Identity {
    static constexpr bool piecewise_linear = true;
    FNN_HD static T value(T z) { return z; }
    FNN_HD static T derivative(T) { return 1; }
    FNN_HD static T second_derivative(T) { return 0; }
};

// max(z, 0); the derivative at 0 is taken as 0.
template <class T>
struct ReLU {
    static constexpr bool piecewise_linear = true;
    FNN_HD static T value(T z) { return z < 0 ? 0 : z; }  // so that NaN stays NaN
    FNN_HD static T derivative(T a) { return a > 0 ? 1 : 0; }
    FNN_HD static T second_derivative(T) { return 0; }
};

template <class T>
struct Tanh {
    static constexpr bool piecewise_linear = false;
    FNN_HD static T value(T z) { return tanh(z); }
    FNN_HD static T derivative(T a) { return 1 - a * a; }
    FNN_HD static T second_derivative(T a) { return -2 * a * derivative(a); }
};

// 1 / (1 + exp(-z))
template <class T>
struct Sigmoid {
    static constexpr bool piecewise_linear = false;
    FNN_HD static T value(T z) { return 1 / (1 + exp(-z)); }
    FNN_HD static T derivative(T a) { return a * (1 - a); }
    FNN_HD static T second_derivative(T a) { return derivative(a) * (1 - 2 * a); }
};

}  // namespace fnn::FNN_ISA::rules
