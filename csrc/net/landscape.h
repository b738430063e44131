// The loss at many points around the parameters.
#pragma once

#include "net/evaluate.h"

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

// What does not change from point to point: the layers before the first dense one, and its products with the
// parameters and with each direction.
template <class T>
void begin_points(Workspace<T>& here, const Node& first_dense, index k, Range rows) {
    for (const Node* node = here.plan.nodes.data(); node != &first_dense; ++node)
        forward(here, *node, rows, {0, here.z(node->output).count()});
    const auto products = [&](const Panels<T>& z, T* image) {
        Dense<T>::forward(z, here.a(first_dense.input), here.layout.weight(image, first_dense),
                          here.layout.bias(image, first_dense), rows, {0, z.count()}, exec::NoEpilogue{});
    };
    products(here.z(first_dense.output), here.parameters);
    for (index i = 0; i < k; ++i) {
        const Workspace<T> probe = here.of_probe(i);
        products(probe.rz(first_dense.output), probe.direction);
    }
}

// The parameters of the layers behind the first dense one, a step (k,) away.
template <class T>
void move_parameters(Workspace<T>& there, const Workspace<T>& here, const Node& first_dense,
                     const double* step, index k) {
    const Range behind{here.layout.end(first_dense), here.layout.size()};
    go(there.parameters, here.parameters, step, k, behind,
       [&](index i) { return here.of_probe(i).direction; });
}

// The outputs there, of some rows.
template <class T>
void forward_from(Workspace<T>& there, const Workspace<T>& here, const Node& first_dense, const double* step,
                  index k, Range rows) {
    const int output = first_dense.output;
    for_stretches(there.z(output), rows, [&](Range r) {
        T* const z = there.z(output).data;
        go(z, here.z(output).data, step, k, r, [&](index i) { return here.of_probe(i).rz(output).data; });
        activation_forward<T>(first_dense.activation, there.a(output).data, z, r);
    });
    for (const Node& node : there.plan.nodes)
        if (&node > &first_dense) forward(there, node, rows, {0, there.z(node.output).count()});
}

// losses (m,): the weighted mean of the losses at parameters + steps (m, k) directions (k, n_parameters).
//
// What the first dense layer reads stays where it is, so x (w + s v) = x w + s (x v): its products, most of
// the work in many networks, are computed once for all points. Then each point of a chunk of examples is one
// thread's, in memory of its own: what the layers behind put out. They read nothing else, as the plan is a
// chain.
template <class T>
void losses_along(const Context& call, const T* parameters, const T* directions, index k, const double* steps,
                  index m, const Source& x, const Targets<T>& y, const Order& order, const LossSpec& loss,
                  double* losses) {
    const Plan& plan = call.plan;
    const Node* node = plan.nodes.data();
    while (node->map != Map::dense) ++node;
    const Node& first_dense = *node;
    const int last = plan.output();
    const index chunk = chunk_size(order.rows);
    const index out = plan.buffers[first_dense.output].features;
    const index work = plan.buffers[first_dense.input].features * out;  // of a row, for all points
    const index work_of_point = plan.work_per_row() - work + k * out;
    const int threads = team_size(call.threads, chunk * ((k + 1) * work + m * work_of_point));
    Needs needs, needs_there;
    needs.tangent = needs_there.loss = true;
    needs.probes = k;
    needs.last_buffer = needs_there.first_buffer = first_dense.output;
    Workspace<T> ws(call, chunk, needs, threads);
    const double weight = total_weight<T>({y, order.examples}, order.rows);
    for (index i = 0; i < m; ++i) losses[i] = 0;
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        Arena own;
        Workspace<T> moved({plan, own, 1, nullptr, call.state}, chunk, needs_there, 1);
        pack_parameters(exec, ws, parameters);
        pack_directions(exec, ws, directions, k, false);
        for_chunks(exec, order.rows, [&](index first, index batch) {
            Workspace<T> here = ws.of_rows(batch), there = moved.of_rows(batch);
            const Batch<T> examples{y, order.examples, first, plan.out_features()};
            for_own_pieces(exec, batch, [&](Range rows) {
                gather<T>(here.a(0), x, order.examples, first, rows, here.input_map);
                begin_points(here, first_dense, k, rows);
            });
            exec.barrier();
            const Range points = exec.share(m);
            for (index i = points.begin; i < points.end; ++i) {
                const double* const step = steps + i * k;
                move_parameters(there, here, first_dense, step, k);
                exec::for_pieces({0, batch}, piece_rows, [&](Range rows) {
                    exec.poll();
                    forward_from(there, here, first_dense, step, k, rows);
                    loss_forward<T>(loss, examples, there.a(last), there.da(last), rows, T(1), there.scores,
                                    there.scratch(0));
                });
                losses[i] += add_up(there.scores, batch).loss;
            }
        });
    });
    for (index i = 0; i < m; ++i) losses[i] /= weight;
}

}  // namespace fnn::FNN_ISA::net
