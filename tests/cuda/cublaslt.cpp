// In place of NVIDIA's cuBLASLt, for tests: the few functions that csrc/cuda/cublaslt.cu calls, by what its
// manual says of them. Matrices are column-major. What does not fit is a status other than 0.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "emulate.h"

namespace {

constexpr int success = 0, invalid = 7;

struct Description {
    int compute, scale, transposes[2] = {0, 0};
};
struct Layout {
    int type;
    std::uint64_t rows, cols;
    std::int64_t ld;
};
struct Preference {
    std::uint64_t workspace = 1 << 20;
    std::uint32_t reductions = 7, alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};
struct Way {
    std::uint64_t algorithm[8];
    std::size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

int calls = 0;

struct Matrix {
    const void* data;
    Layout layout;
    bool transposed = false;

    std::uint64_t rows() const { return transposed ? layout.cols : layout.rows; }
    std::uint64_t cols() const { return transposed ? layout.rows : layout.cols; }
    template <class T>
    T at(std::uint64_t i, std::uint64_t j) const {
        if (transposed) std::swap(i, j);
        return static_cast<const T*>(data)[i + j * std::uint64_t(layout.ld)];
    }
};

template <class T>
void multiply(T alpha, const Matrix& a, const Matrix& b, T beta, T* d, const Layout& layout) {
    for (std::uint64_t j = 0; j < layout.cols; ++j)
        for (std::uint64_t i = 0; i < layout.rows; ++i) {
            T sum = 0;
            for (std::uint64_t p = 0; p < a.cols(); ++p) sum += a.at<T>(i, p) * b.at<T>(p, j);
            T& to = d[i + j * std::uint64_t(layout.ld)];
            to = alpha * sum + (beta == 0 ? 0 : beta * to);
        }
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int cublaslt_calls() { return calls; }

EXPORTED int cublasLtCreate(void** handle) {
    static int here;
    *handle = &here;
    return success;
}
EXPORTED int cublasLtMatmulDescCreate(void** to, int compute, int scale) {
    *to = new Description{compute, scale};
    return (compute == 68 && scale == 0) || (compute == 70 && scale == 1) ? success : invalid;
}
EXPORTED int cublasLtMatmulDescSetAttribute(void* of, int what, const void* value, std::size_t size) {
    if ((what != 3 && what != 4) || size != sizeof(int)) return invalid;
    std::memcpy(&static_cast<Description*>(of)->transposes[what - 3], value, size);
    return success;
}
EXPORTED int cublasLtMatmulDescDestroy(void* it) {
    delete static_cast<Description*>(it);
    return success;
}
EXPORTED int cublasLtMatrixLayoutCreate(void** to, int type, std::uint64_t rows, std::uint64_t cols,
                                        std::int64_t ld) {
    *to = new Layout{type, rows, cols, ld};
    return ld >= std::int64_t(rows) ? success : invalid;
}
EXPORTED int cublasLtMatrixLayoutDestroy(void* it) {
    delete static_cast<Layout*>(it);
    return success;
}
EXPORTED int cublasLtMatmulPreferenceCreate(void** to) {
    *to = new Preference;
    return success;
}
EXPORTED int cublasLtMatmulPreferenceSetAttribute(void* of, int what, const void* value, std::size_t size) {
    auto* const preference = static_cast<Preference*>(of);
    void* const to = what == 1               ? static_cast<void*>(&preference->workspace)
                     : what == 3             ? &preference->reductions
                     : what >= 5 && what < 9 ? &preference->alignment[what - 5]
                                             : nullptr;
    if (to == nullptr || size != (what == 1 ? 8 : 4)) return invalid;
    std::memcpy(to, value, size);
    return success;
}
EXPORTED int cublasLtMatmulPreferenceDestroy(void* it) {
    delete static_cast<Preference*>(it);
    return success;
}
EXPORTED int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* given, int wanted,
                                            Way* ways, int* found) {
    const auto* const preference = static_cast<Preference*>(given);
    if (preference->workspace != 0 || preference->reductions != 0 || wanted != 1) return invalid;
    ways[0] = {};
    for (int k = 0; k < 4; ++k) ways[0].algorithm[k] = preference->alignment[k];  // that it relies on
    *found = 1;
    return success;
}
EXPORTED int cublasLtMatmul(void*, void* description, const void* alpha, const void* a, void* layout_a,
                            const void* b, void* layout_b, const void* beta, const void* c, void* layout_c,
                            void* d, void* layout_d, const std::uint64_t* algorithm, void*, std::size_t bytes,
                            cudaStream_t stream) {
    const auto& how = *static_cast<Description*>(description);
    const Matrix A{a, *static_cast<Layout*>(layout_a), how.transposes[0] != 0};
    const Matrix B{b, *static_cast<Layout*>(layout_b), how.transposes[1] != 0};
    const Layout D = *static_cast<Layout*>(layout_d);
    const void* const pointers[4] = {a, b, c, d};
    for (int k = 0; k < 4; ++k)
        if (reinterpret_cast<std::uintptr_t>(pointers[k]) % algorithm[k] != 0) return invalid;
    if (A.rows() != D.rows || B.cols() != D.cols || A.cols() != B.rows() || c != d || layout_c != layout_d ||
        bytes != 0)
        return invalid;
    ++calls;
    if (how.scale == 0) {
        const float x = *static_cast<const float*>(alpha), y = *static_cast<const float*>(beta);
        stream->push([=] { multiply(x, A, B, y, static_cast<float*>(d), D); });
    } else {
        const double x = *static_cast<const double*>(alpha), y = *static_cast<const double*>(beta);
        stream->push([=] { multiply(x, A, B, y, static_cast<double*>(d), D); });
    }
    return success;
}
