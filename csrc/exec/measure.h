// What this machine can do at best: the two numbers that every benchmark is held against.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>

#include "exec/cpu.h"
#include "exec/memory.h"
#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The best rate at which work(exec), which gives what this thread has done, is done within a time. The clock
// starts with the first thread that starts: one that is held up by others must not seem fast.
template <class Work>
double best_rate(double seconds, int threads, const Work& work) {
    double best = 0;
    bool more = true;
    std::atomic<double> earliest{HUGE_VAL};
    run(threads, nullptr, [&](Exec& exec) {
        const double until = seconds_now() + seconds;
        while (more) {
            exec.barrier();
            const double start = seconds_now();
            double first = earliest.load();
            while (start < first && !earliest.compare_exchange_weak(first, start)) {
            }
            const double mine = work(exec);
            exec.barrier();
            const double now = seconds_now();
            if (exec.rank == 0) {
                const double rate = mine * exec.size / (now - earliest.exchange(HUGE_VAL));
                best = rate > best ? rate : best;
                more = now < until;
            }
            exec.barrier();
        }
    });
    return best;
}

// FLOP/s of float32 multiply-adds that wait for nothing, all threads together.
inline double fma_peak(double seconds, int threads) {
    constexpr index rounds = 20000, chains = 12;
    return best_rate(seconds, threads, [](Exec&) {
        // Unknown to the compiler, all different, and such that the sums stay of one size.
        volatile float half = 0.5f, one = 1.0f;
        const Vector<float> x = broadcast<float>(half), y = broadcast<float>(one);
        Vector<float> sum[chains];
        for (auto& s : sum) s = broadcast<float>(one);
        for (index i = 0; i < rounds; ++i)
#pragma GCC unroll 12
            for (index j = 0; j < chains; ++j) sum[j] = multiply_add(sum[j], x, y);
        // Every lane is used, or the compiler would leave some out.
        for (const auto& s : sum) __asm__ volatile("" : : "m"(s));
        return 2.0 * rounds * chains * lanes<float>;
    });
}

// Bytes per second of a loop that reads two arrays and writes one of them (as an update does), all far larger
// than the caches.
inline double memory_bandwidth(double seconds, int threads) {
    constexpr index n = index{16} << 20;  // floats in each array
    Arena arena;
    float* const x = static_cast<float*>(arena.reserve(std::size_t(2 * n) * sizeof(float)));
    float* const y = x + n;
    for (index i = 0; i < 2 * n; ++i) x[i] = 1;
    return best_rate(seconds, threads, [&](Exec& exec) {
        const Range mine = exec.share(n / lanes<float>);
        const Vector<float> half = broadcast(0.5f);
        for (index i = mine.begin; i < mine.end; ++i)
            store(y + i * lanes<float>,
                  multiply_add(half, load(y + i * lanes<float>), load(x + i * lanes<float>)));
        return 3.0 * sizeof(float) * double(n) / exec.size;
    });
}

}  // namespace fnn::FNN_ISA::exec
