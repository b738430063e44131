// An epoch: gather, forward, loss, backward for every batch, update for one or more; no allocation, no
// Python.
#pragma once

#include <atomic>
#include <cmath>
#include <exception>
#include <type_traits>

#include "net/columns.h"
#include "net/constraint.h"
#include "net/forward_gradient.h"
#include "net/ridge.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::net {

template <class T>
inline bool has_ridge(const Epoch<T>& epoch) {
    return epoch.ridges != nullptr || epoch.ridge != 0;
}

template <class T>
inline Needs needs_of(const Plan& plan, const Epoch<T>& epoch, const LossSpec& loss) {
    Needs needs;
    if (epoch.forward) needs = needs_of_perturbation(plan);
    needs.gradient = true;
    needs.add(loss);
    needs.states = epoch.update.states;
    needs.totals = epoch.batches_per_step > 1;
    needs.ridge = has_ridge(epoch);
    needs.mixes = epoch.mixup > 0;
    return needs;
}

template <class T>
inline void need_forward(const Context& call, const Epoch<T>& epoch) {
    if (epoch.forward) need_perturbable(call.plan, call.run, "gradient", "'backward'", "'forward'");
}

template <class T>
inline index rows_at_a_time(const Epoch<T>& epoch) {
    return exec::min(epoch.batch_size, epoch.order.rows);
}

template <class T>
inline index rows_per_step(const Epoch<T>& epoch) {
    return rows_at_a_time(epoch) * epoch.batches_per_step;
}

template <class T>
inline Range rows_of_step(const Epoch<T>& epoch, index step) {
    const index begin = step * rows_per_step(epoch);
    return {begin, exec::min(begin + rows_per_step(epoch), epoch.order.rows)};
}

template <class T>
inline double ridge_at(const Epoch<T>& epoch, index step) {
    return epoch.ridges == nullptr ? epoch.ridge : epoch.ridges[step];
}

// By which the gradient of a step has the weights in it.
template <class T>
inline T ridge_of_step(const Epoch<T>& epoch, index step) {
    return has_ridge(epoch) ? T(ridge_at(epoch, step) / double(rows_of_step(epoch, step).size())) : T(0);
}

template <class T>
inline int team_size_of(const Context& call, const Epoch<T>& epoch, const LossSpec& loss) {
    const index rows = rows_at_a_time(epoch);
    return team_size(call.threads, 3 * rows * work_per_row(call.plan, loss, rows));
}

// What layers keep of a batch that has gone forward; each thread learns some columns.
template <class T>
inline void learn_state(Exec& exec, const Workspace<T>& ws) {
    if (!ws.run.learns_state) return;
    for (const Node& node : ws.plan.nodes)
        if (Maps<T>::has_state(node)) Maps<T>::learn(ws, node, exec.share(ws.z(node.output).count()));
}

// The derivatives of the loss of a step, by all threads: sum(w l) / n over the n rows of its batches, whose
// weights w have mean 1 over all rows of the epoch, so that it is unbiased. The gradient of the parameters is
// added up for all batches but the last, for which this calls last(turn), without a barrier. False if the
// loss is not finite. The thread's own view of the workspace is left with the rows of
// the last.
template <class T, class Last>
inline bool differentiate_step(Exec& exec, Workspace<T>& ws, const Source& x, const Targets<T>& y,
                               const LossSpec& loss, const Epoch<T>& epoch, index step, Score& sum,
                               const Last& last) {
    const index capacity = rows_at_a_time(epoch);
    const auto [begin, end] = rows_of_step(epoch, step);
    Batch<T> examples = batch_of(ws.plan, y, epoch.order.examples, begin);
    const T factor = mean_factor<T>(double((end - begin) * examples.positions));
    ws.run.step = epoch.first_step + std::uint64_t(step);
    examples.mixing = Mixing(epoch.mixup, ws.run, {begin, end});
    if (has_ridge(epoch)) square_panels(exec, ws);
    for (; examples.first < end; examples.first += capacity) {
        const bool more = examples.first > begin;
        if (more) exec.barrier();  // others may still read the batch before
        const index batch = exec::min(end - examples.first, capacity);
        ws.rows = batch;  // a shorter last batch uses the first rows of every value
        ws.run.first = examples.first - begin;
        if (epoch.forward)
            estimate_all(exec, ws, x, loss, examples, factor);
        else
            differentiate(exec, ws, x, loss, examples, factor);
        exec.barrier();
        // Each thread adds up all rows, so that all of them know without waiting whether the loss is finite.
        sum.add(add_up(ws));
        if (!more && has_ridge(epoch)) {
            sum.penalty = ridge_at(epoch, step) / 2 * sum_of_squares(ws);
            sum.loss += sum.penalty;
        }
        if (!std::isfinite(sum.loss)) return false;
        learn_state(exec, ws);
        const Turn turn{!more, examples.first + batch == end};
        settle_blocks(exec, ws, turn);
        if (turn.last)
            last(turn);
        else
            parameter_gradient(ws, exec.part(), turn);
    }
    return true;
}

// Takes strips of the gradient: updates the parameters and their transposes.
template <class T>
struct StripUpdate {
    const Workspace<T>& ws;
    const optim::Update<T>& rule;

    void take(const Parameters& own, T* gradient, index place, index count) const {
        if (own.is_normalized) return Kept<T>{ws.gradient}.take(own, gradient, place, count);
        update(gradient, place, count);
    }
    void update(const T* gradient, index place, index count) const {
        optim::Stretch<T> stretch{ws.parameters + place, gradient, {}};
        for (int k = 0; k < ws.needs.states; ++k) stretch.states[k] = ws.states[k] + place;
        rule.apply(stretch, {0, count});
    }
    // The parameters and states, where they are more than a cache holds: fetching what is near costs time.
    exec::Beside<T> beside(const Panels<T>& matrix) const {
        constexpr index near = index{32} << 20;  // bytes
        exec::Beside<T> all{matrix};
        if ((1 + ws.needs.states) * ws.layout.size() * index(sizeof(T)) < near) return all;
        all.count = 1 + ws.needs.states;
        for (int k = 0; k < ws.needs.states; ++k) all.offsets[1 + k] = ws.states[k] - ws.parameters;
        return all;
    }
    void finish(const Parameters& own, index panel, Range rows) const {
        if (ws.wants_transpose(own) && !own.is_constrained() && !own.is_normalized)
            ws.layout.transpose(ws.transposed, ws.parameters, own, panel, rows, false);
    }
};

// Where the gradient is that of a matrix that is computed, by all threads when all of it is there: updates
// what that is computed of, and then the matrix. Calls after(parameters, panel) for each.
template <class T, class After>
void update_normalized(const Exec& exec, const StripUpdate<T>& strips, const After& after) {
    const Workspace<T>& ws = strips.ws;
    for_normalized(ws, exec.part(), [&](const Parameters& own, index p) {
        if (!own.trainable) return;
        NormalizedPanel<T>(ws, own, p).pull_back(ws.gradient);
        const Panels<T> v = ws.layout.learned(ws.parameters, own);
        const auto update = [&](const T* there, index count) {
            const index place = there - ws.parameters;
            strips.update(ws.gradient + place, place, count);
        };
        update(v.panel(p), v.rows * v.width(p));
        for (index k = 0; k < own.count(); ++k)
            update(ws.layout.vector(ws.parameters, own, k) + p * v.full, v.width(p));
        NormalizedPanel<T>(ws, own, p).compute(ws.parameters);
        after(own, p);
    });
}

template <class T>
void train(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    need_forward(call, epoch);
    Needs needs = needs_of(call.plan, epoch, loss);
    needs.whole_gradient = is_normalized(call.plan);
    Crew& crew = *call.crew;
    const int most = team_size_of(call, epoch, loss);
    crew.begin(most, rows_per_step(epoch));
    const int threads = crew.team(epoch.steps);
    Workspace<T> ws(call, rows_at_a_time(epoch), needs, threads);

    const auto unpack = [&](Exec& exec) {
        ws.layout.unpack(epoch.parameters, ws.parameters, exec.part());
        for (int k = 0; k < needs.states; ++k)
            ws.layout.unpack_trained(epoch.states[k], ws.states[k], exec.part());
    };

    const bool finishes_whole = is_constrained(call.plan) || is_normalized(call.plan);
    std::atomic<bool> packed{false};
    index next = 0;  // the step after the present one, for threads that have rested
    const auto walk = [&](Exec& exec) {
        Workspace<T> own = ws;
        if (!exec.rests()) {
            for (int k = 0; k < needs.states; ++k)
                ws.layout.pack_trained(ws.states[k], epoch.states[k], exec.part());
            if (epoch.forward) clear_direction(exec, ws);
            pack_parameters<T>(exec, ws, epoch.parameters);
            packed.store(true);
        }
        UpdateSpec update = epoch.update;
        for (index step = 0; step < epoch.steps; ++step) {
            if (exec.rests()) {
                if (!exec.rest() || next == epoch.steps) return;
                step = next;
            }
            // Up to the barrier after its last batch the step may be left; after it, every update is made by
            // all threads.
            Score sum;
            const bool finite = differentiate_step(exec, own, x, y, loss, epoch, step, sum, [&](Turn turn) {
                epoch.set_schedules(update, step);
                const optim::Update<T> rule = optim::update_of<T>(update, epoch.steps_before + step);
                const StripUpdate<T> strips{own, rule};
                for_strips(own, exec.part(), turn, GradientTerms<T>{own},
                           WithRidge<T, StripUpdate<T>>{own, ridge_of_step(epoch, step), strips});
                if (!finishes_whole) return;
                exec.barrier();
                const auto transpose = [&](const Parameters& of, index panel) {
                    if (own.wants_transpose(of))
                        own.layout.transpose(own.transposed, own.parameters, of, panel, {0, of.rows}, false);
                };
                constrain(exec, own, transpose);
                update_normalized(exec, strips, transpose);
            });
            if (!finite) {
                if (exec.rank == 0) score->finite = false;
                return;
            }
            if (exec.rank == 0) {
                score->add(sum);
                score->steps = next = step + 1;
                if (most > 1) exec.want(crew.after_step(exec.size, exec.long_wait()));
            }
            exec.barrier();
            exec.regroup();
        }
    };

    std::exception_ptr error;
    try {
        exec::run(threads, call.interrupt, walk, crew.size());
    } catch (...) {
        error = std::current_exception();
    }
    if (packed.load()) exec::run(crew.size(), nullptr, unpack);
    if (error) std::rethrow_exception(error);
}

// The same with updates that the caller makes, between the steps, on the flat parameters.
template <class T>
void train_stepwise(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
                    const Epoch<T>& epoch, Score* score) {
    Crew& crew = *call.crew;
    need_forward(call, epoch);
    const int threads = team_size_of(call, epoch, loss);
    Workspace<T> ws(call, rows_at_a_time(epoch), needs_of(call.plan, epoch, loss), threads);
    for (index step = 0; step < epoch.steps; ++step) {
        Score sum;
        bool first = true, again = true;
        while (again) {
            bool finite = true;
            crew.begin(threads, rows_per_step(epoch));
            exec::run(crew.size(), call.interrupt, [&](Exec& exec) {
                if (epoch.forward) clear_direction(exec, ws);
                pack_parameters<T>(exec, ws, epoch.parameters);
                Score own;
                Workspace<T> view = ws;
                view.run.learns_state &= first;
                const bool is_finite =
                    differentiate_step(exec, view, x, y, loss, epoch, step, own, [&](Turn turn) {
                        for_strips(view, exec.part(), turn, GradientTerms<T>{view},
                                   WithRidge<T, Kept<T>>{view, ridge_of_step(epoch, step), {view.gradient}});
                    });
                if (is_finite) unpack_gradient(exec, ws, epoch.gradient);
                exec.barrier();
                if (exec.rank != 0) return;
                if (threads > 1) crew.after_step(exec.size, exec.long_wait());
                finite = is_finite;
                if (first) sum = own;  // at the parameters that the step starts from
            });
            first = false;
            again = epoch.take_step(epoch.caller, finite);
        }
        if (is_constrained(call.plan))
            exec::run(crew.size(), nullptr, [&](Exec& exec) {
                ws.layout.pack(ws.parameters, epoch.parameters, exec.part());
                exec.barrier();
                constrain(exec, ws, [](const Parameters&, index) {});
                exec.barrier();
                ws.layout.unpack(epoch.parameters, ws.parameters, exec.part());
            });
        score->add(sum);
        score->steps = step + 1;
    }
}

}  // namespace fnn::FNN_ISA::net
