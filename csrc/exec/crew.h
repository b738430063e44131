// How many threads are worth having while other processes use the machine.
#pragma once

#include <chrono>

#include "common.h"

namespace fnn {

// Threads that wait for each other at every step lose whole slices of time as soon as other processes want
// the same processors. So the steps of a training are timed: where threads wait long, half as many are tried
// for a moment, and kept if steps take less time so; later twice as many are tried again. What was found is
// kept for the next calls, and does not change any result.
class Crew {
   public:
    // Before a call that makes steps of so much work, with up to so many threads.
    void begin(int threads, index work);

    int size() const { return most_ >> level_; }

    // How large a team is to be started for so many steps: one that may grow, if there is time for that.
    int team(index steps) const;

    // After a step of so many threads: how many are to make the next. long_wait: of the call, in seconds.
    int after_step(int threads, double long_wait);

    // How many of so many threads another call should use.
    int advice(int threads) const;

    // For tests: the number of threads changes after every step.
    static void unsettle(bool on);

   private:
    using Clock = std::chrono::steady_clock;
    static constexpr int levels = 16;

    void decide(double cost, double share);

    int most_ = 1;
    index work_ = 0;
    int level_ = 0, tried_from_ = -1;  // halvings of the team; the level before a trial, or -1
    double cost_[levels] = {};         // seconds a step, at each level
    double gap_ = 0;                   // between trials
    Clock::time_point last_, down_after_, up_after_;

    // Since the last decision:
    double seconds_ = 0, waited_ = 0, waited_before_ = 0;
    index steps_ = 0;
};

}  // namespace fnn
