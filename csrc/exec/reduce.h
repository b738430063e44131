// Reductions over a row, in one fixed order: one partial result per lane, then halves onto halves.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

template <class T>
struct Add {
    static constexpr T neutral = 0;
    static Vector<T> of(Vector<T> a, Vector<T> b) { return a + b; }
    static T of(T a, T b) { return a + b; }
};

// NaN is not seen; what is computed from the maximum must bring it out.
template <class T>
struct Max {
    static constexpr T neutral = -__builtin_inf();
    static Vector<T> of(Vector<T> a, Vector<T> b) { return a > b ? a : b; }
    static T of(T a, T b) { return a > b ? a : b; }
};

template <class T, class Op>
inline T reduce_lanes(Vector<T> v, Op) {
    T lane[lanes<T>];
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i) lane[i] = v[i];
#pragma GCC unroll 4
    for (index half = lanes<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (index i = 0; i < half; ++i) lane[i] = Op::of(lane[i], lane[i + half]);
    return lane[0];
}

// The first n of the numbers at p; p is aligned and readable up to a whole vector.
template <class T, class Op>
inline Vector<T> reduce_vectors(Vector<T> so_far, const T* p, index n, Op) {
    index i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) so_far = Op::of(so_far, load(p + i));
    if (i < n) {
        Vector<T> tail = load(p + i);
        for (index j = 0; j < lanes<T>; ++j) tail[j] = i + j < n ? tail[j] : Op::neutral;
        so_far = Op::of(so_far, tail);
    }
    return so_far;
}

// Over the columns in use of row r.
template <class T, class Op>
inline T reduce_row(Panels<const T> x, index r, Op op) {
    Vector<T> v = broadcast(Op::neutral);
    for (index p = 0; p < x.count(); ++p) v = reduce_vectors(v, x.row(p, r), x.used(p), op);
    return reduce_lanes<T>(v, op);
}

// Sum of x y over the columns in use of row r.
template <class T>
inline T dot_row(Panels<const T> x, Panels<const T> y, index r) {
    Vector<T> sum{};
    for (index p = 0; p < x.count(); ++p) {
        alignas(vector_bytes) T products[panel_width<T>];
        for (index j = 0; j < x.width(p); ++j) products[j] = x.row(p, r)[j] * y.row(p, r)[j];
        sum = reduce_vectors(sum, products, x.used(p), Add<T>{});
    }
    return reduce_lanes<T>(sum, Add<T>{});
}

// The first column in which row r of x has this value, -1 if there is none.
template <class T>
inline index find_in_row(Panels<const T> x, index r, T value) {
    for (index p = 0; p < x.count(); ++p)
        for (index j = 0; j < x.used(p); ++j)
            if (x.row(p, r)[j] == value) return p * Panels<const T>::full + j;
    return -1;
}

// out (+)= sums of the N vectors' columns of x (rows, N vectors); every fourth row goes to the same partial sum.
template <class T, int N>
inline void column_sums(T* out, const T* x, index rows, bool add) {
    Vector<T> sum[4][N] = {};
    index r = 0;
    for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) sum[i][n] += load(x + ((r + i) * N + n) * lanes<T>);
    for (; r < rows; ++r)
        for (int n = 0; n < N; ++n) sum[0][n] += load(x + (r * N + n) * lanes<T>);
    for (int n = 0; n < N; ++n) {
        const Vector<T> total = (sum[0][n] + sum[1][n]) + (sum[2][n] + sum[3][n]);
        T* to = out + n * lanes<T>;
        store(to, add ? load(to) + total : total);
    }
}

}  // namespace fnn::FNN_ISA::exec
