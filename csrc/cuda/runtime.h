// What is asked of the CUDA run-time: memory, a stream, launches, graphs. The only place that knows it; where
// no nvcc compiles this, an emulator stands for it (tests/cuda/emulate.h).
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <emulate.h>
#endif

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "common.h"
#include "expected.h"

namespace fnn::FNN_ISA::device {

struct OutOfMemory : std::bad_alloc {
    const char* what() const noexcept override {
        return "device: expected memory for this call, got none that is free; fewer examples at a time take "
               "less";
    }
};

// Throws what an error of the run-time means to a caller.
inline void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // or the next call would find it again
    if (error == cudaErrorMemoryAllocation) throw OutOfMemory();
    throw std::runtime_error(
        expected("device", "a CUDA device that works", "'" + std::string(cudaGetErrorString(error)) + "'"));
}

constexpr int most_gpus = 64;  // that are known of

// The one on which the calling thread computes.
inline int current_gpu() {
    int number = 0;
    check(cudaGetDevice(&number));
    return number;
}

// The memory of a GPU that calls share: what one lets go of, the next one has.
inline cudaMemPool_t memory_pool() {
    static cudaMemPool_t pools[most_gpus]{};
    static bool made[most_gpus]{};
    static std::mutex mutex;
    const int device = current_gpu();
    const std::lock_guard<std::mutex> lock(mutex);
    if (!made[device]) {
        cudaMemPoolProps props{};
        props.allocType = cudaMemAllocationTypePinned;
        props.location.type = cudaMemLocationTypeDevice;
        props.location.id = device;
        check(cudaMemPoolCreate(&pools[device], &props));
        std::uint64_t all = UINT64_MAX;
        check(cudaMemPoolSetAttribute(pools[device], cudaMemPoolAttrReleaseThreshold, &all));
        made[device] = true;
    }
    return pools[device];
}

// A stream, on which all work of a call is queued in its order: the calling thread's, or one of the caller's
// (null: the thread's).
class Stream {
   public:
    explicit Stream(void* of_caller = nullptr) : of_caller_(static_cast<cudaStream_t>(of_caller)) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    cudaStream_t handle() const { return of_caller_ != nullptr ? of_caller_ : cudaStreamPerThread; }

    // The host may use `from` again at once.
    template <class T>
    void upload(T* to, const T* from, index n) {
        if (n > 0) check(cudaMemcpyAsync(to, from, bytes<T>(n), cudaMemcpyHostToDevice, handle()));
    }
    // `to` is there when the stream has been waited for.
    template <class T>
    void download(T* to, const T* from, index n) {
        if (n > 0) check(cudaMemcpyAsync(to, from, bytes<T>(n), cudaMemcpyDeviceToHost, handle()));
    }
    template <class T>
    void clear(T* to, index n) {
        if (n > 0) check(cudaMemsetAsync(to, 0, bytes<T>(n), handle()));
    }
    void wait() { check(cudaStreamSynchronize(handle())); }
    // The same where nobody asks any more how it went.
    void drain() { cudaStreamSynchronize(handle()); }

   private:
    template <class T>
    static std::size_t bytes(index n) {
        return std::size_t(n) * sizeof(T);
    }

    cudaStream_t of_caller_;
};

// Memory on the device that a call has for as long as this lives.
class Memory {
   public:
    explicit Memory(Stream& stream) : stream_(stream) {}
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
        for (void* const block : blocks_) cudaFreeAsync(block, stream_.handle());
    }

    // Contents undefined; null for none. Throws std::bad_alloc.
    template <class T>
    T* take(index n) {
        if (n == 0) return nullptr;
        std::size_t bytes = 0;
        if (n < 0 || __builtin_mul_overflow(std::size_t(n), sizeof(T), &bytes)) throw std::bad_alloc();
        blocks_.reserve(blocks_.size() + 1);
        void* block = nullptr;
        check(cudaMallocFromPoolAsync(&block, bytes, memory_pool(), stream_.handle()));
        blocks_.push_back(block);
        return static_cast<T*>(block);
    }
    template <class T>
    T* copy_of(const T* from, index n) {
        T* const to = take<T>(n);
        stream_.upload(to, from, n);
        return to;
    }

   private:
    Stream& stream_;
    std::vector<void*> blocks_;
};

// What some function queues, to be queued again and again at little cost.
class Graph {
   public:
    template <class F>
    Graph(Stream& stream, const F& queue) : stream_(stream) {
        check(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal));
        cudaGraph_t graph{};
        try {
            queue();
        } catch (...) {
            if (cudaStreamEndCapture(stream.handle(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
            throw;
        }
        check(cudaStreamEndCapture(stream.handle(), &graph));
        const cudaError_t error = cudaGraphInstantiate(&work_, graph, 0);
        cudaGraphDestroy(graph);
        check(error);
    }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;
    ~Graph() { cudaGraphExecDestroy(work_); }

    void launch() { check(cudaGraphLaunch(work_, stream_.handle())); }

   private:
    Stream& stream_;
    cudaGraphExec_t work_{};
};

// Bytes of shared memory that a block may have.
inline index most_shared() {
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, current_gpu()));
    return bytes;
}

// Beyond this, a kernel has to ask for it.
template <class Kernel>
void ask_for_shared(Kernel* kernel, std::size_t bytes) {
    constexpr std::size_t unasked = 48 << 10;
    if (bytes > unasked)
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
}

#ifdef __CUDACC__
template <class... Params, class... Args>
void launch(Stream& stream, void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared,
            const Args&... args) {
    ask_for_shared(kernel, shared);
    kernel<<<grid, block, shared, stream.handle()>>>(args...);
    check(cudaGetLastError());
}
// The memory that the threads of a block share, as much as the launch has said.
template <class S>
__device__ S& shared() {
    extern __shared__ __align__(16) unsigned char shared_memory[];
    return *reinterpret_cast<S*>(shared_memory);
}
#else
template <class... Params, class... Args>
void launch(Stream& stream, void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared,
            const Args&... args) {
    ask_for_shared(kernel, shared);
    emulate::launch(kernel, grid, block, shared, stream.handle(), args...);
}
template <class S>
S& shared() {
    return *reinterpret_cast<S*>(emulate::block->shared.data());
}
#endif

}  // namespace fnn::FNN_ISA::device
