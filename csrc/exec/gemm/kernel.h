// The micro-kernels: one tile of C, at most tile_rows rows by one panel, held in registers.
#pragma once

#include <utility>

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// acc[r][n] += sum over k of a[r, k] * b[k, n], in the order of k: the bits of an element do not depend
// on the tile in which it is computed.
template <class T, int H, int N, index RowStride, index KStride>
inline __attribute__((always_inline)) void accumulate(Vector<T> (&acc)[H][N], const T* a, const T* b,
                                                      index k) {
    for (index kk = 0; kk < k; ++kk) {
        Vector<T> column[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) column[n] = load(b + (kk * N + n) * lanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < H; ++r) {
            const Vector<T> x = broadcast(a[r * RowStride + kk * KStride]);
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) acc[r][n] = multiply_add(x, column[n], acc[r][n]);
        }
    }
}

template <class T>
struct Tile {
    T* c;              // (H, N vectors), contiguous
    const T* init;     // what the sums start from: c itself, a row that all rows share, or zeros
    bool shared_init;  // one row for all
    const T* b;        // (k, N vectors), contiguous
    const T* a;        // see the two kernels
    index a_panel;     // by rows: elements from one panel of a to the next
    const T* a_rest;   // by rows: the last panel of a, from this tile's first row
    index full;        // by rows: panels of full width before that
    index rest;        // by rows: columns used in the last panel
    bool narrow;  // the last panel of a (by rows), or the panel that is read (by columns), is one vector wide
    index k;      // by columns: rows of a
};

template <class T, int H, int N>
inline __attribute__((always_inline)) void start(Vector<T> (&acc)[H][N], const Tile<T>& t) {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r) {
        const T* from = t.shared_init ? t.init : t.init + r * N * lanes<T>;
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[r][n] = load(from + n * lanes<T>);
    }
}

template <class T, int H, int N>
inline __attribute__((always_inline)) void finish(const Vector<T> (&acc)[H][N], const Tile<T>& t) {
#pragma GCC unroll 16
    for (int r = 0; r < H; ++r)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) store(t.c + (r * N + n) * lanes<T>, acc[r][n]);
}

// C tile = init + A B where the rows of the tile are rows of A: a points at the tile's first row in the first
// panel.
template <class T, int H, int N>
void tile_by_rows(const Tile<T>& t) {
    constexpr index full = panel_width<T>, half = full / 2;
    Vector<T> acc[H][N];
    start<T, H, N>(acc, t);
    const T* a = t.a;
    const T* b = t.b;
    for (index p = 0; p < t.full; ++p, a += t.a_panel, b += full * N * lanes<T>)
        accumulate<T, H, N, full, 1>(acc, a, b, full);
    if (t.narrow)
        accumulate<T, H, N, half, 1>(acc, t.a_rest, b, t.rest);
    else
        accumulate<T, H, N, full, 1>(acc, t.a_rest, b, t.rest);
    finish<T, H, N>(acc, t);
}

// C tile = init + A' B where the rows of the tile are columns of A, all of one panel: a points at the first
// of them.
template <class T, int H, int N>
void tile_by_columns(const Tile<T>& t) {
    constexpr index full = panel_width<T>, half = full / 2;
    Vector<T> acc[H][N];
    start<T, H, N>(acc, t);
    if (t.narrow)
        accumulate<T, H, N, 1, half>(acc, t.a, t.b, t.k);
    else
        accumulate<T, H, N, 1, full>(acc, t.a, t.b, t.k);
    finish<T, H, N>(acc, t);
}

// Every height and width of a tile, compiled: kernels<T>.by_rows[vectors - 1][height - 1].
template <class T>
struct TileKernels {
    void (*by_rows[2][tile_rows])(const Tile<T>&);
    void (*by_columns[2][tile_rows])(const Tile<T>&);
};

template <class T, int... R>
constexpr TileKernels<T> tile_kernels(std::integer_sequence<int, R...>) {
    return {{{tile_by_rows<T, R + 1, 1>...}, {tile_by_rows<T, R + 1, 2>...}},
            {{tile_by_columns<T, R + 1, 1>...}, {tile_by_columns<T, R + 1, 2>...}}};
}

template <class T>
constexpr TileKernels<T> kernels = tile_kernels<T>(std::make_integer_sequence<int, tile_rows>{});

}  // namespace fnn::FNN_ISA::exec
