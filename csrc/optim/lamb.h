// LAMB: You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes".
#pragma once

#include <cmath>

#include "optim/whole.h"
#include "rules/lamb.h"

namespace fnn::FNN_ISA::optim {

template <class T>
class Lamb {
   public:
    static std::size_t scratch(const GroupStep<T>& now, int) {
        index n = 0;
        for (index i = 0; i < now.count; ++i) n += memory(now.tensors[i]);
        return std::size_t(n) * sizeof(double);
    }

    Lamb(const GroupStep<T>& now, void* scratch, int) : now_(now), sums_(static_cast<double*>(scratch)) {
        const UpdateSpec& u = now.update;
        const double t = double(now.step + 1);
        rule_ = {{T(0), T(0), T(u.beta2), T(1 - u.beta1), T(1 - u.beta2)},
                 T(u.eps),
                 T(u.weight_decay),
                 T(1 / (1 - std::pow(u.beta1, t))),
                 T(1 / std::sqrt(1 - std::pow(u.beta2, t)))};
    }

    // A tensor of one piece is done by one thread at once; only those of more wait for each other.
    void step(Exec& exec) const {
        for_own_pieces(exec, now_, pieces, memory, [&](const Segment<T>& s, index piece, index n, index at) {
            double* const sums = sums_ + at;
            begin(s, piece, sums + piece, sums + n + piece);
            if (n == 1) finish(s, piece, n, sums);
        });
        bool whole = true;
        for (index i = 0; i < now_.count; ++i) whole = whole && pieces(now_.tensors[i]) <= 1;
        if (whole) return;
        exec.barrier();
        for_own_pieces(exec, now_, pieces, memory, [&](const Segment<T>& s, index piece, index n, index at) {
            if (n > 1) finish(s, piece, n, sums_ + at);
        });
    }

   private:
    static index pieces(const Segment<T>& s) { return exec::divide_up(s.length, piece_length); }
    static index memory(const Segment<T>& s) { return 2 * pieces(s); }  // |p|^2 of the pieces, and |u|^2

    struct Direction {
        rules::LAMB<T> rule;
        const T *p, *g;
        T *m, *v, *u;
        void operator()(index i) const {
            T gradient = g[i], a = m[i], b = v[i];  // see Apply in update.h
            rule.moments(p[i], gradient, a, b);
            u[i] = rule.direction(p[i], a, b);
            m[i] = a;
            v[i] = b;
        }
    };

    void begin(const Segment<T>& s, index piece, double* parameters, double* directions) const {
        SumOfSquares of_parameters{1}, of_directions{1};
        for_tiles(s, numbers_of_piece(s, piece), now_.gradient, [&](Tile<T>& tile, index at) {
            alignas(64) T u[tile_length];
            exec::elementwise({0, tile.size()}, Direction{rule_, tile.parameters(), tile.gradient(),
                                                          s.states[0] + at, s.states[1] + at, u});
            of_parameters.add(tile.parameters(), tile.size());
            of_directions.add(u, tile.size());
        });
        *parameters = of_parameters.result();
        *directions = of_directions.result();
    }

    struct Apply {
        rules::LAMB<T> rule;
        T step_size;
        T* p;
        const T *m, *v;
        void operator()(index i) const {
            const T a = p[i];
            p[i] = a - step_size * rule.direction(a, m[i], v[i]);
        }
    };

    void finish(const Segment<T>& s, index piece, index n, const double* sums) const {
        const double parameters = std::sqrt(add_up(sums, n)), directions = std::sqrt(add_up(sums + n, n));
        const double ratio = parameters == 0 || directions == 0 ? 1 : parameters / directions;
        for_tiles(s, numbers_of_piece(s, piece), now_.gradient, [&](Tile<T>& tile, index at) {
            exec::elementwise({0, tile.size()}, Apply{rule_, T(now_.update.lr * ratio), tile.parameters(),
                                                      s.states[0] + at, s.states[1] + at});
            tile.write();
        });
    }

    const GroupStep<T>& now_;
    double* const sums_;
    rules::LAMB<T> rule_;
};

}  // namespace fnn::FNN_ISA::optim
