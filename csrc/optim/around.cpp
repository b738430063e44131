#include "optim/around.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace fnn {

Around::Around(Updater& updater) : updater_(updater) {
    index pieces = 0;
    updater_.for_types([&](const auto& all, auto) {
        for (const auto& segment : all.segments) pieces += segment.length / piece_length + 1;
    });
    arena_.reserve(std::size_t(pieces) * sizeof(double));
}

// -------------------------------------------------------------------------------------- what is kept, and
// when

bool Around::needs(Kept kind) const {
    switch (kind) {
        case Kept::gradient:
            return options.accumulate > 1 || accumulated > 0 || options.clip_units;
        case Kept::average:
            return options.ema || options.swa;
        case Kept::slow:
            return options.lookahead.has_value();
        case Kept::original:
            return options.sam || ascended_ || showing_;
    }
    return false;
}

bool Around::holds(Kept kind) const {
    switch (kind) {
        case Kept::gradient:
            return accumulated > 0;
        case Kept::average:
            return averaged > 0;
        case Kept::slow:
            return has_slow_;
        case Kept::original:
            return false;
    }
    return false;
}

void Around::resume(Kept kind, std::vector<void*> vectors, std::vector<bool> present) {
    keep(kind, std::move(vectors));
    if (kind == Kept::gradient) contributes_ = std::move(present);
    if (kind == Kept::slow) has_slow_ = true;
    if (kind == Kept::average) averages_by_ema_ = options.ema.has_value();
}

void Around::forget() {
    const bool by_ema = options.ema.has_value();
    if (by_ema != averages_by_ema_ || !needs(Kept::average)) averaged = 0;
    averages_by_ema_ = by_ema;
    if (options.swa && averaged > std::max(updater_.steps - *options.swa, index{0}))
        averaged = 0;  // of steps that no longer count
    if (options.lookahead) return;
    has_slow_ = false;
    since_lookahead = 0;
}

void Around::check_at_rest(const std::string& what) const {
    if (showing_)
        throw std::runtime_error(what + ": the parameters hold their averages, expected it after averaged()");
    if (ascended_)
        throw std::runtime_error(what +
                                 ": the parameters are where ascend has moved them, expected step before it");
}

// ---------------------------------------------------------------------------------------------- the
// beginning

void Around::check_step() const {
    if (showing_ || !ascended_) check_at_rest("step");
    if (options.sam && !ascended_)
        throw std::runtime_error("step: expected ascend before each step of an optimizer with sam");
}

void Around::check_ascend() const {
    check_at_rest("ascend");
    if (!options.sam) throw std::runtime_error("ascend: expected an optimizer with sam");
}

void Around::begin(const Loops& loops, const std::vector<GradientView>& gradients, std::vector<bool> present,
                   std::vector<Units> units) {
    if (accumulated == 0) contributes_.clear();
    contributes_.reserve(present.size());
    for (std::size_t i = 0; i < contributes_.size(); ++i) present[i] = present[i] || contributes_[i];
    updater_.begin(loops, gradients, std::move(present));
    collect(units);
    forget();
}

void Around::collect(const std::vector<Units>& units) {
    const auto take = [&](auto& row, auto& all, bool with_frozen) {
        row.clear();
        row.units.clear();
        all.for_tensors([&](const auto& segment, std::size_t tensor, const Group& group) {
            if (group.frozen && !with_frozen) return;
            row.add(segment, tensor);
            if (!units.empty()) row.units.push_back(units[tensor]);
        });
    };
    updater_.for_types([&](auto& all, auto zero) {
        take(all_.of(zero), all, true);
        take(active_.of(zero), all, false);
    });
}

void Around::drop_gradients(Rows& rows) {
    rows.for_types([](auto& row, auto) {
        for (auto& segment : row.segments) segment.gradient = nullptr;
    });
}

// ---------------------------------------------------------------------------------------------------- the
// step

void Around::step(const Loops& loops) {
    std::optional<double> norm;  // of the gradients that make the step, where it is needed
    if (options.skip_nonfinite) norm = this->norm(loops);
    const bool skips = norm && (has_no_direction_ || !std::isfinite(*norm));
    descend(loops);
    if (skips) return skip(*norm);

    if (needs(Kept::gradient)) {
        const bool of_several = accumulated > 0;
        if (!add_to_mean(loops)) return;
        if (of_several) norm.reset();
    }
    if ((options.clip_norm || options.skip_nonfinite) && !norm) norm = this->norm(loops);
    if (options.skip_nonfinite && !std::isfinite(*norm)) return skip(*norm);

    GradientMap map{options.maximize ? -1.0 : 1.0, options.clip_value.value_or(0),
                    options.clip_value.has_value()};
    if (options.clip_norm && std::isfinite(*norm) && *norm > *options.clip_norm)
        map.scale *= *options.clip_norm / *norm;
    if (options.clip_units) clip_each_unit(loops);
    if (options.lookahead && !has_slow_) {
        pass(loops, all_, PassKind::remember, Kept::slow);
        has_slow_ = true;
    }
    updater_.update(loops, map);
    if (options.lookahead) look_ahead(loops);
    if (options.ema || (options.swa && updater_.steps > *options.swa)) average(loops);
    grad_norm = norm;
}

void Around::skip(double norm) {
    ++skipped;
    grad_norm = norm;
}

// Whether the mean, which is then the gradient, makes a step.
bool Around::add_to_mean(const Loops& loops) {
    ++accumulated;
    contributes_ = updater_.present();
    if (accumulated == 1)
        pass(loops, all_, PassKind::remember_gradient, Kept::gradient);
    else
        pass(loops, all_, PassKind::average_gradient, Kept::gradient, 1 / double(accumulated));
    if (accumulated < options.accumulate) return false;
    accumulated = 0;
    const auto& mean = kept_[std::size_t(Kept::gradient)];
    updater_.replace_gradients(mean);
    active_.for_types([&](auto& row, auto) { row.set_gradients(mean); });
    return true;
}

void Around::look_ahead(const Loops& loops) {
    const auto [steps, alpha] = *options.lookahead;
    if (++since_lookahead < steps) return;
    pass(loops, active_, PassKind::lookahead, Kept::slow, alpha);
    since_lookahead = 0;
}

void Around::average(const Loops& loops) {
    ++averaged;
    if (averaged == 1)
        pass(loops, all_, PassKind::remember, Kept::average);
    else
        pass(loops, all_, PassKind::average, Kept::average,
             options.ema ? 1 - *options.ema : 1 / double(averaged));
}

// ------------------------------------------------------------------------------------- the parameters
// elsewhere

void Around::ascend(const Loops& loops) {
    moved_ = active_;
    const double norm = this->norm(loops), scale = *options.sam / norm * (options.maximize ? -1 : 1);
    has_no_direction_ = !std::isfinite(norm);
    if (std::isfinite(norm) && std::isfinite(scale))
        pass(loops, active_, PassKind::ascend, Kept::original, 1, {scale, 0, false});
    else
        pass(loops, active_, PassKind::remember, Kept::original);
    ascended_ = true;
    drop_gradients(moved_);  // their arrays may be gone on the way back
}

void Around::descend(const Loops& loops) {
    if (ascended_) pass(loops, moved_, PassKind::restore, Kept::original);
    ascended_ = false;
    has_no_direction_ = false;
}

void Around::show_averages(const Loops& loops) {
    check_at_rest("averaged");
    forget();
    shows_originals_ = averaged == 0;
    if (!shows_originals_) {
        collect({});
        drop_gradients(all_);
        pass(loops, all_, PassKind::remember, Kept::original);
        pass(loops, all_, PassKind::restore, Kept::average);
    }
    showing_ = true;
}

void Around::show_parameters(const Loops& loops) {
    if (showing_ && !shows_originals_) pass(loops, all_, PassKind::restore, Kept::original);
    showing_ = false;
}

// -------------------------------------------------------------------------------------------------- the
// loops

// Of all gradients that are not left alone.
double Around::norm(const Loops& loops) {
    double norm = 0;
    active_.for_types([&](auto& row, auto zero) {
        if (row.segments.empty()) return;
        norm = std::hypot(norm, loops.of(zero).gradient_norm(row.view(), loops.threads, nullptr, arena_));
    });
    return norm;
}

void Around::clip_each_unit(const Loops& loops) {
    active_.for_types([&](auto& row, auto zero) {
        if (row.segments.empty()) return;
        row.set_first_states(kept_[std::size_t(Kept::gradient)]);
        loops.of(zero).clip_units(row.view(), row.units.data(), *options.clip_units, loops.threads);
    });
}

void Around::pass(const Loops& loops, Rows& rows, PassKind kind, Kept with, double weight,
                  const GradientMap& map) {
    rows.for_types([&](auto& row, auto zero) {
        if (row.segments.empty()) return;
        row.set_first_states(kept_[std::size_t(with)]);
        loops.of(zero).pass({row.view(), kind, weight, map}, loops.threads);
    });
}

}  // namespace fnn
