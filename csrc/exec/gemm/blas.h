// Our products computed by a BLAS: slower than our own on panels, and an opinion that shares no code with
// them.
#pragma once

#include <climits>

#include "exec/blas.h"
#include "exec/gemm/spec.h"
#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

template <class T>
inline bool fits_blas(const Gemm<T>& g) {
    for (const index size : {g.m, g.n, g.k, g.a_stride, g.b_stride, g.c_stride})
        if (size > INT_MAX) return false;
    return true;
}

// Read by columns, row-major matrices are their transposes: c' = alpha op(b)' op(a)' + beta c'.
template <class T>
inline void multiply_by_blas(BlasGemm<T> blas, const Gemm<T>& g) {
    if (g.m == 0 || g.n == 0) return;
    const int m = int(g.m), n = int(g.n), k = int(g.k);
    const auto stride = [](index s) { return int(s > 0 ? s : 1); };
    const int a_stride = stride(g.a_stride), b_stride = stride(g.b_stride), c_stride = stride(g.c_stride);
    blas(g.transpose_b ? "T" : "N", g.transpose_a ? "T" : "N", &n, &m, &k, &g.alpha, g.b, &b_stride, g.a,
         &a_stride, &g.beta, g.c, &c_stride);
}

// Rows of one panel become their initial value; a panel is itself a row-major matrix, so that a product of
// panels is one of BLAS for each panel of the inner dimension.
template <class T>
inline void start_panel(Panels<T> c, index p, Range rows, const T* initial) {
    const index width = c.width(p);
    for (index r = rows.begin; r < rows.end; ++r)
        for (index j = 0; j < width; ++j) c.row(p, r)[j] = initial != nullptr ? initial[j] : 0;
}

constexpr index blas_rows = index{1} << 20;  // at a time, as its sizes have 32 bits

// c[rows of panel p] += a b
template <class T>
inline void add_by_blas(BlasGemm<T> blas, Panels<T> c, Panels<const T> a, Panels<const T> b, Range rows,
                        index p) {
    const index width = c.width(p);
    for_pieces(rows, blas_rows, [&](Range piece) {
        for (index q = 0; q < a.count(); ++q)
            multiply_by_blas(blas, Gemm<T>{piece.size(), width, a.used(q), a.row(q, piece.begin),
                                           b.row(p, q * Panels<T>::full), c.row(p, piece.begin), a.width(q),
                                           width, width, false, false, 1, 1});
    });
}

// strip (rows, panel p of b) += a' b for some rows of a', summed over some rows of a and b
template <class T>
inline void add_transposed_by_blas(BlasGemm<T> blas, T* strip, Panels<const T> a, Panels<const T> b,
                                   Range summed, Range rows, index p) {
    constexpr index full = Panels<T>::full;
    const index width = b.width(p);
    for (index q = rows.begin / full; q * full < rows.end; ++q) {
        const Range piece = intersect(rows, {q * full, (q + 1) * full});
        for_pieces(summed, blas_rows, [&](Range inner) {
            multiply_by_blas(blas, Gemm<T>{piece.size(), width, inner.size(),
                                           a.row(q, inner.begin) + (piece.begin - q * full),
                                           b.row(p, inner.begin), strip + (piece.begin - rows.begin) * width,
                                           a.width(q), width, width, true, false, 1, 1});
        });
    }
}

}  // namespace fnn::FNN_ISA::exec
