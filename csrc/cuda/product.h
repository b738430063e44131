// Products of matrices, row-major: the one function through which every layer multiplies.
#pragma once

#include "cuda/runtime.h"

namespace fnn::FNN_ISA::device {

enum class Trans { no, yes };

// C (m, n) = A (m, k) B (k, n), or C plus that if `add`. What is transposed lies in memory as (k, m) or (n,
// k); lda, ldb, ldc: from row to row in memory. Every sum is made in one order, whatever the device.
template <class T>
void product(Stream&, Trans ta, Trans tb, index m, index n, index k, const T* A, index lda, const T* B,
             index ldb, bool add, T* C, index ldc);

extern template void product(Stream&, Trans, Trans, index, index, index, const float*, index, const float*,
                             index, bool, float*, index);
extern template void product(Stream&, Trans, Trans, index, index, index, const double*, index, const double*,
                             index, bool, double*, index);

}  // namespace fnn::FNN_ISA::device
