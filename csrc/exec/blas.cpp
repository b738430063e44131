#include "exec/blas.h"

#include <atomic>

namespace fnn {

namespace {

std::atomic<BlasGemm<float>> single_precision{nullptr};
std::atomic<BlasGemm<double>> double_precision{nullptr};

}  // namespace

template <>
BlasGemm<float> blas_gemm() {
    return single_precision.load(std::memory_order_relaxed);
}
template <>
BlasGemm<double> blas_gemm() {
    return double_precision.load(std::memory_order_relaxed);
}

void use_blas(BlasGemm<float> sgemm, BlasGemm<double> dgemm) {
    single_precision.store(sgemm);
    double_precision.store(dgemm);
}

}  // namespace fnn
