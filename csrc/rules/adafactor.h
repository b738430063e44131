// Adafactor, Shazeer and Stern (2018), one number at a time, with torch's placing of the epsilons.
#pragma once

#include "rules/updates.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Adafactor {
    T gain;              // 1 - beta2
    T eps;               // the first of the pair
    T least;             // its square
    T decay;             // lr weight_decay
    T step_size = T(0);  // of one tensor, known when all its directions are

    // The running mean of squared gradients.
    FNN_HD void average(T squared, T& v) const { v = mul_add(gain, squared - v, v); }
    // What the mean of a column is to be multiplied by, for the second moment in a row.
    FNN_HD T row_factor(T row, T mean_of_rows) const { return row / maximum(mean_of_rows, eps); }
    FNN_HD T direction(T g, T second_moment) const { return g / square_root(maximum(second_moment, least)); }
    FNN_HD void move(T& p, T direction) const { p = p - mul_add(decay, p, step_size * direction); }
};

}  // namespace fnn::FNN_ISA::rules
