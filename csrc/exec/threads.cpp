#include "exec/threads.h"

#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fnn {

namespace {

std::atomic<int> wanted{0};  // 0: ask OpenMP
std::atomic<int> failing{-1};
std::atomic<bool> team_used{false};
std::atomic<bool> forked{false};  // in a child whose parent had used a team

void in_child() {
    if (team_used.load()) forked.store(true);
}

}  // namespace

int get_num_threads() {
    if (forked.load()) return 1;
    const int n = wanted.load();
    if (n > 0) return n;
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void set_num_threads(int n) { wanted.store(n); }

void note_team() {
    if (team_used.exchange(true)) return;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, in_child);
#endif
}

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
