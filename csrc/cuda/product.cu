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

template <class T>
struct Matrix {
    const T* data;
    index stride;
    bool transposed;
    __device__ T at(index i, index j) const {
        return transposed ? data[j * stride + i] : data[i * stride + j];
    }
};

// Part (depth, size) of a matrix that has `outer` rows along `size` and `inner` along `depth`; zero outside.
// The threads go along what follows in memory.
template <class T, int size, int depth, int threads>
__device__ void fetch(T (&to)[depth][size + 1], const Matrix<T>& from, bool inner_follows, index outer,
                      index inner, index first_outer, index first_inner) {
    for (int e = int(threadIdx.x); e < size * depth; e += threads) {
        const int i = inner_follows ? e / depth : e % size, p = inner_follows ? e % depth : e / size;
        const bool inside = first_outer + i < outer && first_inner + p < inner;
        to[p][i] = inside ? from.at(first_outer + i, first_inner + p) : T(0);
    }
}

template <class T, int size, int depth, int own>
__global__ void __launch_bounds__(Tile<size, depth, own>::threads)
    product_kernel(index m, index n, index k, Matrix<T> A, Matrix<T> B, bool add, T* C, index ldc) {
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
            T* const to = C + i * ldc + j;
            *to = add ? *to + sums[r][c] : sums[r][c];
        }
}

template <int size, int depth, int own, class T>
void launch_product(Stream& stream, index m, index n, index k, const Matrix<T>& A, const Matrix<T>& B,
                    bool add, T* C, index ldc) {
    using Tile = Tile<size, depth, own>;
    const dim3 grid(unsigned(exec::divide_up(m, size)), unsigned(exec::divide_up(n, size)));
    launch(stream, product_kernel<T, size, depth, own>, grid, dim3(Tile::threads),
           sizeof(typename Tile::template Shared<T>), m, n, k, A, B, add, C, ldc);
}

template <class T>
void product(Stream& stream, Trans ta, Trans tb, index m, index n, index k, const T* A, index lda, const T* B,
             index ldb, bool add, T* C, index ldc) {
    if (cublaslt_product(stream, ta, tb, m, n, k, A, lda, B, ldb, add, C, ldc)) return;
    constexpr index wide = 128, enough = 32;  // tiles that keep a device busy
    const Matrix<T> a{A, lda, ta == Trans::yes};
    const Matrix<T> b{B, ldb, tb == Trans::no};  // read as (n, k)
    if (exec::divide_up(m, wide) * exec::divide_up(n, wide) >= enough)
        launch_product<wide, 8, 8>(stream, m, n, k, a, b, add, C, ldc);
    else
        launch_product<32, 16, 4>(stream, m, n, k, a, b, add, C, ldc);
}

template void product(Stream&, Trans, Trans, index, index, index, const float*, index, const float*, index,
                      bool, float*, index);
template void product(Stream&, Trans, Trans, index, index, index, const double*, index, const double*, index,
                      bool, double*, index);

}  // namespace fnn::FNN_ISA::device
