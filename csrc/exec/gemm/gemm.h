// c = alpha op(a) op(b) + beta c for row-major matrices: packs them into panels, multiplies, unpacks.
#pragma once

#include "exec/convert.h"
#include "exec/cpu.h"
#include "exec/gemm/multiply.h"
#include "exec/gemm/spec.h"
#include "exec/memory.h"
#include "exec/reduce.h"
#include "exec/transpose.h"

namespace fnn::FNN_ISA::exec {

// Rows [rows) of a row-major matrix into panels.
template <class T>
inline void pack_rows(Panels<T> to, const T* from, index stride, Range rows) {
    for (index r = rows.begin; r < rows.end; ++r)
        row_to_panels<T>(to, r, reinterpret_cast<const char*>(from + r * stride), sizeof(T));
}

// The same from its transpose: row r of `to` is column r of `from`.
template <class T>
inline void pack_columns(Panels<T> to, const T* from, index stride, Range rows) {
    constexpr index w = lanes<T>;
    index r = rows.begin;
    for (; r + w <= rows.end; r += w)
        for (index p = 0; p < to.count(); ++p)
            for (index j = 0; j < to.width(p); j += w) {
                Vector<T> v[w];
                load_transposed<T>(v, from + (p * Panels<T>::full + j) * stride + r, stride,
                                   min(to.used(p) - j, w));
                for (index i = 0; i < w; ++i) store(to.row(p, r + i) + j, v[i]);
            }
    for (; r < rows.end; ++r)
        row_to_panels<T>(to, r, reinterpret_cast<const char*>(from + r), stride * index(sizeof(T)));
}

// Rows of one panel of the product go to their place in c.
template <class T>
inline void put_panel(const Gemm<T>& g, Panels<const T> product, index p, Range rows) {
    for (index r = rows.begin; r < rows.end; ++r) {
        const T* from = product.row(p, r);
        T* to = g.c + r * g.c_stride + p * Panels<T>::full;
        const index used = product.used(p);
        if (g.beta == 0)  // c may hold anything, also NaN
            for (index j = 0; j < used; ++j) to[j] = g.alpha * from[j];
        else
            for (index j = 0; j < used; ++j) to[j] = g.alpha * from[j] + g.beta * to[j];
    }
}

template <class T>
void gemm(const Gemm<T>& g, int threads, Interrupt interrupt, Arena& arena) {
    if (const BlasGemm<T> blas = blas_gemm<T>())
        if (fits_blas(g)) return multiply_by_blas(blas, g);
    // A transposed a needs no transposition: its panels are read by columns.
    Panels<T> a{nullptr, g.transpose_a ? g.k : g.m, g.transpose_a ? g.m : g.k}, b{nullptr, g.k, g.n},
        c{nullptr, g.m, g.n};
    const bool in_parts = g.transpose_a && g.k > rows_summed;
    const std::size_t numbers = std::size_t(a.size() + b.size() + c.size()) * sizeof(T);
    double* const totals = static_cast<double*>(
        arena.reserve(numbers + (in_parts ? std::size_t(c.size()) * sizeof(double) : 0)));
    a.data = reinterpret_cast<T*>(in_parts ? totals + c.size() : totals);
    b.data = a.data + a.size();
    c.data = b.data + b.size();
    constexpr index smallest_shared = 200 * 1000;
    run(g.m * g.n * g.k < smallest_shared ? 1 : threads, interrupt, [&](Exec& exec) {
        pack_rows(a, g.a, g.a_stride, exec.share(a.rows));
        if (g.transpose_b)
            pack_columns(b, g.b, g.b_stride, exec.share(b.rows));
        else
            pack_rows(b, g.b, g.b_stride, exec.share(b.rows));
        exec.barrier();
        exec.poll();
        // Shared by rows, or by panels where those are more: one row times a wide matrix has work for all.
        const bool by_rows = g.m > c.count() * tile_rows;
        const Range rows = by_rows ? exec.share(g.m) : Range{0, g.m};
        const Range panels = by_rows ? Range{0, c.count()} : exec.share(c.count());
        const auto add_transposed = [&](Range inner) {
            multiply_transposed<T>({c.panel(panels.begin), c.rows}, {}, a, b, inner, rows, panels);
        };
        const auto for_stretches = [&](const auto& f) {
            for (index p = panels.begin; p < panels.end; ++p) {
                T* const part = c.row(p, rows.begin);
                f(part, totals + (part - c.data), Range{0, rows.size() * c.width(p)});
            }
        };
        if (in_parts) {
            for_pieces({0, a.rows}, rows_summed, [&](Range inner) {
                add_transposed(inner);
                for_stretches([&](T* part, double* total, Range all) {
                    elementwise(all, AddUp<T>{total, part, inner.begin == 0});
                });
            });
            for_stretches([&](T* to, double* total, Range all) { elementwise(all, Round<T>{to, total}); });
        } else if (g.transpose_a) {
            add_transposed({0, a.rows});
        } else {
            multiply<T>(c, a, b, Initial<T>::zero(), rows, panels);
        }
        for (index p = panels.begin; p < panels.end; ++p) put_panel<T>(g, c, p, rows);
    });
}

}  // namespace fnn::FNN_ISA::exec
