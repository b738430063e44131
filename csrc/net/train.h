// An epoch: gather, forward, loss, backward for every batch, update for one or more; no allocation, no
// Python.
#pragma once

#include <atomic>
#include <cmath>
#include <exception>

#include "net/team.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::net {

template <class T>
inline Needs needs_of(const Epoch<T>& epoch) {
    Needs needs;
    needs.gradient = needs.loss = true;
    needs.states = epoch.update.states;
    return needs;
}

template <class T>
inline index rows_at_a_time(const Epoch<T>& epoch) {
    return exec::min(epoch.batch_size, epoch.order.rows);
}

template <class T>
inline int team_size_of(const Context& call, const Epoch<T>& epoch) {
    return team_size(call.threads, 3 * rows_at_a_time(epoch) * call.plan.work_per_row());
}

// The gradient of the mean loss over the batches of a step, of this thread's units; ends without a barrier.
// False if the loss is not finite. The thread's own view of the workspace is left with the rows of the last.
template <class T>
inline bool gradient_of_step(Exec& exec, Workspace<T>& ws, const Source& x, const Targets<T>& y,
                             const LossSpec& loss, const Epoch<T>& epoch, index step, Score& sum) {
    const index capacity = rows_at_a_time(epoch), per_step = capacity * epoch.batches_per_step;
    const Range units = exec.share(ws.layout.units());
    const index begin = step * per_step, end = exec::min(begin + per_step, epoch.order.rows);
    Batch<T> examples{y, epoch.order.examples, begin, ws.plan.out_features()};
    const T factor = mean_factor<T>(total_weight(examples, end - begin));
    for (; examples.first < end; examples.first += capacity) {
        const bool more = examples.first > begin;
        if (more) exec.barrier();  // others may still read the batch before
        const index batch = exec::min(end - examples.first, capacity);
        ws.rows = batch;  // a shorter last batch uses the first rows of every buffer
        for_own_pieces(exec, batch,
                       [&](Range rows) { differentiate(exec, ws, x, loss, examples, rows, factor); });
        exec.barrier();
        // Each thread adds up all rows, so that all of them know without waiting whether the loss is finite.
        sum.add(add_up(ws.scores, batch));
        if (!std::isfinite(sum.loss)) return false;
        parameter_gradient(ws, units, more);
    }
    return true;
}

template <class T>
void train(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    const Needs needs = needs_of(epoch);
    const int threads = team_size_of(call, epoch);
    Workspace<T> ws(call, rows_at_a_time(epoch), needs, threads);
    optim::Stretch<T> all{ws.parameters, ws.gradient, {}};
    for (int k = 0; k < needs.states; ++k) all.states[k] = ws.states[k];

    const auto unpack = [&](Exec& exec) {
        const Range mine = exec.share(ws.layout.units());
        ws.layout.unpack(epoch.parameters, ws.parameters, mine);
        for (int k = 0; k < needs.states; ++k) ws.layout.unpack(epoch.states[k], ws.states[k], mine);
    };

    std::atomic<bool> packed{false};
    const auto walk = [&](Exec& exec) {
        Workspace<T> own = ws;
        const Range units = exec.share(ws.layout.units());
        for (int k = 0; k < needs.states; ++k) ws.layout.pack(ws.states[k], epoch.states[k], units);
        pack_parameters<T>(exec, ws, epoch.parameters);
        packed.store(true);
        UpdateSpec update = epoch.update;
        for (index step = 0; step < epoch.steps; ++step) {
            // Up to the barrier after its last batch the step may be left; after it, every update is made by
            // all threads.
            Score sum;
            if (!gradient_of_step(exec, own, x, y, loss, epoch, step, sum)) {
                if (exec.rank == 0) score->finite = false;
                return;
            }
            epoch.set_schedules(update, step);
            optim::with_update<T>(update, epoch.steps_before + step, [&](const auto& rule) {
                ws.layout.for_numbers(
                    units, [&](index at, index count) { optim::apply(rule, all, {at, at + count}); });
            });
            ws.transpose(ws.transposed, ws.parameters, units);
            if (exec.rank == 0) {
                score->add(sum);
                score->steps = step + 1;
            }
            exec.barrier();
        }
    };

    std::exception_ptr error;
    try {
        exec::run(threads, call.interrupt, walk);
    } catch (...) {
        error = std::current_exception();
    }
    if (packed.load()) exec::run(threads, nullptr, unpack);
    if (error) std::rethrow_exception(error);
}

// The same with updates that the caller makes, between the steps, on the flat parameters.
template <class T>
void train_stepwise(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
                    const Epoch<T>& epoch, Score* score) {
    const int threads = team_size_of(call, epoch);
    Workspace<T> ws(call, rows_at_a_time(epoch), needs_of(epoch), threads);
    for (index step = 0; step < epoch.steps; ++step) {
        Score sum;
        bool first = true, again = true;
        while (again) {
            bool finite = true;
            exec::run(threads, call.interrupt, [&](Exec& exec) {
                pack_parameters<T>(exec, ws, epoch.parameters);
                Score own;
                Workspace<T> view = ws;
                const bool is_finite = gradient_of_step(exec, view, x, y, loss, epoch, step, own);
                if (is_finite) ws.layout.unpack(epoch.gradient, ws.gradient, exec.share(ws.layout.units()));
                if (exec.rank != 0) return;
                finite = is_finite;
                if (first) sum = own;  // at the parameters that the step starts from
            });
            first = false;
            again = epoch.take_step(epoch.caller, finite);
        }
        score->add(sum);
        score->steps = step + 1;
    }
}

}  // namespace fnn::FNN_ISA::net
