// The micro-kernels of products over runs: as kernel.h, with strides known when they are called.
#pragma once

#include <utility>

#include "exec/gemm/kernel.h"
#include "exec/gemm/runs.h"

namespace fnn::FNN_ISA::exec {

// The sums of P panels of N vectors each.
template <class T, int P, int H, int N>
struct RunSums {
    Vector<T> acc[P][H][N];

    inline __attribute__((always_inline)) void start(const RunTile<T>& t) {
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int r = 0; r < H; ++r)
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n)
                    acc[p][r][n] = load(t.init + p * t.init_panel + r * t.init_row + n * lanes<T>);
    }

    // += x b, where x(r) is the factor of row r
    template <class F>
    inline __attribute__((always_inline)) void add(const T* b, index b_panel, const F& x) {
        Vector<T> column[P][N];
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) column[p][n] = load(b + p * b_panel + n * lanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < H; ++r) {
            const Vector<T> factor = broadcast(x(r));
#pragma GCC unroll 2
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n) acc[p][r][n] = multiply_add(factor, column[p][n], acc[p][r][n]);
        }
    }

    inline __attribute__((always_inline)) void finish(const RunTile<T>& t) const {
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int r = 0; r < H; ++r)
#pragma GCC unroll 2
                for (int n = 0; n < N; ++n)
                    store(t.c + p * t.c_panel + r * t.c_row + n * lanes<T>, acc[p][r][n]);
    }
};

// The rows of the tile are rows of a. Three of them share a pointer, as an address is one plus a stride or
// two: for all there are registers.
template <class T, int P, int H, int N>
void run_by_rows(const RunTile<T>& t) {
    RunSums<T, P, H, N> sums;
    sums.start(t);
    for (index i = 0; i < t.count; ++i) {
        const Run<T> run = t.runs[i];
        const T* a[(H + 2) / 3];
#pragma GCC unroll 5
        for (int j = 0; j < (H + 2) / 3; ++j) a[j] = run.a + 3 * j * run.stride;
        const T* b = run.b;
#pragma GCC unroll 2
        for (index k = 0; k < run.length; ++k, b += N * lanes<T>)
            sums.add(b, t.b_panel, [&](int r) { return a[r / 3][r % 3 * run.stride + k]; });
    }
    sums.finish(t);
}

// The rows of the tile are columns of a.
template <class T, int P, int H, int N>
void run_by_columns(const RunTile<T>& t) {
    RunSums<T, P, H, N> sums;
    sums.start(t);
    for (index i = 0; i < t.count; ++i) {
        const Run<T> run = t.runs[i];
        const T *a = run.a, *b = run.b;
#pragma GCC unroll 2
        for (index k = 0; k < run.length; ++k, a += run.stride, b += N * lanes<T>)
            sums.add(b, t.b_panel, [&](int r) { return a[r]; });
    }
    sums.finish(t);
}

template <class T, int P, int H, int N>
constexpr typename RunKernels<T>::Kernel by_rows_of_runs() {
    if constexpr (H <= height_limit<P>) return run_by_rows<T, P, H, N>;
    return nullptr;
}

template <class T, int P, int H, int N>
constexpr typename RunKernels<T>::Kernel by_columns_of_runs() {
    if constexpr (H <= height_limit<P>) return run_by_columns<T, P, H, N>;
    return nullptr;
}

template <class T, int... R>
constexpr RunKernels<T> run_kernels(std::integer_sequence<int, R...>) {
    return {{{by_rows_of_runs<T, 1, R + 1, 1>()...},
             {by_rows_of_runs<T, 1, R + 1, 2>()...},
             {by_rows_of_runs<T, 2, R + 1, 2>()...}},
            {{by_columns_of_runs<T, 1, R + 1, 1>()...},
             {by_columns_of_runs<T, 1, R + 1, 2>()...},
             {by_columns_of_runs<T, 2, R + 1, 2>()...}}};
}

template <class T>
const RunKernels<T> RunKernels<T>::all = run_kernels<T>(std::make_integer_sequence<int, tile_rows>{});

}  // namespace fnn::FNN_ISA::exec
