// Counter-based random numbers: a function of (seed, stream, index), with no state to carry or share.
//
// Philox-4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// The seed is the key; the index and the stream are the counter. Each index has 128 bits of its own, so any
// thread may draw any element, in any order. Integers and uniform numbers have the same bits on every
// instruction set; normal numbers may differ in their last bits where the target has no fused multiply-add.
#pragma once

#include <cstdint>

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

struct Block {
    std::uint32_t word[4];
};

// The rounds, on a counter of four words; multiply(x, factor, high, low) makes the two words of a product. A
// Word may be a vector, of as many counters, and may have more bits, which neither count nor are kept clean.
template <class Word, class Key, class Multiply>
FNN_RULE void philox_rounds(Word (&word)[4], Key key0, Key key1, const Multiply& multiply) {
    for (int round = 0; round < 10; ++round) {
        Word p_high, p_low, q_high, q_low;
        multiply(word[0], 0xD2511F53u, p_high, p_low);
        multiply(word[2], 0xCD9E8D57u, q_high, q_low);
        word[0] = q_high ^ word[1] ^ key0;
        word[1] = q_low;
        word[2] = p_high ^ word[3] ^ key1;
        word[3] = p_low;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

struct MultiplyWords {
    FNN_RULE void operator()(std::uint32_t x, std::uint32_t factor, std::uint32_t& high,
                             std::uint32_t& low) const {
        const std::uint64_t product = std::uint64_t(factor) * x;
        high = std::uint32_t(product >> 32);
        low = std::uint32_t(product);
    }
};

FNN_RULE Block philox(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    Block block{{std::uint32_t(index), std::uint32_t(index >> 32), std::uint32_t(stream),
                 std::uint32_t(stream >> 32)}};
    philox_rounds(block.word, std::uint32_t(seed), std::uint32_t(seed >> 32), MultiplyWords{});
    return block;
}

// 64 random bits.
FNN_RULE std::uint64_t bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const Block block = philox(seed, stream, index);
    return std::uint64_t(block.word[1]) << 32 | block.word[0];
}

// An integer in [0, n), n >= 1, of 64 random bits: the high half of n times the bits. The probability of
// each integer is within 2^-64 of 1 / n.
FNN_RULE std::uint64_t bounded(std::uint64_t bits, std::uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    return std::uint64_t(Wide(bits) * n >> 64);
}

// A word as a number, exactly. (SSE2 and AVX2 convert no unsigned and no 64-bit integers.)
FNN_RULE double to_double(std::uint32_t word) {
    return from_bits<double>(to_bits(0x1p52) | std::uint64_t(word)) - 0x1p52;
}

// [0, 1) in steps of 2^-24 (float) or 2^-53 (double), from the leading bits of `high`, then of `low`.
template <class T>
FNN_RULE T unit_interval(std::uint32_t high, std::uint32_t low);

template <>
FNN_RULE float unit_interval<float>(std::uint32_t high, std::uint32_t) {
    return float(std::int32_t(high >> 8)) * 0x1p-24f;
}

template <>
FNN_RULE double unit_interval<double>(std::uint32_t high, std::uint32_t low) {
    return mul_add(to_double(high), 0x1p-32, to_double(low >> 11) * 0x1p-53);  // exact, fused or not
}

template <class T>
FNN_RULE T uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const Block block = philox(seed, stream, index);
    return unit_interval<T>(block.word[1], block.word[0]);
}

// sin(2 pi y) / y as a function of z = y^2, |y| <= 1/4. Degree 4, error 2^-25.1; degree 8, error 2^-54.5
// (mostly that of the first coefficient); fitted as the polynomials of math.h.
FNN_RULE float sin_turn(float z) {
    return polynomial(z, 6.2831855f, -41.341766f, 81.608635f, -76.72798f, 40.875916f);
}

FNN_RULE double sin_turn(double z) {
    return polynomial(z, 6.283185307179586, -41.34170224039928, 81.6052492759189, -76.70585973361457,
                      42.058692747960656, -15.09460232663752, 3.819197314661395, -0.7106492352767947,
                      0.07293903155663667);
}

// cos(2 pi u) for u in [0, 1), as -cos(2 pi (u - 1/2)) = sin(2 pi (|u - 1/2| - 1/4)).
template <class T>
FNN_RULE T cos_turn(T u) {
    const T y = abs(u - T(0.5)) - T(0.25);
    return y * sin_turn(y * y);
}

// (0, 1], for the radius: float keeps 31 bits of `high`, and so its tail reaches 6.6 standard deviations
// (double: 8.6).
template <class T>
FNN_RULE T positive_unit(std::uint32_t high, std::uint32_t low);

template <>
FNN_RULE float positive_unit<float>(std::uint32_t high, std::uint32_t) {
    return (float(std::int32_t(high >> 1)) + 1.0f) * 0x1p-31f;
}

template <>
FNN_RULE double positive_unit<double>(std::uint32_t high, std::uint32_t low) {
    return 1.0 - unit_interval<double>(high, low);
}

// Standard normal by Box and Muller (1958): half of each pair, so that an index depends on no neighbour.
template <class T>
FNN_RULE T normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const Block block = philox(seed, stream, index);
    const T radius = square_root(T(-2) * log(positive_unit<T>(block.word[1], block.word[0])));
    return radius * cos_turn(unit_interval<T>(block.word[3], block.word[2]));
}

}  // namespace fnn::FNN_ISA::rules
