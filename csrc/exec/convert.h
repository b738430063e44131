// Rows between the user's row-major arrays and panels.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

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

// One of the above, chosen once for many numbers.
template <class T>
using Reader = void (*)(T* out, const char* from, index stride, index n);

// Row r of `to` = to.cols numbers from `from` on, `stride` bytes apart; the padding becomes zero. From some
// panel on.
template <class T, class Read>
inline void row_to_panels(Panels<T> to, index r, const char* from, index stride, const Read& read,
                          index first = 0) {
    for (index p = first; p < to.count(); ++p) {
        T* out = to.row(p, r);
        const index used = to.used(p);
        read(out, from + p * Panels<T>::full * stride, stride, used);
        for (index j = used; j < to.width(p); ++j) out[j] = 0;
    }
}

// The same for numbers that are of type T already: whole panels without a look at each.
template <class T>
inline void row_to_panels(Panels<T> to, index r, const char* from, index stride) {
    constexpr index full = Panels<T>::full, bytes = full * index(sizeof(T));
    const index whole = stride == sizeof(T) ? to.cols / full : 0;
    for (index p = 0; p < whole; ++p) std::memcpy(to.panel(p) + r * full, from + p * bytes, bytes);
    const auto read = [](T* out, const char* from, index stride, index n) {
        read_numbers<Stored<T>>(out, from, stride, n);
    };
    row_to_panels(to, r, from, stride, read, whole);
}

// An affine map for each column, (x - center) scale + shift: a mean that is most of x goes first, without a
// rounding before it; in double precision, whatever comes and goes.
struct ColumnMap {
    double *center = nullptr, *scale = nullptr, *shift = nullptr;  // null: no map

    explicit operator bool() const { return scale != nullptr; }
    double operator()(double x, index column) const {
        return (x - center[column]) * scale[column] + shift[column];
    }
};

// The same, mapped.
template <class T>
inline void row_to_panels(Panels<T> to, index r, const char* from, index stride, Reader<double> read,
                          ColumnMap map) {
    constexpr index most = Panels<double>::full;
    for (index p = 0; p < to.count(); ++p) {
        T* out = to.row(p, r);
        const index used = to.used(p), first = p * Panels<T>::full;
        for (index begin = 0; begin < used; begin += most) {
            const index n = min(used - begin, most);
            double x[most];
            read(x, from, stride, n);
            for (index j = 0; j < n; ++j) out[begin + j] = T(map(x[j], first + begin + j));
            from += n * stride;
        }
        for (index j = used; j < to.width(p); ++j) out[j] = 0;
    }
}

// Row r of `to` = a row of a sparse matrix: n numbers from `from` on, `stride` bytes apart, number k in
// column columns[k], and zeros; each turned into a T by put(number, column). The columns are checked here,
// where they are read: another thread might change them after any earlier check.
template <class T, class X, class Integer, class Put>
inline void sparse_row_to_panels(Panels<T> to, index r, const char* from, index stride, Reader<X> read,
                                 const Integer* columns, index n, const Put& put) {
    constexpr index full = Panels<T>::full, most = Panels<X>::full;
    for (index p = 0; p < to.count(); ++p) {
        T* out = to.row(p, r);
        for (index j = 0; j < to.used(p); ++j) out[j] = put(X(0), p * full + j);
        for (index j = to.used(p); j < to.width(p); ++j) out[j] = 0;
    }
    for (index begin = 0; begin < n; begin += most) {
        X x[most];
        read(x, from + begin * stride, stride, min(n - begin, most));
        for (index k = begin; k < min(n, begin + most); ++k) {
            const index column = columns[k];
            if (column < 0 || column >= to.cols)
                throw std::invalid_argument("X: expected indices of a sparse matrix below " +
                                            std::to_string(to.cols) + ", got " + std::to_string(column));
            to.row(column / full, r)[column % full] = put(x[k - begin], column);
        }
    }
}

// to.cols numbers from `to` on = row r of `from`.
template <class T>
inline void row_from_panels(T* to, Panels<const T> from, index r) {
    for (index p = 0; p < from.count(); ++p) {
        const index used = from.used(p);
        copy_row(to, from.row(p, r), used);
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
