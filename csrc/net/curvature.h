// Operators of curvature: products for many directions side by side, and quadratic forms.
//
// Where the forward and backward pass of the examples lies on a shelf, only what moves along the directions
// is computed; the pass of other examples is computed again by each call.
#pragma once

#include <cmath>

#include "net/evaluate.h"
#include "net/ops/row_sums.h"

namespace fnn::FNN_ISA::net {

template <class T>
Needs needs_of(const CurvatureOf<T>& of) {
    Needs needs;
    needs.gradient = needs.tangent = true;
    if (of.kind != Curvature::jacobian) needs.add(of.loss);
    needs.base_gradient = of.kind == Curvature::hessian;
    return needs;
}

template <class T>
index chunk_limit(const Context& call, const CurvatureOf<T>& of) {
    return chunk_limit(call, of.order.rows, of.loss);
}
template <class T>
index chunk_size(const Context& call, const CurvatureOf<T>& of) {
    return exec::min(of.order.rows, chunk_limit(call, of));
}
template <class T>
index chunks_of(const Context& call, const CurvatureOf<T>& of) {
    return exec::divide_up(of.order.rows, chunk_limit(call, of));
}
template <class T>
index work_per_row(const Context& call, const CurvatureOf<T>& of) {
    return work_per_row(call.plan, of.loss, of.order.rows);
}

// Bytes of a shelf for the packed parameters and the pass of so many chunks.
template <class T>
std::size_t shelf_bytes(const Context& call, const CurvatureOf<T>& of, index chunks) {
    return Workspace<T>::shelf_bytes(call, chunk_size(call, of), needs_of(of), chunks);
}

// How many chunks' pass so many bytes hold.
template <class T>
index chunks_within(const Context& call, const CurvatureOf<T>& of, double bytes) {
    const double each = double(shelf_bytes(call, of, 1) - shelf_bytes(call, of, 0));
    return index(std::fmin(double(chunks_of(call, of)), bytes / each));
}

// A call on an operator: its workspace, and its walk over the examples.
template <class T>
class Walk {
   public:
    // `work`: that of a row, in forward passes.
    Walk(const Context& call, const CurvatureOf<T>& of, Needs needs, index work)
        : of(of),
          limit(chunk_limit(call, of)),
          threads(team_size(call.threads, work * chunk_size(call, of) * work_per_row(call, of))),
          factor(needs.loss ? mean_factor<T>(total_weight(batch_of(call.plan, of.y, of.order.examples, 0),
                                                          of.order.rows))
                            : T(1)),
          ws(call, chunk_size(call, of), with_base(call, needs, of), threads, {of.shelf, of.kept_chunks}) {}

    Batch<T> examples(index first) const { return batch_of(ws.plan, of.y, of.order.examples, first); }

    // The workspace of the chunk that begins at an example.
    Workspace<T> of_chunk(index first, index batch) const {
        return (is_kept(first) ? ws.of_kept(first / limit) : ws).of_batch(first, batch);
    }

    // f(workspace, rows) for this thread's rows of a chunk, with their pass.
    template <class F>
    void for_own_rows(Exec& exec, index first, index batch, const F& f) const {
        Workspace<T> now = of_chunk(first, batch);
        const auto go = [&](Range rows) {
            if (!is_kept(first)) compute(exec, now, first, rows);
            f(now, rows);
        };
        for_own_examples(exec, now, go);
    }

    // The pass of some rows.
    void compute(Exec& exec, Workspace<T>& now, index first, Range rows) const {
        gather<T>(now.a(0), of.x, of.order.examples, first, rows, now.input_map);
        forward(exec, now, rows);
        if (of.kind == Curvature::jacobian) return;
        score_outputs(exec, now, of.loss, examples(first), rows, factor);
        if (of.kind == Curvature::hessian) backward(exec, now, rows);
    }

    const CurvatureOf<T>& of;
    const index limit;  // of rows in a chunk
    const int threads;
    const T factor;  // of a loss in the mean
    Workspace<T> ws;

   private:
    static Needs with_base(const Context& call, Needs needs, const CurvatureOf<T>& of) {
        needs.base = of.kept_chunks < chunks_of(call, of);
        return needs;
    }
    bool is_kept(index first) const { return first / limit < of.kept_chunks; }
};

// Fills the shelf.
template <class T>
void keep(const Context& call, const CurvatureOf<T>& of, const T* parameters) {
    Needs needs = needs_of(of);
    needs.probes = 0;
    Walk<T> walk(call, of, needs, 3);
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, walk.ws, parameters);
        for (index chunk = 0; chunk < of.kept_chunks; ++chunk) {
            const index first = chunk * walk.limit, batch = exec::min(of.order.rows - first, walk.limit);
            Workspace<T> now = walk.of_chunk(first, batch);
            const auto compute = [&](Range rows) { walk.compute(exec, now, first, rows); };
            for_own_examples(exec, now, compute);
            exec.barrier();  // the scores of the rows lie in one place for all chunks
        }
    });
}

// Directions at a time: one where it is work enough between two barriers, and more where the pass of the
// examples is computed again for them, if memory allows.
template <class T>
index probes_at_once(const Context& call, const CurvatureOf<T>& of, index k) {
    constexpr index most = 16, enough = 32 * smallest_shared_work;
    const index rows = chunk_size(call, of);
    const index each = 1 + 6 * rows * work_per_row(call, of);
    const index wanted = of.kept_chunks < chunks_of(call, of) ? most : exec::divide_up(enough, each);
    index features = 0;
    for (const Value& value : call.plan.values) features += value.evaluations * value.shape.size();
    const index numbers = 3 * (call.plan.n_parameters + rows * features);
    const index room = 1 + (index{1} << 28) / (index(sizeof(T)) * numbers + 1);
    return exec::min(exec::min(k, wanted), exec::min(room, most));
}

// f(first direction, how many) for all k, some at a time.
template <class F>
inline void for_probes(index k, index at_once, const F& f) {
    for (index first = 0; first < k; first += at_once) f(first, exec::min(at_once, k - first));
}

template <class T>
struct Scaled {
    T* to;
    const T* from;
    T factor;
    void operator()(index i) const { to[i] = from[i] * factor; }
};

// f(row) = the number by which each row of `from` is multiplied; that is 0 for an example without weight.
template <class T, class F>
void scale_gradients(Panels<T> to, Panels<const T> from, const Batch<T>& batch, T factor, Range rows,
                     const F& f) {
    for (index r = rows.begin; r < rows.end; ++r) {
        const T weight = factor * batch.weight(r), scale = weight != 0 ? f(r, weight) : T(0);
        for (index p = 0; p < to.count(); ++p)
            exec::elementwise({0, to.width(p)}, Scaled<T>{to.row(p, r), from.row(p, r), scale});
    }
}

// rda = H ra in the outputs; of the empirical Fisher matrix H is the outer product of the gradient, and da
// holds that times the weight. `sums` (rows,) is overwritten.
template <class T>
void curve_outputs(Exec& exec, const Walk<T>& walk, Workspace<T>& now, index first, Range rows, T* sums) {
    const int last = now.plan.output();
    const Batch<T> batch = walk.examples(first);
    if (walk.of.loss.couples_rows())
        return move_pairs<T>(exec, {now.pairs, walk.of.loss, batch, now.a(last), walk.factor, exec.rank},
                             now.scores, now.ra(last), now.rda(last), now.rows_of(last, rows),
                             walk.of.kind == Curvature::gauss_newton);
    if (walk.of.kind != Curvature::empirical_fisher)
        return loss_tangent<T>(walk.of.loss, batch, now.a(last), now.ra(last), now.rda(last),
                               now.rows_of(last, rows), walk.factor, now.scratch(exec.rank));
    add_row_products<T>(sums, now.da(last), now.ra(last), 1, rows, false);
    scale_gradients<T>(now.rda(last), now.da(last), batch, walk.factor, rows,
                       [&](index r, T weight) { return sums[r] / weight; });
}

// out (k, n_parameters): begin(first direction, how many), then for all chunks of examples
// along(workspace of a direction, its number, first example, rows), which leaves derivatives for the
// parameters; with those of the pass too for the tangent of the gradient.
template <class T, class Begin, class Along>
void to_parameters(const Context& call, const CurvatureOf<T>& of, index k, T* out, const Begin& begin,
                   const Along& along) {
    const bool second_order = of.kind == Curvature::hessian;
    Needs needs = needs_of(of);
    needs.probes = probes_at_once(call, of, k);
    needs.row_sums = 1;
    needs.totals = of.order.rows > chunk_limit(call, of);
    needs.pass_gradient = second_order && is_normalized(call.plan);
    Walk<T> walk(call, of, needs, 6 * needs.probes);
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_probes(k, needs.probes, [&](index first_probe, index probes) {
            begin(exec, walk.ws, first_probe, probes);
            for_chunks(exec, of.order.rows, walk.limit, [&](index first, index batch) {
                walk.for_own_rows(exec, first, batch, [&](Workspace<T>& chunk, Range rows) {
                    for (index i = 0; i < probes; ++i) {
                        Workspace<T> now = chunk.of_probe(i);
                        along(exec, walk, now, first_probe + i, first, rows);
                    }
                });
                exec.barrier();
                const Workspace<T> chunk = walk.of_chunk(first, batch);
                const Turn turn{first == 0, first + batch == of.order.rows};
                for (index i = 0; i < probes; ++i) {
                    Workspace<T> now = chunk.of_probe(i);
                    settle_blocks(exec, now, turn);
                }
                for (index i = 0; i < probes; ++i) {
                    Workspace<T> now = chunk.of_probe(i), cotangents = now.of_cotangents();
                    if (second_order)
                        parameter_tangent(now, exec.part(), turn);
                    else
                        parameter_gradient(cotangents, exec.part(), turn);
                }
                if (needs.pass_gradient) parameter_gradient(chunk.of_pass(), exec.part(), turn);
            });
            T* const of_pass = walk.ws.of_pass().gradient;
            for (index i = 0; i < probes; ++i) {
                const Workspace<T> now = walk.ws.of_probe(i);
                const auto pull_back = [&](const NormalizedPanel<T>& panel) {
                    if (second_order)
                        panel.pull_back_tangent(now.gradient, of_pass, now.direction);
                    else
                        panel.pull_back(now.gradient);
                };
                unpack_gradient(exec, now, out + (first_probe + i) * call.plan.n_parameters, pull_back);
            }
        });
    });
}

// out (k, n_parameters): the operator times each row of v (k, n_parameters).
template <class T>
void curvature_products(const Context& call, const CurvatureOf<T>& of, const T* v, index k, T* out) {
    const bool second_order = of.kind == Curvature::hessian;
    to_parameters<T>(
        call, of, k, out,
        [&](Exec& exec, const Workspace<T>& ws, index first, index probes) {
            pack_directions(exec, ws, v + first * call.plan.n_parameters, probes, second_order);
        },
        [&](Exec& exec, const Walk<T>& walk, Workspace<T>& now, index, index first, Range rows) {
            tangent_forward(exec, now, rows);
            curve_outputs(exec, walk, now, first, rows, now.row_sums(0));
            if (second_order) return tangent_backward(exec, now, rows);
            Workspace<T> cotangents = now.of_cotangents();
            backward(exec, cotangents, rows);
        });
}

// out (k, n_parameters): J' times each row of u (k, rows, out_features).
template <class T>
void jacobian_transposed_products(const Context& call, const CurvatureOf<T>& of, const T* u, index k,
                                  T* out) {
    const int last = call.plan.output();
    const index per_probe = of.order.rows * call.plan.output_shape().size();
    to_parameters<T>(
        call, of, k, out, [](Exec&, const Workspace<T>&, index, index) {},
        [&](Exec& exec, const Walk<T>&, Workspace<T>& now, index probe, index first, Range rows) {
            const Panels<T> rda = now.rda(last);
            const Range wanted = now.rows_of(last, rows);
            const T* const of_chunk = u + probe * per_probe + first * call.plan.output_shape().size();
            for (index r = wanted.begin; r < wanted.end; ++r) {
                const T* row = of_chunk + r * rda.cols;
                exec::row_to_panels<T>(rda, r, reinterpret_cast<const char*>(row), sizeof(T));
            }
            Workspace<T> cotangents = now.of_cotangents();
            backward(exec, cotangents, rows);
        });
}

// f(walk, workspace of a direction, its number, first example, rows) for all, and done(its number, first
// example, batch) by one thread when all rows of a chunk are.
template <class T, class Along, class Done>
void along_directions(const Context& call, const CurvatureOf<T>& of, const T* v, index k, const Along& along,
                      const Done& done) {
    Needs needs = needs_of(of);
    needs.probes = needs.row_sums = probes_at_once(call, of, k);
    Walk<T> walk(call, of, needs, 3 * needs.probes);
    exec::run(walk.threads, call.interrupt, [&](Exec& exec) {
        for_probes(k, needs.probes, [&](index first_probe, index probes) {
            pack_directions(exec, walk.ws, v + first_probe * call.plan.n_parameters, probes, false);
            for_chunks(exec, of.order.rows, walk.limit, [&](index first, index batch) {
                walk.for_own_rows(exec, first, batch, [&](Workspace<T>& chunk, Range rows) {
                    for (index i = 0; i < probes; ++i) {
                        Workspace<T> now = chunk.of_probe(i);
                        tangent_forward(exec, now, rows);
                        along(exec, walk, now, first_probe + i, first, rows, now.row_sums(i));
                    }
                });
                exec.barrier();
                if (exec.rank != 0) return;
                for (index i = 0; i < probes; ++i) done(first_probe + i, batch, walk.ws.row_sums(i));
            });
        });
    });
}

// out (k, rows, out_features): J times each row of v (k, n_parameters).
template <class T>
void jacobian_products(const Context& call, const CurvatureOf<T>& of, const T* v, index k, T* out) {
    const int last = call.plan.output();
    const index per_probe = of.order.rows * call.plan.output_shape().size();
    along_directions<T>(
        call, of, v, k,
        [&](Exec&, const Walk<T>&, Workspace<T>& now, index probe, index first, Range rows, T*) {
            put_value<T>(out + probe * per_probe, now, last, now.ra(last), first, rows);
        },
        [](index, index, const T*) {});
}

// Of a product: of (x + rx)(w + v), rx v, twice. Of another op, what the movement of its way back makes of
// the derivatives in its inputs and its vectors, times how those move.
template <class T>
void add_second_order_of(Exec& exec, Workspace<T>& ws, const Node& node, T* sums, Range rows) {
    const Panels<T> d = ws.d(node.output), rd = ws.rd(node.output);
    if (Maps<T>::cut(node, ws.run) == Cut::products) {
        const Panels<T> rx = ws.ra(node.input());
        if (rx.data == nullptr || ws.own(node).is_table) return;
        exec::multiply<T>(rd, rx, ws.direction_matrix(node), exec::Initial<T>::zero(), rows, {0, rd.count()});
        add_row_products<T>(sums, d, rd, 2, rows, true);
        return;
    }
    for_stretches(rd, rows, [&](Range r) { exec::elementwise(r, Clear<T>{rd.data}); });
    if (ws.goes_back(node))
        for_node(exec, ws, node, Way::tangent_backward, rows,
                 [&](Range r, Range panels) { Maps<T>::tangent_backward_alone(ws, node, r, panels); });
    const IntoScratch<T> into{ws, node};
    for (int i = 0; i < int(node.inputs.size()); ++i)
        if (into.wants(i) && !into.adds(i))
            add_row_products<T>(sums, ws.ra(into.value(i)), ws.rd(into.value(i)), 1, rows, true);
    if (node.parameters < 0) return;
    alignas(exec::vector_bytes) T room[Panels<T>::full];
    for (index k = 0; k < ws.own(node).count(); ++k) {
        if (!Maps<T>::has_factor(node, k)) continue;
        const T* const way = ws.direction_vector(node, k);
        for (index r = rows.begin; r < rows.end; ++r)
            for (index p = 0; p < d.count(); ++p) {
                const T* const change = Maps<T>::factor_tangent(ws, node, k, {r, r + 1}, p, room);
                for (index j = 0; j < d.used(p); ++j)
                    sums[r] += change[j] * d.row(p, r)[j] * way[p * d.full + j];
            }
    }
}

// sums[r] += the part of the second derivative of the loss, along the direction twice, that the network's own
// curvature has: at each node, what the change of its op and of its activation does to the loss. Needs
// `backward` and `tangent_forward`; overwrites rd.
template <class T>
void add_second_order(Exec& exec, Workspace<T>& ws, T* sums, Range rows) {
    for (const Node& node : ws.plan.nodes) {
        const Panels<T> rz = ws.rz(node.output), rd = ws.rd(node.output);
        if (rd.data == nullptr) continue;  // it does not move
        if (node.op.kind != OpKind::identity) add_second_order_of(exec, ws, node, sums, rows);
        const bool is_straight = activation_traits<T>(node.activation).piecewise_linear;
        if (is_straight) continue;
        for_stretches(rd, rows, [&](Range r) {
            exec::elementwise(r, Clear<T>{rd.data});
            activation_tangent_backward<T>(node.activation, rd.data, rd.data, ws.da(node.output).data,
                                           ws.z(node.output).data, rz.data, r);
        });
        add_row_products<T>(sums, rz, rd, 1, rows, true);
    }
}

// The same of products, where a matrix is no linear function of what is learned, or rows are positions.
template <class T>
void forms_of_products(const Context& call, const CurvatureOf<T>& of, const T* v, index k, double* out) {
    const index n = call.plan.n_parameters, at_once = exec::min(k, 16);
    Arena memory;
    Carver count(nullptr);
    count.take<T>(at_once * n);
    T* const products = static_cast<T*>(memory.reserve(count.used()));
    for_probes(k, at_once, [&](index first, index probes) {
        curvature_products(call, of, v + first * n, probes, products);
        for (index i = 0; i < probes; ++i)
            for (const Parameters& own : call.plan.parameters)
                for (index j = own.offset; own.trainable && j < own.offset + own.size(); ++j)
                    out[first + i] += double(v[(first + i) * n + j]) * double(products[i * n + j]);
    });
}

// out (k,): v' A v for each row v of (k, n_parameters). Of the Hessian without a second backward pass: the
// second derivative of the loss along v is that of the loss in the outputs, and what each node adds.
template <class T>
void quadratic_forms(const Context& call, const CurvatureOf<T>& of, const T* v, index k, double* out) {
    const int last = call.plan.output();
    for (index i = 0; i < k; ++i) out[i] = 0;
    if ((of.kind == Curvature::hessian && is_normalized(call.plan)) || call.plan.positions() > 1 ||
        call.plan.traits.walks_positions)
        return forms_of_products(call, of, v, k, out);
    along_directions<T>(
        call, of, v, k,
        [&](Exec& exec, const Walk<T>& walk, Workspace<T>& now, index, index first, Range rows, T* sums) {
            curve_outputs(exec, walk, now, first, rows, sums);
            add_row_products<T>(sums, now.ra(last), now.rda(last), 1, rows, false);
            if (of.kind == Curvature::hessian) add_second_order(exec, now, sums, rows);
        },
        [&](index probe, index batch, const T* sums) {
            for (index r = 0; r < batch; ++r) out[probe] += double(sums[r]);
        });
}

}  // namespace fnn::FNN_ISA::net
