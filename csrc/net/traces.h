// Traces and diagonals of operators of curvature without their products: as a sum over columns s of a factor,
// S S' = H in the outputs. Each column goes backward, and at a dense layer adds |delta|^2 (|a|^2 + 1) for
// each example to the trace, and the squares of a' delta to the diagonal. Exact for Gauss-Newton matrices,
// and for the Hessian of a network that is piecewise linear. The empirical Fisher matrix has one column, the
// gradient.
#pragma once

#include "net/curvature.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct AddSquare {
    T* to;
    const T* from;
    void operator()(index i) const { to[i] += from[i] * from[i]; }
};

template <class T>
struct Square {
    T* to;
    const T* from;
    void operator()(index i) const { to[i] = from[i] * from[i]; }
};

// Where a node's squared deltas are added up, and where, when they are, the squares of its input go.
template <class T>
Panels<T> squared_deltas(const Workspace<T>& ws, const Node& node) {
    return ws.ra(node.output);
}
template <class T>
Panels<T> squared_inputs(const Workspace<T>& ws, const Node& node) {
    return node.input == 0 ? ws.squares_of_input() : ws.rd(node.input);
}

// The squared deltas of all columns, summed. signs (rows, out_features): instead of all columns one, their
// sum with these signs.
template <class T>
void sum_squared_deltas(Exec& exec, const Walk<T>& walk, Workspace<T>& now, const T* signs, index first,
                        Range rows) {
    const int last = now.plan.output();
    const bool empirical = walk.of.kind == Curvature::empirical_fisher;
    const Batch<T> batch = walk.examples(first);
    Workspace<T> column = now.of_cotangents();
    const auto for_dense = [&](const auto& f) {
        for (const Node& node : now.plan.nodes)
            if (node.map == Map::dense)
                for_stretches(squared_deltas(now, node), rows, [&](Range r) {
                    f(r, squared_deltas(now, node).data, column.d(node.output).data);
                });
    };
    for_dense([](Range r, T* sum, const T*) { exec::elementwise(r, Clear<T>{sum}); });
    const index columns = empirical || signs != nullptr ? 1 : now.plan.out_features();
    for (index j = 0; j < columns; ++j) {
        if (empirical)
            scale_gradients<T>(column.da(last), now.da(last), batch, walk.factor, rows,
                               [](index, T weight) { return 1 / std::sqrt(weight); });
        else
            loss_factor<T>(walk.of.loss, batch, now.a(last), signs, j, column.da(last), rows, walk.factor,
                           now.scratch(exec.rank));
        backward(column, rows);
        for_dense([](Range r, T* sum, const T* delta) { exec::elementwise(r, AddSquare<T>{sum, delta}); });
    }
}

// traces (2 for each dense layer): of its weight and of its bias. of_rows (rows,): what each example adds to
// all of them together, or null.
template <class T>
void traces(const Context& call, const CurvatureOf<T>& of, const T* signs, double* traces, double* of_rows) {
    index n_dense = 0;
    for (const Node& node : call.plan.nodes) n_dense += node.map == Map::dense ? 1 : 0;
    std::fill(traces, traces + 2 * n_dense, 0.0);
    Needs needs = needs_of(of.kind);
    needs.row_sums = 2 * n_dense;
    Walk<T> walk(call, of, needs, 2 * call.plan.out_features());
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                sum_squared_deltas(exec, walk, now, signs, first, rows);
                index sum = 0;
                for (const Node& node : now.plan.nodes) {
                    if (node.map != Map::dense) continue;
                    T *const weight = now.row_sums(sum++), *const bias = now.row_sums(sum++);
                    add_row_products<T>(weight, now.a(node.input), now.a(node.input), 1, rows, false);
                    row_totals<T>(bias, squared_deltas(now, node), rows);
                    for (index r = rows.begin; r < rows.end; ++r) weight[r] *= bias[r];
                }
            });
            exec.barrier();
            if (exec.rank != 0) return;
            for (index k = 0; k < 2 * n_dense; ++k) {
                const T* sums = walk.ws.row_sums(k);
                for (index r = 0; r < batch; ++r) {
                    traces[k] += double(sums[r]);
                    if (of_rows != nullptr)
                        of_rows[first + r] = (k == 0 ? 0 : of_rows[first + r]) + double(sums[r]);
                }
            }
        });
    });
}

// out (n_parameters,)
template <class T>
void diagonal(const Context& call, const CurvatureOf<T>& of, const T* signs, T* out) {
    Needs needs = needs_of(of.kind);
    needs.squares = true;
    needs.totals = of.order.rows > chunk_rows;
    Walk<T> walk(call, of, needs, 2 * call.plan.out_features());
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                sum_squared_deltas(exec, walk, now, signs, first, rows);
                for (const Node& node : now.plan.nodes)
                    if (node.map == Map::dense)
                        for_stretches(squared_inputs(now, node), rows, [&](Range r) {
                            exec::elementwise(
                                r, Square<T>{squared_inputs(now, node).data, now.a(node.input).data});
                        });
            });
            exec.barrier();
            const Workspace<T> now = walk.of_chunk(first, batch);
            const auto terms = [&](const Node& node, const auto& f) {
                f(squared_inputs(now, node), squared_deltas(now, node));
            };
            for_strips(now, exec.part(), {first == 0, first + batch == of.order.rows}, terms,
                       Kept<T>{now.gradient});
        });
        walk.ws.layout.unpack(out, walk.ws.gradient, exec.part());
    });
}

// out (rows, n_parameters): of the empirical Fisher matrix, the gradient of each example's loss.
template <class T>
void example_gradients(const Context& call, const CurvatureOf<T>& of, T* out) {
    const int last = call.plan.output();
    Walk<T> walk(call, of, needs_of(of.kind), 3);
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                Workspace<T> cotangents = now.of_cotangents();
                scale_gradients<T>(cotangents.da(last), now.da(last), walk.examples(first), walk.factor, rows,
                                   [](index, T weight) { return 1 / weight; });
                backward(cotangents, rows);
                for (const Node& node : call.plan.nodes) {
                    if (node.map != Map::dense) continue;
                    const Panels<T> x = now.a(node.input), dz = cotangents.d(node.output);
                    for (index r = rows.begin; r < rows.end; ++r) {
                        T* const row = out + (first + r) * call.plan.n_parameters;
                        T* weight = row + node.weight;
                        for (index p = 0; p < x.count(); ++p)
                            for (index i = 0; i < x.used(p); ++i)
                                for (index q = 0; q < dz.count(); ++q) {
                                    exec::elementwise({0, dz.used(q)},
                                                      Scaled<T>{weight, dz.row(q, r), x.row(p, r)[i]});
                                    weight += dz.used(q);
                                }
                        exec::row_from_panels<T>(row + node.bias, dz, r);
                    }
                }
            });
        });
    });
}

}  // namespace fnn::FNN_ISA::net
