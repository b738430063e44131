// The micro-kernels, products of matrices, and what else runs below a network.
#include "exec/gemm/few.h"
#include "exec/gemm/gemm.h"
#include "exec/gemm/kernel.h"
#include "exec/gemm/runs_kernel.h"
#include "exec/lanczos.h"
#include "exec/measure.h"
#include "isa/units.h"

namespace fnn::FNN_ISA {

template const exec::TileKernels<float> exec::TileKernels<float>::all;
template const exec::TileKernels<double> exec::TileKernels<double>::all;
template const exec::RunKernels<float> exec::RunKernels<float>::all;
template const exec::RunKernels<double> exec::RunKernels<double>::all;
template decltype(exec::multiply<float>) exec::multiply<float>;
template decltype(exec::multiply<double>) exec::multiply<double>;
template decltype(exec::multiply_transposed<float>) exec::multiply_transposed<float>;
template decltype(exec::multiply_transposed<double>) exec::multiply_transposed<double>;
template decltype(exec::multiply_few<float>) exec::multiply_few<float>;
template decltype(exec::multiply_few<double>) exec::multiply_few<double>;
template decltype(exec::transpose<float>) exec::transpose<float>;
template decltype(exec::transpose<double>) exec::transpose<double>;

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.gemm = exec::gemm<T>;
    to.transpose_matrix = exec::transpose_matrix<T>;
    to.lanczos_step = exec::lanczos_step<T>;
}

}  // namespace

void fill_products(Table& to) {
    fill(to.float32);
    fill(to.float64);
    to.fma_peak = exec::fma_peak;
    to.memory_bandwidth = exec::memory_bandwidth;
}

}  // namespace fnn::FNN_ISA
