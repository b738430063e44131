// Products of wide matrices by NVIDIA's cuBLASLt, for those who ask for it: opened at run time and never
// closed, neither linked nor needed to build.
#pragma once

#include "cuda/product.h"

namespace fnn::FNN_ISA::device {

// From then on those of rounded operands, on the GPU on which the thread computes; with `always`, those of
// float32 and float64, too. The first library stays. Throws std::runtime_error, saying why, if it cannot be
// used.
void use_cublaslt(const char* path, bool always);

// What `product` says, if cuBLASLt is in use and has a way to compute it; false: nothing was done. No sum is
// split, so that the bits are the same run after run on the same model of device and library.
//
// The library adds the bias where it lies as the library needs it. What else it offers is ours: its max(., 0)
// promises nothing of NaN, and the column sums that it takes of an operand, for the gradient of a bias, would
// be those of rounded numbers, in no order that it tells.
template <class T>
bool cublaslt_product(Stream&, const Rounding&, index m, index n, index k, const Operand<T>& A,
                      const Operand<T>& B, bool add, T* C, const Epilogue<T>& then);

extern template bool cublaslt_product(Stream&, const Rounding&, index, index, index, const Operand<float>&,
                                      const Operand<float>&, bool, float*, const Epilogue<float>&);
extern template bool cublaslt_product(Stream&, const Rounding&, index, index, index, const Operand<double>&,
                                      const Operand<double>&, bool, double*, const Epilogue<double>&);

}  // namespace fnn::FNN_ISA::device
