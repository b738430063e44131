// What is computed of the rows of a panel, column by column, a vector of columns at a time.
#pragma once

#include <type_traits>

#include "exec/elementwise.h"
#include "exec/reduce.h"
#include "rules/norm.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// One number for each column of a panel.
template <class T>
struct Columns {
    alignas(exec::vector_bytes) T of[Panels<T>::full] = {};

    exec::Vector<T> vector(int n) const { return exec::load(of + n * exec::lanes<T>); }
};

// f(N) with the number of vectors of a row of a panel, as a constant.
template <class T, class F>
inline void with_vectors(index width, const F& f) {
    if (width == Panels<T>::full)
        f(std::integral_constant<int, 2>{});
    else
        f(std::integral_constant<int, 1>{});
}

// f(place in the panel, n) for vector n of each row.
template <class T, class F>
__attribute__((flatten)) inline void for_vectors(index width, Range rows, const F& f) {
    with_vectors<T>(width, [&](auto vectors) {
        constexpr int N = decltype(vectors)::value;
        for (index r = rows.begin; r < rows.end; ++r)
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) f((r * N + n) * exec::lanes<T>, n);
    });
}

// sums = over some rows, of the K terms that f(place in the panel, n, terms) gives of vector n of a row;
// every second row goes to the same partial sum.
template <class T, int K, class F>
__attribute__((flatten)) inline void sum_rows(Columns<T> (&sums)[K], index width, Range rows, const F& f) {
    with_vectors<T>(width, [&](auto vectors) {
        constexpr int N = decltype(vectors)::value;
        exec::Vector<T> parts[2][K][N] = {};
        const auto add = [&](exec::Vector<T>(&part)[K][N], index r) {
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) {
                exec::Vector<T> terms[K];
                f((r * N + n) * exec::lanes<T>, n, terms);
#pragma GCC unroll 4
                for (int k = 0; k < K; ++k) part[k][n] += terms[k];
            }
        };
        index r = rows.begin;
        for (; r + 2 <= rows.end; r += 2) {
            add(parts[0], r);
            add(parts[1], r + 1);
        }
        if (r < rows.end) add(parts[0], r);
        for (int k = 0; k < K; ++k)
            for (int n = 0; n < N; ++n)
                exec::store(sums[k].of + n * exec::lanes<T>, parts[0][k][n] + parts[1][k][n]);
    });
}

// The same of any number of rows, in float64.
template <class T, int K, class F>
inline void total_rows(double (&totals)[K][Panels<T>::full], index width, Range rows, const F& f) {
    exec::for_pieces(rows, exec::rows_summed, [&](Range piece) {
        Columns<T> sums[K];
        sum_rows<T>(sums, width, piece, f);
        for (int k = 0; k < K; ++k)
            exec::elementwise({0, width}, exec::AddUp<T>{totals[k], sums[k].of, piece.begin == rows.begin});
    });
}

// Mean and sum of squared deviations of each column: of some rows in two passes, whose errors the sum of the
// deviations mends (T. F. Chan, G. H. Golub, R. J. LeVeque, 1983, "Algorithms for computing the sample
// variance"), and then merged in float64.
template <class T>
struct ColumnMoments {
    double mean[Panels<T>::full] = {}, m2[Panels<T>::full] = {}, rows = 0;

    double variance(index j) const { return m2[j] > 0 ? m2[j] / rows : 0; }

    // Those of n more rows.
    void merge(const double* of_mean, const double* of_m2, double n, index width) {
        for (index j = 0; j < width; ++j) {
            double own = of_mean[j], own_m2 = of_m2[j];
            if (rows > 0) rules::merge_moments(own, own_m2, n, mean[j], m2[j], rows);
            mean[j] = own;
            m2[j] = own_m2;
        }
        rows += n;
    }

    // Rows of a panel.
    void add(const T* x, index width, Range more) {
        exec::for_pieces(more, exec::rows_summed, [&](Range piece) {
            const double n = double(piece.size());
            double own[Panels<T>::full], own_m2[Panels<T>::full];
            Columns<T> center[1], sums[2];
            sum_rows<T>(center, width, piece,
                        [&](index i, int, auto& terms) { terms[0] = exec::load(x + i); });
            for (index j = 0; j < width; ++j) center[0].of[j] /= T(n);
            sum_rows<T>(sums, width, piece, [&](index i, int k, auto& terms) {
                const exec::Vector<T> d = exec::load(x + i) - center[0].vector(k);
                terms[0] = d;
                terms[1] = d * d;
            });
            for (index j = 0; j < width; ++j) {
                const double error = double(sums[0].of[j]) / n;
                own[j] = double(center[0].of[j]) + error;
                own_m2[j] = double(sums[1].of[j]) - n * error * error;
            }
            merge(own, own_m2, n, width);
        });
    }
};

}  // namespace fnn::FNN_ISA::net
