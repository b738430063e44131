// The micro-kernels: one tile of C, a few rows of one panel or of two, held in registers.
#pragma once

#include <utility>

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// What later tiles read, fetched into the second-level cache while this one is computed, a little at a time:
// with depth d of the inner dimension, counted in panels, so many vectors from `from + d * step` on.
template <class T>
struct Ahead {
    const T* from = nullptr;
    index vectors = 0;
    index step = 0;

    // A part of so many vectors, spread over the depths.
    static Ahead spread(const T* from, index vectors, index depths, Part part) {
        const index each = divide_up(vectors, part.size * depths), begin = part.rank * depths * each;
        return {from + begin * lanes<T>, begin < vectors ? each : 0, each * lanes<T>};
    }

    // With each depth a part of other vectors, `step` elements on.
    static Ahead strided(const T* from, index vectors, index step, Part part) {
        const index each = divide_up(vectors, part.size), begin = part.rank * each;
        return {from + begin * lanes<T>, begin < vectors ? each : 0, step};
    }

    void fetch(index depth) const {
        for (index i = 0; i < vectors; ++i) __builtin_prefetch(from + depth * step + i * lanes<T>, 0, 2);
    }
};

template <class T>
struct Tile {
    T* c;           // (H, N vectors), contiguous
    const T* init;  // what the sums start from: c itself, a row that all rows share, or zeros
    const T* b;     // (k, N vectors), contiguous
    index c_panel, init_panel, b_panel;  // of two panels: elements from those of the first to the second's
    bool shared_init;                    // one row for all
    const T* a;                          // see the two kernels
    index a_panel;                       // by rows: elements from one panel of a to the next
    const T* a_rest;                     // by rows: the last panel of a, from this tile's first row
    index full;                          // by rows: panels of full width before that
    index rest;                          // by rows: columns used in the last panel
    bool narrow;  // the last panel of a (by rows), or the panel that is read (by columns), is one vector wide
    index k;      // by columns: rows of a
    Ahead<T> ahead[3];
    int aheads;  // of them used

    void fetch(index depth) const {
        for (int i = 0; i < aheads; ++i) ahead[i].fetch(depth);
    }
};

// The sums of P panels of N vectors each.
template <class T, int P, int H, int N>
struct Sums {
    Vector<T> acc[P][H][N];

    inline __attribute__((always_inline)) void start(const Tile<T>& t) {
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int r = 0; r < H; ++r) {
                const T* from = t.init + p * t.init_panel + (t.shared_init ? 0 : r * N * lanes<T>);
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n) acc[p][r][n] = load(from + n * lanes<T>);
            }
    }

    // += sum over k of a[r, k] * b[k, n], in the order of k: the bits of an element do not depend on the tile
    // in which it is computed.
    template <index RowStride, index KStride>
    inline __attribute__((always_inline)) void add(const T* a, const T* b, index b_panel, index k) {
// A loop as short as a panel is wide: four at a time were up to a tenth faster.
#pragma GCC unroll 4
        for (index kk = 0; kk < k; ++kk) {
            Vector<T> column[P][N];
#pragma GCC unroll 2
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n) column[p][n] = load(b + p * b_panel + (kk * N + n) * lanes<T>);
#pragma GCC unroll 16
            for (int r = 0; r < H; ++r) {
                const Vector<T> x = broadcast(a[r * RowStride + kk * KStride]);
#pragma GCC unroll 2
                for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
                    for (int n = 0; n < N; ++n) acc[p][r][n] = multiply_add(x, column[p][n], acc[p][r][n]);
            }
        }
    }

    inline __attribute__((always_inline)) void finish(const Tile<T>& t) const {
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int r = 0; r < H; ++r)
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n) store(t.c + p * t.c_panel + (r * N + n) * lanes<T>, acc[p][r][n]);
    }
};

// C tile = init + A B where the rows of the tile are rows of A: a points at the tile's first row in the first
// panel.
template <class T, int P, int H, int N>
void tile_by_rows(const Tile<T>& t) {
    constexpr index full = panel_width<T>, half = full / 2;
    Sums<T, P, H, N> sums;
    sums.start(t);
    const T* a = t.a;
    const T* b = t.b;
    for (index p = 0; p < t.full; ++p, a += t.a_panel, b += full * N * lanes<T>) {
        t.fetch(p);
        sums.template add<full, 1>(a, b, t.b_panel, full);
    }
    if (t.narrow)
        sums.template add<half, 1>(t.a_rest, b, t.b_panel, t.rest);
    else
        sums.template add<full, 1>(t.a_rest, b, t.b_panel, t.rest);
    sums.finish(t);
}

// C tile = init + A' B where the rows of the tile are columns of A, all of one panel: a points at the first
// of them.
template <class T, int P, int H, int N>
void tile_by_columns(const Tile<T>& t) {
    constexpr index full = panel_width<T>, half = full / 2;
    Sums<T, P, H, N> sums;
    sums.start(t);
    if (t.narrow)
        sums.template add<1, half>(t.a, t.b, t.b_panel, t.k);
    else
        for (index kk = 0; kk < t.k; kk += full) {
            t.fetch(kk / full);
            sums.template add<1, full>(t.a + kk * full, t.b + kk * N * lanes<T>, t.b_panel,
                                       min(t.k - kk, full));
        }
    sums.finish(t);
}

template <int P>
constexpr int height_limit = P == 1 ? tile_rows : paired_rows;

// Every form of a tile, compiled: kernels<T>.by_rows[form][height - 1], where the forms are one panel of one
// vector, one of two, and two such.
template <class T>
struct TileKernels {
    using Kernel = void (*)(const Tile<T>&);
    Kernel by_rows[3][tile_rows];
    Kernel by_columns[3][tile_rows];

    static constexpr index form(index panels, index width) { return panels - 1 + width / lanes<T> - 1; }
};

template <class T, int P, int H, int N>
constexpr typename TileKernels<T>::Kernel by_rows() {
    if constexpr (H <= height_limit<P>) return tile_by_rows<T, P, H, N>;
    return nullptr;
}

template <class T, int P, int H, int N>
constexpr typename TileKernels<T>::Kernel by_columns() {
    if constexpr (H <= height_limit<P>) return tile_by_columns<T, P, H, N>;
    return nullptr;
}

template <class T, int... R>
constexpr TileKernels<T> tile_kernels(std::integer_sequence<int, R...>) {
    return {{{by_rows<T, 1, R + 1, 1>()...}, {by_rows<T, 1, R + 1, 2>()...}, {by_rows<T, 2, R + 1, 2>()...}},
            {{by_columns<T, 1, R + 1, 1>()...},
             {by_columns<T, 1, R + 1, 2>()...},
             {by_columns<T, 2, R + 1, 2>()...}}};
}

template <class T>
constexpr TileKernels<T> kernels = tile_kernels<T>(std::make_integer_sequence<int, tile_rows>{});

}  // namespace fnn::FNN_ISA::exec
