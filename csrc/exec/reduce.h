// Sums over rows, in one fixed order.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// out = sums of the N vectors' columns of x (rows, N vectors); every fourth row goes to the same partial sum.
template <class T, int N>
inline void column_sums(T* out, const T* x, index rows) {
    Vector<T> sum[4][N] = {};
    index r = 0;
    for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) sum[i][n] += load(x + ((r + i) * N + n) * lanes<T>);
    for (; r < rows; ++r)
        for (int n = 0; n < N; ++n) sum[0][n] += load(x + (r * N + n) * lanes<T>);
    for (int n = 0; n < N; ++n) store(out + n * lanes<T>, (sum[0][n] + sum[1][n]) + (sum[2][n] + sum[3][n]));
}

// A sum of float32 over n rows is wrong by up to n roundings, so more rows than these are summed in parts,
// and the parts in float64.
constexpr index rows_summed = 1024;

template <class T>
struct AddUp {
    double* total;
    const T* part;
    bool first;
    void operator()(index i) const { total[i] = first ? double(part[i]) : total[i] + double(part[i]); }
};

template <class T>
struct Round {
    T* to;
    const double* from;
    void operator()(index i) const { to[i] = T(from[i]); }
};

}  // namespace fnn::FNN_ISA::exec
