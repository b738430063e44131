// c = alpha op(a) op(b) + beta c for row-major matrices, as it crosses into an instruction set's library.
#pragma once

#include "common.h"

namespace fnn {

template <class T>
struct Gemm {
    index m, n, k;  // c (m, n), op(a) (m, k), op(b) (k, n)
    const T *a, *b;
    T* c;
    index a_stride, b_stride, c_stride;  // elements from one row in memory to the next
    bool transpose_a, transpose_b;
    T alpha, beta;
};

}  // namespace fnn
