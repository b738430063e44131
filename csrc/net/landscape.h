// The loss at many points around the parameters.
#pragma once

#include "net/evaluate.h"
#include "net/ops/dense.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct AddScaled {
    T* to;
    const T* from;
    const T* way;
    T factor;
    void operator()(index i) const { to[i] = from[i] + factor * way[i]; }
};

// to = from + step[0] way(0) + ... for a stretch; a way without a step is not read.
template <class T, class Way>
inline void go(T* to, const T* from, const double* step, index k, Range r, const Way& way) {
    for (index i = 0; i < k; ++i) {
        if (step[i] == 0) continue;
        exec::elementwise(r, AddScaled<T>{to, from, way(i), T(step[i])});
        from = to;
    }
    if (from != to) exec::elementwise(r, Copy<T>{to, from});
}

// Where the points part: at a first dense node on whose output alone all that follows depends, with nothing
// to learn before it. Null if there is none.
inline const Node* parting(const Plan& plan) {
    const Node* first = plan.nodes.data();
    const Node* const end = first + plan.nodes.size();
    while (first != end && first->parameters < 0) ++first;
    if (first == end || first->op.kind != OpKind::dense) return nullptr;
    if (plan.positions() > 1 || plan.traits.walks_positions) return nullptr;
    if (plan.parameters[std::size_t(first->parameters)].nodes.size() > 1) return nullptr;
    for (const Node* node = first + 1; node != end; ++node)
        for (const Input& input : node->inputs)
            if (input.value < first->output) return nullptr;
    return first;
}

// What does not change from point to point: the layers before the first dense one, and its products with the
// parameters and with each direction.
template <class T>
void begin_points(Workspace<T>& here, const Node& first_dense, index k, Range rows) {
    for (const Node* node = here.plan.nodes.data(); node != &first_dense; ++node)
        Maps<T>::forward(here, *node, rows, {0, here.z(node->output).count()});
    const auto products = [&](const Panels<T>& z, const Panels<T>& w, const T* b) {
        Dense<T>::forward(z, here.a(first_dense.input()), w, b, rows, {0, z.count()}, exec::NoEpilogue{});
    };
    products(here.z(first_dense.output), here.matrix(first_dense), here.vector(first_dense, 0));
    for (index i = 0; i < k; ++i) {
        const Workspace<T> probe = here.of_probe(i);
        products(probe.rz(first_dense.output), probe.direction_matrix(first_dense),
                 probe.direction_vector(first_dense, 0));
    }
}

// The parameters of some of the layers, a step (k,) away.
template <class T>
void move_parameters(Workspace<T>& there, const Workspace<T>& here, Range behind, const double* step,
                     index k) {
    go(there.parameters, here.parameters, step, k, behind,
       [&](index i) { return here.of_probe(i).direction; });
    compute_matrices(there, {});
}

// The output of the first dense node there, of some rows.
template <class T>
void part(Workspace<T>& there, const Workspace<T>& here, const Node& first_dense, const double* step, index k,
          Range rows) {
    const int output = first_dense.output;
    for_stretches(there.z(output), rows, [&](Range r) {
        T* const z = there.z(output).data;
        go(z, here.z(output).data, step, k, r, [&](index i) { return here.of_probe(i).rz(output).data; });
        activation_forward<T>(first_dense.activation, there.a(output).data, z, r);
    });
}

// losses (m,): the weighted mean of the losses at parameters + steps (m, k) directions (k, n_parameters).
//
// Each point of a chunk of examples is one thread's, in memory of its own. What a first dense layer reads
// stays where it is, so x (w + s v) = x w + s (x v): its products, most of the work in many networks, are
// computed once for all points, unless what follows reads something else as well.
template <class T>
void losses_along(const Context& call, const T* parameters, const T* directions, index k, const double* steps,
                  index m, const Source& x, const Targets<T>& y, const Order& order, const LossSpec& loss,
                  double* losses) {
    const Plan& plan = call.plan;
    const Node* const shared = parting(plan);
    const int last = plan.output();
    const index limit = chunk_limit(call, order.rows, loss), chunk = exec::min(order.rows, limit);
    index work = 0, work_of_point = work_per_row(plan, loss, chunk);  // of a row: for all points, for each
    Needs needs, needs_there;
    needs.tangent = true;
    needs_there.add(loss);
    needs.probes = k;
    needs.last_value = 0;
    if (shared != nullptr) {
        const index out = plan.values[std::size_t(shared->output)].features();
        const index in = plan.values[std::size_t(shared->input())].features();
        work = (k + 1) * in * out;
        work_of_point += (k - in) * out;
        needs.last_value = needs_there.first_value = shared->output;
    }
    const int threads = team_size(call.threads, chunk * (work + m * work_of_point));
    Workspace<T> ws(call, chunk, needs, threads);
    const double weight = total_weight(batch_of(plan, y, order.examples, 0), order.rows);
    for (index i = 0; i < m; ++i) losses[i] = 0;
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        Arena own;
        Workspace<T> moved({plan, own, 1, nullptr, call.state, call.run}, chunk, needs_there, 1);
        pack_parameters(exec, ws, parameters);
        for (index i = 0; i < k; ++i)
            ws.layout.pack(ws.of_probe(i).direction, directions + i * plan.n_parameters, exec.part());
        compose_input_layers(plan, call.state, moved.input_map.columns, {0, plan.in_features()});
        exec.barrier();
        const Range behind{shared != nullptr ? ws.layout.end(ws.own(*shared)) : 0, ws.layout.size()};
        const Node* const from = shared != nullptr ? shared + 1 : plan.nodes.data();
        const Node* const end = plan.nodes.data() + plan.nodes.size();
        for_chunks(exec, order.rows, limit, [&](index first, index batch) {
            Workspace<T> here = ws.of_rows(batch), there = moved.of_rows(batch);
            const Batch<T> examples = batch_of(plan, y, order.examples, first);
            if (shared != nullptr) {
                for_own_examples(exec, here, [&](Range rows) {
                    gather<T>(here.a(0), x, order.examples, first, rows, here.input_map);
                    begin_points(here, *shared, k, rows);
                });
                exec.barrier();
            } else {
                gather<T>(there.a(0), x, order.examples, first, {0, batch}, there.input_map);
            }
            const Range points = exec.share(m);
            for (index i = points.begin; i < points.end; ++i) {
                const double* const step = steps + i * k;
                move_parameters(there, here, behind, step, k);
                exec::for_pieces({0, batch}, piece_rows, [&](Range rows) {
                    exec.poll();
                    if (shared != nullptr) part(there, here, *shared, step, k, rows);
                    for (const Node* node = from; node != end; ++node)
                        if (!node->is_within_block())
                            Maps<T>::forward(there, *node, rows, {0, there.z(node->output).count()});
                    if (loss.couples_rows()) return;
                    loss_forward<T>(loss, examples, there.a(last), there.da(last), there.rows_of(last, rows),
                                    T(1), there.scores, there.scratch(0));
                });
                if (loss.couples_rows()) {
                    const Pairs<T> pairs(there.pairs, loss, examples, there.a(last), T(1), 0);
                    pairs.begin(there.rows_of(last, {0, batch}));
                    pairs.score(there.rows_of(last, {0, batch}), there.scores);
                }
                losses[i] += add_up(there).loss;
            }
        });
    });
    for (index i = 0; i < m; ++i) losses[i] /= weight;
}

}  // namespace fnn::FNN_ISA::net
