// What stands around the update of a step: the mean of gradients, clipping, SAM, Lookahead, averages.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "exec/memory.h"
#include "optim/rows.h"
#include "optim/updater.h"

namespace fnn {

// As `Optimizer` of pyfast_nn/optim/base.py describes them.
struct AroundOptions {
    bool maximize = false;
    std::optional<double> clip_norm, clip_value, clip_units;
    index unit_axis = -1;
    bool skip_nonfinite = false;
    index accumulate = 1;
    std::optional<double> ema;
    std::optional<index> swa;
    std::optional<std::pair<index, double>> lookahead;  // steps, alpha
    std::optional<double> sam;
};

// What is kept of each parameter: the mean of gradients, the average, the slow weights, the parameter itself
// while something else stands in its place.
enum class Kept { gradient, average, slow, original };
constexpr std::array<Kept, 4> all_kept = {Kept::gradient, Kept::average, Kept::slow, Kept::original};

// The memory of what is kept is the caller's: `keep` hands it over before a call by which it is needed, and
// what is not needed after a call may be given back. Options may change between any two calls.
class Around {
   public:
    explicit Around(Updater& updater);

    AroundOptions options;

    index skipped = 0;
    index accumulated = 0;      // calls in the mean of gradients
    index averaged = 0;         // steps in the averages
    index since_lookahead = 0;  // steps after the last time
    std::optional<double> grad_norm;

    bool needs(Kept kind) const;
    // One vector for each tensor, of as many numbers.
    void keep(Kept kind, std::vector<void*> vectors) { kept_[std::size_t(kind)] = std::move(vectors); }

    // A step, or a move to where SAM wants its gradient, is three calls. `check` throws std::runtime_error if
    // it is not its time. `begin` may fail and changes nothing that a later step gives; units are those of
    // each tensor, for clip_units. The third does not fail.
    void check_step() const;
    void check_ascend() const;
    void begin(const Loops& loops, const std::vector<GradientView>& gradients, std::vector<bool> present,
               std::vector<Units> units);
    void step(const Loops& loops);
    void ascend(const Loops& loops);

    // Back from where `ascend` went, without a step.
    void descend(const Loops& loops);

    // The parameters hold their averages from one to the other; needs Kept::original.
    void show_averages(const Loops& loops);
    void show_parameters(const Loops& loops);

    // Throws std::runtime_error unless the parameters hold their own values.
    void check_at_rest(const std::string& what) const;

    // Drops what belongs to options that are no longer used.
    void forget();

    // Whether a later step reads it; and of which tensors the mean of gradients has one.
    bool holds(Kept kind) const;
    const std::vector<bool>& contributes() const { return contributes_; }
    // Goes on from vectors that held it.
    void resume(Kept kind, std::vector<void*> vectors, std::vector<bool> present);

   private:
    template <class T>
    struct OwnRow : Row<T> {
        std::vector<Units> units;
    };
    using Rows = Both<OwnRow>;

    static void drop_gradients(Rows& rows);
    void collect(const std::vector<Units>& units);
    bool add_to_mean(const Loops& loops);
    void skip(double norm);
    double norm(const Loops& loops);
    void clip_each_unit(const Loops& loops);
    void look_ahead(const Loops& loops);
    void average(const Loops& loops);
    void pass(const Loops& loops, Rows& rows, PassKind kind, Kept with, double weight = 1,
              const GradientMap& map = {});

    Updater& updater_;
    Arena arena_;  // of norms
    std::array<std::vector<void*>, all_kept.size()> kept_;
    Rows all_, active_;  // all tensors, and those that are not left alone
    Rows moved_;         // by ascend
    std::vector<bool> contributes_;
    bool has_slow_ = false;                             // or it is to be made from the parameters
    bool averages_by_ema_ = false;                      // the averages so far
    bool ascended_ = false, has_no_direction_ = false;  // the latter: after a gradient that is not finite
    bool showing_ = false, shows_originals_ = false;    // the latter: there are no averages yet
};

}  // namespace fnn
