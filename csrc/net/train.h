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
void train(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    const Plan& plan = call.plan;
    const index capacity = exec::min(epoch.batch_size, epoch.order.rows);
    const index per_step = capacity * epoch.batches_per_step;  // rows
    Needs needs;
    needs.gradient = needs.loss = true;
    needs.states = epoch.update.states;
    const int threads = team_size(call.threads, 3 * capacity * plan.work_per_row());
    Workspace<T> ws(call, capacity, needs, threads);
    const optim::Stretch<T> all{ws.parameters, ws.gradient, {ws.states[0], ws.states[1]}};

    const auto unpack = [&](Exec& exec) {
        const Range mine = exec.share(ws.layout.units());
        ws.layout.unpack(epoch.parameters, ws.parameters, mine);
        for (int k = 0; k < needs.states; ++k) ws.layout.unpack(epoch.states[k], ws.states[k], mine);
    };

    std::atomic<bool> packed{false};
    const auto walk = [&](Exec& exec) {
        const Range units = exec.share(ws.layout.units());
        for (int k = 0; k < needs.states; ++k) ws.layout.pack(ws.states[k], epoch.states[k], units);
        pack_parameters<T>(exec, ws, epoch.parameters);
        packed.store(true);
        for (index step = 0; step < epoch.steps; ++step) {
            // Up to the barrier after its last batch the step may be left; after it, every update is made by
            // all threads.
            const index begin = step * per_step, end = exec::min(begin + per_step, epoch.order.rows);
            Batch<T> examples{y, epoch.order.examples, begin, plan.out_features()};
            const T factor = mean_factor<T>(total_weight(examples, end - begin));
            Score sum;
            for (; examples.first < end; examples.first += capacity) {
                const bool more = examples.first > begin;
                if (more) exec.barrier();  // others may still read the batch before
                const index batch = exec::min(end - examples.first, capacity);
                // A shorter last batch uses the first rows of every buffer.
                Workspace<T> now = ws.of_rows(batch);
                for_own_pieces(exec, batch, [&](Range rows) {
                    differentiate(exec, now, x, loss, examples, rows, factor);
                });
                exec.barrier();
                // Each thread adds up all rows, so that all of them know without waiting whether the loss is
                // finite.
                sum.add(add_up(now.scores, batch));
                if (!std::isfinite(sum.loss)) {
                    if (exec.rank == 0) score->finite = false;
                    return;
                }
                parameter_gradient(now, units, more);
            }
            optim::with_update<T>(epoch.update_at(step), epoch.steps_before + step, [&](const auto& rule) {
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

}  // namespace fnn::FNN_ISA::net
