// Numbers of Beta(alpha, alpha), between 0 and 1, as functions of (seed, stream, index).
//
// X / (X + Y), where X and Y have the distribution Gamma(alpha), whose numbers are those of Gamma(alpha + 1)
// times a uniform one to the power of 1 / alpha: G. Marsaglia, W. W. Tsang (2000), "A simple method for
// generating gamma variables". In logarithms, as those powers may be too small for a number.
#pragma once

#include "rules/random.h"

namespace fnn::FNN_ISA::rules {

FNN_RULE double log_uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const Block block = philox(seed, stream, index);
    return log(positive_unit<double>(block.word[1], block.word[0]));
}

// The logarithm of a number of Gamma(shape), shape >= 1: the first that is accepted, as more than 95 of a
// hundred are. Reads indices from the given one on.
FNN_RULE double log_gamma_number(double shape, std::uint64_t seed, std::uint64_t stream,
                                 std::uint64_t index) {
    const double d = shape - 1.0 / 3, c = 1 / square_root(9 * d);
    for (;; index += 2) {
        const double x = normal<double>(seed, stream, index), root = 1 + c * x;
        if (root <= 0) continue;
        const double v = root * root * root;
        if (log_uniform(seed, stream, index + 1) < x * x / 2 + d - d * v + d * log(v)) return log(d * v);
    }
}

// Reads indices from the 2^32-fold of the given one on.
FNN_RULE double beta(double alpha, std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const std::uint64_t first = index << 32, second = first + (std::uint64_t(1) << 31);
    const double powers = (log_uniform(seed, stream, second) - log_uniform(seed, stream, first)) / alpha;
    return 1 / (1 + exp(powers + log_gamma_number(alpha + 1, seed, stream, second + 1) -
                        log_gamma_number(alpha + 1, seed, stream, first + 1)));
}

}  // namespace fnn::FNN_ISA::rules
