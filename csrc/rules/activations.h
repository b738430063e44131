// Activations: value, and first and second derivative.
//
// Derivatives are functions of the value a = f(z) where it determines them, so that z need not be kept;
// where it does not, `reads_z` is true, and they are functions of z.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// A select never loses a NaN: what is compared with it is false.
template <class T>
FNN_RULE T clamp(T z, T min, T max) {
    return select(z < min, min, select(z > max, max, z));
}

// Beyond this, functions of exp(-|z|) have their limits, in both types; infinity times such a limit would
// be NaN.
template <class T>
constexpr T far_out = 1000;

template <class T>
struct Identity {
    static constexpr bool piecewise_linear = true, reads_z = false;
    FNN_RULE T value(T z) const { return z; }
    FNN_RULE T derivative(T) const { return 1; }
    FNN_RULE T second_derivative(T) const { return 0; }
};

// max(z, 0); the derivative at 0 is taken as 0.
template <class T>
struct ReLU {
    static constexpr bool piecewise_linear = true, reads_z = false;
    FNN_RULE T value(T z) const { return z < 0 ? 0 : z; }  // so that NaN stays NaN
    FNN_RULE T derivative(T a) const { return a > 0 ? 1 : 0; }
    FNN_RULE T second_derivative(T) const { return 0; }
};

// z where it is positive, else slope z with slope >= 0 (Maas, Hannun, Ng 2013).
template <class T>
struct LeakyReLU {
    static constexpr bool piecewise_linear = true, reads_z = false;
    T slope;
    FNN_RULE T value(T z) const { return z > 0 ? z : slope * z; }
    FNN_RULE T derivative(T a) const { return a > 0 ? T(1) : slope; }
    FNN_RULE T second_derivative(T) const { return 0; }
};

// z where it is positive, else alpha (e^z - 1) with alpha >= 0 (Clevert, Unterthiner, Hochreiter 2016).
template <class T>
struct ELU {
    static constexpr bool piecewise_linear = false, reads_z = false;
    T alpha;
    FNN_RULE T value(T z) const {
        const T t = tanh(z / 2);  // e^z - 1 = 2 t / (1 - t), also near 0
        return select(z > 0, z, alpha * (2 * t / (1 - t)));
    }
    FNN_RULE T derivative(T a) const { return select(a > 0, T(1), a + alpha); }
    FNN_RULE T second_derivative(T a) const { return select(a > 0, T(0), a + alpha); }
};

template <class T>
struct Tanh {
    static constexpr bool piecewise_linear = false, reads_z = false;
    FNN_RULE T value(T z) const { return tanh(z); }
    FNN_RULE T derivative(T a) const { return 1 - a * a; }
    FNN_RULE T second_derivative(T a) const { return -2 * a * derivative(a); }
};

// z between min and max; the derivative at the ends is taken as 0.
template <class T>
struct Hardtanh {
    static constexpr bool piecewise_linear = true, reads_z = false;
    T min, max;
    FNN_RULE T value(T z) const { return clamp(z, min, max); }
    FNN_RULE T derivative(T a) const { return select((a > min) & (a < max), T(1), T(0)); }
    FNN_RULE T second_derivative(T) const { return 0; }
};

// 1 / (1 + exp(-z))
template <class T>
struct Sigmoid {
    static constexpr bool piecewise_linear = false, reads_z = false;
    FNN_RULE T value(T z) const { return 1 / (1 + exp(-z)); }
    FNN_RULE T derivative(T a) const { return a * (1 - a); }
    FNN_RULE T second_derivative(T a) const { return derivative(a) * (1 - 2 * a); }
};

// The logistic function s of w and its derivative s (1 - s), both to full relative precision.
template <class T>
struct Logistic {
    T s, derivative;
    FNN_RULE explicit Logistic(T w) {
        const T e = exp(-abs(w)), share = 1 / (1 + e);
        s = select(w < 0, e * share, share);
        derivative = e * share * share;
    }
};

// log(1 + e^(beta z)) / beta, beta > 0
template <class T>
struct Softplus {
    static constexpr bool piecewise_linear = false, reads_z = true;
    T beta;
    FNN_RULE T value(T z) const { return select(z < 0, T(0), z) + log1p(exp(-abs(beta * z))) / beta; }
    FNN_RULE T derivative(T z) const { return Logistic<T>(beta * z).s; }
    FNN_RULE T second_derivative(T z) const { return beta * Logistic<T>(beta * z).derivative; }
};

// z s(w(z)), where s is the logistic function, from w and its derivatives.
template <class T>
struct Gated {
    FNN_RULE static T value(T z, T w) { return select(z < -far_out<T>, -T(0), z * Logistic<T>(w).s); }
    FNN_RULE static T derivative(T z, T w, T dw) {
        const Logistic<T> gate(w);
        return gate.s + z * dw * gate.derivative;
    }
    FNN_RULE static T second_derivative(T z, T w, T dw, T ddw) {
        const Logistic<T> gate(w);
        return gate.derivative * (2 * dw + z * (ddw + dw * dw * (1 - 2 * gate.s)));
    }
};

// z s(z)  (Hendrycks, Gimpel 2016; Elfwing, Uchibe, Doya 2018)
template <class T>
struct SiLU {
    static constexpr bool piecewise_linear = false, reads_z = true;
    FNN_RULE T value(T z) const { return Gated<T>::value(z, z); }
    FNN_RULE T derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return Gated<T>::derivative(z, z, 1);
    }
    FNN_RULE T second_derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return Gated<T>::second_derivative(z, z, 1, 0);
    }
};

// z (1 + tanh(k (z + c z^3))) / 2, k = sqrt(2 / pi), c = 0.044715, which is z s(2 k (z + c z^3))
// (Hendrycks, Gimpel 2016).
template <class T>
struct GELUTanh {
    static constexpr bool piecewise_linear = false, reads_z = true;
    static constexpr T two_k = T(1.5957691216057308), c = T(0.044715);
    FNN_RULE T value(T z) const { return Gated<T>::value(z, inner(clamp(z, -far_out<T>, far_out<T>))); }
    FNN_RULE T derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return Gated<T>::derivative(z, inner(z), inner_derivative(z));
    }
    FNN_RULE T second_derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return Gated<T>::second_derivative(z, inner(z), inner_derivative(z), 6 * two_k * c * z);
    }

   private:
    FNN_RULE static T inner(T z) { return two_k * z * (1 + c * z * z); }
    FNN_RULE static T inner_derivative(T z) { return two_k * (1 + 3 * c * z * z); }
};

// z Phi(z), with Phi the distribution function of the standard normal law (Hendrycks, Gimpel 2016).
template <class T>
struct GELU {
    static constexpr bool piecewise_linear = false, reads_z = true;
    FNN_RULE T value(T z) const { return select(z < -far_out<T>, -T(0), z * distribution(z)); }
    FNN_RULE T derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return distribution(z) + z * density(z);
    }
    FNN_RULE T second_derivative(T z) const {
        z = clamp(z, -far_out<T>, far_out<T>);
        return density(z) * (2 - z * z);
    }

   private:
    FNN_RULE static T distribution(T z) { return (1 + erf(z * T(0.70710678118654752440))) / 2; }
    FNN_RULE static T density(T z) { return T(0.39894228040143267794) * exp(z * z / -2); }
};

// The Heaviside function: 1 where z is positive, else 0, also at 0: the derivative of ReLU as taken above.
template <class T>
struct Step {
    static constexpr bool piecewise_linear = true, reads_z = false;
    FNN_RULE T value(T z) const { return select(z > 0, T(1), select(z <= 0, T(0), z)); }
    FNN_RULE T derivative(T) const { return 0; }
    FNN_RULE T second_derivative(T) const { return 0; }
};

// -1, 0 or 1
template <class T>
struct Sign {
    static constexpr bool piecewise_linear = true, reads_z = false;
    FNN_RULE T value(T z) const { return select(z > 0, T(1), select(z < 0, T(-1), z)); }
    FNN_RULE T derivative(T) const { return 0; }
    FNN_RULE T second_derivative(T) const { return 0; }
};

}  // namespace fnn::FNN_ISA::rules
