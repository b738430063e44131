// Products of matrices in panels. Nothing is packed: the operands lie as the kernels read them.
#pragma once

#include "exec/gemm/blas.h"
#include "exec/gemm/kernel.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// What a product is added to: nothing, one row for all rows (a bias, in panels of one row), or what C holds.
template <class T>
struct Initial {
    const T* row = nullptr;
    bool keep = false;

    static Initial zero() { return {}; }
    static Initial bias(const T* row) { return {row, false}; }
    static Initial add() { return {nullptr, true}; }
};

template <class T>
alignas(vector_bytes) constexpr T zeros[panel_width<T>] = {};

template <class T>
inline void set_initial(Tile<T>& t, Initial<T> initial, const T* c, index p) {
    t.shared_init = !initial.keep;
    t.init = initial.keep ? c : initial.row ? initial.row + p * panel_width<T> : zeros<T>;
}

// What happens to a finished tile while it is in the first-level cache: f(first, count) gets the tile as a
// stretch of C's memory, `first` counted from C's first element.
struct NoEpilogue {
    void operator()(index, index) const {}
};

// Blocks: a slice of b (depth, panel) is reused from the second-level cache by all rows, a block of rows of a
// by all panels.
constexpr index slice_bytes = 128 * 1024;
constexpr index block_bytes = 384 * 1024;

template <class T>
constexpr index depth_limit = slice_bytes / (panel_width<T> * index(sizeof(T)));

// c[rows, panels] = initial + a b; a (m, k), b (k, n), c (m, n).
template <class T, class Epilogue = NoEpilogue>
void multiply(const Panels<T>& c, const Panels<const T>& a, const Panels<const T>& b, Initial<T> initial,
              Range rows, Range panels, const Epilogue& epilogue = {}) {
    constexpr index full = panel_width<T>;
    if (const BlasGemm<T> blas = blas_gemm<T>()) {
        for (index p = panels.begin; p < panels.end; ++p) {
            if (!initial.keep) start_panel(c, p, rows, initial.row ? initial.row + p * full : nullptr);
            add_by_blas(blas, c, a, b, rows, p);
            epilogue(c.row(p, rows.begin) - c.data, rows.size() * c.width(p));
        }
        return;
    }
    const index k = a.cols;
    const index row_limit = block_bytes / (index(sizeof(T)) * min(k + 1, depth_limit<T>));
    const index block = row_limit < 4 * tile_rows ? 4 * tile_rows : row_limit;
    for_pieces(rows, block, [&](Range block_rows) {
        // At least one pass, so that an inner dimension of zero gives the initial value.
        for (index k0 = 0; k0 == 0 || k0 < k; k0 += depth_limit<T>) {
            const index depth = min(k - k0, depth_limit<T>);
            const bool last = k0 + depth >= k;
            const index p0 = k0 / full;
            Tile<T> t{};
            t.a_panel = full * a.rows;
            t.full = depth / full;
            t.rest = depth % full;
            t.narrow = t.rest != 0 && a.width(p0 + t.full) < full;
            for (index p = panels.begin; p < panels.end; ++p) {
                const index width = c.width(p);
                t.b = b.row(p, k0);
                for_pieces(block_rows, tile_rows, [&](Range tile) {
                    t.c = c.row(p, tile.begin);
                    set_initial(t, k0 == 0 ? initial : Initial<T>::add(), t.c, p);
                    t.a = a.panel(p0) + tile.begin * full;
                    t.a_rest = t.rest != 0 ? a.row(p0 + t.full, tile.begin) : nullptr;
                    kernels<T>.by_rows[width / lanes<T> - 1][tile.size() - 1](t);
                    if (last) epilogue(t.c - c.data, tile.size() * width);
                });
            }
        }
    });
}

// strip (rows, panel p of b) = initial + a' b for some rows of a'; initial (null: zeros) has the strip's form
// and may be the strip.
template <class T>
void multiply_transposed(T* strip, const T* initial, const Panels<const T>& a, const Panels<const T>& b,
                         Range rows, index p) {
    constexpr index full = panel_width<T>;
    const index k = a.rows, width = b.width(p);
    if (const BlasGemm<T> blas = blas_gemm<T>()) {
        for (index i = 0; i < rows.size() * width; ++i) strip[i] = initial != nullptr ? initial[i] : 0;
        return add_transposed_by_blas(blas, strip, a, b, rows, p);
    }
    // At least one pass, so that an inner dimension of zero gives the initial value.
    for (index k0 = 0; k0 == 0 || k0 < k; k0 += depth_limit<T>) {
        const T* const from = k0 > 0 ? strip : initial;
        Tile<T> t{};
        t.k = min(k - k0, depth_limit<T>);
        t.b = b.row(p, k0);
        t.shared_init = from == nullptr;
        for (index q = rows.begin / full; q * full < rows.end; ++q) {
            t.narrow = a.width(q) < full;
            for_pieces(intersect(rows, {q * full, (q + 1) * full}), tile_rows, [&](Range tile) {
                const index at = (tile.begin - rows.begin) * width;
                t.c = strip + at;
                t.init = from != nullptr ? from + at : zeros<T>;
                t.a = a.row(q, k0) + (tile.begin - q * full);
                kernels<T>.by_columns[width / lanes<T> - 1][tile.size() - 1](t);
            });
        }
    }
}

}  // namespace fnn::FNN_ISA::exec
