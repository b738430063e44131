// Transposition in registers, a vector of rows by a vector of columns at a time.
#pragma once

#include <cstring>
#include <type_traits>
#include <utility>

#include "exec/cpu.h"
#include "exec/panels.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// Lane l of the result is lane Lane[l] of a followed by b.
template <class V, int... Lane>
inline V shuffle(V a, V b, std::integer_sequence<int, Lane...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, Lane...);
#else
    using Integer = std::conditional_t<sizeof(a[0]) == 4, std::int32_t, std::int64_t>;
    typedef Integer Lanes __attribute__((vector_size(sizeof(V))));
    return __builtin_shuffle(a, b, Lanes{Lane...});
#endif
}

// Of a pair of rows S apart: the blocks of S columns that stay, and those that change places across the
// diagonal.
template <int S, class V, int... L>
inline void exchange(V& a, V& b, std::integer_sequence<int, L...>) {
    constexpr int n = sizeof...(L);
    const V upper = shuffle(a, b, std::integer_sequence<int, ((L & S) ? L - S + n : L)...>{});
    const V lower = shuffle(a, b, std::integer_sequence<int, ((L & S) ? L + n : L + S)...>{});
    a = upper;
    b = lower;
}

template <class T, int S>
inline void exchange_all(Vector<T> (&v)[lanes<T>]) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i)
        if ((i & S) == 0) exchange<S>(v[i], v[i + S], std::make_integer_sequence<int, lanes<T>>{});
    if constexpr (2 * S < lanes<T>) exchange_all<T, 2 * S>(v);
}

// v[i][j] <- v[j][i]
template <class T>
inline void transpose_square(Vector<T> (&v)[lanes<T>]) {
    exchange_all<T, 1>(v);
}

// The square whose first `used` rows lie `stride` elements apart, transposed; the missing rows count as zero.
template <class T>
inline void load_transposed(Vector<T> (&v)[lanes<T>], const T* from, index stride, index used) {
    if (used == lanes<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes<T>; ++i) v[i] = load_unaligned(from + i * stride);
    } else {
        for (int i = 0; i < lanes<T>; ++i) v[i] = i < used ? load_unaligned(from + i * stride) : Vector<T>{};
    }
    transpose_square<T>(v);
}

// to[c, r] = from[r0 + r, j + c] for r < n <= lanes, where j counts the columns of panel p; to (lanes,
// lanes).
template <class T>
inline void load_square(T* to, const Panels<const T>& from, index p, index j, index r0, index n) {
    constexpr index w = lanes<T>;
    Vector<T> v[w];
    load_transposed<T>(v, from.row(p, r0) + j, from.width(p), n);
#pragma GCC unroll 16
    for (index i = 0; i < w; ++i) store(to + i * w, v[i]);
}

// The way back: to[r0 + r, j + c] = from[c, r].
template <class T>
inline void store_square(const Panels<T>& to, const T* from, index p, index j, index r0, index n) {
    constexpr index w = lanes<T>;
    Vector<T> v[w];
    load_transposed<T>(v, from, w, w);
    for (index i = 0; i < n; ++i) store(to.row(p, r0 + i) + j, v[i]);
}

// to[j, r] = from[r0 + r, j] for r < n <= lanes and every column j, the padding included; to (padded columns,
// lanes).
template <class T>
inline void load_columns(T* to, const Panels<const T>& from, index r0, index n) {
    constexpr index w = lanes<T>;
    for (index p = 0; p < from.count(); ++p)
        for (index j = 0; j < from.width(p); j += w, to += w * w) load_square(to, from, p, j, r0, n);
}

// The way back: to[r0 + r, j] = from[j, r].
template <class T>
inline void store_columns(const Panels<T>& to, const T* from, index r0, index n) {
    constexpr index w = lanes<T>;
    for (index p = 0; p < to.count(); ++p)
        for (index j = 0; j < to.width(p); j += w, from += w * w) store_square(to, from, p, j, r0, n);
}

// to = from', for the given rows of panel p of `from`.
template <class T>
void transpose(const Panels<T>& to, const Panels<const T>& from, index p, Range rows) {
    constexpr index full = Panels<T>::full, w = lanes<T>;
    const index width = from.width(p), used = from.used(p);
    for (index q = rows.begin / full; q * full < rows.end; ++q) {
        const Range piece = intersect(rows, {q * full, (q + 1) * full});
        const index to_width = to.width(q);
        for (index i = piece.begin; i < piece.end; i += w) {
            const index n = min(piece.end - i, w);
            for (index j = 0; j < used; j += w) {
                Vector<T> v[w];
                load_transposed<T>(v, from.row(p, i) + j, width, n);
                T* out = to.row(q, p * full + j) + (i - q * full);
#pragma GCC unroll 16
                for (index o = 0; o < w; ++o) {
                    if (j + o == used) break;
                    if (n == w)
                        store_unaligned(out + o * to_width, v[o]);
                    else  // the neighbours of a short piece may be another thread's
                        for (index k = 0; k < n; ++k) out[o * to_width + k] = v[o][k];
                }
            }
        }
    }
}

extern template decltype(transpose<float>) transpose<float>;
extern template decltype(transpose<double>) transpose<double>;

// to (columns, rows) = from', for a matrix from (rows, columns).
template <class T>
void transpose_matrix(T* to, const T* from, index rows, index columns, int threads, Interrupt interrupt) {
    constexpr index w = lanes<T>, block = 512, smallest_shared = 1 << 16;  // numbers
    run(rows * columns < smallest_shared ? 1 : threads, interrupt, [&](Exec& exec) {
        const Range mine = exec.share(divide_up(rows, block));
        for (index b = mine.begin; b < mine.end; ++b) {
            exec.poll();
            const Range piece{b * block, min((b + 1) * block, rows)};
            const auto by_number = [&](Range some, index j) {
                for (index i = some.begin; i < some.end; ++i) to[j * rows + i] = from[i * columns + j];
            };
            index j = 0;
            for (; j + w <= columns; j += w) {
                index i = piece.begin;
                for (; i + w <= piece.end; i += w) {
                    Vector<T> v[w];
                    load_transposed<T>(v, from + i * columns + j, columns, w);
#pragma GCC unroll 16
                    for (index o = 0; o < w; ++o) store_unaligned(to + (j + o) * rows + i, v[o]);
                }
                for (index o = 0; o < w; ++o) by_number({i, piece.end}, j + o);
            }
            for (; j < columns; ++j) by_number(piece, j);
        }
    });
}

}  // namespace fnn::FNN_ISA::exec
