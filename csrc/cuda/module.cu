// The device that this library hands over to the module that opens it.
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

}  // namespace

}  // namespace device

}  // namespace fnn::FNN_ISA

extern "C" __attribute__((visibility("default"))) const fnn::Device* pyfast_nn_device() {
    using namespace fnn::FNN_ISA;
    static const fnn::Device all{"cuda", FNN_VERSION, fnn::layout, device::emulated, device::model, table()};
    return &all;
}
