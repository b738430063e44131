// Sine and cosine of turns, sin(2 pi t) and cos(2 pi t): t loses no digits when quarters are taken away. As
// the functions of math.h they have neither branches nor tables, and errors below 2 ulp, whatever t is.
// (random.h has a cosine that serves its angles.)
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// For |y| <= 1/8 as functions of z = y^2, fitted as the polynomials of math.h: sin(2 pi y) / y - c with
// c = 2 pi rounded, and (cos(2 pi y) - 1) / z. Degree 3, errors 2^-28.1 and 2^-31.1; degree 6, errors 2^-58.1
// and 2^-61.5.
FNN_RULE float sine_tail(float z) { return polynomial(z, -1.9519962e-07f, -41.34166f, 81.59188f, -75.3684f); }

FNN_RULE double sine_tail(double z) {
    return polynomial(z, 2.241053320795993e-16, -41.341702240399634, 81.60524927594632, -76.70585970375194,
                      42.058684950567866, -15.093800032929401, 3.7807762413910133);
}

FNN_RULE float cosine_tail(float z) { return polynomial(z, -19.739208f, 64.93915f, -85.42452f, 58.621063f); }

FNN_RULE double cosine_tail(double z) {
    return polynomial(z, -19.739208802178716, 64.93939402266668, -85.45681720598928, 60.244641227248025,
                      -26.426241134065275, 7.902629376999699, -1.6883005045267458);
}

// |t| = quarters / 4 + y, and sine and cosine of y.
template <class T>
struct Turn {
    static constexpr T two_pi = T(6.28318530717958647693);

    Bits<T> quarters;  // but for multiples of four
    T sine, cosine;

    FNN_RULE explicit Turn(T t) {
        constexpr T whole = Format<T>::two_mantissa;  // from here on there are whole numbers alone
        const T a = abs(t);
        const T r = a - select(a < whole, (a + whole) - whole, a);  // within 1/2; NaN of what is not finite
        const T shifted = r * T(4) + T(1.5) * whole;
        const T y = r - (shifted - T(1.5) * whole) * T(0.25);
        const T z = y * y;
        quarters = to_bits(shifted);
        sine = mul_add(y, two_pi, y * sine_tail(z));
        cosine = mul_add(z, cosine_tail(z), T(1));
    }

    // Of so many more quarters.
    FNN_RULE T cosine_after(Bits<T> more) const {
        const Bits<T> n = quarters + more;
        // One of the two by its bits: a condition would be a branch, and the loop around it none of vectors.
        const Bits<T> odd = Bits<T>(0) - (n & 1);
        const Bits<T> value = (to_bits(sine) & odd) | (to_bits(cosine) & ~odd);
        return from_bits<T>(value ^ ((n + 1) & 2) << (8 * sizeof(T) - 2));
    }
};

template <class T>
FNN_RULE T cos_2pi(T t) {
    return Turn<T>(t).cosine_after(0) + T(0);  // no zero is negative
}

template <class T>
FNN_RULE T sin_2pi(T t) {
    const Bits<T> sign = to_bits(t) & ~(~Bits<T>(0) >> 1);
    return from_bits<T>(to_bits(Turn<T>(t).cosine_after(3)) ^ sign);
}

// cos(2 pi x), and its derivatives
template <class T>
struct Cosine {
    static constexpr T two_pi = Turn<T>::two_pi;
    FNN_RULE static T value(T x) { return cos_2pi(x); }
    FNN_RULE static T derivative(T x) { return -two_pi * sin_2pi(x); }
    FNN_RULE static T second_derivative(T x) { return -(two_pi * two_pi) * cos_2pi(x); }
};

}  // namespace fnn::FNN_ISA::rules
