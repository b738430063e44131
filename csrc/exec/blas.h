// Another provider of matrix products: the gemm of a BLAS that the process has loaded, if it was handed over.
#pragma once

#include "common.h"

namespace fnn {

// Fortran's xGEMM: column-major matrices, 32-bit sizes, everything by reference.
template <class T>
using BlasGemm = void (*)(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
                          const int* k, const T* alpha, const T* a, const int* a_stride, const T* b,
                          const int* b_stride, const T* beta, T* c, const int* c_stride);

// Null: the products are our own.
template <class T>
BlasGemm<T> blas_gemm();

void use_blas(BlasGemm<float> sgemm, BlasGemm<double> dgemm);

}  // namespace fnn
