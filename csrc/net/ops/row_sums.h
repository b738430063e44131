// Sums over the features of rows.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// sums[r] (+)= factor times row r of a times row r of b; what pads them does not count.
template <class T>
void add_row_products(T* sums, Panels<const T> a, Panels<const T> b, T factor, Range rows, bool add) {
    constexpr index w = exec::lanes<T>;
    for (index r = rows.begin; r < rows.end; ++r) {
        exec::Vector<T> parts{};
        T sum = 0;
        for (index p = 0; p < a.count(); ++p) {
            const T *x = a.row(p, r), *y = b.row(p, r);
            index j = 0;
            for (; j + w <= a.used(p); j += w) parts += exec::load(x + j) * exec::load(y + j);
            for (; j < a.used(p); ++j) sum += x[j] * y[j];
        }
        for (index k = 0; k < w; ++k) sum += parts[k];
        sums[r] = add ? sums[r] + factor * sum : factor * sum;
    }
}

// sums[r] = the sum of row r of x, without what pads it.
template <class T>
void row_totals(T* sums, Panels<const T> x, Range rows) {
    constexpr index w = exec::lanes<T>;
    for (index r = rows.begin; r < rows.end; ++r) {
        exec::Vector<T> parts{};
        sums[r] = 0;
        for (index p = 0; p < x.count(); ++p) {
            index j = 0;
            for (; j + w <= x.used(p); j += w) parts += exec::load(x.row(p, r) + j);
            for (; j < x.used(p); ++j) sums[r] += x.row(p, r)[j];
        }
        for (index k = 0; k < w; ++k) sums[r] += parts[k];
    }
}

}  // namespace fnn::FNN_ISA::net
