// How many threads a call may use: one number for the process, or that of the thread that calls.
#pragma once

#include <atomic>

namespace fnn {

// Called by thread 0 about twenty times a second; throws when the caller wants the call to end (Ctrl-C). Or
// null.
using Interrupt = void (*)();

// The number that was set, or else what OpenMP says now (so that OMP_NUM_THREADS, threadpoolctl and joblib
// work); one in a child of fork whose parent had used threads of ours, where libgomp cannot start a team.
int get_num_threads();
void set_num_threads(int n);

// The same for calls of this thread alone, as those that run side by side share the processors; 0: as set for
// the process.
int get_own_threads();
void set_own_threads(int n);

// How many threads may start now of those asked for: one after such a fork. To be called before a team
// starts, so that a later fork knows.
int team_of(int threads);

// How many forks lie between the process that loaded this library and the present one.
int forks();

// Sleeps while a word holds a value; it may also wake without cause. Whoever changes the word wakes all.
void sleep_while(const std::atomic<unsigned>& word, unsigned value);
void wake_all(std::atomic<unsigned>& word);

// For tests: an exception leaves thread k of the next team (-1: none).
void fail_in_team(int k);
bool team_fails(int rank);

// The date of the OpenMP specification that the compiler implements (_OPENMP), 0 without OpenMP.
int openmp_version();

}  // namespace fnn
