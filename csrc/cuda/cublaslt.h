// Products of wide matrices by NVIDIA's cuBLASLt, for those who ask for it: opened at run time and never
// closed, neither linked nor needed to build.
#pragma once

#include "cuda/product.h"

namespace fnn::FNN_ISA::device {

// From then on. Throws std::runtime_error, saying why, if the library cannot be used.
void open_cublaslt(const char* path);

// What `product` says, if cuBLASLt is open and has a way to compute it; false: nothing was done. No sum is
// split, so that the bits are the same run after run on the same model of device and library.
template <class T>
bool cublaslt_product(Stream&, Trans ta, Trans tb, index m, index n, index k, const T* A, index lda,
                      const T* B, index ldb, bool add, T* C, index ldc);

extern template bool cublaslt_product(Stream&, Trans, Trans, index, index, index, const float*, index,
                                      const float*, index, bool, float*, index);
extern template bool cublaslt_product(Stream&, Trans, Trans, index, index, index, const double*, index,
                                      const double*, index, bool, double*, index);

}  // namespace fnn::FNN_ISA::device
