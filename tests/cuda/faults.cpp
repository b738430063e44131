// Kernels and callers with one fault each, which the emulator or a sanitizer is to find: the name of the
// fault is the argument, and "none" has none. Ends with 1 where what was computed is wrong.
#include <cstdio>
#include <cstring>

#include "cuda/runtime.h"

namespace {

using namespace fnn::FNN_ISA::device;

constexpr int threads = 64;

enum class Fault {
    none,
    no_barrier,
    beyond_shared,
    beyond_memory,
    divergent,
    different_barriers,
    lost_lane,
    outside_mask,
};

struct Reversed {
    float of[threads];
};

// y = x backwards, by way of shared memory.
void reverse(float* y, const float* x, Fault fault) {
    Reversed& s = shared<Reversed>();
    const int t = int(threadIdx.x);
    s.of[t] = x[t];
    if (fault == Fault::divergent && t == 3) return;
    if (fault == Fault::different_barriers && t < 32) {
        __syncthreads();
    } else if (fault != Fault::no_barrier) {
        __syncthreads();
    }
    if (fault == Fault::lost_lane && t == 5) return;
    float own = s.of[threads - 1 - t + (fault == Fault::beyond_shared ? 1 : 0)];
    const unsigned mask = fault == Fault::outside_mask ? 0x0000ffffu : 0xffffffffu;
    own += 0 * __shfl_xor_sync(mask, own, 1);
    y[t + (fault == Fault::beyond_memory ? 1 : 0)] = own;
}

bool is_reversed(const float* y) {
    for (int t = 0; t < threads; ++t)
        if (y[t] != float(threads - 1 - t)) return false;
    return true;
}

}  // namespace

int main(int, char** arguments) {
    const char* const name = arguments[1];
    const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
    const char* const names[] = {"none",      "no_barrier",         "beyond_shared", "beyond_memory",
                                 "divergent", "different_barriers", "lost_lane",     "outside_mask"};
    Fault fault = Fault::none;
    for (int k = 0; k < 8; ++k)
        if (is(names[k])) fault = Fault(k);
    float x[threads];
    static float y[threads];  // written when the stream is waited for, and be it at the end
    for (int t = 0; t < threads; ++t) x[t] = float(t);
    Stream stream;
    Memory memory(stream);
    float *const from = memory.copy_of(x, threads), *const to = memory.take<float>(threads);
    launch(stream, reverse, dim3(1), dim3(threads), sizeof(Reversed), to, static_cast<const float*>(from),
           fault);
    if (is("other_gpu")) {
        emulate::entered.push_back(1);
        Stream there;
        Memory second(there);
        float* const elsewhere = second.take<float>(threads);
        emulate::entered.pop_back();
        launch(stream, reverse, dim3(1), dim3(threads), sizeof(Reversed), elsewhere,
               static_cast<const float*>(from), fault);
        stream.wait();
    }
    if (is("wrong_side")) check(cudaMemcpyAsync(y, x, sizeof(y), cudaMemcpyDeviceToHost, stream.handle()));
    if (is("host_reads")) std::printf("%g\n", double(to[3]));
    stream.download(y, to, threads);
    if (!is("no_wait")) stream.wait();
    return is_reversed(y) ? 0 : 1;
}
