// Losses over pairs of rows: value, gradient, and how the gradient moves. Every row of a batch is an anchor
// once; rows with its label are its positives, those with another its negatives. What these are functions of
// is x, either a similarity (a product of two rows over the temperature) or the square of a distance.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// ---- softmax over similarities ----------------------------------------------------------------------------
//
// An anchor's loss is the mean over its positives of a function of x - log_sum, where log_sum is the
// logarithm of the sum of e^x over those that count. `share` is the anchor's weight over the number of its
// positives, and `rate` the derivative in log_sum: share times the sum of `slope` over the positives. r...
// are derivatives along a direction.

// -log(e^x / (e^x + sum over the negatives)), a positive against the negatives: A. van den Oord et al.
// (2018), and NT-Xent of T. Chen et al. (2020); K. Sohn (2016) of products without a temperature.
template <class T>
struct InfoNCE {
    static constexpr bool counts_positives = false;
    FNN_RULE static T value(T x, T log_sum) {
        const T d = log_sum - x;
        return select(d > 0, d, T(0)) + log1p(exp(-abs(d)));
    }
    FNN_RULE static T slope(T x, T log_sum) { return 1 / (1 + exp(x - log_sum)); }
    FNN_RULE static T bend(T x, T log_sum) {
        const T e = exp(-abs(x - log_sum));
        return e / ((1 + e) * (1 + e));
    }
    FNN_RULE static T gradient(T x, bool positive, T log_sum, T share, T rate) {
        const T e = exp(x - log_sum);
        return select(positive, -share / (1 + e), e * rate);
    }
    FNN_RULE static T tangent(T x, T rx, bool positive, T log_sum, T share, T rate, T rlog_sum, T rrate) {
        const T of_negative = exp(x - log_sum) * ((rx - rlog_sum) * rate + rrate);
        return select(positive, share * bend(x, log_sum) * (rx - rlog_sum), of_negative);
    }
};

// log_sum - x, where all others count: L_out of P. Khosla et al. (2020), "Supervised contrastive learning".
template <class T>
struct SupCon {
    static constexpr bool counts_positives = true;
    FNN_RULE static T value(T x, T log_sum) { return log_sum - x; }
    FNN_RULE static T slope(T, T) { return 1; }
    FNN_RULE static T bend(T, T) { return 0; }
    FNN_RULE static T gradient(T x, bool positive, T log_sum, T share, T rate) {
        return exp(x - log_sum) * rate - select(positive, share, T(0));
    }
    FNN_RULE static T tangent(T x, T rx, bool, T log_sum, T, T rate, T rlog_sum, T rrate) {
        return exp(x - log_sum) * ((rx - rlog_sum) * rate + rrate);
    }
};

// Is a row a positive of the anchor, or noise, of which there is k times as much? -log of the logistic
// function of x - log k of the positives, of log k - x of the negatives, over the number of positives: M.
// Gutmann, A. Hyvarinen (2010). Here log k is in the place of log_sum, and does not move.
template <class T>
struct NCE {
    FNN_RULE static T value(T x, bool positive, T log_k) {
        return select(positive, InfoNCE<T>::value(x, log_k), InfoNCE<T>::value(log_k, x));
    }
    FNN_RULE static T gradient(T x, bool positive, T log_k, T share, T) {
        return share * select(positive, -InfoNCE<T>::slope(x, log_k), InfoNCE<T>::slope(log_k, x));
    }
    FNN_RULE static T tangent(T x, T rx, bool, T log_k, T share, T, T, T) {
        return share * InfoNCE<T>::bend(x, log_k) * rx;
    }
};

// ---- margins between distances ----------------------------------------------------------------------------
//
// Derivatives in x, the square of the distance d. Where d is 0 it has no direction: that of d is 0.

template <class T>
struct Distance {
    FNN_RULE static T value(T x) { return square_root(x); }
    FNN_RULE static T gradient(T x) { return select(x == 0, T(0), 1 / (2 * square_root(x))); }
    FNN_RULE static T curvature(T x) { return select(x == 0, T(0), -1 / (4 * x * square_root(x))); }
};

// d^2 / 2 of a positive, max(0, margin - d)^2 / 2 of a negative: R. Hadsell et al. (2006).
template <class T>
struct Contrastive {
    T margin;
    FNN_RULE T value(T x, bool positive) const {
        const T lack = margin - square_root(x);
        return select(positive, x / 2, select(lack < 0, T(0), lack * lack / 2));
    }
    FNN_RULE T gradient(T x, bool positive) const {
        const T d = square_root(x);
        const T push = select((d >= margin) | (x == 0), T(0), (1 - margin / d) / 2);
        return select(positive, T(0.5), push);
    }
    FNN_RULE T tangent(T x, T rx, bool positive) const {
        const T d = square_root(x);
        return select((d >= margin) | (x == 0) | positive, T(0), margin / (4 * x * d) * rx);
    }
};

// max(0, d_positive - d_negative + margin): F. Schroff et al. (2015). Of the distances.
template <class T>
struct Triplet {
    T margin;
    FNN_RULE T slack(T positive, T negative) const { return positive - negative + margin; }
    FNN_RULE static T value(T slack) { return select(slack <= 0, T(0), slack); }
};

}  // namespace fnn::FNN_ISA::rules
