// A call's team of threads: how it starts, waits for itself, and stops. The only place with `#pragma omp`.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "exec/range.h"
#include "exec/threads.h"

namespace fnn::FNN_ISA::exec {

inline void relax() {
#if defined(__SSE2__)
    _mm_pause();
#endif
}

// Subnormal numbers count as zero while this object lives: they appear in Adam's moments of inputs that
// are always zero, and cost a hundred cycles each.
class FlushDenormals {
   public:
#if defined(__SSE2__)
    FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }  // FTZ | DAZ
    ~FlushDenormals() { suspend(); }
    void suspend() { _mm_setcsr(saved_); }
    void resume() { _mm_setcsr(saved_ | 0x8040); }

   private:
    unsigned saved_;
#else
    void suspend() {}
    void resume() {}
#endif
};

// What the threads of one call share.
struct Team {
    std::atomic<int> waiting{0};
    std::atomic<unsigned> round{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // of the thread that set `failed`
};

// Leaves a thread whose team has failed elsewhere.
struct Stopped {};

// One thread's view of its team.
class Exec {
   public:
    Exec(Team& team, FlushDenormals& flush, int rank, int size, Interrupt interrupt)
        : rank(rank), size(size), team_(team), flush_(flush), interrupt_(interrupt), asked_(Clock::now()) {}

    const int rank;
    const int size;

    // This thread's part of n pieces of work that do not depend on each other. Which thread computes a
    // piece never changes its bits.
    Part part() const { return {rank, size}; }
    Range share(index n) const { return part().of(n); }

    // Waits for all threads; throws if one of them has failed, and so will not come.
    void barrier() {
        if (size == 1) return;
        const unsigned round = team_.round.load(std::memory_order_relaxed);
        if (team_.waiting.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
            team_.waiting.store(0, std::memory_order_relaxed);
            team_.round.fetch_add(1, std::memory_order_release);
            return;
        }
        // For some microseconds in a loop, then giving way: eight threads on two cores must get on.
        int spins = 0;
        while (team_.round.load(std::memory_order_acquire) == round) {
            if (team_.failed.load(std::memory_order_relaxed)) throw Stopped{};
            if (spins < 256) {
                ++spins;
                relax();
            } else {
                std::this_thread::yield();
            }
        }
    }

    // To be called now and then where it is safe to stop: by the clock, thread 0 asks whether the caller
    // wants the call to end.
    void poll() {
        if (team_.failed.load(std::memory_order_relaxed)) throw Stopped{};
        if (rank != 0 || interrupt_ == nullptr) return;
        const auto now = Clock::now();
        if (now - asked_ < std::chrono::milliseconds(50)) return;
        asked_ = now;
        flush_.suspend();  // a signal handler is the user's code
        interrupt_();
        flush_.resume();
    }

   private:
    using Clock = std::chrono::steady_clock;
    Team& team_;
    FlushDenormals& flush_;
    Interrupt interrupt_;
    Clock::time_point asked_;
};

// Runs body(exec) on a team of `threads`, all of which walk the same program. An exception in one ends all
// at their next barrier and leaves this function.
template <class Body>
void run(int threads, Interrupt interrupt, const Body& body) {
    Team team;
    const auto member = [&](int rank, int size) {
        FlushDenormals flush;
        try {
            Exec exec(team, flush, rank, size, interrupt);
            if (team_fails(rank)) throw std::runtime_error("a failure was asked for in this thread");
            body(exec);
        } catch (const Stopped&) {
        } catch (...) {
            if (!team.failed.exchange(true)) team.error = std::current_exception();
        }
    };
    if (team_of(threads) == 1) {
        member(0, 1);
    } else {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
        member(omp_get_thread_num(), omp_get_num_threads());
#else
        member(0, 1);
#endif
    }
    if (team.error) std::rethrow_exception(team.error);
}

}  // namespace fnn::FNN_ISA::exec
