// Sums over the rows of a matrix, column by column, in an order that only its shape decides.
#pragma once

#include "cuda/runtime.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::device {

// A block has 32 columns, and every 16th row of them is one thread's.
constexpr int block_columns = 32, row_turns = 16;

template <class A, int K>
struct ColumnParts {
    A sums[K][row_turns][block_columns];
};

template <class A, int K, class F>
__global__ void __launch_bounds__(block_columns* row_turns) columns_kernel(index rows, index cols, F f) {
    auto& s = shared<ColumnParts<A, K>>();
    const index j = index(blockIdx.x) * block_columns + threadIdx.x;
    A sums[K] = {};
    for (index r = threadIdx.y; j < cols && r < rows; r += row_turns) {
        A terms[K];
        f(r * cols + j, terms);
        for (int k = 0; k < K; ++k) sums[k] += terms[k];
    }
    for (int k = 0; k < K; ++k) s.sums[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
    if (threadIdx.y > 0 || j >= cols) return;
    for (int k = 0; k < K; ++k)
        for (int turn = 1; turn < row_turns; ++turn) sums[k] += s.sums[k][turn][threadIdx.x];
    f.put(j, sums);
}

// f.put(column, sums) of the K terms that f(place, terms) gives of each of its places, added as numbers of
// type A.
template <class A, int K, class F>
void for_columns(Stream& stream, index rows, index cols, const F& f) {
    launch(stream, columns_kernel<A, K, F>, dim3(unsigned(exec::divide_up(cols, block_columns))),
           dim3(block_columns, row_turns), sizeof(ColumnParts<A, K>), rows, cols, f);
}

}  // namespace fnn::FNN_ISA::device
