// CUDA's model of execution on the host, for tests: what a C++ compiler reads in place of <cuda_runtime.h>.
//
// The threads of a block run one after the other, in an order that a test chooses. One that comes to a
// barrier or a shuffle is left there, on a stack of its own, until those that it waits for have come, too; so
// a kernel without any costs no more than a loop. Shared memory is NaN when a block begins. A stream does
// nothing until somebody waits for it, and a graph has copies of the arguments that it was captured with.
// Under AddressSanitizer the host may not touch device memory, which is NaN when it is new, nor a GPU that of
// another one; under ThreadSanitizer threads of a block are fibers that only barriers put in order. What is
// wrong ends the process, with a line that says what.
#pragma once

#if !defined(__x86_64__)
#error "the emulator switches stacks in x86-64 assembly"
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#define EMULATE_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define EMULATE_UNSEEN __attribute__((noinline))
#endif

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    unsigned count() const { return x * y * z; }
};

// Leaves one stack for another: saves what a callee has to, and returns there.
extern "C" void emulate_switch(void** left, void* entered);
asm(R"(
.pushsection .text
.weak emulate_switch
.type emulate_switch, @function
emulate_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulate_switch, . - emulate_switch
.popsection
)");

namespace emulate {

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "emulator: %s\n", what);
    std::abort();
}

// In which order the threads of a block run: 0 from the first on, 1 from the last, else shuffled every time.
inline unsigned order = std::getenv("EMULATE_ORDER") ? unsigned(std::atoi(std::getenv("EMULATE_ORDER"))) : 0;

// ---- the threads of a block -------------------------------------------------------------------------------

// A stack on which threads run: one after the other, as long as none of them has to wait.
struct Fiber {
    static constexpr std::size_t bytes = 128 << 10;
    std::unique_ptr<char[]> stack{new char[bytes]};
    void* at = nullptr;  // the stack pointer, while it is left
    void *fake = nullptr, *seen = nullptr;
};

struct Thread {
    enum State { fresh, ready, at_block, at_warp, done } state = fresh;
    dim3 place;
    unsigned rank = 0, block_phase = 0, warp_phase = 0;
    unsigned mask = 0;            // the lanes that it waits for,
    const void* where = nullptr;  // at which call,
    std::uint64_t given = 0;      // and what it brings them
    std::uint64_t answers[32];
    Fiber* fiber = nullptr;
};

struct Block {
    dim3 grid, dim, place;
    std::vector<Thread> threads;
    std::vector<unsigned> turns;  // their order
    std::size_t next = 0;         // of the fresh ones
    std::vector<char> shared;
    void (*body)(const void*) = nullptr;
    const void* arguments = nullptr;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> free;
    std::mt19937 random;
    void *at = nullptr, *fake = nullptr, *seen = nullptr;  // of the one that runs it
    const void* bottom = nullptr;
    std::size_t size = 0;
    char barriers[2], warps[32][2], end;
};

inline thread_local Block* block = nullptr;  // the one that runs
inline thread_local Thread* self = nullptr;
inline thread_local Block reused;  // whose stacks serve all

// While it lives, what a fiber does is the emulator's own business, of which ThreadSanitizer takes no note.
struct Unseen {
    Unseen() {
#if defined(__SANITIZE_THREAD__)
        __tsan_ignore_thread_begin();
#endif
    }
    ~Unseen() {
#if defined(__SANITIZE_THREAD__)
        __tsan_ignore_thread_end();
#endif
    }
    Unseen(const Unseen&) = delete;
    Unseen& operator=(const Unseen&) = delete;
};

inline void release(void* p) {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(p);
#else
    (void)p;
#endif
}
inline void acquire(void* p) {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(p);
#else
    (void)p;
#endif
}

EMULATE_UNSEEN inline void leave(Fiber& fiber, bool for_good) {
    Block& b = *block;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(b.seen, 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake, b.bottom, b.size);
#endif
    (void)for_good;
    emulate_switch(&fiber.at, b.at);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake, &b.bottom, &b.size);
#endif
}

EMULATE_UNSEEN inline void enter(Fiber& fiber) {
    Block& b = *block;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(fiber.seen, 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&b.fake, fiber.stack.get(), Fiber::bytes);
#endif
    emulate_switch(&b.at, fiber.at);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(b.fake, nullptr, nullptr);
#endif
}

// What a fiber does: takes the next thread, until there is none or this one waits elsewhere.
EMULATE_UNSEEN inline void run_fiber() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block->bottom, &block->size);
#endif
    Block& b = *block;
    Fiber* fiber = nullptr;
    const auto take_thread = [&] {
        const Unseen unseen;
        if (fiber == nullptr) fiber = b.free.back(), b.free.pop_back();
        if (b.next == b.turns.size()) return false;
        self = &b.threads[b.turns[b.next++]];
        self->fiber = fiber;
        return true;
    };
    const auto end_thread = [&] {
        const Unseen unseen;
        self->state = Thread::done;
        release(&b.end);
    };
    while (take_thread()) {
        b.body(b.arguments);
        end_thread();
#if defined(__SANITIZE_THREAD__)
        break;  // the next one is another fiber
#endif
    }
    {
        const Unseen unseen;
        b.free.push_back(fiber);
    }
    leave(*fiber, true);
}

EMULATE_UNSEEN inline void begin(Fiber& fiber) {
    std::uintptr_t top =
        reinterpret_cast<std::uintptr_t>(fiber.stack.get() + Fiber::bytes) & ~std::uintptr_t(15);
    void** p = reinterpret_cast<void**>(top);
    *--p = nullptr;  // where a return address would be: as a called function finds its stack
    *--p = reinterpret_cast<void*>(&run_fiber);
    for (int k = 0; k < 6; ++k) *--p = nullptr;
    fiber.at = p;
}

EMULATE_UNSEEN inline void start_threads(Block& b) {
    if (b.free.empty()) {
        b.fibers.push_back(std::make_unique<Fiber>());
        b.free.push_back(b.fibers.back().get());
    }
    Fiber& fiber = *b.free.back();
#if defined(__SANITIZE_THREAD__)
    if (fiber.seen != nullptr) __tsan_destroy_fiber(fiber.seen);
    fiber.seen = __tsan_create_fiber(0);
#endif
    begin(fiber);
    enter(fiber);
}

// Lets go those whose wait is over. False: nobody's is.
EMULATE_UNSEEN inline bool let_go(Block& b) {
    std::size_t waiting = 0, finished = 0;
    for (const Thread& t : b.threads)
        waiting += t.state == Thread::at_block, finished += t.state == Thread::done;
    if (waiting > 0 && waiting + finished == b.threads.size()) {
        if (finished > 0) fail("__syncthreads() after some threads of the block have returned");
        for (const Thread& t : b.threads)
            if (t.where != b.threads.front().where)
                fail("threads of a block wait at different __syncthreads()");
        for (Thread& t : b.threads) t.state = Thread::ready;
        return true;
    }
    bool any = false;
    for (std::size_t w = 0; w < b.threads.size(); w += 32) {
        const std::size_t lanes = std::min<std::size_t>(32, b.threads.size() - w);
        Thread* const warp = &b.threads[w];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            if (warp[lane].state != Thread::at_warp) continue;
            const unsigned mask = warp[lane].mask;
            bool all = true;
            for (std::size_t k = 0; k < 32 && all; ++k) {
                if (!(mask >> k & 1)) continue;
                if (k >= lanes) fail("a shuffle names lanes that do not exist");
                if (warp[k].state == Thread::done) fail("a shuffle waits for a lane that has returned");
                all = warp[k].state == Thread::at_warp && warp[k].mask == mask &&
                      warp[k].where == warp[lane].where;
            }
            if (!all) continue;
            for (std::size_t k = 0; k < lanes; ++k)
                for (std::size_t j = 0; j < lanes && mask >> k & 1; ++j) warp[k].answers[j] = warp[j].given;
            for (std::size_t k = 0; k < lanes; ++k)
                if (mask >> k & 1) warp[k].state = Thread::ready;
            any = true;
        }
    }
    return any;
}

EMULATE_UNSEEN inline void run_block(Block& b) {
    for (unsigned i = 0; i < b.threads.size(); ++i) b.threads[i].state = Thread::fresh, b.turns[i] = i;
    if (order == 1)
        for (unsigned i = 0; i < b.turns.size(); ++i) b.turns[i] = unsigned(b.turns.size()) - 1 - i;
    const auto shuffle = [&] {
        for (std::size_t i = b.turns.size(); order > 1 && i > 1; --i)
            std::swap(b.turns[i - 1], b.turns[b.random() % i]);
    };
    shuffle();
    if (!b.shared.empty()) std::memset(b.shared.data(), 0xff, b.shared.size());
    for (b.next = 0; b.next < b.turns.size();) start_threads(b);
    for (bool waits = true; waits;) {
        waits = false;
        for (const Thread& t : b.threads) waits |= t.state != Thread::done;
        if (!waits) break;
        if (!let_go(b)) fail("deadlock: the threads of a block wait for different things");
        shuffle();
        for (const unsigned i : b.turns) {
            if (b.threads[i].state != Thread::ready) continue;
            self = &b.threads[i];
            enter(*self->fiber);
        }
    }
    acquire(&b.end);
}

inline void wait_here(Thread::State state, const void* where) {
    const Unseen unseen;
    Thread* const me = self;
    me->where = where, me->state = state;
    leave(*me->fiber, false);
    self = me;
}
inline void block_barrier(const void* where) {
    char* const phase = &block->barriers[self->block_phase++ & 1];
    release(phase);
    wait_here(Thread::at_block, where);
    acquire(phase);
}
inline void warp_barrier(unsigned mask, const void* where) {
    if (!(mask >> (self->rank & 31) & 1)) fail("a lane calls a shuffle whose mask does not name it");
    char* const phase = &block->warps[self->rank / 32][self->warp_phase++ & 1];
    release(phase);
    self->mask = mask;
    wait_here(Thread::at_warp, where);
    acquire(phase);
}
template <class T>
T exchange(unsigned mask, T value, unsigned from, const void* where) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    self->given = 0;
    std::memcpy(&self->given, &value, sizeof(T));
    warp_barrier(mask, where);
    if (!(mask >> from & 1)) fail("a shuffle reads a lane outside its mask");
    T result;
    std::memcpy(&result, &self->answers[from], sizeof(T));
    return result;
}

// ---- memory and streams -----------------------------------------------------------------------------------

constexpr int most_gpus = 2;
inline int number_in(const char* name, int otherwise) {
    return std::getenv(name) ? std::atoi(std::getenv(name)) : otherwise;
}
inline const int gpus = number_in("EMULATE_GPUS", most_gpus);  // how many there are

inline std::recursive_mutex device;
struct Held {
    std::size_t bytes;
    int gpu;
};
inline std::map<char*, Held> heap;
// Bytes of memory that a GPU has.
inline std::size_t limit =
    std::getenv("EMULATE_BYTES") ? std::strtoull(std::getenv("EMULATE_BYTES"), nullptr, 10) : SIZE_MAX;

// What tests ask for: bytes that went to the device and came from it, how often memory was taken and a graph
// made, and bytes of device memory that are in use. Of each library its own.
extern "C" {
__attribute__((weak, visibility("default"))) std::uint64_t emulate_counts[5] = {};
}
enum Count { uploaded, downloaded, taken, captured, in_use };
inline std::size_t used[most_gpus];
inline int launches[most_gpus];

// The GPU in whose memory something lies; -1: in that of none.
inline int gpu_of(const void* p, std::size_t n = 1) {
    char* const at = static_cast<char*>(const_cast<void*>(p));
    auto after = heap.upper_bound(at);
    if (after == heap.begin()) return -1;
    const auto& [begin, held] = *--after;
    if (at >= begin + held.bytes) return -1;
    if (at + n > begin + held.bytes) fail("a copy reaches beyond device memory");
    return held.gpu;
}
// Opens the memory of a GPU, or closes all.
inline void device_memory(int gpu) {
#if defined(__SANITIZE_ADDRESS__)
    for (const auto& [p, held] : heap)
        held.gpu == gpu ? __asan_unpoison_memory_region(p, held.bytes)
                        : __asan_poison_memory_region(p, held.bytes);
#else
    (void)gpu;
#endif
}

using Work = std::function<void()>;
struct Stream;
inline std::vector<Stream*> streams;
struct Stream {
    const int gpu;
    std::vector<Work> queue;
    std::unique_ptr<std::vector<Work>> captured;

    explicit Stream(int gpu) : gpu(gpu) {
        const std::lock_guard<std::recursive_mutex> lock(device);
        streams.push_back(this);
    }
    ~Stream() {
        wait();
        const std::lock_guard<std::recursive_mutex> lock(device);
        streams.erase(std::find(streams.begin(), streams.end(), this));
    }
    void push(Work work) {
        const std::lock_guard<std::recursive_mutex> lock(device);
        (captured ? *captured : queue).push_back(std::move(work));
    }
    void wait() {
        const std::lock_guard<std::recursive_mutex> lock(device);
        if (captured) fail("a stream is waited for while it is captured");
        std::vector<Work> now;
        now.swap(queue);
        device_memory(gpu);
        for (const Work& work : now) work();
        device_memory(-1);
    }
};
inline thread_local Stream of_thread[most_gpus] = {Stream(0), Stream(1)};

// The GPUs that a thread has entered and not left: a stack of contexts, as the driver has.
inline thread_local std::vector<int> entered;
inline int current() { return entered.empty() ? 0 : entered.back(); }

constexpr std::size_t most_shared = 99 << 10;  // as some have
inline std::map<const void*, std::size_t> asked_shared;

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 dim, std::size_t shared, Stream* stream,
            const Args&... args) {
    if (dim.count() > 1024 || dim.count() == 0 || grid.count() == 0) fail("a launch that no device takes");
    if (grid.y > 65535 || grid.z > 65535) fail("a grid that no device takes");
    const std::lock_guard<std::recursive_mutex> lock(device);
    const auto asked = asked_shared.find(reinterpret_cast<const void*>(kernel));
    if (shared > (asked != asked_shared.end() ? asked->second : 48u << 10))
        fail("more shared memory than the kernel has asked for");
    ++launches[stream->gpu];
    stream->push([=] {  // as it is now
        const auto call = [=] { kernel(args...); };
        const Unseen unseen;
        Block& b = reused;
        b.grid = grid, b.dim = dim;
        b.body = [](const void* f) { (*static_cast<const decltype(call)*>(f))(); };
        b.arguments = &call;
        b.threads.resize(dim.count()), b.turns.resize(dim.count());
        b.shared.resize(shared), b.shared.shrink_to_fit();
        for (unsigned i = 0; i < dim.count(); ++i) {
            b.threads[i].rank = i;
            b.threads[i].place = dim3(i % dim.x, i / dim.x % dim.y, i / (dim.x * dim.y));
        }
        b.random.seed(order);
        block = &b;
#if defined(__SANITIZE_THREAD__)
        b.seen = __tsan_get_current_fiber();
#endif
        for (b.place.z = 0; b.place.z < grid.z; ++b.place.z)
            for (b.place.y = 0; b.place.y < grid.y; ++b.place.y)
                for (b.place.x = 0; b.place.x < grid.x; ++b.place.x) run_block(b);
        block = nullptr;
    });
}

}  // namespace emulate

#define threadIdx (emulate::self->place)
#define blockIdx (emulate::block->place)
#define blockDim (emulate::block->dim)
#define gridDim (emulate::block->grid)
// Of each place in the source its own.
#define EMULATE_HERE                            \
    [] {                                        \
        static const char here = 0;             \
        return static_cast<const void*>(&here); \
    }()
#define __syncthreads() emulate::block_barrier(EMULATE_HERE)
#define __syncwarp() emulate::warp_barrier(0xffffffffu, EMULATE_HERE)
#define __shfl_xor_sync(mask, value, by) \
    emulate::exchange(mask, value, (emulate::self->rank & 31u) ^ unsigned(by), EMULATE_HERE)
#define __shfl_sync(mask, value, from) emulate::exchange(mask, value, unsigned(from) & 31u, EMULATE_HERE)

// ---- what the code under test calls -----------------------------------------------------------------------

using cudaStream_t = emulate::Stream*;
using cudaGraph_t = std::vector<emulate::Work>*;
using cudaGraphExec_t = cudaGraph_t;
#define cudaStreamPerThread (&emulate::of_thread[emulate::current()])

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorSymbolNotFound = 500
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation:
            return "out of memory";
        case cudaErrorInsufficientDriver:
            return "CUDA driver version is insufficient for CUDA runtime version";
        case cudaErrorNoDevice:
            return "no CUDA-capable device is detected";
        default:
            return "invalid argument";
    }
}
struct cudaMemPoolProps {
    int allocType;
    struct {
        int type, id;
    } location;
};
using cudaMemPool_t = int;
enum { cudaMemAllocationTypePinned, cudaMemLocationTypeDevice, cudaMemPoolAttrReleaseThreshold };
inline cudaError_t cudaGetDevice(int* device) {
    *device = emulate::current();
    return cudaSuccess;
}
enum { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaDeviceGetAttribute(int* value, int, int) {
    *value = int(emulate::most_shared);
    return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void* kernel, int, int bytes) {
    if (std::size_t(bytes) > emulate::most_shared) return cudaErrorInvalidValue;
    const std::lock_guard<std::recursive_mutex> lock(emulate::device);
    emulate::asked_shared[kernel] = std::size_t(bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* props) {
    *pool = props->location.id;
    return cudaSuccess;
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, int, void*) { return cudaSuccess; }
inline cudaError_t cudaMallocFromPoolAsync(void** p, std::size_t n, cudaMemPool_t pool, cudaStream_t stream) {
    const std::lock_guard<std::recursive_mutex> lock(emulate::device);
    if (stream->gpu != pool) emulate::fail("memory of one GPU is taken on a stream of another one");
    std::size_t& used = emulate::used[pool];
    if (n > emulate::limit - used && !stream->captured) stream->wait();  // for what is given back
    if (n > emulate::limit - used) return cudaErrorMemoryAllocation;
    *p = std::malloc(n);
    std::memset(*p, 0xff, n);
    emulate::heap[static_cast<char*>(*p)] = {n, pool}, used += n;
    ++emulate::emulate_counts[emulate::taken], emulate::emulate_counts[emulate::in_use] += n;
    emulate::device_memory(-1);
    return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
    stream->push([=] {
        const auto own = emulate::heap.find(static_cast<char*>(p));
        if (own == emulate::heap.end()) emulate::fail("what is freed is no device memory");
        if (own->second.gpu != stream->gpu) emulate::fail("memory of one GPU is freed on another one");
        emulate::used[stream->gpu] -= own->second.bytes;
        emulate::emulate_counts[emulate::in_use] -= own->second.bytes;
        emulate::heap.erase(own);
        std::free(p);
    });
    return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize() {
    const std::lock_guard<std::recursive_mutex> lock(emulate::device);
    for (emulate::Stream* stream : emulate::streams)
        if (stream->gpu == emulate::current() && !stream->captured) stream->wait();
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    stream->wait();
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t n, cudaStream_t stream) {
    stream->push([=] {
        if (emulate::gpu_of(to, n) != stream->gpu) emulate::fail("cudaMemset of memory that is elsewhere");
        std::memset(to, byte, n);
    });
    return cudaSuccess;
}
// What comes from the host is read now, as pageable memory is; what goes there is written when it is waited
// for.
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n, cudaMemcpyKind kind,
                                   cudaStream_t stream) {
    const bool to_device = kind != cudaMemcpyDeviceToHost, from_device = kind != cudaMemcpyHostToDevice;
    const auto check = [stream](int gpu, bool on_device) {
        if ((gpu >= 0) != on_device)
            emulate::fail("cudaMemcpyAsync: the memory is on another side than its kind says");
        if (on_device && gpu != stream->gpu) emulate::fail("cudaMemcpyAsync: the memory is of another GPU");
    };
    std::vector<char> staged;
    {
        const std::lock_guard<std::recursive_mutex> lock(emulate::device);
        if (!to_device) check(emulate::gpu_of(to, n), false);
        if (!from_device) check(emulate::gpu_of(from, n), false);
        emulate::emulate_counts[to_device ? emulate::uploaded : emulate::downloaded] += n;
    }
    if (!from_device) staged.assign(static_cast<const char*>(from), static_cast<const char*>(from) + n);
    stream->push([=, staged = std::move(staged)] {
        if (to_device) check(emulate::gpu_of(to, n), true);
        if (from_device) check(emulate::gpu_of(from, n), true);
        std::memcpy(to, from_device ? from : staged.data(), n);
    });
    return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    stream->captured = std::make_unique<std::vector<emulate::Work>>();
    return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = stream->captured.release();
    return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* to, cudaGraph_t graph, unsigned long long) {
    const std::lock_guard<std::recursive_mutex> lock(emulate::device);
    ++emulate::emulate_counts[emulate::captured];
    *to = new std::vector<emulate::Work>(*graph);
    return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    for (const emulate::Work& work : *graph) stream->push(work);
    return cudaSuccess;
}

// ---- which GPUs there are ---------------------------------------------------------------------------------

// As the environment says: EMULATE_GPUS; EMULATE_DRIVER, the version that a driver is for, 0: there is none;
// EMULATE_CAPABILITY of the GPUs.
#define CUDART_VERSION 13000
#define __CUDA_ARCH_LIST__ 750, 800, 900

inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = emulate::number_in("EMULATE_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    *count = 0;
    if (driver < CUDART_VERSION) return cudaErrorInsufficientDriver;
    *count = emulate::gpus;
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
struct cudaDeviceProp {
    char name[256];
    int major, minor;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* of, int gpu) {
    const int capability = emulate::number_in("EMULATE_CAPABILITY", 90);
    std::snprintf(of->name, sizeof(of->name), gpu == 0 ? "emulator" : "emulator %d", gpu);
    of->major = capability / 10, of->minor = capability % 10;
    return cudaSuccess;
}
inline cudaError_t cudaInitDevice(int gpu, unsigned, unsigned) {
    return gpu < emulate::gpus ? cudaSuccess : cudaErrorInvalidValue;
}

namespace emulate {

inline char contexts[most_gpus];
inline int retain_context(void** context, int gpu) {
    *context = &contexts[gpu];
    return cudaSuccess;
}
inline int push_context(void* context) {
    entered.push_back(int(static_cast<char*>(context) - contexts));
    return cudaSuccess;
}
inline int pop_context(void**) {
    if (entered.empty()) fail("a GPU is left that was not entered");
    entered.pop_back();
    return cudaSuccess;
}
inline int about_address(void* value, int what, std::uintptr_t address) {
    const std::lock_guard<std::recursive_mutex> lock(device);
    const int gpu = gpu_of(reinterpret_cast<void*>(address));
    if (what != 9 || gpu < 0) return cudaErrorInvalidValue;
    std::memcpy(value, &gpu, sizeof(gpu));
    return cudaSuccess;
}

}  // namespace emulate

enum { cudaEnableDefault };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess, cudaDriverEntryPointSymbolNotFound };
inline cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, int,
                                                    cudaDriverEntryPointQueryResult* how) {
    const std::map<std::string, void*> all{
        {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(emulate::retain_context)},
        {"cuCtxPushCurrent", reinterpret_cast<void*>(emulate::push_context)},
        {"cuCtxPopCurrent", reinterpret_cast<void*>(emulate::pop_context)},
        {"cuPointerGetAttribute", reinterpret_cast<void*>(emulate::about_address)},
    };
    const auto found = all.find(name);
    *function = found != all.end() ? found->second : nullptr;
    *how = found != all.end() ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

// ---- what tests ask ---------------------------------------------------------------------------------------

#define EMULATE_ASKED extern "C" __attribute__((visibility("default"), used)) inline

// How many GPUs this thread has entered and not left.
EMULATE_ASKED int emulate_entered() { return int(emulate::entered.size()); }
EMULATE_ASKED int emulate_launches(int gpu) { return emulate::launches[gpu]; }
// A stream of the caller's own, and how much is queued on one.
EMULATE_ASKED void* emulate_new_stream(int gpu) { return new emulate::Stream(gpu); }
EMULATE_ASKED int emulate_queued(void* stream) {
    return int(static_cast<emulate::Stream*>(stream)->queue.size());
}
EMULATE_ASKED void emulate_wait(void* stream) { static_cast<emulate::Stream*>(stream)->wait(); }
