// Products of matrices, row-major without gaps: the one function through which every layer multiplies.
#pragma once

#include "cuda/runtime.h"
#include "net/call.h"
#include "rules/activations.h"
#include "rules/rounding.h"

namespace fnn::FNN_ISA::device {

using rules::BFloat16;

// What is multiplied.
template <class T>
struct Operand {
    const T* data;
    bool transposed = false;            // in memory
    const BFloat16* rounded = nullptr;  // the same, where somebody has rounded it already
};

// to = from
struct Round {
    BFloat16* to;
    const float* from;
    FNN_HD void operator()(index i) const { to[i] = BFloat16::nearest(from[i]); }
};

// What operands are rounded to, and memory for the two of a product in bfloat16.
struct Rounding {
    ComputeType to = ComputeType::same;
    BFloat16 *a = nullptr, *b = nullptr;
};

// What becomes of a sum in column j: + bias (n,), and max(., 0).
template <class T>
struct Epilogue {
    const T* bias = nullptr;
    bool relu = false;
    FNN_HD T operator()(T sum, index j) const {
        const T z = bias != nullptr ? sum + bias[j] : sum;
        return relu ? rules::ReLU<T>{}.value(z) : z;
    }
};

// C (m, n) = A (m, k) B (k, n), or C plus that if `add`; and then the epilogue. Every sum is made in one
// order, whatever the device, and in T.
template <class T>
void product(Stream&, const Rounding&, index m, index n, index k, const Operand<T>& A, const Operand<T>& B,
             bool add, T* C, const Epilogue<T>& then = {});

extern template void product(Stream&, const Rounding&, index, index, index, const Operand<float>&,
                             const Operand<float>&, bool, float*, const Epilogue<float>&);
extern template void product(Stream&, const Rounding&, index, index, index, const Operand<double>&,
                             const Operand<double>&, bool, double*, const Epilogue<double>&);

}  // namespace fnn::FNN_ISA::device
