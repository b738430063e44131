// A vector made orthogonal to others, with one look at them for all products and one for all differences.
#pragma once

#include "exec/cpu.h"
#include "exec/memory.h"
#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

// x'y, added up in T within each of 8 vectors' lanes.
template <class T>
inline double inner_product(const T* x, const T* y, index n) {
    constexpr index w = lanes<T>, at_once = 8;
    Vector<T> sums[at_once] = {};
    index i = 0;
    for (; i + at_once * w <= n; i += at_once * w)
#pragma GCC unroll 8
        for (index k = 0; k < at_once; ++k)
            sums[k] = multiply_add(load_unaligned(x + i + k * w), load_unaligned(y + i + k * w), sums[k]);
    double total = 0;
    for (; i < n; ++i) total += double(x[i]) * double(y[i]);
    for (const Vector<T>& sum : sums)
        for (index j = 0; j < w; ++j) total += double(sum[j]);
    return total;
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

// y (n,) -= X' c with c (m,) = X y, for rows of X (m, n): y becomes orthogonal to rows that are orthonormal.
// Sums are cut by the shapes alone.
template <class T>
void orthogonalize(const T* x, index m, index n, T* y, double* c, int threads, Interrupt interrupt,
                   Arena& arena) {
    constexpr index piece = 4096,
                    smallest_shared = 1 << 16;  // numbers; of x, for which a team is worth its waits
    const index pieces = divide_up(n, piece);
    double* const parts = static_cast<double*>(arena.reserve(std::size_t(pieces * m + 1) * sizeof(double)));
    run(m * n < smallest_shared ? 1 : threads, interrupt, [&](Exec& exec) {
        const Range mine = exec.share(pieces);
        const auto for_own = [&](const auto& f) {
            for (index k = mine.begin; k < mine.end; ++k) f(k, k * piece, min(piece, n - k * piece));
        };
        exec.poll();
        for_own([&](index k, index first, index length) {
            for (index q = 0; q < m; ++q)
                parts[k * m + q] = inner_product(x + q * n + first, y + first, length);
        });
        exec.barrier();
        const Range rows = exec.share(m);
        for (index q = rows.begin; q < rows.end; ++q) {
            c[q] = 0;
            for (index k = 0; k < pieces; ++k) c[q] += parts[k * m + q];
        }
        exec.barrier();
        for_own([&](index, index first, index length) {
            index q = 0;
            for (; q + 8 <= m; q += 8) subtract_rows<T, 8>(y + first, x + q * n + first, n, c + q, length);
            for (; q < m; ++q) subtract_rows<T, 1>(y + first, x + q * n + first, n, c + q, length);
        });
    });
}

}  // namespace fnn::FNN_ISA::exec
