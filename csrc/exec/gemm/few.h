// The product of a few rows with a matrix as the user holds it: reading it is most of the work, and packing
// it first would double the time.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// c = row + a b for some panels of c; a (m, k) and c (m, n) in panels, b (k, n) row-major, row (n,). Each sum
// runs in the order of k as in `multiply`, and so has the same bits.
template <class T>
void multiply_few(Panels<T> c, Panels<const T> a, const T* b, const T* row, Range panels) {
    constexpr index w = lanes<T>, full = panel_width<T>, depth = full < 8 ? full : 8;
    const index n = c.cols, k = a.cols;
    // One vector of a row of n numbers, from column j on; zeros behind its end.
    const auto load_row = [&](const T* from, index j) {
        if (j + w <= n) return load_unaligned(from + j);
        alignas(vector_bytes) T rest[w] = {};
        for (index i = j; i < n; ++i) rest[i - j] = from[i];
        return load<T>(rest);
    };
    // f(first column, where it stands in row 0 of c, from row to row of c) for each vector of the columns.
    const auto for_vectors = [&](const auto& f) {
        for (index p = panels.begin; p < panels.end; ++p)
            for (index j = 0; j < c.width(p); j += w) f(p * full + j, c.row(p, 0) + j, c.width(p));
    };
    for_vectors([&](index j, T* out, index stride) {
        for (index r = 0; r < c.rows; ++r) store(out + r * stride, load_row(row, j));
    });
    for (index k0 = 0; k0 < k; k0 += depth) {
        const index q = k0 / full, present = min(k - k0, depth);
        const T* from = b + k0 * n;
        const T* x = a.row(q, 0) + (k0 - q * full);
        if (c.rows == 1 && present == depth) {
            // What is read is b alone: the numbers of the row wait in registers.
            Vector<T> factors[depth];
#pragma GCC unroll 8
            for (index d = 0; d < depth; ++d) factors[d] = broadcast(x[d]);
            const auto add = [&](index j, const auto& load_column) {
                Vector<T> sum = load(c.data + j);
#pragma GCC unroll 8
                for (index d = 0; d < depth; ++d)
                    sum = multiply_add(factors[d], load_column(from + d * n, j), sum);
                store(c.data + j, sum);
            };
            const index end = min(panels.end * full, c.padded());
            index j = panels.begin * full;
            for (; j < end && j + w <= n; j += w)
                add(j, [](const T* row_of_b, index column) { return load_unaligned(row_of_b + column); });
            if (j < end) add(j, load_row);
            continue;
        }
        for_vectors([&](index j, T* out, index stride) {
            if (present == depth) {
                Vector<T> column[depth];
#pragma GCC unroll 8
                for (index d = 0; d < depth; ++d) column[d] = load_row(from + d * n, j);
                for (index r = 0; r < c.rows; ++r) {
                    Vector<T> sum = load(out + r * stride);
#pragma GCC unroll 8
                    for (index d = 0; d < depth; ++d)
                        sum = multiply_add(broadcast(x[r * a.width(q) + d]), column[d], sum);
                    store(out + r * stride, sum);
                }
            } else {
                for (index d = 0; d < present; ++d) {
                    const Vector<T> column = load_row(from + d * n, j);
                    for (index r = 0; r < c.rows; ++r)
                        store(out + r * stride,
                              multiply_add(broadcast(x[r * a.width(q) + d]), column, load(out + r * stride)));
                }
            }
        });
    }
}

extern template decltype(multiply_few<float>) multiply_few<float>;
extern template decltype(multiply_few<double>) multiply_few<double>;

}  // namespace fnn::FNN_ISA::exec
