#include "cuda/cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>

#include "cuda/kernels/elementwise.h"

namespace fnn::FNN_ISA::device {

// An epilogue of what is stored (., n) already.
template <class T>
struct Finish {
    T* C;
    Epilogue<T> then;
    index n;
    FNN_HD void operator()(index i) const { C[i] = then(C[i], i % n); }
};

namespace {

// What is called of the library's interface in C, with the numbers of its enumerations.
struct Interface {
    using Status = int;  // 0: success
    enum Type { float32 = 0, float64 = 1, bfloat16 = 14 };
    enum Compute { compute_float32 = 68, compute_float64 = 70, compute_tfloat32 = 77 };
    enum OfDescription { transposes_a = 3, transposes_b = 4, epilogue = 7, bias_pointer = 8 };
    enum Epilogue : std::uint32_t { bias = 4 };
    enum OfPreference {
        workspace_bytes = 1,
        reductions = 3,
        alignment_a = 5,
        alignment_b,
        alignment_c,
        alignment_d
    };
    struct Way {
        std::uint64_t algorithm[8];
        std::size_t workspace;
        Status state;
        float waves;
        int reserved[4];
    };

    Status (*create)(void** handle);
    Status (*description_create)(void**, int compute, int scale);
    Status (*description_set)(void*, int what, const void*, std::size_t);
    Status (*description_destroy)(void*);
    Status (*layout_create)(void**, int type, std::uint64_t rows, std::uint64_t cols, std::int64_t ld);
    Status (*layout_destroy)(void*);
    Status (*preference_create)(void**);
    Status (*preference_set)(void*, int what, const void*, std::size_t);
    Status (*preference_destroy)(void*);
    Status (*find_ways)(void* handle, void* description, void* a, void* b, void* c, void* d, void* preference,
                        int wanted, Way*, int* found);
    Status (*matmul)(void* handle, void* description, const void* alpha, const void* a, void* layout_a,
                     const void* b, void* layout_b, const void* beta, const void* c, void* layout_c, void* d,
                     void* layout_d, const std::uint64_t* algorithm, void* workspace, std::size_t bytes,
                     cudaStream_t stream);

    void* handles[most_gpus];  // of each GPU its own; null: nobody has asked for it there
};

std::atomic<Interface*> open{nullptr};
std::atomic<bool> for_all{false};  // and not for rounded operands alone

std::runtime_error failed(const std::string& what) {
    return std::runtime_error(expected("device", "cuBLASLt to work", what));
}

void check_status(Interface::Status status, const char* function) {
    if (status == 0) return;
    if (status == 3) throw std::bad_alloc();
    throw failed("status " + std::to_string(status) + " of " + function);
}

template <class F>
void find(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (function == nullptr) throw failed(dlerror());
}

// Something that the library makes and destroys.
class Made {
   public:
    template <class... A>
    Made(Interface::Status (*create)(void**, A...), Interface::Status (*destroy)(void*), const char* name,
         std::decay_t<A>... numbers)
        : destroy_(destroy) {
        check_status(create(&it, numbers...), name);
    }
    Made(const Made&) = delete;
    Made& operator=(const Made&) = delete;
    ~Made() { destroy_(it); }

    void* it = nullptr;

   private:
    Interface::Status (*destroy_)(void*);
};

// Bytes of which an address is a multiple, up to those that matter.
std::uint32_t alignment_of(const void* p) {
    const auto address = reinterpret_cast<std::uintptr_t>(p) | 256;
    return std::uint32_t(address & (~address + 1));
}

void open_library(const char* path) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw failed(dlerror());
    static Interface all;
    find(library, "cublasLtCreate", all.create);
    find(library, "cublasLtMatmulDescCreate", all.description_create);
    find(library, "cublasLtMatmulDescSetAttribute", all.description_set);
    find(library, "cublasLtMatmulDescDestroy", all.description_destroy);
    find(library, "cublasLtMatrixLayoutCreate", all.layout_create);
    find(library, "cublasLtMatrixLayoutDestroy", all.layout_destroy);
    find(library, "cublasLtMatmulPreferenceCreate", all.preference_create);
    find(library, "cublasLtMatmulPreferenceSetAttribute", all.preference_set);
    find(library, "cublasLtMatmulPreferenceDestroy", all.preference_destroy);
    find(library, "cublasLtMatmulAlgoGetHeuristic", all.find_ways);
    find(library, "cublasLtMatmul", all.matmul);
    open = &all;
}

}  // namespace

void use_cublaslt(const char* path, bool always) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    if (open == nullptr) open_library(path);
    Interface& lt = *open;
    void*& handle = lt.handles[current_gpu()];
    if (handle == nullptr) check_status(lt.create(&handle), "cublasLtCreate");
    if (always) for_all = true;
}

// A row-major matrix is to the library, which counts by columns, its transpose: C' = B' A'.
template <class T>
bool cublaslt_product(Stream& stream, const Rounding& rounding, index m, index n, index k,
                      const Operand<T>& A, const Operand<T>& B, bool add, T* C, const Epilogue<T>& then) {
    constexpr index narrow = 128;
    constexpr std::uint32_t for_bias = 16;  // bytes of which its address has to be a multiple
    const Interface* const lt = open;
    if (lt == nullptr || !(for_all || rounding.to != ComputeType::same)) return false;
    if (std::max({m, n, k}) <= narrow || std::min({m, n, k}) == 0) return false;
    void* const handle = lt->handles[current_gpu()];
    if (handle == nullptr) return false;
    constexpr bool single = std::is_same_v<T, float>;
    constexpr int type = single ? Interface::float32 : Interface::float64;
    const bool rounds = rounding.to == ComputeType::bfloat16;
    const int operands = rounds ? Interface::bfloat16 : type;
    const int compute = !single                                ? Interface::compute_float64
                        : rounding.to == ComputeType::tfloat32 ? Interface::compute_tfloat32
                                                               : Interface::compute_float32;
    const auto lies = [&](const Operand<T>& X, const BFloat16* room) -> const void* {
        if (!rounds) return X.data;
        return X.rounded != nullptr ? X.rounded : room;
    };
    const void *const a = lies(A, rounding.a), *const b = lies(B, rounding.b);

    const Made description(lt->description_create, lt->description_destroy, "cublasLtMatmulDescCreate",
                           compute, type);
    const auto describe = [&](int what, const auto& value) {
        check_status(lt->description_set(description.it, what, &value, sizeof(value)),
                     "cublasLtMatmulDescSetAttribute");
    };
    describe(Interface::transposes_a, int(B.transposed));
    describe(Interface::transposes_b, int(A.transposed));
    Epilogue<T> rest = then;
    if (single && then.bias != nullptr && alignment_of(then.bias) >= for_bias) {
        describe(Interface::epilogue, Interface::bias);
        describe(Interface::bias_pointer, then.bias);
        rest.bias = nullptr;
    }

    const auto layout = [&](int of, index rows, index cols) {
        return Made(lt->layout_create, lt->layout_destroy, "cublasLtMatrixLayoutCreate", of,
                    std::uint64_t(rows), std::uint64_t(cols), std::int64_t(rows));
    };
    const Made first = B.transposed ? layout(operands, k, n) : layout(operands, n, k);
    const Made second = A.transposed ? layout(operands, m, k) : layout(operands, k, m);
    const Made result = layout(type, n, m);

    const Made preference(lt->preference_create, lt->preference_destroy, "cublasLtMatmulPreferenceCreate");
    const auto prefer = [&](int what, const auto& value) {
        check_status(lt->preference_set(preference.it, what, &value, sizeof(value)),
                     "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(Interface::workspace_bytes, std::uint64_t(0));  // without which no sum can be split
    prefer(Interface::reductions, std::uint32_t(0));
    prefer(Interface::alignment_a, alignment_of(b));
    prefer(Interface::alignment_b, alignment_of(a));
    prefer(Interface::alignment_c, alignment_of(C));
    prefer(Interface::alignment_d, alignment_of(C));

    Interface::Way way{};
    int found = 0;
    const Interface::Status status = lt->find_ways(handle, description.it, first.it, second.it, result.it,
                                                   result.it, preference.it, 1, &way, &found);
    if (status != 0 || found == 0 || way.state != 0) return false;
    if constexpr (single) {
        if (rounds && A.rounded == nullptr) elementwise(stream, m * k, Round{rounding.a, A.data});
        if (rounds && B.rounded == nullptr) elementwise(stream, k * n, Round{rounding.b, B.data});
    }
    const T one = 1, beta = add ? 1 : 0;
    check_status(lt->matmul(handle, description.it, &one, b, first.it, a, second.it, &beta, C, result.it, C,
                            result.it, way.algorithm, nullptr, 0, stream.handle()),
                 "cublasLtMatmul");
    if (rest.bias != nullptr || rest.relu) elementwise(stream, m * n, Finish<T>{C, rest, n});
    return true;
}

template bool cublaslt_product(Stream&, const Rounding&, index, index, index, const Operand<float>&,
                               const Operand<float>&, bool, float*, const Epilogue<float>&);
template bool cublaslt_product(Stream&, const Rounding&, index, index, index, const Operand<double>&,
                               const Operand<double>&, bool, double*, const Epilogue<double>&);

}  // namespace fnn::FNN_ISA::device
