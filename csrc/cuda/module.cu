// The device that this library hands over to the module that opens it.
#include "cuda/cublaslt.h"
#include "cuda/runtime.h"
#include "isa/device.h"

namespace fnn::FNN_ISA {

const Table& table();

namespace device {

namespace {

#ifdef __CUDACC__
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

std::string model() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) throw nothing(error);
    int number = 0;
    check(cudaGetDevice(&number));
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, number));
    return properties.name;
}
constexpr bool emulated = false;
#else
std::string model() { return "emulator"; }
constexpr bool emulated = true;
#endif

// Until all that was queued is done, by whoever.
void wait_for_all(Stream& stream) {
#ifdef __CUDACC__
    check(cudaDeviceSynchronize());
#endif
    stream.wait();
}

void* allocate(std::size_t bytes) {
    Stream stream;
    void* block = nullptr;
    check(cudaMallocFromPoolAsync(&block, bytes == 0 ? 1 : bytes, memory_pool(), stream.handle()));
    stream.wait();
    return block;
}

void release(void* block) {
    Stream stream;
    wait_for_all(stream);
    check(cudaFreeAsync(block, stream.handle()));
}

void upload(void* to, const void* from, std::size_t bytes) {
    Stream stream;
    wait_for_all(stream);
    stream.upload(static_cast<char*>(to), static_cast<const char*>(from), index(bytes));
    stream.wait();
}

void download(void* to, const void* from, std::size_t bytes) {
    Stream stream;
    wait_for_all(stream);
    stream.download(static_cast<char*>(to), static_cast<const char*>(from), index(bytes));
    stream.wait();
}

}  // namespace

}  // namespace device

}  // namespace fnn::FNN_ISA

extern "C" __attribute__((visibility("default"))) const fnn::Device* pyfast_nn_device() {
    using namespace fnn::FNN_ISA;
    static const fnn::Device all{"cuda",           FNN_VERSION,          fnn::layout,     device::emulated,
                                 device::model,    device::allocate,     device::release, device::upload,
                                 device::download, device::use_cublaslt, table()};
    return &all;
}
