// Outputs, scores, gradients and directional derivatives over many examples.
#pragma once

#include "net/columns.h"

namespace fnn::FNN_ISA::net {

// Rows of a chunk that starts at row `first`, into the caller's array (n, features).
template <class T>
inline void put_rows(T* to, Panels<const T> from, index first, Range rows) {
    for (index r = rows.begin; r < rows.end; ++r)
        exec::row_from_panels<T>(to + (first + r) * from.cols, from, r);
}

// The same of some examples of a value, of a chunk that starts at example `first`.
template <class T>
inline void put_value(T* to, const Workspace<T>& ws, int value, Panels<const T> from, index first,
                      Range examples) {
    put_rows<T>(to, from, ws.rows_of(value, {first, first}).begin, ws.rows_of(value, examples));
}

// Rows of the gradient with respect to mapped inputs become those with respect to the inputs.
template <class T>
inline void scale_rows(T* dx, index columns, const exec::ColumnMap& map, Range rows) {
    for (index r = rows.begin; r < rows.end; ++r)
        for (index j = 0; j < columns; ++j)
            dx[r * columns + j] = T(double(dx[r * columns + j]) * map.scale[j]);
}

// What the link makes of the outputs of examples of a chunk, which change, into the caller's array.
template <class T>
inline void put_outputs(T* out, const Workspace<T>& ws, Link link, index first, Range examples) {
    const Panels<T> last = ws.a(ws.plan.output());
    const Range rows = ws.rows_of(ws.plan.output(), examples);
    if (link == Link::softmax) RowSoftmax<T>::forward(last, last, rows);
    if (link == Link::sigmoid)
        for_stretches(last, rows, [&](Range r) {
            activation_forward<T>({Activation::sigmoid}, last.data, last.data, r);
        });
    if (link == Link::exp)
        for_stretches(last, rows, [&](Range r) {
            exec::elementwise(r, [y = last.data](index i) { y[i] = rules::exp(y[i]); });
        });
    put_value<T>(out, ws, ws.plan.output(), last, first, examples);
}

// What the link makes of the outputs: out (order.rows * positions, out_features)
template <class T>
void outputs(const Context& call, const T* parameters, const Source& x, const Order& order, Link link,
             T* out) {
    const Plan& plan = call.plan;
    const index limit = chunk_limit(call, order.rows);
    // A matrix that is computed does not lie anywhere before.
    const bool few = order.rows <= few_rows && limit == chunk_rows && plan.positions() == 1 &&
                     !plan.traits.walks_positions && !is_normalized(plan) && blas_gemm<T>() == nullptr;
    const index per_row = plan.work_per_row(), layers = index(plan.nodes.size()) + 1;
    const int threads = team_size(call.threads, few ? (order.rows + reading) * per_row / layers
                                                    : chunk_size(call, order.rows) * per_row);
    Needs needs;
    needs.products = !few;
    Workspace<T> ws(call, chunk_size(call, order.rows), needs, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        if (few) {
            pack_parameters(exec, ws, parameters);
            gather<T>(ws.a(0), x, order.examples, 0, exec.share(order.rows), ws.input_map);
            exec.barrier();
            // In each layer the columns of another thread: where rows are a power of two long, the same
            // columns of all layers would compete for the same part of a cache.
            int turn = exec.rank;
            const auto share = [&](index n) { return exec::Part{turn++ % exec.size, exec.size}.of(n); };
            forward_few(ws, parameters, share, [&] { exec.barrier(); });
        } else {
            pack_parameters(exec, ws, parameters);
        }
        for_chunks(exec, order.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            const auto put = [&](Range rows) {
                if (!few) {
                    gather<T>(now.a(0), x, order.examples, first, rows, now.input_map);
                    forward(exec, now, rows);
                }
                put_outputs(out, now, link, first, rows);
            };
            for_own_examples(exec, now, put);
        });
    });
}

// What an input layer makes of X: `count` columns from the first on of what is read as `input` of another,
// out (order.rows, count).
inline void input_columns(const Context& call, const Source& x, const Order& order, int input, index first,
                          index count, double* out) {
    const std::vector<InputWay> ways = call.plan.ways_to(input, first, count);
    const int threads = team_size(call.threads, 20 * order.rows * count);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        const auto put_own = [&](Range rows) {
            for_input_blocks(call.plan, x, order.examples, 0, rows, [&](Range some, ColumnReader& read) {
                double* const to = out + some.begin * count;
                std::memset(to, 0, std::size_t(some.size() * count) * sizeof(double));
                encode(call.plan, ways, call.state, some.size(), read,
                       [&](index i, index column, double number) { to[i * count + column] = number; });
            });
        };
        for_own_pieces(exec, order.rows, piece_rows, put_own);
    });
}

// The gradient d (x.rows, width) of what input layers make of X becomes that of X, dx (x.rows, in_features).
template <class T>
void input_gradient(const Context& call, const Source& x, const T* d, T* dx) {
    const Plan& plan = call.plan;
    const index in = plan.in_features(), width = plan.values.front().features();
    const int threads = team_size(call.threads, 20 * x.rows * width);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        const auto put_own = [&](Range rows) {
            for_input_blocks(plan, x, nullptr, 0, rows, [&](Range some, ColumnReader& read) {
                T* const to = dx + some.begin * in;
                const T* const from = d + some.begin * width;
                std::memset(to, 0, std::size_t(some.size() * in) * sizeof(T));
                encode_back(
                    plan, plan.input_ways, call.state, some.size(), read,
                    [&](index i, index column) { return double(from[i * width + column]); },
                    [&](index i, index column, double number) { to[i * in + column] += T(number); });
            });
        };
        for_own_pieces(exec, x.rows, piece_rows, put_own);
    });
}

// What each layer of a plan that is not fused puts out: outs[i] (rows, its features); not where it is null.
template <class T>
void values(const Context& call, const T* parameters, const Source& x, T* const* outs) {
    const Plan& plan = call.plan;
    const index limit = chunk_limit(call, x.rows), most = chunk_size(call, x.rows);
    const int threads = team_size(call.threads, most * plan.work_per_row());
    Workspace<T> ws(call, most, {}, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters);
        for_chunks(exec, x.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            const auto put = [&](Range rows) {
                gather<T>(now.a(0), x, nullptr, first, rows, now.input_map);
                forward(exec, now, rows);
                for (std::size_t i = 0; i < plan.outputs.size(); ++i)
                    if (outs[i] != nullptr)
                        put_value<T>(outs[i], now, plan.outputs[i], now.a(plan.outputs[i]), first, rows);
            };
            for_own_examples(exec, now, put);
        });
    });
}

// The weighted sums of the losses and of the right answers; and, unless out is null, what the link makes of
// the outputs, out (order.rows, out_features).
template <class T>
void evaluate(const Context& call, const T* parameters, const Source& x, const Targets<T>& y,
              const Order& order, const LossSpec& loss, Score* score, Link link, T* out) {
    const Plan& plan = call.plan;
    const index limit = chunk_limit(call, order.rows, loss), most = chunk_size(call, order.rows, loss);
    const int threads = team_size(call.threads, most * work_per_row(plan, loss, most));
    Needs needs;
    needs.add(loss);
    Workspace<T> ws(call, most, needs, threads);
    score->weight = total_weight(batch_of(plan, y, order.examples, 0), order.rows);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters);
        for_chunks(exec, order.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            const Batch<T> examples = batch_of(plan, y, order.examples, first);
            const auto score_rows = [&](Range rows) {
                gather<T>(now.a(0), x, order.examples, first, rows, now.input_map);
                forward(exec, now, rows);
                score_outputs<T>(exec, now, loss, examples, rows, T(1));
                if (out != nullptr) put_outputs(out, now, link, first, rows);
            };
            for_own_examples(exec, now, score_rows);
            collect(exec, now, score);
        });
    });
}

// gradient (n_parameters,) and score of all examples, of which f(workspace, batch, factor) leaves derivatives
// and scores; after begin().
template <class T, class F, class Begin>
void add_up_gradients(const Context& call, const T* parameters, const Targets<T>& y, const Order& order,
                      const LossSpec& loss, Needs needs, T* gradient, Score* score, const F& f,
                      const Begin& begin) {
    const Plan& plan = call.plan;
    needs.gradient = true;
    needs.add(loss);
    const index limit = chunk_limit(call, order.rows, loss), most = chunk_size(call, order.rows, loss);
    needs.totals = order.rows > limit;
    const int threads = team_size(call.threads, 3 * most * work_per_row(plan, loss, most));
    Workspace<T> ws(call, most, needs, threads);
    score->weight = total_weight(batch_of(plan, y, order.examples, 0), order.rows);
    const T factor = mean_factor<T>(score->weight);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        begin(exec, ws);
        pack_parameters(exec, ws, parameters);
        for_chunks(exec, order.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            f(exec, now, batch_of(plan, y, order.examples, first), factor);
            collect(exec, now, score);
            const Turn turn{first == 0, first + batch == order.rows};
            settle_blocks(exec, now, turn);
            parameter_gradient(now, exec.part(), turn);
        });
        unpack_gradient(exec, ws, gradient);
    });
}

// gradient (n_parameters,) of the weighted mean of the losses, and their weighted sum.
template <class T>
void loss_and_gradient(const Context& call, const T* parameters, const Source& x, const Targets<T>& y,
                       const Order& order, const LossSpec& loss, T* gradient, Score* score) {
    add_up_gradients(
        call, parameters, y, order, loss, {}, gradient, score,
        [&](Exec& exec, Workspace<T>& now, const Batch<T>& batch, T factor) {
            differentiate(exec, now, x, loss, batch, factor);
        },
        [](Exec&, const Workspace<T>&) {});
}

// The Jacobian-vector product: out and dout (n, out_features), along direction (n_parameters,).
template <class T>
void push_forward(const Context& call, const T* parameters, const T* direction, const Source& x, T* out,
                  T* dout) {
    const Plan& plan = call.plan;
    Needs needs;
    needs.tangent = true;
    const index limit = chunk_limit(call, x.rows), most = chunk_size(call, x.rows);
    const int threads = team_size(call.threads, 3 * most * plan.work_per_row());
    Workspace<T> ws(call, most, needs, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters, direction);
        for_chunks(exec, x.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            const auto push = [&](Range rows) {
                gather<T>(now.a(0), x, nullptr, first, rows, now.input_map);
                forward(exec, now, rows);
                tangent_forward(exec, now, rows);
                put_value<T>(out, now, plan.output(), now.a(plan.output()), first, rows);
                put_value<T>(dout, now, plan.output(), now.ra(plan.output()), first, rows);
            };
            for_own_examples(exec, now, push);
        });
    });
}

// A pullback is two calls on one workspace.
constexpr Needs pullback_needs{true, true, true};

// Outputs, with everything kept in the arena that `pull_back` needs.
template <class T>
void outputs_for_pullback(const Context& call, const T* parameters, const Source& x, T* out) {
    const Plan& plan = call.plan;
    const int threads = team_size(call.threads, x.rows * plan.work_per_row());
    Workspace<T> ws(call, x.rows, pullback_needs, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters);
        Workspace<T> now = ws;
        const auto put = [&](Range rows) {
            gather<T>(now.a(0), x, nullptr, 0, rows, now.input_map);
            forward(exec, now, rows);
            put_value<T>(out, now, plan.output(), now.a(plan.output()), 0, rows);
        };
        for_own_examples(exec, now, put);
    });
}

// The vector-Jacobian product: gradient (n_parameters,) and dx (rows, in_features) of the sum of out * dout.
template <class T>
void pull_back(const Context& call, index rows, const T* dout, T* gradient, T* dx) {
    const Plan& plan = call.plan;
    const int threads = team_size(call.threads, 2 * rows * plan.work_per_row());
    Workspace<T> ws(call, rows, pullback_needs, threads);
    const Panels<T> last = ws.da(plan.output());
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        const auto pull = [&](Range mine) {
            const Range rows = ws.rows_of(plan.output(), mine);
            for (index r = rows.begin; r < rows.end; ++r)
                exec::row_to_panels<T>(last, r, reinterpret_cast<const char*>(dout + r * last.cols),
                                       sizeof(T));
            backward(exec, ws, mine);
            put_rows<T>(dx, ws.d(0), 0, mine);
            if (ws.input_map.columns) scale_rows(dx, ws.d(0).cols, ws.input_map.columns, mine);
        };
        for_own_examples(exec, ws, pull);
        exec.barrier();
        Workspace<T> now = ws;
        settle_blocks(exec, now, {});
        parameter_gradient(ws, exec.part(), {});
        unpack_gradient(exec, ws, gradient);
    });
}

}  // namespace fnn::FNN_ISA::net
