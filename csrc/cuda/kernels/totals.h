// Sums of many numbers, in float64, by one block in an order that only their number decides.
#pragma once

#include "cuda/runtime.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::device {

constexpr int total_threads = 256;

template <int K>
struct TotalParts {
    double sums[K][total_threads];
};

template <int K, class F>
__global__ void __launch_bounds__(total_threads) totals_kernel(index n, F f) {
    auto& s = shared<TotalParts<K>>();
    const int t = int(threadIdx.x);
    double sums[K] = {};
    for (index i = t; i < n; i += total_threads) {
        double terms[K];
        f(i, terms);
        for (int k = 0; k < K; ++k) sums[k] += terms[k];
    }
    for (int k = 0; k < K; ++k) s.sums[k][t] = sums[k];
    for (int half = total_threads / 2; half > 0; half /= 2) {
        __syncthreads();
        for (int k = 0; k < K && t < half; ++k) s.sums[k][t] += s.sums[k][t + half];
    }
    if (t > 0) return;
    for (int k = 0; k < K; ++k) sums[k] = s.sums[k][0];
    f.put(sums);
}

// f.put(sums) of the K terms that f(i, terms) gives of i from 0 to n - 1.
template <int K, class F>
void total(Stream& stream, index n, const F& f) {
    launch(stream, totals_kernel<K, F>, dim3(1), dim3(total_threads), sizeof(TotalParts<K>), n, f);
}

}  // namespace fnn::FNN_ISA::device
