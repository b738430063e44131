#include "cuda/product.h"

#include "cuda/cublaslt.h"
#include "exec/range.h"
#include "rules/math.h"

namespace fnn::FNN_ISA::device {

// A block computes `size` x `size` numbers of C, each of its threads `own` x `own` of them, from as large a
// part of A and B as is `depth` deep, which all of its threads fetch together.
template <int size, int depth, int own>
struct Tile {
    static constexpr int edge = size / own;  // threads along it
    static constexpr int threads = edge * edge;

    template <class T>
    struct Shared {
        T a[depth][size + 1], b[depth][size + 1];  // one more: columns in other banks
    };
};

// It is rounded as it is read.
template <class T, class Round>
struct Matrix {
    const T* data;
    index stride;
    bool transposed;
    __device__ T at(index i, index j) const {
        return Round()(transposed ? data[j * stride + i] : data[i * stride + j]);
    }
};

// Part (depth, size) of a matrix that has `outer` rows along `size` and `inner` along `depth`; zero outside.
// The threads go along what follows in memory.
template <class T, int size, int depth, int threads, class From>
__device__ void fetch(T (&to)[depth][size + 1], const From& from, bool inner_follows, index outer,
                      index inner, index first_outer, index first_inner) {
    for (int e = int(threadIdx.x); e < size * depth; e += threads) {
        const int i = inner_follows ? e / depth : e % size, p = inner_follows ? e % depth : e / size;
        const bool inside = first_outer + i < outer && first_inner + p < inner;
        to[p][i] = inside ? from.at(first_outer + i, first_inner + p) : T(0);
    }
}

template <class T, class Round, int size, int depth, int own>
__global__ void __launch_bounds__(Tile<size, depth, own>::threads)
    product_kernel(index m, index n, index k, Matrix<T, Round> A, Matrix<T, Round> B, bool add, T* C,
                   Epilogue<T> then) {
    using Tile = Tile<size, depth, own>;
    auto& s = shared<typename Tile::template Shared<T>>();
    const index first_i = blockIdx.x * index(size), first_j = blockIdx.y * index(size);
    const int ti = int(threadIdx.x) / Tile::edge, tj = int(threadIdx.x) % Tile::edge;
    T sums[own][own] = {};
    for (index first = 0; first < k; first += depth) {
        fetch<T, size, depth, Tile::threads>(s.a, A, !A.transposed, m, k, first_i, first);
        fetch<T, size, depth, Tile::threads>(s.b, B, !B.transposed, n, k, first_j, first);
        __syncthreads();
        for (int p = 0; p < depth; ++p) {
            T a[own], b[own];
            for (int r = 0; r < own; ++r) a[r] = s.a[p][ti + r * Tile::edge];
            for (int c = 0; c < own; ++c) b[c] = s.b[p][tj + c * Tile::edge];
            for (int r = 0; r < own; ++r)
                for (int c = 0; c < own; ++c) sums[r][c] = rules::mul_add(a[r], b[c], sums[r][c]);
        }
        __syncthreads();
    }
    for (int r = 0; r < own; ++r)
        for (int c = 0; c < own; ++c) {
            const index i = first_i + ti + r * Tile::edge, j = first_j + tj + c * Tile::edge;
            if (i >= m || j >= n) continue;
            T* const to = C + i * n + j;
            *to = then(add ? *to + sums[r][c] : sums[r][c], j);
        }
}

template <int size, int depth, int own, class T, class Round>
void launch_product(Stream& stream, index m, index n, index k, const Matrix<T, Round>& A,
                    const Matrix<T, Round>& B, bool add, T* C, const Epilogue<T>& then) {
    using Tile = Tile<size, depth, own>;
    const dim3 grid(unsigned(exec::divide_up(m, size)), unsigned(exec::divide_up(n, size)));
    launch(stream, product_kernel<T, Round, size, depth, own>, grid, dim3(Tile::threads),
           sizeof(typename Tile::template Shared<T>), m, n, k, A, B, add, C, then);
}

template <class Round, class T>
void own_product(Stream& stream, index m, index n, index k, const Operand<T>& A, const Operand<T>& B,
                 bool add, T* C, const Epilogue<T>& then) {
    constexpr index wide = 128, enough = 32;  // tiles that keep a device busy
    const Matrix<T, Round> a{A.data, A.transposed ? m : k, A.transposed};
    const Matrix<T, Round> b{B.data, B.transposed ? k : n, !B.transposed};  // read as (n, k)
    if (exec::divide_up(m, wide) * exec::divide_up(n, wide) >= enough)
        launch_product<wide, 8, 8>(stream, m, n, k, a, b, add, C, then);
    else
        launch_product<32, 16, 4>(stream, m, n, k, a, b, add, C, then);
}

template <class T>
void product(Stream& stream, const Rounding& rounding, index m, index n, index k, const Operand<T>& A,
             const Operand<T>& B, bool add, T* C, const Epilogue<T>& then) {
    if (cublaslt_product(stream, rounding, m, n, k, A, B, add, C, then)) return;
    if constexpr (std::is_same_v<T, float>) {
        if (rounding.to == ComputeType::tfloat32)
            return own_product<rules::ToTFloat32>(stream, m, n, k, A, B, add, C, then);
        if (rounding.to == ComputeType::bfloat16)
            return own_product<rules::ToBFloat16>(stream, m, n, k, A, B, add, C, then);
    }
    own_product<rules::Unrounded<T>>(stream, m, n, k, A, B, add, C, then);
}

template void product(Stream&, const Rounding&, index, index, index, const Operand<float>&,
                      const Operand<float>&, bool, float*, const Epilogue<float>&);
template void product(Stream&, const Rounding&, index, index, index, const Operand<double>&,
                      const Operand<double>&, bool, double*, const Epilogue<double>&);

}  // namespace fnn::FNN_ISA::device
