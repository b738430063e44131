// Muon: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks". The momentum of a
// matrix, its singular values all moved towards 1, is the direction of the step.
#pragma once

#include <cmath>
#include <utility>

#include "exec/convert.h"
#include "exec/gemm/multiply.h"
#include "exec/transpose.h"
#include "optim/whole.h"
#include "rules/muon.h"

namespace fnn::FNN_ISA::optim {

using exec::Panels;

// A team of one, for what one thread does alone.
struct Alone {
    Range share(index n) const { return {0, n}; }
    void barrier() const {}
};

// One matrix and the memory of its step. It is orthogonalised standing, with at least as many rows as columns
// (x): the Gram matrix x'x is then the small one, and all products find their operands as they lie. One that
// lies is written as its transpose; in Fortran order, matrices are transposed to begin with.
//
// An iteration is x p with p = a I + b x'x + c (x'x)^2. Products that are symmetric are computed by half. Of
// a tall matrix several iterations are one product with x, as all of them are functions of one Gram matrix g,
// which becomes p g p; but that loses digits of small singular values, s of which g holds the square, a
// factor a^2 with each. So only the last three go together, when all singular values are larger.
template <class T>
class Orthogonaliser {
   public:
    static std::size_t scratch(const Segment<T>& s) {
        const index rows = s.shape[0], columns = s.shape[1];
        const index squares = count_squares(s) * Panels<T>{nullptr, less(s), less(s)}.size();
        const index bytes = (2 * largest(rows, columns) + squares) * index(sizeof(T)) +
                            count_pieces(rows, columns) * index(sizeof(double));
        return std::size_t(exec::divide_up(bytes, 64) * 64);
    }

    Orthogonaliser(const Segment<T>& s, void* scratch)
        : s_(s),
          rows_(s.shape[0]),
          columns_(s.shape[1]),
          long_(rows_ > columns_ ? rows_ : columns_),
          short_(less(s)) {
        T* memory = static_cast<T*>(scratch);
        for (T*& matrix : matrices_) {
            matrix = memory;
            memory += largest(rows_, columns_);
        }
        for (index i = 0; i < count_squares(s); ++i) {
            squares_[i] = {memory, short_, short_};
            memory += squares_[i].size();
        }
        sums_ = reinterpret_cast<double*>(memory);
    }

    // The whole step, by one thread or by a team that all calls this.
    template <class Crew>
    void step(Crew& crew, const rules::Muon<T>& rule, const UpdateSpec& u, const GradientMap& map) {
        begin(crew, rule, map);
        crew.barrier();
        stand(crew, u.eps);
        crew.barrier();
        const int all = int(u.ns_steps), together = int(exec::min(all, is_tall(s_) ? 3 : 1));
        for (int k = 0; k < all - together; ++k) iterate(crew, u, 1);
        if (together > 0) iterate(crew, u, together);
        lie(crew);
        finish(crew, rule, map);
    }

   private:
    static constexpr index piece = 4096;  // numbers, of which the norm is added up
    static index less(const Segment<T>& s) { return exec::min(s.shape[0], s.shape[1]); }
    static bool is_tall(const Segment<T>& s) { return 2 * s.length > 3 * less(s) * less(s); }
    static index count_squares(const Segment<T>& s) { return is_tall(s) ? 5 : 2; }
    static index piece_rows(index columns) { return exec::divide_up(piece, columns); }
    static index count_pieces(index rows, index columns) {
        return exec::divide_up(rows, piece_rows(columns));
    }
    static index largest(index rows, index columns) {
        const index one = Panels<T>{nullptr, rows, columns}.size();
        const index other = Panels<T>{nullptr, columns, rows}.size();
        return one > other ? one : other;
    }

    bool stands() const { return rows_ >= columns_; }
    Panels<T> standing() const { return {matrices_[0], long_, short_}; }
    // The matrix in the user's order: the same memory if that one stands.
    Panels<T> given() const { return {matrices_[stands() ? 0 : 1], rows_, columns_}; }

    // f(piece, its rows) for this member's pieces.
    template <class Crew, class F>
    void for_own_pieces(const Crew& crew, const F& f) const {
        const index height = piece_rows(columns_);
        const Range pieces = crew.share(count_pieces(rows_, columns_));
        for (index i = pieces.begin; i < pieces.end; ++i)
            f(i, Range{i * height, exec::min((i + 1) * height, rows_)});
    }

    // f(tile, its first number, for_each_panel) for the numbers of some rows, where for_each_panel(each)
    // calls each(where it stands in `given`, where in the tile, how many) for the part of the tile in each
    // panel.
    template <class F>
    void for_panels(const GradientMap& map, Range rows, const F& f) const {
        const Panels<T> x = given();
        for (index r = rows.begin; r < rows.end; ++r)
            for_tiles(s_, {r * columns_, (r + 1) * columns_}, map, [&](Tile<T>& tile, index at) {
                f(tile, at, [&](const auto& each) {
                    const index first = at - r * columns_;
                    for (index j = 0; j < tile.size(); j += Panels<T>::full) {
                        const index p = (first + j) / Panels<T>::full;
                        each(x.row(p, r), j, exec::min(Panels<T>::full, tile.size() - j));
                    }
                });
            });
    }

    struct Average {
        rules::Muon<T> rule;
        const T* g;
        T *m, *x;
        void operator()(index i) const {
            T a = m[i];
            x[i] = rule.average(g[i], a);
            m[i] = a;
        }
    };

    // The momentum, into `given`, and the sums of its squares.
    template <class Crew>
    void begin(const Crew& crew, const rules::Muon<T>& rule, const GradientMap& map) {
        for_own_pieces(crew, [&](index i, Range rows) {
            SumOfSquares squares{1};
            for_panels(map, rows, [&](Tile<T>& tile, index at, const auto& for_each_panel) {
                const T* const g = tile.gradient();
                for_each_panel([&](T* x, index j, index n) {
                    exec::elementwise({0, n}, Average{rule, g + j, s_.states[0] + at + j, x});
                    squares.add(x, n);
                });
            });
            exec::clear_padding(given(), rows);
            sums_[i] = squares.result();
        });
    }

    struct Scale {
        T* x;
        T factor;
        void operator()(index i) const { x[i] *= factor; }
    };

    // x = the matrix, standing, of norm 1.
    template <class Crew>
    void stand(const Crew& crew, double eps) {
        const double norm = std::sqrt(add_up(sums_, count_pieces(rows_, columns_)));
        const T factor = T(1 / (norm < eps ? eps : norm));  // NaN stays
        const Panels<T> x = standing();
        if (stands()) {
            for_rows(x, crew.share(long_),
                     [&](T* row, index n) { exec::elementwise({0, n}, Scale{row, factor}); });
            return;
        }
        // A panel of the matrix that lies is some rows of the one that stands.
        const Panels<T> from = given();
        const Range panels = crew.share(from.count());
        for (index p = panels.begin; p < panels.end; ++p) {
            exec::transpose<T>(x, from, p, {0, from.rows});
            const Range rows{p * Panels<T>::full, p * Panels<T>::full + from.used(p)};
            exec::clear_padding(x, rows);
            for_rows(x, rows, [&](T* row, index n) { exec::elementwise({0, n}, Scale{row, factor}); });
        }
    }

    // f(numbers, how many) for the stretches that some rows are in panels.
    template <class F>
    static void for_rows(Panels<T> x, Range rows, const F& f) {
        for (index p = 0; p < x.count(); ++p) f(x.row(p, rows.begin), rows.size() * x.width(p));
    }

    // f(panels, rows of each) for this member's part of the upper half of a symmetric matrix, on and above
    // the blocks of its diagonal, which goes to the lower half, too. Ends with a barrier.
    template <class Crew, class F>
    static void symmetric(Crew& crew, const Panels<T>& s, const F& f) {
        constexpr index full = Panels<T>::full, pair = exec::panels_limit;
        const auto height = [&](index first) { return exec::min((first + pair) * full, s.rows); };
        index rows = 0;
        for (index p = 0; p < s.count(); p += pair) rows += height(p);
        const Range mine = crew.share(rows);
        for (index p = 0, before = 0; p < s.count(); before += height(p), p += pair) {
            const Range own = exec::intersect({mine.begin - before, mine.end - before}, {0, height(p)});
            const index end = exec::min(p + pair, s.count());
            for (index q = p; q < end; ++q) {  // of those panels the rows that the first of them is asked for
                const Range some = exec::intersect(own, {q == p ? 0 : q * full, (q + 1) * full});
                if (!some.empty()) f(Range{q, end}, some);
            }
            for (index q = p; q < end; ++q) {
                const Range above = exec::intersect(own, {0, q * full});
                if (!above.empty()) exec::transpose<T>(s, s, q, above);
            }
        }
        crew.barrier();
    }

    // to = a b, symmetric, which goes through after(panels, rows).
    template <class Crew, class After>
    static void multiply_symmetric(Crew& crew, const Panels<T>& to, const Panels<T>& a, const Panels<T>& b,
                                   const After& after) {
        symmetric(crew, to, [&](Range panels, Range rows) {
            exec::multiply<T>(to, a, b, exec::Initial<T>::zero(), rows, panels);
            after(panels, rows);
        });
    }
    template <class Crew>
    static void multiply_symmetric(Crew& crew, const Panels<T>& to, const Panels<T>& a, const Panels<T>& b) {
        multiply_symmetric(crew, to, a, b, [](Range, Range) {});
    }

    struct Polynomial {
        T *square, b, c;
        const T* gram;
        void operator()(index i) const { square[i] = c * square[i] + b * gram[i]; }
    };

    // p = a I + b g + c g^2
    template <class Crew>
    static void polynomial(Crew& crew, const Panels<T>& p, const Panels<T>& g, const UpdateSpec& u) {
        multiply_symmetric(crew, p, g, g, [&](Range panels, Range rows) {
            for (index q = panels.begin; q < panels.end; ++q) {
                exec::elementwise({0, rows.size() * g.width(q)}, Polynomial{p.row(q, rows.begin), T(u.ns_b),
                                                                            T(u.ns_c), g.row(q, rows.begin)});
                const index first = q * Panels<T>::full;
                const Range diagonal = exec::intersect(rows, {first, first + g.used(q)});
                for (index i = diagonal.begin; i < diagonal.end; ++i) p.row(q, i)[i - first] += T(u.ns_a);
            }
        });
    }

    // So many iterations: the singular values s become a s + b s^3 + c s^5.
    template <class Crew>
    void iterate(Crew& crew, const UpdateSpec& u, int together) {
        const Panels<T> x = standing(), next{matrices_[1], long_, short_};
        const Panels<T> g = squares_[0];
        Panels<T> p = squares_[1], factor = p, free = squares_[2];
        symmetric(crew, g, [&](Range panels, Range rows) {
            exec::multiply_transposed<T>({g.panel(panels.begin), g.rows}, {}, x, x, {0, x.rows}, rows,
                                         panels);
        });
        polynomial(crew, p, g, u);
        for (int k = 1; k < together; ++k) {
            multiply_symmetric(crew, squares_[3], g, p);
            multiply_symmetric(crew, g, squares_[3], p);
            polynomial(crew, free, g, u);
            const Panels<T> product = k == 1 ? squares_[4] : p;  // which is needed no longer
            multiply_symmetric(crew, product, factor, free);
            p = free, free = factor, factor = product;
        }
        exec::multiply<T>(next, x, factor, exec::Initial<T>::zero(), crew.share(long_), {0, next.count()});
        std::swap(matrices_[0], matrices_[1]);
        crew.barrier();
    }

    // The way back into the user's order.
    template <class Crew>
    void lie(Crew& crew) {
        if (stands()) return;
        const Panels<T> x = standing(), to = given();
        const Range rows = crew.share(long_);
        for (index p = 0; p < x.count() && !rows.empty(); ++p) exec::transpose<T>(to, x, p, rows);
        crew.barrier();
    }

    struct Move {
        rules::Muon<T> rule;
        T* p;
        const T* x;
        void operator()(index i) const {
            T a = p[i];
            rule.move(a, x[i]);
            p[i] = a;
        }
    };

    template <class Crew>
    void finish(const Crew& crew, const rules::Muon<T>& rule, const GradientMap& map) {
        for_own_pieces(crew, [&](index, Range rows) {
            for_panels(map, rows, [&](Tile<T>& tile, index, const auto& for_each_panel) {
                T* const p = tile.parameters();
                for_each_panel(
                    [&](const T* x, index j, index n) { exec::elementwise({0, n}, Move{rule, p + j, x}); });
                tile.write();
            });
        });
    }

    const Segment<T>& s_;
    const index rows_, columns_;  // as they are counted
    const index long_, short_;
    T* matrices_[2];  // x, and one more of its size
    Panels<T> squares_[5];
    double* sums_;
};

template <class T>
class Muon {
   public:
    static std::size_t scratch(const GroupStep<T>& now, int threads) {
        const Sizes sizes = sizes_of(now);
        return sizes.together + std::size_t(threads) * sizes.alone;
    }

    Muon(const GroupStep<T>& now, void* scratch, int)
        : now_(now), sizes_(sizes_of(now)), scratch_(static_cast<char*>(scratch)) {}

    // Small matrices are one thread's each, of large ones every product is all threads'.
    void step(Exec& exec) const {
        char* const own = scratch_ + sizes_.together + std::size_t(exec.rank) * sizes_.alone;
        Alone alone;
        double before = 0;
        for_small([&](const Segment<T>& s) {
            // The thread in whose part of all their work a matrix begins.
            const index rank = exec::min(index(before / sizes_.work * exec.size), exec.size - 1);
            before += work(s);
            if (rank == exec.rank) step_of(alone, s, own);
        });
        bool first = true;
        for (index i = 0; i < now_.count; ++i) {
            const Segment<T>& s = now_.tensors[i];
            if (s.length == 0 || is_small(s)) continue;
            if (!first) exec.barrier();  // others may still read the memory of the matrix before
            first = false;
            step_of(exec, s, scratch_);
        }
    }

    // Multiply-adds.
    static double work(const GroupStep<T>& now) {
        double sum = 0;
        for (index i = 0; i < now.count; ++i) sum += now.update.ns_steps * work(now.tensors[i]);
        return sum;
    }

   private:
    // Multiply-adds of an iteration.
    static double work(const Segment<T>& s) {
        const double least = double(exec::min(s.shape[0], s.shape[1]));
        return 1.5 * double(s.length) * least + 0.5 * least * least * least;
    }
    static bool is_small(const Segment<T>& s) { return work(s) < 2 * 128. * 128 * 128; }

    struct Sizes {
        std::size_t together = 0, alone = 0;  // bytes, of the largest matrix
        double work = 0;                      // of the small ones
    };
    static Sizes sizes_of(const GroupStep<T>& now) {
        Sizes sizes;
        for (index i = 0; i < now.count; ++i) {
            const Segment<T>& s = now.tensors[i];
            if (s.length == 0) continue;
            const std::size_t bytes = Orthogonaliser<T>::scratch(s);
            std::size_t& most = is_small(s) ? sizes.alone : sizes.together;
            most = bytes > most ? bytes : most;
            if (is_small(s)) sizes.work += work(s);
        }
        return sizes;
    }

    template <class F>
    void for_small(const F& f) const {
        for (index i = 0; i < now_.count; ++i)
            if (now_.tensors[i].length > 0 && is_small(now_.tensors[i])) f(now_.tensors[i]);
    }

    template <class Crew>
    void step_of(Crew& crew, const Segment<T>& s, void* scratch) const {
        const UpdateSpec& u = now_.update;
        const rules::Muon<T> rule{T(u.momentum), T(1 - u.momentum), u.nesterov != 0, T(u.lr * scale(u, s)),
                                  T(u.lr * u.weight_decay)};
        Orthogonaliser<T>(s, scratch).step(crew, rule, u, now_.gradient);
    }

    // What the learning rate is multiplied by, so that steps of matrices of any shape compare: Jordan's, or
    // that of Liu et al. (2025), "Muon is scalable for LLM training", with which a step has the size of
    // Adam's.
    static double scale(const UpdateSpec& u, const Segment<T>& s) {
        const double units = double(s.shape[(u.first_is_unit != 0) != s.fortran ? 0 : 1]);
        const double inputs = double(s.length) / units;
        if (u.match_rms_adamw != 0) return 0.2 * std::sqrt(units > inputs ? units : inputs);
        return units > inputs ? std::sqrt(units / inputs) : 1;
    }

    const GroupStep<T>& now_;
    const Sizes sizes_;
    char* const scratch_;
};

}  // namespace fnn::FNN_ISA::optim
