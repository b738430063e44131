// A step of Lanczos' method with partial reorthogonalisation.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "exec/cpu.h"
#include "exec/elementwise.h"
#include "exec/lanczos_state.h"
#include "exec/memory.h"
#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

// sums[v * m + q] = row q of x times row -v of y, for N rows of x and V of y, all `stride` apart and n long.
template <class T, int N, int V>
inline void row_products(double* sums, index m, const T* x, const T* y, index stride, index n) {
    constexpr index w = lanes<T>, at_once = 2 / V;
    Vector<T> parts[V][N][at_once] = {};
    index i = 0;
    for (; i + at_once * w <= n; i += at_once * w)
#pragma GCC unroll 2
        for (index k = 0; k < at_once; ++k) {
            Vector<T> factor[V];
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) factor[v] = load_unaligned(y - v * stride + i + k * w);
#pragma GCC unroll 4
            for (int q = 0; q < N; ++q) {
                const Vector<T> row = load_unaligned(x + q * stride + i + k * w);
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) parts[v][q][k] = multiply_add(row, factor[v], parts[v][q][k]);
            }
        }
    for (int v = 0; v < V; ++v)
        for (int q = 0; q < N; ++q) {
            double sum = 0;
            for (index j = i; j < n; ++j) sum += double(x[q * stride + j]) * double(y[j - v * stride]);
            for (index k = 0; k < at_once; ++k)
                for (index j = 0; j < w; ++j) sum += double(parts[v][q][k][j]);
            sums[v * m + q] = sum;
        }
}

// Row -v of y -= the sum of c[v * m + q] times row q of x; else as above.
template <class T, int N, int V>
inline void subtract_rows(T* y, const T* x, index stride, const double* c, index m, index n) {
    constexpr index w = lanes<T>;
    Vector<T> factor[V][N];
    for (int v = 0; v < V; ++v)
        for (int q = 0; q < N; ++q) factor[v][q] = broadcast(T(-c[v * m + q]));
    index i = 0;
    for (; i + w <= n; i += w) {
        Vector<T> sums[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sums[v] = load_unaligned(y - v * stride + i);
#pragma GCC unroll 8
        for (int q = 0; q < N; ++q) {
            const Vector<T> row = load_unaligned(x + q * stride + i);
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) sums[v] = multiply_add(factor[v][q], row, sums[v]);
        }
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) store_unaligned(y - v * stride + i, sums[v]);
    }
    for (; i < n; ++i)
        for (int v = 0; v < V; ++v)
            for (int q = 0; q < N; ++q) y[i - v * stride] -= T(c[v * m + q]) * x[q * stride + i];
}

// f(first row, std::integral_constant<int, rows>) for some rows, most of them N at a time; the other way
// around, from the last to the first.
template <int N, class F>
inline void for_row_blocks(Range rows, const F& f) {
    index q = rows.begin;
    for (; q + N <= rows.end; q += N) f(q, std::integral_constant<int, N>{});
    for (; q < rows.end; ++q) f(q, std::integral_constant<int, 1>{});
}

template <int N, class F>
inline void for_row_blocks_backwards(Range rows, const F& f) {
    index q = rows.end;
    for (; (q - rows.begin) % N != 0; --q) f(q - 1, std::integral_constant<int, 1>{});
    for (; q > rows.begin; q -= N) f(q - N, std::integral_constant<int, N>{});
}

inline double norm(const double* x, index n) {
    double sum = 0;
    for (index i = 0; i < n; ++i) sum += x[i] * x[i];
    return std::sqrt(sum);
}

// y (n,) = c x
template <class T>
struct Multiple {
    T* y;
    const T* x;
    T c;
    void operator()(index i) const { y[i] = c * x[i]; }
};

// Row m of Q (m + 1, n), whose rows are `stride` numbers apart, from Aq (n,), the operator times row m - 1:
// what `factor` Aq has orthogonal to all rows before, of length 1. What is shorter than `negligible` times
// the longest product is rounding, and stays as it is. Returns what stands on the diagonal of T. Sums are cut
// by the shapes alone.
//
// Rows are read only when needed: one that is orthogonal to those before up to the square root of the
// precision is left as it is. A step that cannot leave its row makes it orthogonal to all, and the one before
// together with it, from which the next would inherit. T is as exact as with rows that are orthogonal up to
// the precision (Simon 1984, "The Lanczos algorithm with partial reorthogonalization", who follows what each
// row has along each other; here one number, `growth`, follows the largest). How exact the products are is
// seen whenever rows are made orthogonal: along rows before the last two they should have nothing. What there
// is comes from eigenvectors that have converged, which lie in the first rows; others, along which there is
// nothing but rounding, are read for that, and not a second time to take it away.
template <class T>
double lanczos_step(T* Q, index m, index n, index stride, const T* Aq, T factor, double negligible,
                    LanczosState* state, int threads, Interrupt interrupt, Arena& arena) {
    constexpr index piece = 4096, smallest_shared = 1 << 16;  // numbers
    // Rows are read twice, block by block, the second time from the last-level cache. From one step that
    // reads them to the next blocks come in the other order: the last ones are still there.
    constexpr index block_bytes = 8 << 20, smallest_block = 8;
    const index fitting = block_bytes / (n * index(sizeof(T)));
    const index at_once = fitting < smallest_block ? smallest_block : fitting;
    const index pieces = divide_up(n, piece);
    double* const squares = static_cast<double*>(
        arena.reserve(std::size_t(2 * pieces * (m + 1) + 2 * m) * sizeof(double)));  // of each piece
    double *const alphas = squares + pieces, *const parts = alphas + pieces,
                  *const c = parts + 2 * pieces * m;
    T *const row = Q + m * stride, *const newest = row - stride;
    const LanczosState before = *state;
    double alpha = 0;

    run(m * n < smallest_shared ? 1 : threads, interrupt, [&](Exec& exec) {
        const Range mine = exec.share(pieces), numbers{mine.begin * piece, min(mine.end * piece, n)};
        const auto for_own = [&](const auto& f) {
            for (index k = mine.begin; k < mine.end; ++k) f(k, k * piece, min(piece, n - k * piece));
        };
        const auto total = [&](const double* of_pieces) {
            double sum = 0;
            for (index k = 0; k < pieces; ++k) sum += of_pieces[k];
            return sum;
        };
        const auto measure = [&] {
            for_own([&](index k, index at, index count) {
                row_products<T, 1, 1>(squares + k, 0, row + at, row + at, 0, count);
            });
            exec.barrier();
            return std::sqrt(total(squares));
        };
        const double precision = std::numeric_limits<T>::epsilon(), rounding = 4 * precision;
        // Takes from the last rows, the very last of some length, what they have along some before.
        const auto make_orthogonal = [&](auto last, Range to, double length) {
            constexpr int V = last();
            const auto is_rounding = [&](const double* c, int rows) {
                bool all = true;
                for (int q = 0; q < rows; ++q)
                    for (int v = 0; v < V; ++v) all &= std::fabs(c[v * m + q]) < rounding * (v ? 1 : length);
                return all;
            };
            const index blocks = divide_up(to.size(), at_once);
            for (index k = 0; k < blocks; ++k) {
                const index first = to.begin + (before.backwards ? blocks - 1 - k : k) * at_once;
                const Range block{first, min(first + at_once, to.end)};
                exec.poll();
                // Some rows at a time over all of this thread's columns, as memory likes to be read; and
                // the second time from the last row on, as the cache holds that for sure.
                for_row_blocks<4>(block, [&](index q, auto rows) {
                    for_own([&](index k, index at, index count) {
                        row_products<T, rows(), V>(parts + k * V * m + q, m, Q + q * stride + at, row + at,
                                                   stride, count);
                    });
                });
                exec.barrier();
                const Range sums = cut(block, exec.size, exec.rank);
                for (int v = 0; v < V; ++v)
                    for (index q = sums.begin; q < sums.end; ++q) {
                        c[v * m + q] = 0;
                        for (index k = 0; k < pieces; ++k) c[v * m + q] += parts[(k * V + v) * m + q];
                    }
                exec.barrier();
                if (numbers.empty()) continue;
                for_row_blocks_backwards<8>(block, [&](index q, auto rows) {
                    if (is_rounding(c + q, rows())) return;
                    subtract_rows<T, rows(), V>(row + numbers.begin, Q + q * stride + numbers.begin, stride,
                                                c + q, m, numbers.size());
                });
            }
        };
        constexpr std::integral_constant<int, 1> one;
        constexpr std::integral_constant<int, 2> two;

        exec.poll();
        for_own([&](index k, index at, index count) {
            elementwise({at, at + count}, Multiple<T>{row, Aq, factor});
            row_products<T, 1, 1>(squares + k, 0, row + at, row + at, 0, count);
            if (m > 1) subtract_rows<T, 1, 1>(row + at, newest - stride + at, 0, &before.beta, 0, count);
            row_products<T, 1, 1>(alphas + k, 0, newest + at, row + at, 0, count);
        });
        exec.barrier();
        const double scale = std::fmax(before.scale, std::sqrt(total(squares)));
        double diagonal = total(alphas);
        exec.barrier();
        for_own([&](index, index at, index count) {
            subtract_rows<T, 1, 1>(row + at, newest + at, 0, &diagonal, 0, count);
        });
        const double shortest = negligible * scale;
        double left = measure(), noise = before.noise;
        // The recurrence divides by `left` what the product adds, and its largest multiple of what there was.
        const double growth = (1 + 2 * scale * before.growth) / left;
        const bool leave =
            m > 3 && left > shortest && std::fmax(precision * scale, noise) * growth < std::sqrt(precision);
        // Orthogonal to all before; once more if that left little, as then rounding is large beside it
        // ("twice is enough", Daniel, Gragg, Kaufman, Stewart 1976), or took so much that it shows what rows
        // that were left have along each other.
        bool again = !leave && left > shortest;
        for (bool first = true; again; first = false) {
            const bool both = first && before.growth > 0;
            if (both) make_orthogonal(two, {0, m - 1}, left);
            make_orthogonal(one, {both ? m - 1 : 0, m}, left);
            diagonal += c[m - 1];
            if (first) noise = std::fmax(noise, both ? norm(c + m, m - 1) / before.growth : norm(c, m - 2));
            const double had = left, taken = first ? norm(c, m) : 0;
            left = measure();
            again = (left < 0.7 * had || taken > std::sqrt(precision) * left) && left > shortest;
        }
        if (left > shortest) elementwise(numbers, Multiple<T>{row, row, T(1 / left)});
        if (exec.rank != 0) return;
        alpha = diagonal;
        *state = {left, scale, noise, leave ? growth : 0, before.backwards == leave};
    });
    return alpha;
}

}  // namespace fnn::FNN_ISA::exec
