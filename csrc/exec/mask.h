// Numbers that are kept or dropped, by bits.
#pragma once

#include "exec/elementwise.h"
#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// to = factor from where the bit is set, else 0; n numbers, 32 at most.
template <class T>
inline void keep_where(T* to, const T* from, T factor, std::uint32_t bits, index n) {
    elementwise({0, n}, [=](index i) { to[i] = (bits >> i & 1u) != 0 ? factor * from[i] : T(0); });
}

template <class T>
inline void add_where(T* to, const T* from, T factor, std::uint32_t bits, index n) {
    elementwise({0, n}, [=](index i) { to[i] += (bits >> i & 1u) != 0 ? factor * from[i] : T(0); });
}

// Bit i is set where x[i] >= least, of 16 numbers.
inline std::uint32_t bits_at_least(const std::uint32_t* x, std::uint32_t least) {
#if defined(__AVX512F__)
    return _mm512_cmpge_epu32_mask(_mm512_loadu_si512(x), _mm512_set1_epi32(int(least)));
#else
    std::uint32_t bits = 0;
    for (int i = 0; i < 16; ++i) bits |= std::uint32_t(x[i] >= least) << i;
    return bits;
#endif
}

}  // namespace fnn::FNN_ISA::exec
