#include "exec/threads.h"

#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#else
#include <thread>
#endif

namespace fnn {

namespace {

std::atomic<int> wanted{0};  // 0: ask OpenMP
thread_local int own = 0;    // of this thread; 0: as the process
std::atomic<int> failing{-1};
std::atomic<bool> team_used{false};
std::atomic<bool> forked{false};  // in a child whose parent had used a team
std::atomic<int> generation{0};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] {
    generation.fetch_add(1);
    if (team_used.load()) forked.store(true);
});
#endif

}  // namespace

int get_num_threads() {
    if (forked.load()) return 1;
    if (own > 0) return own;
    const int n = wanted.load();
    if (n > 0) return n;
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void set_num_threads(int n) { wanted.store(n); }

int get_own_threads() { return own; }

void set_own_threads(int n) { own = n; }

int team_of(int threads) {
    if (threads <= 1 || forked.load()) return 1;
    team_used.store(true);
    return threads;
}

int forks() { return generation.load(); }

#if defined(__linux__)
static_assert(sizeof(std::atomic<unsigned>) == 4, "the kernel compares 32 bits");

void sleep_while(const std::atomic<unsigned>& word, unsigned value) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(std::atomic<unsigned>& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}
#else
void sleep_while(const std::atomic<unsigned>& word, unsigned value) {
    if (word.load() == value) std::this_thread::yield();
}

void wake_all(std::atomic<unsigned>&) {}
#endif

void fail_in_team(int k) { failing.store(k); }

bool team_fails(int rank) {
    int k = failing.load(std::memory_order_relaxed);
    return k == rank && failing.compare_exchange_strong(k, -1);
}

int openmp_version() {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

}  // namespace fnn
