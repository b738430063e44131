// Rotary positions: number k of the first half of a head's columns and number k of the second are a plane,
// which position t turns by t / 10000^(k / half) radians: J. Su, Y. Lu, S. Pan, A. Murtadha, B. Wen, Y. Liu
// (2021), "RoFormer: enhanced transformer with rotary position embedding", https://arxiv.org/abs/2104.09864;
// the planes as in ONNX, where its RotaryEmbedding is not interleaved.
#pragma once

#include "rules/turns.h"

namespace fnn::FNN_ISA::rules {

template <class T>
struct Rotary {
    T cosine, sine;

    // In turns, of which whole ones do not matter: float32 has no digits for those of far positions.
    FNN_RULE static T turns(double position, double k, double half) {
        constexpr double log_10000 = 9.210340371976184, turn = 6.283185307179586;
        const double all = position * exp(-log_10000 * k / half) / turn;
        return T(all - ((all + Format<double>::two_mantissa) - Format<double>::two_mantissa));
    }

    FNN_RULE T first(T x, T y) const { return x * cosine - y * sine; }
    FNN_RULE T second(T x, T y) const { return x * sine + y * cosine; }
};

}  // namespace fnn::FNN_ISA::rules
