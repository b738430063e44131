// The micro-kernels: one tile of C, a few rows of one panel or of two, held in registers. Slow to compile, so
// only the unit that instantiates their table includes this.
#pragma once

#include <utility>

#include "exec/gemm/tile.h"

namespace fnn::FNN_ISA::exec {

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
const TileKernels<T> TileKernels<T>::all = tile_kernels<T>(std::make_integer_sequence<int, tile_rows>{});

}  // namespace fnn::FNN_ISA::exec
