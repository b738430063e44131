// The device that this library hands over to the module that opens it.
#include "cuda/cublaslt.h"
#include "cuda/gpus.h"
#include "cuda/runtime.h"
#include "isa/device.h"

namespace fnn::FNN_ISA {

const Table& table();

namespace device {

namespace {

#ifdef __CUDACC__
constexpr bool emulated = false;
#else
constexpr bool emulated = true;
#endif

void wait() { check(cudaDeviceSynchronize()); }

void* allocate(std::size_t bytes) {
    Stream stream;
    void* block = nullptr;
    check(cudaMallocFromPoolAsync(&block, bytes == 0 ? 1 : bytes, memory_pool(), stream.handle()));
    wait();
    return block;
}

void release(void* block) {
    Stream stream;
    wait();
    check(cudaFreeAsync(block, stream.handle()));
}

void upload(void* to, const void* from, std::size_t bytes) {
    Stream stream;
    wait();
    stream.upload(static_cast<char*>(to), static_cast<const char*>(from), index(bytes));
    stream.wait();
}

void download(void* to, const void* from, std::size_t bytes) {
    Stream stream;
    wait();
    stream.download(static_cast<char*>(to), static_cast<const char*>(from), index(bytes));
    stream.wait();
}

Device all() {
    Device it{};
    it.name = "cuda";
    it.build = FNN_VERSION;
    it.layout = layout;
    it.emulated = emulated;
    it.count = count_gpus;
    it.model = model_of_gpu;
    it.enter = enter_gpu;
    it.leave = leave_gpu;
    it.owner = owner_of;
    it.allocate = allocate;
    it.release = release;
    it.upload = upload;
    it.download = download;
    it.wait = wait;
    it.use_cublaslt = use_cublaslt;
    it.table = table();
    return it;
}

}  // namespace

}  // namespace device

}  // namespace fnn::FNN_ISA

extern "C" __attribute__((visibility("default"))) const fnn::Device* pyfast_nn_device() {
    static const fnn::Device all = fnn::FNN_ISA::device::all();
    return &all;
}
