// An epoch: gather, forward, loss, backward for every batch, update for one or more; no allocation, no
// Python.
#pragma once

#include <atomic>
#include <cmath>
#include <exception>

#include "net/columns.h"
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

// The derivatives of the mean loss over the batches of a step, by all threads. The gradient of the parameters
// is added up for all batches but the last, for which this calls last(whether there were others), without a
// barrier. False if the loss is not finite. The thread's own view of the workspace is left with the rows of
// the last.
template <class T, class Last>
inline bool differentiate_step(Exec& exec, Workspace<T>& ws, const Source& x, const Targets<T>& y,
                               const LossSpec& loss, const Epoch<T>& epoch, index step, Score& sum,
                               const Last& last) {
    const index capacity = rows_at_a_time(epoch), per_step = capacity * epoch.batches_per_step;
    const index begin = step * per_step, end = exec::min(begin + per_step, epoch.order.rows);
    Batch<T> examples{y, epoch.order.examples, begin, ws.plan.out_features()};
    const T factor = mean_factor<T>(total_weight(examples, end - begin));
    for (; examples.first < end; examples.first += capacity) {
        const bool more = examples.first > begin;
        if (more) exec.barrier();  // others may still read the batch before
        const index batch = exec::min(end - examples.first, capacity);
        ws.rows = batch;  // a shorter last batch uses the first rows of every buffer
        differentiate(exec, ws, x, loss, examples, factor);
        exec.barrier();
        // Each thread adds up all rows, so that all of them know without waiting whether the loss is finite.
        sum.add(add_up(ws.scores, batch));
        if (!std::isfinite(sum.loss)) return false;
        if (examples.first + batch < end)
            parameter_gradient(ws, exec.part(), more);
        else
            last(more);
    }
    return true;
}

// The gradient of this thread's parameters, their update and their transposes, some at a time: the gradient
// never leaves the caches. `more`: there is one of other batches that it is added to.
template <class T, class Rule>
inline void update_parameters(Exec& exec, Workspace<T>& ws, const Rule& rule, bool more) {
    constexpr index room = 8192, full = Panels<T>::full;  // numbers of a gradient at a time
    constexpr index pair = exec::panels_limit;
    alignas(exec::vector_bytes) T gradient[room];
    optim::Stretch<T> all{ws.parameters, nullptr, {}};
    for (int k = 0; k < ws.needs.states; ++k) all.states[k] = ws.states[k];
    const auto initial = [&](T* parameters) {
        return more ? ws.gradient + (parameters - ws.parameters) : nullptr;
    };
    const auto update = [&](T* parameters, const T* gradient_there, index count) {
        optim::apply(rule, all.from(parameters - ws.parameters, gradient_there), {0, count});
    };
    const index most_rows = exec::min(room / (pair * full), exec::transposed_rows_limit<T>(ws.rows));
    ws.layout.for_layers(exec.part(), [&](const Node& node, Range panels, Range rows, bool with_bias) {
        const Panels<const T> x = ws.a(node.input), dz = ws.d(node.output);
        const Panels<T> w = ws.layout.weight(ws.parameters, node);
        exec::for_pieces(rows, most_rows, full, [&](Range piece) {
            // Whole panels follow each other without a gap: many small ones are updated as one. (No rows
            // come after them, so that `turn`, which counts pairs, does not matter then.)
            const bool whole = piece.size() == w.rows;
            const index together = whole ? exec::max(pair, room / (w.rows * full)) : pair;
            exec::for_pieces(panels, together, pair, [&](Range some) {
                const exec::Strips<T> strips{gradient, piece.size(), piece.begin};
                const Part turn{(some.begin - panels.begin) / pair, exec::divide_up(panels.size(), pair)};
                exec::multiply_transposed<T>(strips, {initial(w.panel(some.begin)), w.rows}, x, dz, piece,
                                             some, turn);
                const index at_once = whole ? some.size() : 1;
                for (index p = some.begin; p < some.end; p += at_once) {
                    const index last = p + at_once - 1;
                    update(w.row(p, piece.begin), gradient + (p - some.begin) * strips.panel_size(),
                           (last - p) * strips.panel_size() + piece.size() * w.width(last));
                }
                if (ws.wants_gradient(node.input))
                    for (index p = some.begin; p < some.end; ++p)
                        ws.layout.transpose(ws.transposed, ws.parameters, node, p, piece, false);
            });
        });
        if (!with_bias) return;
        T* const bias = ws.layout.bias(ws.parameters, node);
        exec::for_pieces(panels, room / full, [&](Range some) {
            T* to = gradient;
            for (index p = some.begin; p < some.end; to += w.width(p), ++p)
                Dense<T>::bias_gradient(to, initial(bias + p * full), dz, p);
            update(bias + some.begin * full, gradient, to - gradient);
        });
    });
}

template <class T>
void train(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    Needs needs = needs_of(epoch);
    needs.whole_gradient = epoch.batches_per_step > 1;
    const int threads = team_size_of(call, epoch);
    Workspace<T> ws(call, rows_at_a_time(epoch), needs, threads);

    const auto unpack = [&](Exec& exec) {
        ws.layout.unpack(epoch.parameters, ws.parameters, exec.part());
        for (int k = 0; k < needs.states; ++k) ws.layout.unpack(epoch.states[k], ws.states[k], exec.part());
    };

    std::atomic<bool> packed{false};
    const auto walk = [&](Exec& exec) {
        Workspace<T> own = ws;
        for (int k = 0; k < needs.states; ++k) ws.layout.pack(ws.states[k], epoch.states[k], exec.part());
        pack_parameters<T>(exec, ws, epoch.parameters);
        packed.store(true);
        UpdateSpec update = epoch.update;
        for (index step = 0; step < epoch.steps; ++step) {
            // Up to the barrier after its last batch the step may be left; after it, every update is made by
            // all threads.
            Score sum;
            const bool finite = differentiate_step(exec, own, x, y, loss, epoch, step, sum, [&](bool more) {
                epoch.set_schedules(update, step);
                optim::with_update<T>(update, epoch.steps_before + step,
                                      [&](const auto& rule) { update_parameters(exec, own, rule, more); });
            });
            if (!finite) {
                if (exec.rank == 0) score->finite = false;
                return;
            }
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
                const bool is_finite =
                    differentiate_step(exec, view, x, y, loss, epoch, step, own,
                                       [&](bool more) { parameter_gradient(view, exec.part(), more); });
                if (is_finite) ws.layout.unpack(epoch.gradient, ws.gradient, exec.part());
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
