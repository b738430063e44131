// z = g(z), by Anderson's method: D. G. Anderson (1965), "Iterative procedures for nonlinear integral
// equations", Journal of the ACM 12, in the form of H. F. Walker, P. Ni (2011), "Anderson acceleration for
// fixed-point iterations", SIAM Journal on Numerical Analysis 49. Or by Broyden's: C. G. Broyden (1965), "A
// class of methods for solving nonlinear simultaneous equations", Mathematics of Computation 19, his first.
#pragma once

#include <cmath>
#include <limits>

#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct AddProduct {
    T* to;
    const T* from;
    T factor;
    FNN_HD void operator()(index i) const { to[i] += factor * from[i]; }
};
template <class T>
struct Difference {
    T* to;
    const T *x, *y;
    FNN_HD void operator()(index i) const { to[i] = x[i] - y[i]; }
};

// Of one example: vectors of some size in memory of `numbers`. The residual is r = g(z) - z.
template <class T>
class FixedPoint {
   public:
    // So many moves are remembered: by Anderson's method the last, by Broyden's those since it began anew.
    static constexpr index remembered(bool broyden) { return broyden ? 10 : 5; }
    static index numbers(bool broyden, index size) { return (5 + 2 * remembered(broyden)) * size; }

    FixedPoint(bool broyden, index size, T* memory) : broyden_(broyden), size_(size), memory_(memory) {}

    T* z() const { return vector(0); }
    T* g() const { return vector(1); }

    void begin() const { each(Clear<T>{z()}); }

    // Of g(z), which has been put there: how far it is from z, relative to itself.
    double distance() const {
        each(Difference<T>{r(), g(), z()});
        const double off = std::sqrt(product(r(), r()));
        return off == 0 ? 0 : off / std::sqrt(product(g(), g()));
    }

    // From there on to a better z; so many moves have been made before.
    void move(index moves) const {
        if (broyden_)
            move_by_broyden(moves % (remembered(true) + 1));
        else
            move_by_anderson(moves);
        each(AddTo<T>{z(), last_move()});
        each(Copy<T>{r_before(), r()});
    }

   private:
    // By r - sum_j c_j (dz_j + dr_j), where c minimises |r - sum_j c_j dr_j| over remembered moves dz_j of z
    // and dr_j of r.
    void move_by_anderson(index moves) const {
        constexpr index most = remembered(false);
        const auto dz = [&](index move) { return vector(5 + move % most); };
        const auto dr = [&](index move) { return vector(5 + most + move % most); };
        if (moves > 0) {
            each(Copy<T>{dz(moves - 1), last_move()});
            each(Difference<T>{dr(moves - 1), r(), r_before()});
        }
        each(Copy<T>{last_move(), r()});
        // The normal equations, from the last move on; without those that hardly differ from later ones.
        const index count = moves < most ? moves : most;
        double lower[most][most] = {}, pivots[most] = {}, c[most] = {};
        for (index i = 0; i < count; ++i) {
            const T* const own = dr(moves - 1 - i);
            const double square = product(own, own);
            double right = product(own, r());
            pivots[i] = square;
            for (index j = 0; j < i; ++j) {
                if (pivots[j] == 0) continue;
                lower[i][j] = product(own, dr(moves - 1 - j));
                for (index k = 0; k < j; ++k) lower[i][j] -= lower[i][k] * pivots[k] * lower[j][k];
                lower[i][j] /= pivots[j];
                pivots[i] -= lower[i][j] * lower[i][j] * pivots[j];
                right -= lower[i][j] * c[j] * pivots[j];
            }
            if (!(pivots[i] > double(std::numeric_limits<T>::epsilon()) * square)) pivots[i] = 0;
            c[i] = pivots[i] != 0 ? right / pivots[i] : 0;
        }
        for (index i = count; i-- > 0;) {
            for (index j = i + 1; j < count; ++j) c[i] -= pivots[i] != 0 ? lower[j][i] * c[j] : 0;
            each(AddProduct<T>{last_move(), dz(moves - 1 - i), T(-c[i])});
            each(AddProduct<T>{last_move(), dr(moves - 1 - i), T(-c[i])});
        }
    }

    // By -B r, where B = -1 + sum_j u_j v_j' is near the inverse of dr/dz, and true of the last move.
    void move_by_broyden(index known) const {
        constexpr index most = remembered(true);
        const auto u = [&](index move) { return vector(5 + move); };
        const auto v = [&](index move) { return vector(5 + most + move); };
        // to = B x, or B' x
        const auto multiply = [&](T* to, const T* x, index terms, const auto& left, const auto& right) {
            each(Copy<T>{to, x});
            each(Multiple<T>{to, T(-1)});
            for (index j = 0; j < terms; ++j) each(AddProduct<T>{to, left(j), T(product(right(j), x))});
        };
        if (known > 0) {
            T* const dr = r_before();
            each(Difference<T>{dr, r(), dr});
            multiply(u(known - 1), dr, known - 1, u, v);
            multiply(v(known - 1), last_move(), known - 1, v, u);
            each(Difference<T>{u(known - 1), last_move(), u(known - 1)});
            const double along = product(v(known - 1), dr);
            each(Multiple<T>{u(known - 1), along != 0 ? T(1 / along) : T(0)});
        }
        multiply(last_move(), r(), known, u, v);
        each(Multiple<T>{last_move(), T(-1)});
    }

    template <class F>
    void each(const F& f) const {
        exec::elementwise({0, size_}, f);
    }
    double product(const T* x, const T* y) const {
        double sum = 0;
        for (index i = 0; i < size_; ++i) sum += double(x[i]) * double(y[i]);
        return sum;
    }
    T* vector(index k) const { return memory_ + k * size_; }
    T* r() const { return vector(2); }
    T* r_before() const { return vector(3); }
    T* last_move() const { return vector(4); }

    const bool broyden_;
    const index size_;
    T* const memory_;
};

}  // namespace fnn::FNN_ISA::net
