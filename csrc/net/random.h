// Random arrays for initialisation, and random orders of rows.
#pragma once

#include <utility>

#include "exec/elementwise.h"
#include "rules/beta.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Uniform {
    std::uint64_t seed, stream;
    T* out;
    FNN_HD void operator()(index i) const { out[i] = rules::uniform<T>(seed, stream, std::uint64_t(i)); }
};

template <class T>
struct Normal {
    std::uint64_t seed, stream;
    T* out;
    FNN_HD void operator()(index i) const { out[i] = rules::normal<T>(seed, stream, std::uint64_t(i)); }
};

template <class T>
void uniform(std::uint64_t seed, std::uint64_t stream, T* out, index n) {
    exec::elementwise({0, n}, Uniform<T>{seed, stream, out});
}

template <class T>
void normal(std::uint64_t seed, std::uint64_t stream, T* out, index n) {
    exec::elementwise({0, n}, Normal<T>{seed, stream, out});
}

// Each from numbers of its own.
inline void beta(double alpha, std::uint64_t seed, std::uint64_t stream, double* out, index n) {
    for (index i = 0; i < n; ++i) out[i] = rules::beta(alpha, seed, stream, std::uint64_t(i));
}

// Random bits of the indices last, last - 1, ...
struct BitsBackwards {
    std::uint64_t seed, stream;
    index last;
    std::uint64_t* out;
    FNN_HD void operator()(index i) const { out[i] = rules::bits(seed, stream, std::uint64_t(last - i)); }
};

// A random order of 0 ... n - 1: Fisher and Yates, as in Durstenfeld (1964). The random numbers, which are
// most of the work, are drawn some at a time, so that they vectorise.
inline void permutation(std::uint64_t seed, std::uint64_t stream, std::int64_t* out, index n) {
    constexpr index at_once = 256;
    std::uint64_t bits[at_once];
    for (index i = 0; i < n; ++i) out[i] = i;
    for (index last = n - 1; last > 0; last -= at_once) {
        const index count = exec::min(last, at_once);
        exec::elementwise({0, count}, BitsBackwards{seed, stream, last, bits});
        for (index k = 0; k < count; ++k)
            std::swap(out[last - k], out[rules::bounded(bits[k], std::uint64_t(last - k + 1))]);
    }
}

}  // namespace fnn::FNN_ISA::net
