// Random arrays for initialisation, and random orders of rows.
#pragma once

#include "exec/elementwise.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Uniform {
    std::uint64_t seed, stream;
    T* out;
    void operator()(index i) const { out[i] = rules::uniform<T>(seed, stream, std::uint64_t(i)); }
};

template <class T>
struct Normal {
    std::uint64_t seed, stream;
    T* out;
    void operator()(index i) const { out[i] = rules::normal<T>(seed, stream, std::uint64_t(i)); }
};

template <class T>
void uniform(std::uint64_t seed, std::uint64_t stream, T* out, index n) {
    exec::elementwise({0, n}, Uniform<T>{seed, stream, out});
}

template <class T>
void normal(std::uint64_t seed, std::uint64_t stream, T* out, index n) {
    exec::elementwise({0, n}, Normal<T>{seed, stream, out});
}

// A random order of 0 ... n - 1: Fisher and Yates, as in Durstenfeld (1964).
inline void permutation(std::uint64_t seed, std::uint64_t stream, std::int64_t* out, index n) {
    for (index i = 0; i < n; ++i) out[i] = i;
    for (index i = n - 1; i > 0; --i) {
        const auto j = rules::bounded(seed, stream, std::uint64_t(i), std::uint64_t(i + 1));
        const std::int64_t other = out[j];
        out[j] = out[i];
        out[i] = other;
    }
}

}  // namespace fnn::FNN_ISA::net
