// Explicit Runge-Kutta methods for y' = f(t, y), and how the size of a step follows from an estimate of its
// error. E. Hairer, S. P. Norsett, G. Wanner (1993), "Solving ordinary differential equations I", 2nd
// edition, Springer: sections II.1, II.4 and II.5; J. R. Dormand, P. J. Prince (1980), "A family of embedded
// Runge-Kutta formulae", Journal of Computational and Applied Mathematics 6.
#pragma once

#include <cmath>

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// A step from t to t + h: k_i = f(t + c_i h, y + h (a_i0 k_0 + ...)) for each stage i, and y += h (b_0 k_0 +
// ...). Its error is estimated as h (e_0 k_0 + ...), where f at the end of the step is one k more.
struct RungeKutta {
    static constexpr int most = 6;

    int stages;
    bool adapts;  // has an estimate of the error
    double a[most][most], b[most], c[most], e[most + 1];
};

// In the order of Python's names: euler, midpoint, rk4, dopri5.
constexpr RungeKutta runge_kutta[] = {
    {1, false, {}, {1}, {}, {}},
    {2, false, {{}, {0.5}}, {0, 1}, {0, 0.5}, {}},
    {4, false, {{}, {0.5}, {0, 0.5}, {0, 0, 1}}, {1. / 6, 1. / 3, 1. / 3, 1. / 6}, {0, 0.5, 0.5, 1}, {}},
    {6,
     true,
     {{},
      {1. / 5},
      {3. / 40, 9. / 40},
      {44. / 45, -56. / 15, 32. / 9},
      {19372. / 6561, -25360. / 2187, 64448. / 6561, -212. / 729},
      {9017. / 3168, -355. / 33, 46732. / 5247, 49. / 176, -5103. / 18656}},
     {35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84},
     {0, 1. / 5, 3. / 10, 4. / 5, 8. / 9, 1},
     {-71. / 57600, 0, 71. / 16695, -71. / 1920, 17253. / 339200, -22. / 525, 1. / 40}},
};

// Sizes of steps whose error, of order 5, is measured in units of what is tolerated, as SciPy's RK45 has
// them.
struct StepSize {
    // By what the size changes after a step, which is accepted with an error below 1.
    FNN_HD static double factor_after(double error) {
        const double best = 0.9 * std::pow(error, -0.2);
        return error < 1 ? std::fmin(10.0, best) : std::fmax(0.2, best);  // no number: as one too large
    }
    // Of a step to begin with: one whose move is a hundredth of y, from the norms of y and f. With f there,
    // the first step, from the norm of f's change divided by the size of that.
    FNN_HD static double trial(double y, double f) { return y < 1e-5 || f < 1e-5 ? 1e-6 : 0.01 * y / f; }
    FNN_HD static double first(double trial, double f, double change) {
        const double largest = std::fmax(f, change);
        const double size = largest <= 1e-15 ? std::fmax(1e-6, trial * 1e-3) : std::pow(0.01 / largest, 0.2);
        return std::fmin(100 * trial, size);
    }
};

}  // namespace fnn::FNN_ISA::rules
