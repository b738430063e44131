// One vector type, as wide as the instruction set allows, over the vector extensions of GCC and Clang.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstring>

#include "common.h"

namespace fnn::FNN_ISA::exec {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
constexpr int tile_rows = 14;   // 28 accumulators, 2 columns of b, 1 broadcast, of 32 registers
constexpr int paired_rows = 6;  // of two panels at once: 24 + 4 + 1, with fewer loads for each multiply-add
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
constexpr int tile_rows = 6;    // 12 + 2 + 1 of 16 registers
constexpr int paired_rows = 0;  // 3 rows would leave none for the broadcast
#else
constexpr int vector_bytes = 16;
constexpr int tile_rows = 6;
constexpr int paired_rows = 0;
#endif

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(vector_bytes)));
};

template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr index lanes = vector_bytes / index(sizeof(T));

template <class T>
inline Vector<T> load(const T* p) {  // p aligned to a vector
    return *reinterpret_cast<const Vector<T>*>(p);
}

template <class T>
inline Vector<T> load_unaligned(const T* p) {
    Vector<T> v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}

template <class T>
inline void store_unaligned(T* p, Vector<T> v) {
    std::memcpy(p, &v, sizeof(v));
}

template <class T>
inline void store(T* p, Vector<T> v) {
    *reinterpret_cast<Vector<T>*>(p) = v;
}

template <class T>
inline Vector<T> broadcast(T x) {
    return x - Vector<T>{};  // which is x, also for -0, and so no operation at all
}

// a * b + c: rounded once where the instruction set fuses it, otherwise twice.
#if defined(__AVX512F__)
inline Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> c) {
    return _mm512_fmadd_ps(a, b, c);
}
inline Vector<double> multiply_add(Vector<double> a, Vector<double> b, Vector<double> c) {
    return _mm512_fmadd_pd(a, b, c);
}
#elif defined(__AVX2__)
inline Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> c) {
    return _mm256_fmadd_ps(a, b, c);
}
inline Vector<double> multiply_add(Vector<double> a, Vector<double> b, Vector<double> c) {
    return _mm256_fmadd_pd(a, b, c);
}
#else
template <class V>
inline V multiply_add(V a, V b, V c) {
    return a * b + c;
}
#endif

}  // namespace fnn::FNN_ISA::exec
