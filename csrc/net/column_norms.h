// Sums over the columns of a panel, in float64: the weights of what comes into each unit.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "exec/elementwise.h"
#include "exec/panels.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct AddProducts {
    double* sums;
    const T *x, *y;
    void operator()(index j) const { sums[j] += double(x[j]) * double(y[j]); }
};

// sums[j] += <column j of x, that of y>
template <class T>
void add_column_products(double* sums, const exec::Panels<T>& x, const exec::Panels<T>& y, index p) {
    for (index r = 0; r < x.rows; ++r)
        exec::elementwise({0, x.width(p)}, AddProducts<T>{sums, x.row(p, r), y.row(p, r)});
}

// squares[j] = <column j of w, itself>
template <class T>
void column_squares(double* squares, const exec::Panels<T>& w, index p) {
    std::fill(squares, squares + w.width(p), 0.0);
    add_column_products(squares, w, w, p);
}

// Of a column whose squares are too large or too small for float64, or not finite.
template <class T>
double norm_of_extremes(const exec::Panels<T>& w, index p, index j) {
    double largest = 0, sum = 0;
    for (index r = 0; r < w.rows; ++r) largest = std::fmax(largest, std::fabs(double(w.row(p, r)[j])));
    const double unit = largest == 0 || std::isinf(largest) ? 1 : largest;
    for (index r = 0; r < w.rows; ++r) {
        const double x = double(w.row(p, r)[j]) / unit;
        sum += x * x;
    }
    return unit * std::sqrt(sum);
}

// norms[j] = that of column j; zero where it pads
template <class T>
void column_norms(double* norms, const exec::Panels<T>& w, index p) {
    constexpr double smallest = 0x1p-900, largest = std::numeric_limits<double>::max();
    column_squares(norms, w, p);
    for (index j = 0; j < w.used(p); ++j)
        norms[j] =
            smallest < norms[j] && norms[j] <= largest ? std::sqrt(norms[j]) : norm_of_extremes(w, p, j);
}

}  // namespace fnn::FNN_ISA::net
