// A function of one index for every index.
#pragma once

#include "cuda/runtime.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::device {

template <class F>
__global__ void __launch_bounds__(256) elementwise_kernel(index n, F f) {
    const index step = index(gridDim.x) * blockDim.x;
    for (index i = index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// f(i) for i from 0 to n - 1; no i may write what another reads.
template <class F>
void elementwise(Stream& stream, index n, const F& f) {
    constexpr index threads = 256, most = 1 << 16;
    if (n == 0) return;
    launch(stream, elementwise_kernel<F>, dim3(unsigned(exec::min(exec::divide_up(n, threads), most))),
           dim3(threads), 0, n, f);
}

}  // namespace fnn::FNN_ISA::device
