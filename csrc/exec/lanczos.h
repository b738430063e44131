// A step of Lanczos' method with full reorthogonalisation.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "exec/cpu.h"
#include "exec/elementwise.h"
#include "exec/memory.h"
#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

// sums[q] = the product of y (n,) with row q of x, for N rows that are `stride` apart.
template <class T, int N>
inline void row_products(double* sums, const T* x, index stride, const T* y, index n) {
    constexpr index w = lanes<T>, at_once = 2;
    Vector<T> parts[N][at_once] = {};
    index i = 0;
    for (; i + at_once * w <= n; i += at_once * w)
#pragma GCC unroll 2
        for (index k = 0; k < at_once; ++k) {
            const Vector<T> v = load_unaligned(y + i + k * w);
#pragma GCC unroll 4
            for (int q = 0; q < N; ++q)
                parts[q][k] = multiply_add(load_unaligned(x + q * stride + i + k * w), v, parts[q][k]);
        }
    for (int q = 0; q < N; ++q) {
        sums[q] = 0;
        for (index j = i; j < n; ++j) sums[q] += double(x[q * stride + j]) * double(y[j]);
        for (index k = 0; k < at_once; ++k)
            for (index j = 0; j < w; ++j) sums[q] += double(parts[q][k][j]);
    }
}

// y (n,) -= the sum of c[q] times row q of x, for N rows that are `stride` apart.
template <class T, int N>
inline void subtract_rows(T* y, const T* x, index stride, const double* c, index n) {
    constexpr index w = lanes<T>;
    Vector<T> factor[N];
    for (int q = 0; q < N; ++q) factor[q] = broadcast(T(-c[q]));
    index i = 0;
    for (; i + w <= n; i += w) {
        Vector<T> sum = load_unaligned(y + i);
#pragma GCC unroll 8
        for (int q = 0; q < N; ++q) sum = multiply_add(factor[q], load_unaligned(x + q * stride + i), sum);
        store_unaligned(y + i, sum);
    }
    for (; i < n; ++i)
        for (int q = 0; q < N; ++q) y[i] -= T(c[q]) * x[q * stride + i];
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

// y (n,) = c x
template <class T>
struct Multiple {
    T* y;
    const T* x;
    T c;
    void operator()(index i) const { y[i] = c * x[i]; }
};

// The row after Q (m, n), whose rows are orthonormal and `stride` numbers apart, from Aq (n,), the operator
// times the last of them: w (n,) is what `factor` Aq has orthogonal to all of them, of length 1. `beta`
// stands beside the diagonal of T in the row before; `scale` is the length of the longest `factor` Aq so far,
// and what is shorter than `negligible` times that is rounding, which stays as it is. Finds `alpha`, which
// stands on the diagonal, and the length that w had, which stands beside it. Sums are cut by the shapes
// alone.
template <class T>
void lanczos_step(const T* Q, index m, index n, index stride, const T* Aq, T* w, T factor, double beta,
                  double negligible, double* scale, double* alpha, double* length, int threads,
                  Interrupt interrupt, Arena& arena) {
    constexpr index piece = 4096, smallest_shared = 1 << 16;  // numbers
    // Rows are read twice, block by block, the second time from the last-level cache. From row to row blocks
    // come in the other order: the last ones are still there.
    constexpr index block_bytes = 8 << 20, smallest_block = 8;
    const index fitting = block_bytes / (n * index(sizeof(T)));
    const index at_once = fitting < smallest_block ? smallest_block : fitting;
    const index pieces = divide_up(n, piece), blocks = divide_up(m, at_once);
    double* const squares = static_cast<double*>(
        arena.reserve(std::size_t(pieces * (m + 2) + m) * sizeof(double)));  // of each piece
    double *const alphas = squares + pieces, *const parts = alphas + pieces, *const c = parts + pieces * m;
    const T* const newest = Q + (m - 1) * stride;

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
        exec.poll();
        for_own([&](index k, index at, index count) {
            elementwise({at, at + count}, Multiple<T>{w, Aq, factor});
            row_products<T, 1>(squares + k, w + at, n, w + at, count);
            if (m > 1) subtract_rows<T, 1>(w + at, newest - stride + at, stride, &beta, count);
            row_products<T, 1>(alphas + k, newest + at, n, w + at, count);
        });
        exec.barrier();
        const double longest = std::fmax(*scale, std::sqrt(total(squares)));
        double diagonal = total(alphas);
        exec.barrier();
        const auto measure = [&] {
            for_own([&](index k, index at, index count) {
                row_products<T, 1>(squares + k, w + at, n, w + at, count);
            });
            exec.barrier();
            return std::sqrt(total(squares));
        };
        for_own([&](index, index at, index count) {
            subtract_rows<T, 1>(w + at, newest + at, n, &diagonal, count);
        });
        // Orthogonal to all before; once more if that left little, as then rounding is large beside it
        // ("twice is enough", Daniel, Gragg, Kaufman, Stewart 1976).
        double left = measure(), before = std::numeric_limits<double>::infinity();
        while (left < 0.7 * before && left > negligible * longest) {
            for (index k = 0; k < blocks; ++k) {
                const index first = (m % 2 == 0 ? k : blocks - 1 - k) * at_once;
                const Range block{first, min(first + at_once, m)};
                exec.poll();
                // Some rows at a time over all of this thread's columns, as memory likes to be read; and
                // the second time from the last row on, as the cache holds that for sure.
                for_row_blocks<4>(block, [&](index q, auto rows) {
                    for_own([&](index k, index at, index count) {
                        row_products<T, rows()>(parts + k * m + q, Q + q * stride + at, stride, w + at,
                                                count);
                    });
                });
                exec.barrier();
                const Range sums = cut(block, exec.size, exec.rank);
                for (index q = sums.begin; q < sums.end; ++q) {
                    c[q] = 0;
                    for (index k = 0; k < pieces; ++k) c[q] += parts[k * m + q];
                }
                exec.barrier();
                if (numbers.empty()) continue;
                for_row_blocks_backwards<8>(block, [&](index q, auto rows) {
                    subtract_rows<T, rows()>(w + numbers.begin, Q + q * stride + numbers.begin, stride, c + q,
                                             numbers.size());
                });
            }
            diagonal += c[m - 1];
            before = left;
            left = measure();
        }
        if (left > negligible * longest) elementwise(numbers, Multiple<T>{w, w, T(1 / left)});
        if (exec.rank != 0) return;
        *scale = longest;
        *alpha = diagonal;
        *length = left;
    });
}

}  // namespace fnn::FNN_ISA::exec
