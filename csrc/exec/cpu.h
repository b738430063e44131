// A call's team of threads: how it starts, waits for itself, and stops. The only place with `#pragma omp`.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <thread>
#include <utility>

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
    explicit Team(int working) : working(working), wanted(working) {}

    std::atomic<int> waiting{0};
    std::atomic<unsigned> round{0};  // barriers that have been passed
    std::atomic<int> asleep{0};      // who wait for that
    std::atomic<bool> failed{false};
    std::exception_ptr error;                // of the thread that set `failed`
    std::atomic<std::int64_t> long_wait{0};  // nanoseconds, of all threads

    // Threads 0 to working - 1 work; the others rest until that changes, or until all is done.
    std::atomic<int> working, wanted, resting{0};
    std::atomic<bool> done{false};
    std::atomic<unsigned> roster{0};  // how often any of this has changed

    void pass() {
        round.fetch_add(1);
        if (asleep.load() > 0) wake_all(round);
    }
    void call() {
        roster.fetch_add(1);
        wake_all(roster);
    }
    void fail(std::exception_ptr reason) {
        if (failed.exchange(true)) return;
        error = std::move(reason);
        pass();
        call();
    }
};

// Leaves a thread whose team has failed elsewhere.
struct Stopped {};

// One thread's view of its team.
class Exec {
   public:
    Exec(Team& team, FlushDenormals& flush, int rank, int size, int most, Interrupt interrupt)
        : rank(rank),
          size(size),
          most(most),
          team_(team),
          flush_(flush),
          interrupt_(interrupt),
          asked_(Clock::now()) {}

    const int rank;
    int size;        // of those who work
    const int most;  // of all

    // This thread's part of n pieces of work that do not depend on each other. Which thread computes a
    // piece never changes its bits.
    Part part() const { return {rank, size}; }
    Range share(index n) const { return part().of(n); }

    // Waits for all who work; throws if one of them has failed, and so will not come.
    void barrier() {
        if (size == 1) return;
        const unsigned round = team_.round.load(std::memory_order_relaxed);
        if (team_.waiting.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
            team_.waiting.store(0, std::memory_order_relaxed);
            team_.pass();
            return;
        }
        // Who fails passes a round; one that has failed before this thread came will not.
        const auto is_passed = [&] {
            return team_.round.load(std::memory_order_acquire) != round || team_.failed.load();
        };
        for (int spins = 0; spins < 256 && !is_passed(); ++spins) relax();
        if (!is_passed()) wait_long(round, is_passed);
        if (team_.failed.load(std::memory_order_relaxed)) throw Stopped{};
    }

    // How many are to work from the next `regroup` on, said by thread 0 before a barrier. None is called who
    // may not have heard yet that it rests.
    void want(int n) {
        const bool all_rest = team_.resting.load() == most - size;
        n = n <= size || all_rest ? min(n, most) : size;
        if (n < size) team_.working.store(n);  // who rests from then on sees it
        team_.wanted.store(n);
    }

    // After that barrier, by all who work. Who does not any more (`rests`) is to call `rest`.
    void regroup() {
        const int n = team_.wanted.load();
        if (rank == 0 && n > size) {
            team_.working.store(n);
            team_.call();
        }
        size = n;
    }
    bool rests() const { return rank >= size; }

    // Sleeps until this thread works again; false if all is done. Throws if another thread has failed.
    bool rest() {
        team_.resting.fetch_add(1);
        for (;;) {
            const unsigned roster = team_.roster.load();
            if (team_.failed.load()) throw Stopped{};
            if (team_.done.load()) return false;
            if (team_.working.load() > rank) break;
            sleep_while(team_.roster, roster);
        }
        team_.resting.fetch_sub(1);
        size = team_.working.load();
        return true;
    }

    // Seconds that threads of this call have waited long for each other, added up.
    double long_wait() const { return 1e-9 * double(team_.long_wait.load(std::memory_order_relaxed)); }

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

    // A thread that is waited for longer has lost its processor.
    static constexpr std::chrono::microseconds running_wait{200};

    // First the core is offered to a thread that may be waited for: eight threads on two cores must get on.
    // Then this one sleeps.
    template <class IsPassed>
    __attribute__((noinline)) void wait_long(unsigned round, const IsPassed& is_passed) {
        const auto start = Clock::now();
        while (!is_passed()) {
            if (Clock::now() - start < running_wait) {
                std::this_thread::yield();
                continue;
            }
            team_.asleep.fetch_add(1);
            while (!is_passed()) sleep_while(team_.round, round);
            team_.asleep.fetch_sub(1);
        }
        const std::chrono::nanoseconds waited = Clock::now() - start;
        if (waited > running_wait) team_.long_wait.fetch_add(waited.count(), std::memory_order_relaxed);
    }

    Team& team_;
    FlushDenormals& flush_;
    Interrupt interrupt_;
    Clock::time_point asked_;
};

// That of this thread, while it is in a team.
inline thread_local Exec* present = nullptr;

class Presence {
   public:
    explicit Presence(Exec& exec) : before_(present) { present = &exec; }
    ~Presence() { present = before_; }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;

   private:
    Exec* const before_;  // a signal handler may call from within a call
};

// The same for what takes long in one piece of work, and knows nothing of the team.
inline void poll() {
    if (present != nullptr) present->poll();
}

// Runs body(exec) on a team of `threads`, all of which walk the same program; `working` of them at first (0:
// all), if the body knows of `rest`. An exception in one ends all at their next barrier and leaves this
// function.
template <class Body>
void run(int threads, Interrupt interrupt, const Body& body, int working = 0) {
    Team team(working > 0 ? min(working, threads) : threads);
    const auto member = [&](int rank, int most) {
        FlushDenormals flush;
        try {
            Exec exec(team, flush, rank, min(team.working.load(), most), most, interrupt);
            const Presence here(exec);
            if (team_fails(rank)) throw std::runtime_error("a failure was asked for in this thread");
            body(exec);
            if (rank == 0 && exec.size < most) {
                team.done.store(true);
                team.call();
            }
        } catch (const Stopped&) {
        } catch (...) {
            team.fail(std::current_exception());
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
