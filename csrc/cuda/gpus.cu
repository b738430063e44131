#include "cuda/gpus.h"

#include "cuda/runtime.h"

namespace fnn::FNN_ISA::device {

namespace {

std::string version(int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// Why there is nothing to compute on: the run-time library's own words, and the versions that they are about.
std::runtime_error nothing(cudaError_t error) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    const std::string of_driver =
        driver == 0 ? "there is no driver" : "the driver is that of CUDA " + version(driver);
    const std::string said =
        error == cudaSuccess ? "none" : std::string("'") + cudaGetErrorString(error) + "'";
    return std::runtime_error(
        expected("device", "a GPU and its driver, of CUDA " + version(CUDART_VERSION) + " or later",
                 said + "; " + of_driver) +
        "; device='cpu' needs neither");
}

// Machine code of a compute capability runs on later ones of the same first number, the intermediate language
// of the last one that was built for on all later ones.
bool has_code_for(int major, int minor) {
    constexpr int built[] = {__CUDA_ARCH_LIST__};  // 750, 800, ...
    const int own = 100 * major + 10 * minor;
    bool has = false, is_later = true;
    for (const int each : built) {
        has = has || (each / 100 == major && each <= own);
        is_later = is_later && each <= own;
    }
    return has || is_later;
}

// Of the driver, as the run-time library knows nothing of contexts. Its errors have the same numbers.
struct Driver {
    int (*retain)(void** context, int device);
    int (*push)(void* context);
    int (*pop)(void** context);
    int (*about_address)(void* value, int what, std::uintptr_t address);
};

template <class F>
void find(const char* name, F& function) {
    constexpr unsigned since = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult how{};
    check(cudaGetDriverEntryPointByVersion(name, &found, since, cudaEnableDefault, &how));
    if (how != cudaDriverEntryPointSuccess) check(cudaErrorSymbolNotFound);
    function = reinterpret_cast<F>(found);
}

const Driver& driver() {
    static const Driver all = [] {
        count_gpus();  // which wakes the driver
        Driver found{};
        find("cuDevicePrimaryCtxRetain", found.retain);
        find("cuCtxPushCurrent", found.push);
        find("cuCtxPopCurrent", found.pop);
        find("cuPointerGetAttribute", found.about_address);
        return found;
    }();
    return all;
}

void check_driver(int error) { check(static_cast<cudaError_t>(error)); }

// The context of a GPU that the run-time library uses, and so do CuPy and torch. It is kept.
void* context_of(int number) {
    static void* contexts[most_gpus]{};
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    if (contexts[number] == nullptr) {
        check(cudaInitDevice(number, 0, 0));
        check_driver(driver().retain(&contexts[number], number));
    }
    return contexts[number];
}

}  // namespace

int count_gpus() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) cudaGetLastError();  // or the next call would find it again
    if (error != cudaSuccess || count == 0) throw nothing(error);
    return count < most_gpus ? count : most_gpus;
}

std::string model_of_gpu(int number) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, number));
    if (!has_code_for(properties.major, properties.minor))
        throw std::runtime_error(expected("device", "a GPU that this build has code for",
                                          std::string(properties.name) + " of compute capability " +
                                              std::to_string(properties.major) + "." +
                                              std::to_string(properties.minor)) +
                                 "; PYFAST_NN_CUDA=1 pip install . builds for all from 7.5 on");
    return properties.name;
}

// By the driver's stack of contexts. Were the run-time library's device set and set back, the one before
// would be given a context, and hundreds of megabytes of its memory with it, if nobody had used it.
void enter_gpu(int number) { check_driver(driver().push(context_of(number))); }

void leave_gpu() {
    void* left = nullptr;
    check_driver(driver().pop(&left));
}

// By the driver, too, as the run-time library would first give the current GPU a context.
int owner_of(const void* address) {
    constexpr int number_of_device = 9;
    int number = -1;
    const int error =
        driver().about_address(&number, number_of_device, reinterpret_cast<std::uintptr_t>(address));
    if (error == cudaErrorInvalidValue) return -1;
    check_driver(error);
    return number;
}

}  // namespace fnn::FNN_ISA::device
