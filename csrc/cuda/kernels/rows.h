// A function of one row for every row, each with the 32 lanes of a warp.
#pragma once

#include "cuda/runtime.h"
#include "exec/range.h"
#include "rules/math.h"

namespace fnn::FNN_ISA::device {

template <class T>
struct Largest {
    T value;
    index where;  // the first that has it
};

// What goes through the numbers of a row. All lanes come to its reductions, and all get the same bits.
struct Warp {
    static constexpr int lanes = 32;
    int lane;

    // f(j) for j from 0 to n - 1
    template <class F>
    __device__ void each(index n, const F& f) const {
        for (index j = lane; j < n; j += lanes) f(j);
    }
    template <class T>
    __device__ T sum(T x) const {
        for (int by = lanes / 2; by > 0; by /= 2) x += __shfl_xor_sync(0xffffffffu, x, by);
        return x;
    }
    __device__ bool all(bool each) const { return sum(each ? 0 : 1) == 0; }
    // Of f(j), but for NaN.
    template <class T, class F>
    __device__ Largest<T> largest(index n, const F& f) const {
        Largest<T> best{-rules::Format<T>::infinity, n};
        each(n, [&](index j) { take({f(j), j}, best); });
        for (int by = lanes / 2; by > 0; by /= 2) {
            const T value = __shfl_xor_sync(0xffffffffu, best.value, by);
            take({value, __shfl_xor_sync(0xffffffffu, best.where, by)}, best);
        }
        return best;
    }

   private:
    template <class T>
    __device__ static void take(const Largest<T>& other, Largest<T>& best) {
        if (other.value > best.value || (other.value == best.value && other.where < best.where)) best = other;
    }
};

template <class F>
__global__ void __launch_bounds__(128) rows_kernel(index rows, F f) {
    const index row = (index(blockIdx.x) * blockDim.x + threadIdx.x) / Warp::lanes;
    if (row < rows) f(row, Warp{int(threadIdx.x) % Warp::lanes});
}

// f(row, warp) for all rows
template <class F>
void for_rows(Stream& stream, index rows, const F& f) {
    constexpr index threads = 128;
    if (rows == 0) return;
    launch(stream, rows_kernel<F>, dim3(unsigned(exec::divide_up(rows * Warp::lanes, threads))),
           dim3(threads), 0, rows, f);
}

}  // namespace fnn::FNN_ISA::device
