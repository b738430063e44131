// Elementary functions without branches or tables: exp, log, log1p, tanh and erf of float and double.
//
// A plain loop that calls one of them vectorises on every instruction set (tables and 64-bit integer
// conversions would not, on the older ones), and its values do not depend on the C library. The error stays
// below 2 ulp. Limits, NaN, signed zeros and subnormal numbers behave as IEEE 754 asks; in flush-to-zero
// mode, as if subnormal numbers were zero.
//
// The polynomials were fitted for this file by a weighted Remez exchange in 60 digits: their coefficients,
// lowest power first, were rounded one at a time to the type, and those that follow fitted again. "Error"
// below is the largest relative error of the function as a whole, were the arithmetic exact.
//
// GCC follows a condition met twice along separate paths, and a vectorised loop computes all of them; so a
// formula selects at its end where it can.
#pragma once

#include <cstdint>
#include <cstring>

#include "common.h"

// Inlined whatever the optimiser's size limits say: a loop with a call in it does not vectorise.
#define FNN_RULE FNN_HD inline __attribute__((always_inline))

namespace fnn::FNN_ISA::rules {

// ---- the format of a number -------------------------------------------------------------------------------

template <class T>
struct Format;

template <>
struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23;  // bits stored
    static constexpr int bias = 127;
    static constexpr float infinity = __builtin_inff();
    static constexpr float nan = __builtin_nanf("");
    static constexpr float smallest_normal = 0x1p-126f;
    static constexpr float two_mantissa = 0x1p23f;  // adding 1.5 of these rounds to an integer
    static constexpr float log2_e = 1.44269504f;
    static constexpr float ln2_high = 0x1.62e4p-1f;  // 15 bits: exact times any exponent
    static constexpr float ln2_low = 1.4286068e-6f;
};

template <>
struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52;
    static constexpr int bias = 1023;
    static constexpr double infinity = __builtin_inf();
    static constexpr double nan = __builtin_nan("");
    static constexpr double smallest_normal = 0x1p-1022;
    static constexpr double two_mantissa = 0x1p52;
    static constexpr double log2_e = 1.4426950408889634;
    static constexpr double ln2_high = 0.693147180559663;  // 41 bits
    static constexpr double ln2_low = 2.8235290563031577e-13;
};

template <class T>
using Bits = typename Format<T>::Bits;

template <class T>
FNN_RULE Bits<T> to_bits(T x) {
    Bits<T> bits;
    std::memcpy(&bits, &x, sizeof(x));
    return bits;
}

template <class T>
FNN_RULE T from_bits(Bits<T> bits) {
    T x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
}

// ---- small tools ------------------------------------------------------------------------------------------

FNN_RULE float square_root(float x) { return __builtin_sqrtf(x); }
FNN_RULE double square_root(double x) { return __builtin_sqrt(x); }

// a * b + c, rounded once where the target fuses it and twice where it does not.
template <class T>
FNN_RULE T mul_add(T a, T b, T c) {
#if defined(__FMA__) || defined(__CUDA_ARCH__)
    if constexpr (sizeof(T) == sizeof(float)) {
        return __builtin_fmaf(a, b, c);
    } else {
        return __builtin_fma(a, b, c);
    }
#else
    return a * b + c;
#endif
}

template <class T>
FNN_RULE T select(bool condition, T yes, T no) {
    return condition ? yes : no;
}

template <class T>
FNN_RULE T abs(T x) {
    return from_bits<T>(to_bits(x) & ~Bits<T>(0) >> 1);
}

// |magnitude| with the sign of `sign`; the magnitude must not be negative.
template <class T>
FNN_RULE T with_sign_of(T magnitude, T sign) {
    return from_bits<T>(to_bits(magnitude) | (to_bits(sign) & ~(~Bits<T>(0) >> 1)));
}

// c0 + c1 x + c2 x^2 + ...
template <class T>
FNN_RULE T polynomial(T, T c0) {
    return c0;
}

template <class T, class... Rest>
FNN_RULE T polynomial(T x, T c0, Rest... rest) {
    return mul_add(polynomial(x, rest...), x, c0);
}

// ---- exp --------------------------------------------------------------------------------------------------

// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2. Degree 4, error 2^-28.2; degree 9, error 2^-57.9.
FNN_RULE float exp_tail(float r) {
    return polynomial(r, 0.49999994f, 0.16666521f, 0.041668262f, 0.00836869f, 0.0013821502f);
}

FNN_RULE double exp_tail(double r) {
    return polynomial(r, 0.5000000000000011, 0.1666666666666646, 0.04166666666652853, 0.00833333333347275,
                      0.0013888888943806104, 0.00019841269542120006, 2.4801493037550628e-05,
                      2.755756128360812e-06, 2.7630248817667385e-07, 2.5006547616605464e-08);
}

// e^x = 2^n e^r, n an integer, for |x| so small that n is between -2 bias and 2 bias.
template <class T>
FNN_RULE T exp_bounded(T x) {
    using F = Format<T>;
    constexpr T rounder = T(1.5) * F::two_mantissa + T(2 * F::bias);
    const T shifted = mul_add(x, F::log2_e, rounder);  // its low bits are n + 2 bias
    const T n = shifted - rounder;
    const T r = mul_add(n, -F::ln2_low, mul_add(n, -F::ln2_high, x));
    const T value = mul_add(r * r, exp_tail(r), r) + T(1);

    // 2^n in two factors, both normal numbers: the first product is exact, the second rounds once.
    const Bits<T> bits = to_bits(shifted);
    const Bits<T> half = bits >> 1;
    return value * from_bits<T>(half << F::mantissa) * from_bits<T>((bits - half) << F::mantissa);
}

template <class T>
FNN_RULE T exp(T x) {
    constexpr T limit = sizeof(T) == sizeof(float) ? T(105) : T(746);  // beyond it, 0 or infinity
    return exp_bounded(select(abs(x) > limit, with_sign_of(limit, x), x));
}

// ---- log, log1p -------------------------------------------------------------------------------------------

// 2 (atanh(s) / s - 1) / s^2 as a function of z = s^2, |s| <= (sqrt(2) - 1) / (sqrt(2) + 1).
// Degree 2, error 2^-30.2; degree 6, error 2^-59.5.
FNN_RULE float atanh_tail(float z) { return polynomial(z, 0.66666776f, 0.39977568f, 0.2987146f); }

FNN_RULE double atanh_tail(double z) {
    return polynomial(z, 0.6666666666666735, 0.39999999999409347, 0.2857142874368958, 0.22222198428444367,
                      0.18183572395540137, 0.15313830770697562, 0.14798276376440997);
}

// x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), x positive and normal.
template <class T>
struct Split {
    T minus_k, f;
};

template <class T>
FNN_RULE Split<T> split(T x) {
    using F = Format<T>;
    const Bits<T> one = to_bits(T(1));
    const Bits<T> sqrt_half = to_bits(T(0.70710678118654752440));
    const Bits<T> shifted = to_bits(x) + (one - sqrt_half);
    const Bits<T> exponent = shifted >> F::mantissa;  // k + bias
    const Bits<T> mantissa = shifted & ((Bits<T>(1) << F::mantissa) - 1);
    const T biased = from_bits<T>(exponent | to_bits(F::two_mantissa));  // 2^mantissa + k + bias, exactly
    return {(F::two_mantissa + T(F::bias)) - biased, from_bits<T>(mantissa + sqrt_half) - T(1)};
}

// k ln(2) + log(1 + f) + correction, where log(1 + f) = 2 atanh(s) = f - s (f - s^2 tail), s = f / (2 + f).
// It takes -k because the products with a k of zero must be such that a negative zero in f survives the sum.
template <class T>
FNN_RULE T log_of_split(T minus_k, T f, T correction) {
    using F = Format<T>;
    const T s = f / (T(2) + f);
    const T z = s * s;
    const T small = mul_add(minus_k, F::ln2_low, -correction);
    const T low = mul_add(s, mul_add(-z, atanh_tail(z), f), small);
    return mul_add(minus_k, -F::ln2_high, f - low);
}

// `value` where x is in (0, inf); the limits of log elsewhere.
template <class T>
FNN_RULE T log_limits(T x, T value) {
    using F = Format<T>;
    const T limit = select(x == T(0), -F::infinity, F::nan);
    return select(x > T(0), select(x < F::infinity, value, x), limit);
}

template <class T>
FNN_RULE T log(T x) {
    using F = Format<T>;
    const bool subnormal = x < F::smallest_normal;
    const Split<T> y = split(x * select(subnormal, F::two_mantissa, T(1)));
    const T minus_k = y.minus_k + select(subnormal, T(F::mantissa), T(0));
    return log_limits(x, log_of_split(minus_k, y.f, T(0)));
}

// log(u + c), where u = 1 + x rounded and c is what the rounding lost: log(u) + c / u to first order.
template <class T>
FNN_RULE T log1p(T x) {
    const T u = T(1) + x;
    const T back = u - T(1);
    const T lost = (T(1) - (u - back)) + (x - back);
    const Split<T> y = split(u);
    const bool near_zero = y.minus_k == T(0);  // there x is its own f, and nothing is lost
    const T value = log_of_split(y.minus_k, select(near_zero, x, y.f), select(near_zero, T(0), lost / u));
    return log_limits(u, value);
}

// ---- tanh -------------------------------------------------------------------------------------------------

// (tanh(t) / t - 1) / t^2 as a function of z = t^2, |t| <= 0.57.
// Degree 4, error 2^-29.2; degree 10, error 2^-59.4.
FNN_RULE float tanh_tail(float z) {
    return polynomial(z, -0.3333331f, 0.13332333f, -0.053824637f, 0.020954367f, -0.006104777f);
}

FNN_RULE double tanh_tail(double z) {
    return polynomial(z, -0.3333333333333326, 0.13333333333320102, -0.05396825396002421, 0.02186948828036873,
                      -0.008863230897261194, 0.003592075058339725, -0.0014554350902261928,
                      0.0005880072908779017, -0.00023228443410558964, 8.176535163107772e-05,
                      -1.8550107013402192e-05);
}

// |x| = n ln(2) / 2 + r. With t = tanh(r), e^(2|x|) is 2^n (1 + t) / (1 - t), and so
//     tanh|x| = 1 - 2 (1 - t) / (2^n + 1 + t (2^n - 1)).
// n is 0 up to |x| = 0.565, where this would cancel and t is the result; from there on r is in [0.21, 0.57].
template <class T>
FNN_RULE T tanh(T x) {
    using F = Format<T>;
    constexpr T saturated = sizeof(T) == sizeof(float) ? T(10) : T(20);
    constexpr T rounder = T(1.5) * F::two_mantissa + T(F::bias);
    const T a = abs(x);
    const T half = mul_add(a, F::log2_e, T(-0.565));
    const T shifted = (half + abs(half)) + rounder;  // max(2 half, 0), to the nearest integer
    const T n = shifted - rounder;
    const T r = mul_add(n, F::ln2_low / T(-2), mul_add(n, F::ln2_high / T(-2), a));
    const T z = r * r;
    const T t = mul_add(r * z, tanh_tail(z), r);

    const T power = from_bits<T>(to_bits(shifted) << F::mantissa);  // 2^n
    const T beyond = T(1) - (T(2) - T(2) * t) / mul_add(t, power - T(1), power + T(1));
    return with_sign_of(select(a > saturated, T(1), select(n < T(0.5), t, beyond)), x);
}

// ---- erf --------------------------------------------------------------------------------------------------

// erf(x) / x - 1 as a function of z = x^2, |x| <= 0.9. Degree 5, error 2^-26.1; degree 11, error 2^-56.2.
FNN_RULE float erf_tail(float z) {
    return polynomial(z, 0.12837915f, -0.37612504f, 0.11281922f, -0.026770493f, 0.00499896f, -0.00060208124f);
}

FNN_RULE double erf_tail(double z) {
    return polynomial(z, 0.1283791670955126, -0.3761263890318411, 0.11283791670972039, -0.026866170648238322,
                      0.005223977654543558, -0.0008548328601061342, 0.0001205538561408178,
                      -1.4926751705562e-05, 1.647620760116245e-06, -1.6464123258068767e-07,
                      1.5004755504992535e-08, -1.058724006887945e-09);
}

// log(1 - erf(x)) for 0.9 <= x <= 3.95 (5.95 for double), with an absolute error weighted by 1 - erf(x).
// Degree 6, error 2^-29.2; degree 17, error 2^-55.7.
FNN_RULE float log_erfc(float x) {
    return polynomial(x, -0.0001774268f, -1.1277498f, -0.63705945f, -0.10403751f, 0.022277083f,
                      -0.0030555818f, 0.00019717588f);
}

FNN_RULE double log_erfc(double x) {
    return polynomial(x, -2.5094871606267997e-07, -1.128376494758805, -0.6366329672681192,
                      -0.10273256236778984, 0.0190450841153656, 0.0003348316991757965, -0.0018366192851681426,
                      0.0007063708815594628, -9.423758884721006e-05, -4.06909801214486e-05,
                      3.087704353143168e-05, -1.1155874092044683e-05, 2.7307648998002683e-06,
                      -4.811096126913392e-07, 6.071253858728667e-08, -5.240171124029747e-09,
                      2.779688785964151e-10, -6.844849511401391e-12);
}

template <class T>
FNN_RULE T erf(T x) {
    constexpr T saturated = sizeof(T) == sizeof(float) ? T(3.95) : T(5.95);
    const T a = abs(x);
    const T near_zero = mul_add(a, erf_tail(a * a), a);
    const T beyond = T(1) - exp_bounded(log_erfc(a));
    return with_sign_of(select(a > saturated, T(1), select(a < T(0.9), near_zero, beyond)), x);
}

}  // namespace fnn::FNN_ISA::rules
