// Numbers that are kept or dropped, by bits.
#pragma once

#include <cstdint>
#include <type_traits>

#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

// x where its bit is set, else 0; the lowest bit is that of the first number.
template <class T>
inline Vector<T> keep(Vector<T> x, std::uint32_t bits) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return _mm512_maskz_mov_ps(__mmask16(bits), x);
    else
        return _mm512_maskz_mov_pd(__mmask8(bits), x);
#else
    using Word = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    alignas(vector_bytes) static constexpr Word powers[] = {1, 2, 4, 8, 16, 32, 64, 128};
    static_assert(lanes<T> <= 8);
    const Vector<Word> of_lanes = load(powers);
    const Vector<Word> is_set = (broadcast(Word(bits)) & of_lanes) == of_lanes;
    return Vector<T>(Vector<Word>(x) & is_set);
#endif
}

// y = factor x where the bit is set, else 0, or y += that; for rows of a panel of N vectors, whose bits stand
// in words of 16: those of row r in word[r], and, where a row has more numbers, in word[stride + r].
template <class T, int N, bool add>
inline void keep_rows(T* y, const T* x, T factor, const std::uint16_t* words, index stride, index rows) {
    for (index r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) {
            constexpr int each = int(lanes<T>);
            const index at = (r * N + n) * each;
            const std::uint32_t bits = words[n * each / 16 * stride + r];
            const Vector<T> kept = keep<T>(load(x + at) * broadcast(factor), bits >> n * each % 16);
            store(y + at, add ? load(y + at) + kept : kept);
        }
}

// The product of a factor and the lower 32 bits of each number, and its upper half. (Compilers make more of
// it where a processor multiplies numbers of 64 bits, slowly.)
struct MultiplyWords {
    using Wide = Vector<std::uint64_t>;
    void operator()(Wide x, std::uint32_t factor, Wide& high, Wide& low) const {
#if defined(__AVX512F__)
        // with all lanes, as the headers of GCC 12 warn of themselves without a mask
        low = Wide(_mm512_maskz_mul_epu32(0xff, __m512i(x), _mm512_set1_epi64(factor)));
#elif defined(__AVX2__)
        low = Wide(_mm256_mul_epu32(__m256i(x), _mm256_set1_epi64x(factor)));
#elif defined(__SSE2__)
        low = Wide(_mm_mul_epu32(__m128i(x), _mm_set1_epi64x(factor)));
#else
        low = (x & 0xffffffffu) * std::uint64_t(factor);
#endif
        high = low >> 32;
    }
};

// Bit i is set where x[i] >= least, of 16 numbers.
inline std::uint32_t bits_at_least(const std::uint32_t* x, std::uint32_t least) {
#if defined(__AVX512F__)
    return _mm512_cmpge_epu32_mask(_mm512_load_si512(x), _mm512_set1_epi32(int(least)));
#else
    std::uint32_t bits = 0;
#if defined(__SSE2__)
    constexpr int each = int(lanes<std::uint32_t>);
    for (int i = 0; i < 16; i += each) {
        const auto is_set = load(x + i) >= broadcast(least);
#if defined(__AVX2__)
        bits |= std::uint32_t(_mm256_movemask_ps(__m256(is_set))) << i;
#else
        bits |= std::uint32_t(_mm_movemask_ps(__m128(is_set))) << i;
#endif
    }
#else
    for (int i = 0; i < 16; ++i) bits |= std::uint32_t(x[i] >= least) << i;
#endif
    return bits;
#endif
}

}  // namespace fnn::FNN_ISA::exec
