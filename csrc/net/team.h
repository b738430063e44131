// How the rows and the examples of a call are shared by its team.
#pragma once

#include "exec/cpu.h"
#include "net/gather.h"
#include "net/ops/stretches.h"
#include "net/pass.h"
#include "net/weight_norm.h"

namespace fnn::FNN_ISA::net {

// Steps too small to share run on one thread: waiting would cost more than the work. Decided by the shapes
// alone.
constexpr index smallest_shared_work = 600 * 1000;  // multiply-adds between two barriers

inline int team_size(int threads, index work) { return work < smallest_shared_work ? 1 : threads; }

// Rows that are computed at a time where nothing else asks for more.
constexpr index chunk_rows = 1024;
inline index chunk_size(index n) { return exec::min(n, chunk_rows); }
// Examples of a plan: with many positions fewer, which are still enough to share.
inline index chunk_limit(const Plan& plan) {
    constexpr index fewest = 64, positions = 65536;
    return exec::max(exec::min(chunk_rows, positions / plan.positions()), fewest);
}
inline index chunk_size(const Plan& plan, index n) { return exec::min(n, chunk_limit(plan)); }
// The same of a call's examples; where rows are coupled, by a layer or by the loss, all of them.
inline index chunk_limit(const Context& call, index n, const LossSpec& loss = {}) {
    const bool coupled = (call.run.training && call.plan.traits.couples_rows) || loss.couples_rows();
    return coupled ? exec::max(n, 1) : chunk_limit(call.plan);
}
inline index chunk_size(const Context& call, index n, const LossSpec& loss = {}) {
    return exec::min(n, chunk_limit(call, n, loss));
}

// Multiply-adds of an example in a pass: those of the plan, and of the pairs of its positions with those of
// `others`.
inline index work_per_row(const Plan& plan, const LossSpec& loss, index others) {
    const index positions = plan.output_shape().positions();
    return plan.work_per_row() +
           (loss.couples_rows() ? others * positions * positions * plan.out_features() : 0);
}

// So many rows are computed from the parameters as they lie: packing them would cost more than it saves.
constexpr index few_rows = 32;
constexpr index reading = 6;  // multiply-adds in the time in which a parameter is read

// f(rows) for this thread's rows of n.
template <class F>
inline void for_own_pieces(Exec& exec, index n, index piece, const F& f) {
    const Range own = exec.share(n);
    if (own.empty()) exec.poll();
    exec::for_pieces(own, piece, [&](Range rows) {
        exec.poll();
        f(rows);
    });
}

// f(examples) for this thread's of the workspace's; where threads meet on the way, once for all of them.
template <class T, class F>
inline void for_own_examples(Exec& exec, const Workspace<T>& ws, const F& f) {
    if (!ws.goes_together()) return for_own_pieces(exec, ws.rows, piece_rows, f);
    exec.poll();
    f(exec.share(ws.rows));
}

// f(first example, rows of the chunk) for chunks of n examples, on a grid fixed by the shapes; all threads
// wait after each.
template <class F>
inline void for_chunks(Exec& exec, index n, index limit, const F& f) {
    for (index first = 0; first < n; first += limit) {
        exec.poll();
        f(first, exec::min(n - first, limit));
        exec.barrier();
    }
}
template <class F>
inline void for_chunks(Exec& exec, index n, const F& f) {
    for_chunks(exec, n, chunk_rows, f);
}

// What each thread does with its rows of a loss of pairs, up to their gradient, if there is a place for it;
// and with how that moves.
template <class T>
inline void score_pairs(Exec& exec, const Pairs<T>& pairs, const RowScores<T>& scores, Panels<T> dz,
                        Range rows) {
    exec.barrier();
    pairs.begin(rows);
    exec.barrier();
    pairs.score(rows, scores);
    if (dz.data == nullptr) return;
    exec.barrier();
    pairs.differentiate(dz, rows);
}
template <class T>
inline void move_pairs(Exec& exec, const Pairs<T>& pairs, const RowScores<T>& scores, Panels<const T> rz,
                       Panels<T> rdz, Range rows, bool convex) {
    exec.barrier();
    pairs.begin(rows);
    pairs.begin_tangent(rz, rows);
    exec.barrier();
    pairs.score(rows, scores);
    pairs.score_tangent(rows);
    exec.barrier();
    pairs.differentiate_tangent(rdz, rows, convex);
}

template <class T>
inline void score_outputs(Exec& exec, Workspace<T>& ws, const LossSpec& loss, const Batch<T>& batch,
                          Range examples, T factor) {
    const int last = ws.plan.output();
    const Range rows = ws.rows_of(last, examples);
    if (loss.couples_rows())
        return score_pairs<T>(exec, {ws.pairs, loss, batch, ws.a(last), factor, exec.rank}, ws.scores,
                              ws.needs.gradient && ws.needs.base_gradient ? ws.da(last) : Panels<T>{}, rows);
    loss_forward<T>(loss, batch, ws.a(last), ws.da(last), rows, factor, ws.scores, ws.scratch(exec.rank));
}

// y = share x + rest y.
template <class T>
struct Mix {
    T share, rest;
    const T* x;
    T* y;
    void operator()(index i) const { y[i] = share * y[i] + rest * x[i]; }
};

// Some examples of a batch, mixed with their partners if they have any.
template <class T>
inline void gather_examples(const Workspace<T>& ws, const Source& x, const Batch<T>& batch, Range examples) {
    const auto read = [&](Panels<T> to, index first, Range rows) {
        gather<T>(to, x, batch.order, first, rows, ws.input_map);
    };
    read(ws.a(0), batch.first, examples);
    const Mixing& mixing = batch.mixing;
    if (!mixing) return;
    // Partners lie side by side up to the last example of the step, then from the first on.
    const index wrap = mixing.step.end - mixing.shift - batch.first;
    const Range before = exec::intersect(examples, {0, wrap}),
                after = exec::intersect(examples, {wrap, ws.rows});
    const Panels<T> inputs = ws.a(0), partners = ws.partners();
    if (!before.empty()) read(partners, batch.first + mixing.shift, before);
    if (!after.empty()) read(partners, batch.first + mixing.shift - mixing.step.size(), after);
    const T share = T(mixing.share);
    for_stretches(inputs, ws.rows_of(0, examples), [&](Range r) {
        exec::elementwise(r, Mix<T>{share, T(1 - mixing.share), partners.data, inputs.data});
    });
}

// For some examples of a batch: from X to the derivatives of the factor times the loss.
template <class T>
inline void differentiate_examples(Exec& exec, Workspace<T>& ws, const Source& x, const LossSpec& loss,
                                   const Batch<T>& batch, Range examples, T factor) {
    gather_examples(ws, x, batch, examples);
    forward(exec, ws, examples);
    score_outputs(exec, ws, loss, batch, examples, factor);
    backward(exec, ws, examples);
}

// Each thread's part of the parameters (and of a direction) and of the input layers' map into the workspace;
// all wait for it.
template <class T>
inline void pack_parameters(Exec& exec, Workspace<T>& ws, const T* parameters, const T* direction = nullptr) {
    compose_input_layers(ws.plan, ws.state, ws.input_map.columns, exec.share(ws.plan.in_features()));
    ws.layout.pack(ws.parameters, parameters, exec.part());
    if (direction != nullptr) ws.layout.pack_direction(ws.direction, direction, exec.part());
    if (is_normalized(ws.plan)) {
        exec.barrier();
        compute_matrices(ws, exec.part());
        if (direction != nullptr) compute_directions(ws, exec.part());
        exec.barrier();
    }
    if (ws.needs.gradient) {
        ws.transpose(ws.transposed, ws.parameters, exec.part());
        if (direction != nullptr) ws.transpose(ws.direction_transposed, ws.direction, exec.part());
    }
    exec.barrier();
}

// This thread's part of the directions v (probes, n_parameters) into the workspace; all wait for it.
template <class T>
void pack_directions(Exec& exec, const Workspace<T>& ws, const T* v, index probes, bool transposed) {
    const bool normalized = is_normalized(ws.plan);
    for (index i = 0; i < probes; ++i) {
        const Workspace<T> now = ws.of_probe(i);
        now.layout.pack_direction(now.direction, v + i * ws.plan.n_parameters, exec.part());
        if (normalized) {
            exec.barrier();
            compute_directions(now, exec.part());
            exec.barrier();
        }
        if (transposed) now.transpose(now.direction_transposed, now.direction, exec.part());
    }
    exec.barrier();
}

// In the order of the rows, whoever computed them.
template <class T>
inline Score add_up(const RowScores<T>& scores, index rows) {
    Score sum;
    for (index r = 0; r < rows; ++r) {
        sum.loss += double(scores.loss[r]);
        sum.right += double(scores.right[r]);
    }
    return sum;
}
template <class T>
inline Score add_up(const Workspace<T>& ws) {
    return add_up(ws.scores, ws.rows_of(ws.plan.output(), {0, ws.rows}).end);
}

// Adds the scores of a chunk to `score` when all its rows are done.
template <class T>
inline void collect(Exec& exec, const RowScores<T>& scores, index rows, Score* score) {
    exec.barrier();
    if (exec.rank != 0) return;
    score->add(add_up(scores, rows));
}
template <class T>
inline void collect(Exec& exec, const Workspace<T>& ws, Score* score) {
    collect(exec, ws.scores, ws.rows_of(ws.plan.output(), {0, ws.rows}).end, score);
}

}  // namespace fnn::FNN_ISA::net
