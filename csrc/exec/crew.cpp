#include "exec/crew.h"

#include <algorithm>
#include <atomic>

namespace fnn {

namespace {

constexpr double window = 0.006;       // seconds between decisions: two slices of time
constexpr double long_call = 0.1;      // seconds in which a team may change
constexpr double much_waiting = 0.2;   // share of the threads' time
constexpr double shortest_gap = 0.05;  // between trials, in seconds; doubled while they fail
constexpr double longest_gap = 0.4;
constexpr double memory = 1;  // seconds for which what was found holds

std::atomic<bool> unsettled{false};

std::chrono::steady_clock::duration seconds(double s) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * s));
}

}  // namespace

void Crew::begin(int threads, index work) {
    const auto now = Clock::now();
    if (threads != most_ || work != work_) {
        *this = Crew();
        most_ = threads, work_ = work, gap_ = shortest_gap;
    }
    if (unsettled.load(std::memory_order_relaxed)) level_ = 0;
    if (now - last_ > seconds(memory)) up_after_ = down_after_ = now;
    last_ = now;
    waited_before_ = 0;
}

int Crew::team(index steps) const {
    const bool is_long = double(steps) * cost_[level_] > long_call;
    return level_ == 0 || is_long ? most_ : size();
}

int Crew::after_step(int threads, double long_wait) {
    if (unsettled.load(std::memory_order_relaxed)) return 1 + int(++steps_ * 7 % index(most_));
    const auto now = Clock::now();
    if (threads == size()) {  // not those whom this call cannot have yet
        seconds_ += std::chrono::duration<double>(now - last_).count();
        waited_ += long_wait - waited_before_;
        ++steps_;
    }
    last_ = now, waited_before_ = long_wait;
    if (seconds_ >= window && steps_ > 1) {
        decide(seconds_ / double(steps_), waited_ / (seconds_ * size()));
        seconds_ = waited_ = 0, steps_ = 0;
    }
    return size();
}

void Crew::decide(double cost, double share) {
    if (tried_from_ >= 0) {
        const bool is_better = cost < 0.95 * cost_[tried_from_];
        cost_[level_] = cost;
        gap_ = is_better ? shortest_gap : std::min(2 * gap_, longest_gap);
        up_after_ = down_after_ = last_ + seconds(gap_);
        if (is_better)  // the next one may be better still
            (level_ > tried_from_ ? down_after_ : up_after_) = last_;
        else
            level_ = tried_from_;
        tried_from_ = -1;
        return;
    }
    double& mean = cost_[level_];
    mean = mean == 0 ? cost : 0.7 * mean + 0.3 * cost;
    if (share > much_waiting && size() > 1 && last_ >= down_after_) {
        tried_from_ = level_++;
    } else if (level_ > 0 && last_ >= up_after_) {
        tried_from_ = level_--;
    }
}

void Crew::unsettle(bool on) { unsettled.store(on); }

int Crew::advice(int threads) const {
    const bool holds = threads == most_ && Clock::now() - last_ < seconds(memory);
    return holds ? size() : threads;
}

}  // namespace fnn
