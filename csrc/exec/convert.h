// Rows between the user's row-major arrays and panels.
#pragma once

#include <cstdint>
#include <cstring>

#include "exec/panels.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// A float16 (IEEE 754 binary16), which not every compiler knows.
struct Half {
    std::uint16_t bits;

    // Exact. Without a branch, so that it vectorises, and without a subnormal float on the way, which the
    // team takes for zero.
    operator float() const {
        const std::uint32_t sign = std::uint32_t(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
        const float subnormal = float(std::int32_t(magnitude)) * 0x1p-24f;
        std::uint32_t x;
        std::memcpy(&x, &subnormal, sizeof(x));
        const std::uint32_t more = magnitude < 0x7c00 ? 112u << 23 : 224u << 23;  // to a float's exponent
        x = magnitude < 0x0400 ? x : (magnitude << 13) + more;
        x |= sign;
        float result;
        std::memcpy(&result, &x, sizeof(x));
        return result;
    }
};

template <class S>
inline S with_bytes_reversed(S x) {
    if constexpr (sizeof(S) == 2) {
        std::uint16_t u;
        std::memcpy(&u, &x, 2);
        u = __builtin_bswap16(u);
        std::memcpy(&x, &u, 2);
    } else if constexpr (sizeof(S) == 4) {
        std::uint32_t u;
        std::memcpy(&u, &x, 4);
        u = __builtin_bswap32(u);
        std::memcpy(&x, &u, 4);
    } else {
        static_assert(sizeof(S) == 8, "numbers of one byte have no order");
        std::uint64_t u;
        std::memcpy(&u, &x, 8);
        u = __builtin_bswap64(u);
        std::memcpy(&x, &u, 8);
    }
    return x;
}

// Numbers of type S as they are stored: at any address, maybe in the other byte order.
template <class S, bool swapped = false>
struct Stored {
    static constexpr index size = sizeof(S);

    static S read(const char* p) {
        S x;
        std::memcpy(&x, p, sizeof(S));
        if constexpr (swapped) x = with_bytes_reversed(x);
        return x;
    }
};

// n <= Panels<T>::full numbers from `from` on, `stride` bytes apart.
template <class S, class T>
inline void read_numbers(T* out, const char* from, index stride, index n) {
    constexpr index full = Panels<T>::full;
    if (stride != S::size) {
        for (index j = 0; j < n; ++j) out[j] = T(S::read(from + j * stride));
    } else if (n == full) {  // a constant length, which is most of the work
        for (index j = 0; j < full; ++j) out[j] = T(S::read(from + j * S::size));
    } else {
        for (index j = 0; j < n; ++j) out[j] = T(S::read(from + j * S::size));
    }
}

// Row r of `to` = to.cols numbers, stored as S says, from `from` on, `stride` bytes apart; the padding
// becomes zero.
template <class S, class T>
inline void row_to_panels(Panels<T> to, index r, const char* from, index stride) {
    for (index p = 0; p < to.count(); ++p) {
        T* out = to.row(p, r);
        const index used = to.used(p);
        read_numbers<S>(out, from, stride, used);
        for (index j = used; j < to.width(p); ++j) out[j] = 0;
        from += used * stride;
    }
}

// to.cols numbers from `to` on = row r of `from`.
template <class T>
inline void row_from_panels(T* to, Panels<const T> from, index r) {
    for (index p = 0; p < from.count(); ++p) {
        const index used = from.used(p);
        std::memcpy(to, from.row(p, r), std::size_t(used) * sizeof(T));
        to += used;
    }
}

// Zeros in the padding of the given rows.
template <class T>
inline void clear_padding(Panels<T> x, Range rows) {
    if (x.count() == 0) return;
    const index p = x.count() - 1;
    for (index r = rows.begin; r < rows.end; ++r)
        for (index j = x.used(p); j < x.width(p); ++j) x.row(p, r)[j] = 0;
}

}  // namespace fnn::FNN_ISA::exec
