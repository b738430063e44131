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

// to = from + steps[0] way(0) + ... for a stretch; a way without a step is not read.
template <class T, class Way>
inline void go(T* to, const T* from, const double* steps, index k, Range r, const Way& way) {
    for (index i = 0; i < k; ++i) {
        if (steps[i] == 0) continue;
        exec::elementwise(r, AddScaled<T>{to, from, way(i), T(steps[i])});
        from = to;
    }
    if (from != to) exec::elementwise(r, Copy<T>{to, from});
}

// What does not change from point to point: the layers before the first dense one, and its products with the
// parameters and with each direction.
template <class T>
void begin_points(Workspace<T>& ws, int first_dense, index k, Range rows) {
    for (int n = 0; n < first_dense; ++n) {
        const Node& node = ws.plan.nodes[n];
        forward(ws, node, rows, {0, ws.z(node.output).count()});
    }
    const Node& node = ws.plan.nodes[first_dense];
    const auto products = [&](const Panels<T>& z, T* image) {
        Dense<T>::forward(z, ws.a(node.input), ws.layout.weight(image, node), ws.layout.bias(image, node),
                          rows, {0, z.count()}, exec::NoEpilogue{});
    };
    products(ws.z(node.output), ws.parameters);
    for (index i = 0; i < k; ++i) products(ws.of_probe(i).rz(node.output), ws.of_probe(i).direction);
}

// The parameters of the layers behind the first dense one, at a point.
template <class T>
void go_in_parameters(Workspace<T>& there, const Workspace<T>& ws, int first_dense, const double* steps,
                      index k) {
    const Range behind{ws.layout.end(ws.plan.nodes[first_dense]), ws.layout.size()};
    go(there.parameters, ws.parameters, steps, k, behind, [&](index i) { return ws.of_probe(i).direction; });
}

// The outputs there, of some rows.
template <class T>
void forward_from(Workspace<T>& there, const Workspace<T>& ws, int first_dense, const double* steps, index k,
                  Range rows) {
    const Node& node = ws.plan.nodes[first_dense];
    const Panels<T> z = there.z(node.output), a = there.a(node.output);
    for_stretches(z, rows, [&](Range r) {
        go(z.data, ws.z(node.output).data, steps, k, r,
           [&](index i) { return ws.of_probe(i).rz(node.output).data; });
        activation_forward<T>(node.activation, a.data, z.data, r);
    });
    for (std::size_t n = first_dense + 1; n < ws.plan.nodes.size(); ++n) {
        const Node& next = ws.plan.nodes[n];
        forward(there, next, rows, {0, there.z(next.output).count()});
    }
}

// losses (m,): the weighted mean of the losses at parameters + steps (m, k) directions (k, n_parameters).
//
// What the first dense layer reads stays where it is, so x (w + s v) = x w + s (x v): its products, most of
// the work in many networks, are computed once for all points. Then each point is one thread's, which waits
// for nobody.
template <class T>
void losses_along(const Context& call, const T* parameters, const T* directions, index k, const double* steps,
                  index m, const Source& x, const Targets<T>& y, const LossSpec& loss, double* losses) {
    const Plan& plan = call.plan;
    int first_dense = 0;
    while (plan.nodes[first_dense].map != Map::dense) ++first_dense;
    const index chunk = chunk_size(x.rows);
    const int threads = team_size(call.threads, m * chunk * plan.work_per_row());
    Needs needs, needs_there;
    needs.tangent = needs_there.loss = true;
    needs.probes = k;
    Workspace<T> ws(call, chunk, needs, threads);
    const double weight = total_weight<T>({y}, x.rows);
    for (index i = 0; i < m; ++i) losses[i] = 0;
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        Arena own;
        Workspace<T> there({plan, own, 1, nullptr, call.state}, chunk, needs_there, 1);
        pack_parameters(exec, ws, parameters);
        pack_directions(exec, ws, directions, k, false);
        for_chunks(exec, x.rows, [&](index first, index batch) {
            Workspace<T> here = ws.of_rows(batch), now = there.of_rows(batch);
            const Batch<T> examples{y, nullptr, first, plan.out_features()};
            for_own_pieces(exec, batch, [&](Range rows) {
                gather<T>(here.a(0), x, nullptr, first, rows, here.input_map);
                begin_points(here, first_dense, k, rows);
            });
            exec.barrier();
            const Range points = exec.share(m);
            for (index i = points.begin; i < points.end; ++i) {
                const double* const to = steps + i * k;
                go_in_parameters(now, here, first_dense, to, k);
                exec::for_pieces({0, batch}, piece_rows, [&](Range rows) {
                    exec.poll();
                    forward_from(now, here, first_dense, to, k, rows);
                    loss_forward<T>(loss, examples, now.a(plan.output()), now.da(plan.output()), rows, T(1),
                                    now.scores, now.scratch(0));
                });
                losses[i] += add_up(now.scores, batch).loss;
            }
        });
    });
    for (index i = 0; i < m; ++i) losses[i] /= weight;
}

}  // namespace fnn::FNN_ISA::net
