// A vector made orthogonal to others, with one look at them for all products and one for all differences.
#pragma once

#include <type_traits>

#include "exec/cpu.h"
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

// f(first row, std::integral_constant<int, rows>) for m rows, most of them N at a time.
template <int N, class F>
inline void for_row_blocks(index m, const F& f) {
    index q = 0;
    for (; q + N <= m; q += N) f(q, std::integral_constant<int, N>{});
    for (; q < m; ++q) f(q, std::integral_constant<int, 1>{});
}

// y (n,) -= X' c with c (m,) = X y, for rows of X (m, n): y becomes orthogonal to rows that are orthonormal.
// Sums are cut by the shapes alone.
template <class T>
void orthogonalize(const T* x, index m, index n, T* y, double* c, int threads, Interrupt interrupt,
                   Arena& arena) {
    constexpr index piece = 4096, smallest_shared = 1 << 16;  // numbers
    const index pieces = divide_up(n, piece);
    double* const parts = static_cast<double*>(arena.reserve(std::size_t(pieces * m + 1) * sizeof(double)));
    run(m * n < smallest_shared ? 1 : threads, interrupt, [&](Exec& exec) {
        // Some rows at a time over all of this thread's columns: as memory likes to be read.
        const Range mine = exec.share(pieces);
        exec.poll();
        for_row_blocks<4>(m, [&](index q, auto rows) {
            for (index k = mine.begin; k < mine.end; ++k)
                row_products<T, rows()>(parts + k * m + q, x + q * n + k * piece, n, y + k * piece,
                                        min(piece, n - k * piece));
        });
        exec.barrier();
        const Range sums = exec.share(m);
        for (index q = sums.begin; q < sums.end; ++q) {
            c[q] = 0;
            for (index k = 0; k < pieces; ++k) c[q] += parts[k * m + q];
        }
        exec.barrier();
        const index first = mine.begin * piece, last = min(mine.end * piece, n);
        for_row_blocks<8>(m, [&](index q, auto rows) {
            if (first < last) subtract_rows<T, rows()>(y + first, x + q * n + first, n, c + q, last - first);
        });
    });
}

}  // namespace fnn::FNN_ISA::exec
