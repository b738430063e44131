// What input layers make of a number: scaling, quantiles, bins. NaN stays NaN.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

FNN_RULE double clamp(double x, double low, double high) {
    x = select(x < low, low, x);
    return select(x > high, high, x);
}

// The x below which a normal number lies with probability p, for p and 1 - p of at least 1e-10: M. J. Wichura
// (1988), "Algorithm AS 241: the percentage points of the normal distribution", PPND16.
FNN_RULE double normal_quantile(double p) {
    const double q = p - 0.5, r = 0.180625 - q * q;
    const double middle =
        q *
        polynomial(r, 3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3,
                   1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                   3.3430575583588128105e4, 2.5090809287301226727e3) /
        polynomial(r, 1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
                   2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
                   5.2264952788528545610e3);
    const double s = square_root(-log(select(q < 0, p, 1 - p))) - 1.6;
    const double tail =
        polynomial(s, 1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
                   3.64784832476320460504, 1.27045825245236838258, 2.41780725177450611770e-1,
                   2.27238449892691845833e-2, 7.74545014278341407640e-4) /
        polynomial(s, 1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
                   1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                   1.05075007164441684324e-9);
    return select(abs(q) > 0.425, select(q < 0, -tail, tail), middle);
}

// z / sqrt(1 + (z / clip)^2) of z = (x - center) / scale; with clip 0: z.
struct RobustScale {
    double center, scale, clip;

    FNN_RULE double value(double x) const {
        const double z = (x - center) / scale;
        if (clip == 0) return z;
        const double t = part(z);
        return clip * t / square_root(1 + t * t);
    }
    FNN_RULE double slope(double x) const {
        if (clip == 0) return 1 / scale;
        const double t = part((x - center) / scale), h = 1 + t * t;
        return 1 / (h * square_root(h) * scale);
    }

   private:
    FNN_RULE double part(double z) const { return clamp(z / clip, -1e100, 1e100); }  // its square is finite
};

// Of x between two neighbours among steps + 1 quantiles, `below` of which lie in front of them: the normal
// number of the same rank.
struct QuantileNormal {
    static constexpr double least = 1e-7;  // of probability: what lies outside is there

    double low, high, below, steps;

    FNN_RULE double value(double x) const { return normal_quantile(clamp(rank(x), least, 1 - least)); }
    FNN_RULE double slope(double x) const {
        const double p = rank(x), z = normal_quantile(clamp(p, least, 1 - least));
        const double inside = 2.5066282746310005024 * exp(z * z / 2) / (steps * (high - low));
        return select(p > least && p < 1 - least && high > low, inside, 0.0);
    }

   private:
    FNN_RULE double rank(double x) const {
        const double between = select(high > low, (x - low) / (high - low), select(x < low, 0.0, 1.0));
        return select(x == x, (below + between) / steps, x);
    }
};

// How far through a bin x is. No further outside than that; only the first and the last have numbers there.
struct PiecewiseLinear {
    double low, high;

    FNN_RULE double value(double x) const { return clamp((x - low) / (high - low), -1.0, 2.0); }
    FNN_RULE double slope(double x) const {
        const double w = (x - low) / (high - low);
        return select(w > -1 && w < 2, 1 / (high - low), 0.0);
    }
};

}  // namespace fnn::FNN_ISA::rules
