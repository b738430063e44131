// Float32 numbers rounded to types of fewer digits and the same exponents: to the nearest, or the even one of
// two that are as near. Beyond the largest is infinity; infinities stay, and so does NaN.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Unrounded {
    FNN_RULE T operator()(T x) const { return x; }
};

// To numbers whose last bits are 0.
template <int bits>
struct WithoutLastBits {
    FNN_RULE float operator()(float x) const {
        constexpr std::uint32_t unit = std::uint32_t(1) << bits, infinity = 0x7f800000, quiet = 0x00400000;
        const std::uint32_t own = to_bits(x), magnitude = own & 0x7fffffff;
        const std::uint32_t nearest = own + (unit / 2 - 1) + (own >> bits & 1);
        const std::uint32_t special = magnitude > infinity ? own | quiet : own;
        return from_bits<float>((magnitude < infinity ? nearest : special) & ~(unit - 1));
    }
};
using ToTFloat32 = WithoutLastBits<13>;
using ToBFloat16 = WithoutLastBits<16>;

// As it lies in memory: the first half of a float32.
struct BFloat16 {
    std::uint16_t bits;

    FNN_RULE static BFloat16 nearest(float x) { return {std::uint16_t(to_bits(ToBFloat16{}(x)) >> 16)}; }
};

}  // namespace fnn::FNN_ISA::rules
