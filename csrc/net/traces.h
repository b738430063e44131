// Traces and diagonals of operators of curvature without their products: as a sum over columns s of a factor,
// S S' = H in the outputs. Each column goes backward, and where it passes a matrix it adds |delta|^2 |a|^2
// for each example to the trace, and the squares of a' delta to the diagonal; at a vector, whose factor is u,
// the squares of u delta. Exact for Gauss-Newton matrices, and for the Hessian of a network that is piecewise
// linear; where parameters are used more than once, or rows are coupled, for none (Plan::inexact). The
// empirical Fisher matrix has one column, the gradient.
#pragma once

#include "net/curvature.h"
#include "net/ops/dense.h"

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
    return ws.rd(node.input());
}

// f(parameters, node) for those that are trained, each of which one node uses.
template <class F>
void for_learning(const Plan& plan, const F& f) {
    for (const Parameters& own : plan.parameters)
        if (own.trainable) f(own, plan.nodes[std::size_t(own.nodes.front())]);
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
    const auto for_deltas = [&](const auto& f) {
        for_learning(now.plan, [&](const Parameters&, const Node& node) {
            for_stretches(squared_deltas(now, node), rows,
                          [&](Range r) { f(r, squared_deltas(now, node).data, column.d(node.output).data); });
        });
    };
    for_deltas([](Range r, T* sum, const T*) { exec::elementwise(r, Clear<T>{sum}); });
    const index columns = empirical || signs != nullptr ? 1 : now.plan.out_features();
    for (index j = 0; j < columns; ++j) {
        if (empirical)
            scale_gradients<T>(column.da(last), now.da(last), batch, walk.factor, rows,
                               [](index, T weight) { return 1 / std::sqrt(weight); });
        else
            loss_factor<T>(walk.of.loss, batch, now.a(last), signs, j, column.da(last), rows, walk.factor,
                           now.scratch(exec.rank));
        backward(exec, column, rows);
        for_deltas([](Range r, T* sum, const T* delta) { exec::elementwise(r, AddSquare<T>{sum, delta}); });
    }
}

// sums[r] = row r of the squared deltas times the squares of the factor of a vector.
template <class T>
void vector_traces(const Workspace<T>& ws, const Node& node, index k, T* sums, Range rows) {
    const Panels<T> squares = squared_deltas(ws, node);
    if (!Maps<T>::has_factor(node, k)) return row_totals<T>(sums, squares, rows);
    alignas(exec::vector_bytes) T room[Panels<T>::full];
    for (index r = rows.begin; r < rows.end; ++r) {
        sums[r] = 0;
        for (index p = 0; p < squares.count(); ++p) {
            const T* const u = Maps<T>::factor(ws, node, k, {r, r + 1}, p, room);
            for (index j = 0; j < squares.used(p); ++j) sums[r] += u[j] * u[j] * squares.row(p, r)[j];
        }
    }
}

// traces: of each matrix and vector, in the order of the parameters; 0 of those that are not trained. of_rows
// (rows,): what each example adds to all of them together, or null.
template <class T>
void traces(const Context& call, const CurvatureOf<T>& of, const T* signs, double* traces, double* of_rows) {
    index n = 0;
    for (const Parameters& own : call.plan.parameters) n += own.tensors();
    std::fill(traces, traces + n, 0.0);
    if (of_rows != nullptr) std::fill(of_rows, of_rows + of.order.rows, 0.0);
    Needs needs = needs_of(of);
    needs.row_sums = n;
    Walk<T> walk(call, of, needs, 2 * call.plan.out_features());
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, walk.limit, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                sum_squared_deltas(exec, walk, now, signs, first, rows);
                index sum = 0;
                for (const Parameters& own : now.plan.parameters) {
                    const index first_sum = sum;
                    sum += own.tensors();
                    if (!own.trainable) continue;
                    const Node& node = now.plan.nodes[std::size_t(own.nodes.front())];
                    index k = first_sum;
                    if (own.rows > 0) {
                        T* const matrix = now.row_sums(k++);
                        const Panels<T> x = now.a(node.input());
                        add_row_products<T>(matrix, x, x, 1, rows, false);
                        T* const deltas = now.row_sums(k);  // overwritten by the vector's
                        row_totals<T>(deltas, squared_deltas(now, node), rows);
                        for (index r = rows.begin; r < rows.end; ++r) matrix[r] *= deltas[r];
                    }
                    for (index i = 0; i < own.count(); ++i)
                        vector_traces(now, node, i, now.row_sums(k + i), rows);
                }
            });
            exec.barrier();
            if (exec.rank != 0) return;
            index k = 0;
            for (const Parameters& own : call.plan.parameters)
                for (index i = 0; i < own.tensors(); ++i, ++k) {
                    if (!own.trainable) continue;
                    const T* sums = walk.ws.row_sums(k);
                    for (index r = 0; r < batch; ++r) {
                        traces[k] += double(sums[r]);
                        if (of_rows != nullptr) of_rows[first + r] += double(sums[r]);
                    }
                }
        });
    });
}

template <class T>
struct SquareTerms {
    static constexpr index room_rows = rows_of_terms;
    const Workspace<T>& ws;

    template <class F>
    void for_matrix(const Node& node, const F& f) const {
        f([&](const exec::Strips<T>& strips, Range examples, Range rows, Range panels, bool add, Part turn,
              const exec::Beside<T>& beside) {
            Dense<T>::weight_gradient(strips, squared_inputs(ws, node), squared_deltas(ws, node), examples,
                                      rows, panels, add, turn, beside);
        });
    }
    template <class F>
    void for_vector(const Node& node, index k, Range examples, index p, T* room, const F& f) const {
        const Panels<T> squares = squared_deltas(ws, node);
        if (!Maps<T>::has_factor(node, k)) return f(squares.row(p, examples.begin), examples.size());
        const auto squared_factor = [&](Range rows, T* to) {
            const T* const u = Maps<T>::factor(ws, node, k, rows, p, to);
            exec::elementwise({0, rows.size() * squares.width(p)}, Square<T>{to, u});
            return to;
        };
        for_products(squares, examples, p, room, squared_factor, f);
    }
};

// out (n_parameters,)
template <class T>
void diagonal(const Context& call, const CurvatureOf<T>& of, const T* signs, T* out) {
    Needs needs = needs_of(of);
    needs.squares = true;
    needs.totals = of.order.rows > chunk_limit(call, of);
    Walk<T> walk(call, of, needs, 2 * call.plan.out_features());
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, walk.limit, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                sum_squared_deltas(exec, walk, now, signs, first, rows);
                for_learning(now.plan, [&](const Parameters& own, const Node& node) {
                    if (own.rows == 0) return;
                    for_stretches(squared_inputs(now, node), rows, [&](Range r) {
                        exec::elementwise(
                            r, Square<T>{squared_inputs(now, node).data, now.a(node.input()).data});
                    });
                });
            });
            exec.barrier();
            const Workspace<T> now = walk.of_chunk(first, batch);
            for_strips(now, exec.part(), {first == 0, first + batch == of.order.rows}, SquareTerms<T>{now},
                       Kept<T>{now.gradient});
        });
        walk.ws.layout.unpack_gradient(out, walk.ws.gradient, exec.part());
    });
}

// to (x.cols, dz.cols) = row r of x times row r of dz.
template <class T>
void outer_product(T* to, Panels<const T> x, Panels<const T> dz, index r) {
    for (index p = 0; p < x.count(); ++p)
        for (index i = 0; i < x.used(p); ++i)
            for (index q = 0; q < dz.count(); ++q) {
                exec::elementwise({0, dz.used(q)}, Scaled<T>{to, dz.row(q, r), x.row(p, r)[i]});
                to += dz.used(q);
            }
}

// to (cols,) = the gradient of vector k of a node for one example.
template <class T>
void vector_terms(T* to, const Workspace<T>& ws, const Node& node, index k, index r) {
    const Panels<T> d = ws.d(node.output);
    alignas(exec::vector_bytes) T room[Panels<T>::full];
    for (index p = 0; p < d.count(); ++p)
        GradientTerms<T>{ws}.for_vector(node, k, {r, r + 1}, p, room, [&](const T* terms, index) {
            exec::copy_row(to + p * d.full, terms, d.used(p));
        });
}

// out (rows, n_parameters): of the empirical Fisher matrix, the gradient of each example's loss.
template <class T>
void example_gradients(const Context& call, const CurvatureOf<T>& of, T* out) {
    const int last = call.plan.output();
    Walk<T> walk(call, of, needs_of(of), 3);
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_chunks(exec, of.order.rows, walk.limit, [&](index first, index batch) {
            walk.for_own_rows(exec, first, batch, [&](Workspace<T>& now, Range rows) {
                Workspace<T> cotangents = now.of_cotangents();
                scale_gradients<T>(cotangents.da(last), now.da(last), walk.examples(first), walk.factor, rows,
                                   [](index, T weight) { return 1 / weight; });
                backward(exec, cotangents, rows);
                for (index r = rows.begin; r < rows.end; ++r)
                    std::fill_n(out + (first + r) * call.plan.n_parameters, call.plan.n_parameters, T(0));
                for_learning(call.plan, [&](const Parameters& own, const Node& node) {
                    const Panels<T> dz = cotangents.d(node.output);
                    for (index r = rows.begin; r < rows.end; ++r) {
                        T* const row = out + (first + r) * call.plan.n_parameters;
                        if (own.rows > 0) outer_product<T>(row + own.offset, now.a(node.input()), dz, r);
                        for (index k = 0; k < own.count(); ++k)
                            vector_terms(row + own.vector_offset(k), cotangents, node, k, r);
                    }
                });
            });
        });
    });
}

}  // namespace fnn::FNN_ISA::net
