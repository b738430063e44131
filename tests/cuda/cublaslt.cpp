// In place of NVIDIA's cuBLASLt, for tests: the few functions that csrc/cuda/cublaslt.cu calls, by what its
// manual says of them. Matrices are column-major. What does not fit is a status other than 0.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "emulate.h"

namespace {

constexpr int success = 0, invalid = 7;
constexpr int float32 = 0, bfloat16 = 14, compute_tfloat32 = 77;

struct Description {
    int compute, scale, transposes[2] = {0, 0};
    unsigned epilogue = 1;  // none
    const void* bias = nullptr;
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

// What was computed, for those who ask.
struct Call {
    int compute, operands;
    unsigned epilogue;
};
std::vector<Call> calls;
bool knows_a_way = true;

// To eleven digits, and fewer below the smallest normal number.
float tfloat32(float x) {
    int exponent = 0;
    const float digits = std::frexp(x, &exponent);
    if (exponent < -125) return std::ldexp(std::nearbyint(std::ldexp(x, 136)), -136);
    return std::ldexp(std::nearbyint(std::ldexp(digits, 11)), exponent - 11);
}

struct Matrix {
    const void* data;
    Layout layout;
    bool transposed = false, rounded = false;

    std::uint64_t rows() const { return transposed ? layout.cols : layout.rows; }
    std::uint64_t cols() const { return transposed ? layout.rows : layout.cols; }
    template <class T>
    T at(std::uint64_t i, std::uint64_t j) const {
        if (transposed) std::swap(i, j);
        const std::uint64_t place = i + j * std::uint64_t(layout.ld);
        if (layout.type == bfloat16) {
            const std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t*>(data)[place]) << 16;
            float x;
            std::memcpy(&x, &bits, sizeof(x));
            return x;
        }
        const T x = static_cast<const T*>(data)[place];
        return rounded ? T(tfloat32(float(x))) : x;
    }
};

template <class T>
void multiply(T alpha, const Matrix& a, const Matrix& b, T beta, T* d, const Layout& layout, const T* bias) {
    for (std::uint64_t j = 0; j < layout.cols; ++j)
        for (std::uint64_t i = 0; i < layout.rows; ++i) {
            T sum = 0;
            for (std::uint64_t p = 0; p < a.cols(); ++p) sum += a.at<T>(i, p) * b.at<T>(p, j);
            T& to = d[i + j * std::uint64_t(layout.ld)];
            to = alpha * sum + (beta == 0 ? 0 : beta * to) + (bias != nullptr ? bias[i] : 0);
        }
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// How often it has multiplied; and that so, with operands of that type.
EXPORTED int cublaslt_calls() { return int(calls.size()); }
EXPORTED int cublaslt_calls_of(int compute, int operands, unsigned epilogue) {
    int n = 0;
    for (const Call& call : calls)
        n += call.compute == compute && call.operands == operands && call.epilogue == epilogue;
    return n;
}
EXPORTED void cublaslt_knows_a_way(int knows) { knows_a_way = knows != 0; }

EXPORTED int cublasLtCreate(void** handle) {
    static int here;
    *handle = &here;
    return success;
}
EXPORTED int cublasLtMatmulDescCreate(void** to, int compute, int scale) {
    *to = new Description{compute, scale};
    const bool single = compute == 68 || compute == compute_tfloat32;
    return (single && scale == float32) || (compute == 70 && scale == 1) ? success : invalid;
}
EXPORTED int cublasLtMatmulDescSetAttribute(void* of, int what, const void* value, std::size_t size) {
    auto* const description = static_cast<Description*>(of);
    void* const to = what == 3   ? &description->transposes[0]
                     : what == 4 ? &description->transposes[1]
                     : what == 7 ? &description->epilogue
                     : what == 8 ? static_cast<void*>(&description->bias)
                                 : nullptr;
    if (to == nullptr || size != (what == 8 ? 8 : 4)) return invalid;
    std::memcpy(to, value, size);
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
EXPORTED int cublasLtMatmulAlgoGetHeuristic(void*, void* description, void*, void*, void*, void*, void* given,
                                            int wanted, Way* ways, int* found) {
    const auto* const preference = static_cast<Preference*>(given);
    const auto& how = *static_cast<Description*>(description);
    if (preference->workspace != 0 || preference->reductions != 0 || wanted != 1) return invalid;
    ways[0] = {};
    for (int k = 0; k < 4; ++k) ways[0].algorithm[k] = preference->alignment[k];  // that it relies on
    *found = knows_a_way && (how.epilogue == 1 || how.scale == float32) ? 1 : 0;
    return success;
}
EXPORTED int cublasLtMatmul(void*, void* description, const void* alpha, const void* a, void* layout_a,
                            const void* b, void* layout_b, const void* beta, const void* c, void* layout_c,
                            void* d, void* layout_d, const std::uint64_t* algorithm, void*, std::size_t bytes,
                            cudaStream_t stream) {
    const auto& how = *static_cast<Description*>(description);
    const bool rounds = how.compute == compute_tfloat32;
    const Matrix A{a, *static_cast<Layout*>(layout_a), how.transposes[0] != 0, rounds};
    const Matrix B{b, *static_cast<Layout*>(layout_b), how.transposes[1] != 0, rounds};
    const Layout D = *static_cast<Layout*>(layout_d);
    const void* const pointers[4] = {a, b, c, d};
    for (int k = 0; k < 4; ++k)
        if (reinterpret_cast<std::uintptr_t>(pointers[k]) % algorithm[k] != 0) return invalid;
    if (A.rows() != D.rows || B.cols() != D.cols || A.cols() != B.rows() || c != d || layout_c != layout_d ||
        bytes != 0 || A.layout.type != B.layout.type || D.type != how.scale)
        return invalid;
    if (how.epilogue != 1 && (how.epilogue != 4 || how.scale != float32)) return invalid;
    const void* const bias = how.epilogue == 4 ? how.bias : nullptr;
    if (reinterpret_cast<std::uintptr_t>(bias) % 16 != 0) return invalid;
    calls.push_back({how.compute, A.layout.type, how.epilogue});
    const auto queue = [&](auto zero) {
        using T = decltype(zero);
        const T x = *static_cast<const T*>(alpha), y = *static_cast<const T*>(beta);
        const auto* const own = static_cast<const T*>(bias);
        stream->push([=] { multiply(x, A, B, y, static_cast<T*>(d), D, own); });
    };
    if (how.scale == float32) {
        queue(0.0f);
    } else {
        queue(0.0);
    }
    return success;
}
