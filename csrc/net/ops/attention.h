// o = softmax(q k' / sqrt(width)) v for each of some heads, which are columns side by side: A. Vaswani et al.
// (2017), "Attention is all you need", NeurIPS. It reads queries, keys and values side by side, (positions, 3
// units), or the queries of one value and the keys and values of another, `cross`; and maybe the length of
// each example as its last input: keys beyond it are not there, and unless `cross` neither are queries.
// `causal`: a query sees the keys up to its own position. What sees no key is zero.
//
// It goes by blocks of queries and keys, which lie as (keys, queries): sums over keys are elementwise then.
// Of each query the largest score and 1 / the sum of exponentials are kept, and probabilities computed again
// where they are needed (T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Re, 2022, "FlashAttention", NeurIPS). With
// s the scores, p = softmax(s), r the tangent and m(x) = sum over keys of p x, a query's:
//
//   dp = v do, ds = p (dp - m(dp)), m(dp) = do o
//   rp = p (rs - m(rs)), ro = rp v + p rv = (p rs) v + p rv - m(rs) o
//   rds = rp (dp - m(dp)) + p (rdp - r m(dp)), r m(dp) = rdo o + do ro
#pragma once

#include <cmath>

#include "exec/cpu.h"
#include "exec/gemm/multiply.h"
#include "net/ops/head_columns.h"
#include "net/ops/lengths.h"
#include "net/ops/panel_columns.h"
#include "rules/softmax.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Attention : OpBase {
    static constexpr Traits traits{false,
                                   false,
                                   false,
                                   /*piecewise_linear=*/false,
                                   /*exact_traces=*/true,
                                   /*reads_output=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;

    // Of each example, head and query: the largest score and 1 / sum.
    static index kept(const Node& node, const Plan& plan, index examples) {
        return 2 * kept_tangent(node, plan, examples);
    }
    // How the scores move in the mean.
    static index kept_tangent(const Node& node, const Plan& plan, index examples) {
        return examples * index(node.op.heads) * plan.values[std::size_t(node.output)].positions();
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        for_heads(ws, node, examples, [&](const Head& head, Room& room) {
            const Sides x = head.inputs(ws.a(node.input()), ws.a(head.keys_value()));
            const HeadColumns<T> o = head.output(z);
            clear_rows(o, head.all_queries(), head.width);
            head.for_queries([&](Range queries) {
                Lanes max(-rules::Format<T>::infinity), sum(0);
                head.for_keys(queries, [&](Range keys) {
                    const Panels<T> p = room.scores(0, keys, queries);
                    scores(p, x.k, keys, x.q, queries, head, room);
                    head.mask(p, keys, queries);
                    const Lanes before = max;
                    for_keys_of(p, [&](T* s, index l, auto n) { update<n()>(Largest{s, max.at + l}); });
                    if (keys.begin > 0) {
                        Lanes factors = before;
                        update<block>(Factor{factors.at, max.at, sum.at});
                        scale_rows(o, queries, head.width, factors);
                    }
                    for_keys_of(p, [&](T* s, index l, auto n) {
                        update<n()>(Exponential{s, max.at + l, sum.at + l});
                    });
                    add_for_queries(o, p, x.v, keys, queries, head, room);
                });
                update<block>(Invert{sum.at, max.at});
                scale_rows(o, queries, head.width, sum);
                for (index t = queries.begin; t < queries.end; ++t) {
                    head.kept(0)[t] = max.at[t - queries.begin];
                    head.kept(1)[t] = sum.at[t - queries.begin];
                }
            });
        });
        finish(z, ws.rows_of(node.output, examples), done);
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        const Gradients to(ws, node, examples, into, [&](int value) { return ws.da(value); });
        if (!to.any()) return;
        const Panels<T> z = ws.z(node.output), d = ws.d(node.output);
        for_heads(ws, node, examples, [&](const Head& head, Room& room) {
            const Sides x = head.inputs(ws.a(node.input()), ws.a(head.keys_value()));
            const Sides dx = head.inputs(to.of[0], to.of[1]);
            const HeadColumns<T> o = head.output(z), go = head.output(d);
            head.for_queries([&](Range queries) {
                Lanes mean(0);
                add_products(mean, go, o, queries, head, room);
                head.for_keys(queries, [&](Range keys) {
                    const Panels<T> p = room.scores(0, keys, queries), ds = room.scores(1, keys, queries);
                    probabilities(p, x, keys, queries, head, room);
                    start(ds);
                    products(ds, x.v, keys, go, queries, head, room);
                    for_keys_of(p, [&](T* s, index l, auto n) {
                        update<n()>(Slope{s, ds.data + (s - p.data), mean.at + l, head.factor});
                    });
                    if (dx.v) add_for_keys(dx.v, p, go, keys, queries, head, room);
                    if (dx.k) add_for_keys(dx.k, ds, x.q, keys, queries, head, room);
                    if (dx.q) add_for_queries(dx.q, ds, x.k, keys, queries, head, room);
                });
            });
        });
        to.finish(into);
    }

    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output), rz = ws.rz(node.output);
        for_heads(ws, node, examples, [&](const Head& head, Room& room) {
            const Sides x = head.inputs(ws.a(node.input()), ws.a(head.keys_value()));
            const Sides rx = head.inputs(ws.ra(node.input()), ws.ra(head.keys_value()));
            const HeadColumns<T> o = head.output(z), ro = head.output(rz);
            clear_rows(ro, head.all_queries(), head.width);
            head.for_queries([&](Range queries) {
                Lanes mean(0);
                head.for_keys(queries, [&](Range keys) {
                    const Panels<T> p = room.scores(0, keys, queries), rs = room.scores(1, keys, queries);
                    probabilities(p, x, keys, queries, head, room);
                    moved_scores(rs, x, rx, keys, queries, head, room);
                    for_keys_of(p, [&](T* s, index l, auto n) {
                        update<n()>(Weigh{s, rs.data + (s - p.data), mean.at + l});
                    });
                    add_for_queries(ro, rs, x.v, keys, queries, head, room);
                    if (rx.v) add_for_queries(ro, p, rx.v, keys, queries, head, room);
                });
                subtract_rows(ro, o, queries, head.width, mean);
                for (index t = queries.begin; t < queries.end; ++t)
                    head.kept_mean()[t] = mean.at[t - queries.begin];
            });
        });
        finish(rz, ws.rows_of(node.output, examples), done);
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        const Gradients to(ws, node, examples, into, [&](int value) { return ws.rda(value); });
        if (!to.any()) return;
        const Panels<T> z = ws.z(node.output), d = ws.d(node.output);
        const Panels<T> rz = ws.rz(node.output), rd = ws.rd(node.output);
        for_heads(ws, node, examples, [&](const Head& head, Room& room) {
            const Sides x = head.inputs(ws.a(node.input()), ws.a(head.keys_value()));
            const Sides rx = head.inputs(ws.ra(node.input()), ws.ra(head.keys_value()));
            const Sides rdx = head.inputs(to.of[0], to.of[1]);
            const HeadColumns<T> o = head.output(z), go = head.output(d);
            const HeadColumns<T> ro = head.output(rz), rgo = head.output(rd);
            head.for_queries([&](Range queries) {
                Lanes mean(0), change(0), moved(0);
                add_products(mean, go, o, queries, head, room);
                add_products(change, rgo, o, queries, head, room);
                add_products(change, go, ro, queries, head, room);
                for (index t = queries.begin; t < queries.end; ++t)
                    moved.at[t - queries.begin] = head.kept_mean()[t];
                head.for_keys(queries, [&](Range keys) {
                    const Panels<T> p = room.scores(0, keys, queries), rp = room.scores(1, keys, queries),
                                    ds = room.scores(2, keys, queries), rds = room.scores(3, keys, queries);
                    probabilities(p, x, keys, queries, head, room);
                    moved_scores(rp, x, rx, keys, queries, head, room);
                    start(ds);
                    products(ds, x.v, keys, go, queries, head, room);
                    start(rds);
                    products(rds, x.v, keys, rgo, queries, head, room);
                    if (rx.v) products(rds, rx.v, keys, go, queries, head, room);
                    for_keys_of(p, [&](T* s, index l, auto n) {
                        const index i = s - p.data;
                        update<n()>(SlopeTangent{s, rp.data + i, ds.data + i, rds.data + i, moved.at + l,
                                                 mean.at + l, change.at + l, head.factor});
                    });
                    if (rdx.v) {
                        add_for_keys(rdx.v, rp, go, keys, queries, head, room);
                        add_for_keys(rdx.v, p, rgo, keys, queries, head, room);
                    }
                    if (rdx.k) {
                        add_for_keys(rdx.k, rds, x.q, keys, queries, head, room);
                        if (rx.q) add_for_keys(rdx.k, ds, rx.q, keys, queries, head, room);
                    }
                    if (rdx.q) {
                        add_for_queries(rdx.q, rds, x.k, keys, queries, head, room);
                        if (rx.k) add_for_queries(rdx.q, ds, rx.k, keys, queries, head, room);
                    }
                });
            });
        });
        to.finish(into);
    }

   private:
    using Rule = rules::Softmax<T>;
    static constexpr index block = 64;  // queries, keys, and columns of a head at a time
    static constexpr index full = Panels<T>::full, w = exec::lanes<T>;

    // A number for each query of a block.
    struct alignas(exec::vector_bytes) Lanes {
        T at[block];
        explicit Lanes(T x) {
            for (T& a : at) a = x;
        }
    };

    struct alignas(exec::vector_bytes) Square {
        T at[block * block];
    };
    // What a thread needs on its way through a head.
    struct Room {
        Square s[4];                     // (keys, queries)
        Square one, other, turned, out;  // blocks of columns
        Panels<T> scores(int i, Range keys, Range queries) { return {s[i].at, keys.size(), queries.size()}; }
    };

    struct Sides {
        HeadColumns<T> q, k, v;
    };

    // One head of one example.
    struct Head {
        const Workspace<T>& ws;
        const Node& node;
        index example, number, width, positions, units;
        index queries, keys;  // that are there
        T factor;

        Head(const Workspace<T>& ws, const Node& node, index example, index number)
            : ws(ws),
              node(node),
              example(example),
              number(number),
              width(of_value(node.output).shape.channels / index(node.op.heads)),
              positions(of_value(node.output).positions()),
              units(of_value(node.output).shape.channels),
              queries(positions),
              keys(of_value(keys_value()).positions()),
              factor(T(1 / std::sqrt(double(width)))) {
            const std::size_t tensors = node.op.cross != 0 ? 2 : 1;
            if (node.inputs.size() == tensors) return;
            keys = length_of(ws, node.inputs.back(), example, keys);
            if (node.op.cross == 0) queries = keys;
        }

        const Value& of_value(int value) const { return ws.plan.values[std::size_t(value)]; }
        int keys_value() const { return node.inputs[node.op.cross != 0 ? 1 : 0].value; }
        Range all_queries() const { return {0, positions}; }

        Sides inputs(const Panels<T>& q, const Panels<T>& kv) const {
            const index before = node.op.cross != 0 ? 0 : units, c = number * width;
            const index row = example * of_value(keys_value()).positions();
            return {{q, example * positions, c}, {kv, row, before + c}, {kv, row, before + units + c}};
        }
        HeadColumns<T> output(const Panels<T>& o) const { return {o, example * positions, number * width}; }

        T* kept(index k) const {
            return ws.kept(node) + ((example * index(node.op.heads) + number) * 2 + k) * positions;
        }
        T* kept_mean() const {
            return ws.kept_tangent(node) + (example * index(node.op.heads) + number) * positions;
        }

        template <class F>
        void for_queries(const F& f) const {
            for (index t = 0; t < queries; t += block) f(Range{t, exec::min(t + block, queries)});
        }
        // Those that some of the queries see.
        template <class F>
        void for_keys(Range own, const F& f) const {
            const index end = node.op.causal != 0 ? exec::min(keys, own.end) : keys;
            for (index s = 0; s < end; s += block) f(Range{s, exec::min(s + block, end)});
        }
        // No query sees what comes behind it, where there is an order.
        void mask(const Panels<T>& p, Range keys, Range own) const {
            if (node.op.causal == 0 || keys.end <= own.begin + 1) return;
            for (index s = 0; s < p.rows; ++s)
                for (index q = 0; q < p.count(); ++q) {
                    const index unseen = keys.begin + s - own.begin - q * full;
                    for (index i = 0; i < exec::min(unseen, p.width(q)); ++i)
                        p.row(q, s)[i] = -rules::Format<T>::infinity;
                }
        }
    };

    template <class F>
    static void for_heads(const Workspace<T>& ws, const Node& node, Range examples, const F& f) {
        Room room;
        for (index e = examples.begin; e < examples.end; ++e)
            for (index h = 0; h < index(node.op.heads); ++h) {
                exec::poll();
                f(Head(ws, node, e, h), room);
            }
    }

    // ---- a row of a block of scores, (keys, queries), and what there is of each query

    // f(a row of a panel of p, its first query, how many: a constant)
    template <class F>
    static void for_keys_of(const Panels<T>& p, const F& f) {
        for (index q = 0; q < p.count(); ++q)
            with_vectors<T>(p.width(q), [&](auto vectors) {
                constexpr index n = decltype(vectors)::value * w;
                for (index s = 0; s < p.rows; ++s)
                    f(p.row(q, s), q * full, std::integral_constant<index, n>{});
            });
    }
    template <index n, class F>
    static void update(const F& f) {
        exec::elementwise({0, n}, f);
    }

    struct Largest {
        const T* s;
        T* max;
        void operator()(index i) const { max[i] = rules::select(s[i] > max[i], s[i], max[i]); }
    };
    // What there was counts less as the largest grows.
    struct Factor {
        T* before;
        const T* max;
        T* sum;
        void operator()(index i) const {
            before[i] = Rule::exponential(before[i], max[i]);
            sum[i] *= before[i];
        }
    };
    struct Exponential {
        T* s;
        const T* max;
        T* sum;
        void operator()(index i) const {
            s[i] = Rule::exponential(s[i], max[i]);
            sum[i] += s[i];
        }
    };
    struct Invert {
        T* sum;
        const T* max;
        void operator()(index i) const {
            sum[i] = rules::select(sum[i] == 0, T(0), 1 / Rule::decided(sum[i], 1, max[i]));
        }
    };
    struct Probability {
        T* s;
        const T *max, *one_over_sum;
        void operator()(index i) const { s[i] = Rule::exponential(s[i], max[i]) * one_over_sum[i]; }
    };
    struct Slope {
        const T* p;
        T* dp;
        const T* mean;
        T factor;
        void operator()(index i) const { dp[i] = factor * Rule::product(p[i], dp[i], mean[i]); }
    };
    struct Weigh {
        const T* p;
        T *rs, *mean;
        void operator()(index i) const {
            rs[i] *= p[i];
            mean[i] += rs[i];
        }
    };
    struct SlopeTangent {
        const T* p;
        T *rs, *dp, *rdp;
        const T *moved, *mean, *change;
        T factor;
        void operator()(index i) const {
            rs[i] = Rule::product(p[i], rs[i], moved[i]);
            rdp[i] = factor * Rule::product_tangent(p[i], rs[i], dp[i], rdp[i], mean[i], change[i]);
            dp[i] = factor * Rule::product(p[i], dp[i], mean[i]);
        }
    };
    struct SumOfProducts {
        T* sum;
        const T *x, *y;
        void operator()(index i) const { sum[i] += x[i] * y[i]; }
    };
    struct Times {
        T* x;
        T factor;
        void operator()(index i) const { x[i] *= factor; }
    };

    // ---- products, a piece of a head's columns at a time

    template <class F>
    static void for_columns(const Head& head, const F& f) {
        exec::for_pieces({0, head.width}, block, full, f);
    }
    static void start(const Panels<T>& p) { exec::elementwise({0, p.size()}, Clear<T>{p.data}); }

    // to (keys, queries) += x y'
    static void products(const Panels<T>& to, const HeadColumns<T>& x, Range keys, const HeadColumns<T>& y,
                         Range queries, const Head& head, Room& room) {
        for_columns(head, [&](Range columns) {
            const Panels<T> a = load_block(room.one.at, x, keys, columns);
            const Panels<T> b = load_block(room.other.at, y, queries, columns);
            exec::multiply<T>(to, a, transposed_block(room.turned.at, b), exec::Initial<T>::add(),
                              {0, to.rows}, {0, to.count()});
        });
    }
    static void scores(const Panels<T>& to, const HeadColumns<T>& k, Range keys, const HeadColumns<T>& q,
                       Range queries, const Head& head, Room& room) {
        start(to);
        products(to, k, keys, q, queries, head, room);
        exec::elementwise({0, to.size()}, Times{to.data, head.factor});
    }
    // rs = (k rq' + rk q') / sqrt(width)
    static void moved_scores(const Panels<T>& to, const Sides& x, const Sides& rx, Range keys, Range queries,
                             const Head& head, Room& room) {
        start(to);
        if (rx.q) products(to, x.k, keys, rx.q, queries, head, room);
        if (rx.k) products(to, rx.k, keys, x.q, queries, head, room);
        exec::elementwise({0, to.size()}, Times{to.data, head.factor});
    }
    // Those of the way forward.
    static void probabilities(const Panels<T>& p, const Sides& x, Range keys, Range queries, const Head& head,
                              Room& room) {
        scores(p, x.k, keys, x.q, queries, head, room);
        head.mask(p, keys, queries);
        Lanes max(0), one_over_sum(0);
        for (index t = queries.begin; t < queries.end; ++t) {
            max.at[t - queries.begin] = head.kept(0)[t];
            one_over_sum.at[t - queries.begin] = head.kept(1)[t];
        }
        for_keys_of(
            p, [&](T* s, index l, auto n) { update<n()>(Probability{s, max.at + l, one_over_sum.at + l}); });
    }

    // Rows of keys: to += p y, p (keys, queries)
    static void add_for_keys(const HeadColumns<T>& to, const Panels<T>& p, const HeadColumns<T>& y,
                             Range keys, Range queries, const Head& head, Room& room) {
        for_columns(head, [&](Range columns) {
            const Panels<T> b = load_block(room.one.at, y, queries, columns);
            const Panels<T> out{room.out.at, keys.size(), columns.size()};
            exec::multiply<T>(out, p, b, exec::Initial<T>::zero(), {0, out.rows}, {0, out.count()});
            add_block(to, keys, columns, out);
        });
    }
    // Rows of queries: to += p' y
    static void add_for_queries(const HeadColumns<T>& to, const Panels<T>& p, const HeadColumns<T>& y,
                                Range keys, Range queries, const Head& head, Room& room) {
        for_columns(head, [&](Range columns) {
            const Panels<T> b = load_block(room.one.at, y, keys, columns);
            const Panels<T> out{room.out.at, queries.size(), columns.size()};
            exec::multiply_transposed<T>({out.data, out.rows}, {}, p, b, {0, p.rows}, {0, out.rows},
                                         {0, out.count()});
            add_block(to, queries, columns, out);
        });
    }
    // sums += of each query, x y over the columns
    static void add_products(Lanes& sums, const HeadColumns<T>& x, const HeadColumns<T>& y, Range queries,
                             const Head& head, Room& room) {
        for_columns(head, [&](Range columns) {
            const Panels<T> a =
                transposed_block(room.turned.at, load_block(room.one.at, x, queries, columns));
            const Panels<T> b = transposed_block(room.out.at, load_block(room.other.at, y, queries, columns));
            for_keys_of(a, [&](T* s, index l, auto n) {
                update<n()>(SumOfProducts{sums.at + l, s, b.data + (s - a.data)});
            });
        });
    }

    // ---- rows of the output

    // f(numbers, row, how many)
    template <class F>
    static void for_rows(const HeadColumns<T>& x, Range rows, index width, const F& f) {
        for (index done = 0, count; done < width; done += count) {
            const index i = x.column + done;
            count = exec::min(width - done, full - i % full);
            for (index r = rows.begin; r < rows.end; ++r)
                f(x.of.row(i / full, x.row + r) + i % full, r - rows.begin, count);
        }
    }
    static void clear_rows(const HeadColumns<T>& x, Range rows, index width) {
        for_rows(x, rows, width, [](T* to, index, index n) { for_run<T>(n, Clear<T>{to}); });
    }
    static void scale_rows(const HeadColumns<T>& x, Range rows, index width, const Lanes& factors) {
        for_rows(x, rows, width, [&](T* to, index r, index n) { for_run<T>(n, Times{to, factors.at[r]}); });
    }
    struct Subtract {
        T* to;
        const T* from;
        T factor;
        void operator()(index i) const { to[i] -= factor * from[i]; }
    };
    static void subtract_rows(const HeadColumns<T>& to, const HeadColumns<T>& from, Range rows, index width,
                              const Lanes& factors) {
        for_rows(to, rows, width, [&](T* y, index r, index n) {
            for_run<T>(n, Subtract{y, from.of.data + (y - to.of.data), factors.at[r]});
        });
    }

    template <class Done>
    static void finish(const Panels<T>& z, Range rows, const Done& done) {
        exec::clear_padding(z, rows);
        for_stretches(z, rows, [&](Range r) { done(r.begin, r.size()); });
    }

    // Gradients of the inputs, which are added up from zero or from what others gave.
    struct Gradients {
        const Workspace<T>& ws;
        const Node& node;
        Range examples;
        int tensors;
        Panels<T> of[2];  // that of the queries, and of keys and values; without data: not wanted

        template <class Into, class Of>
        Gradients(const Workspace<T>& ws, const Node& node, Range examples, const Into& into, const Of& to)
            : ws(ws), node(node), examples(examples), tensors(node.op.cross != 0 ? 2 : 1) {
            for (int i = 0; i < int(node.inputs.size()); ++i) {
                if (!into.wants(i)) continue;
                const Panels<T> dx = to(value(i));
                if (i >= tensors) {
                    no_gradient(dx, rows(i), i, into);
                    continue;
                }
                of[i] = dx;
                if (!into.adds(i))
                    for_stretches(dx, rows(i), [&](Range r) { exec::elementwise(r, Clear<T>{dx.data}); });
            }
            if (tensors == 1) of[1] = of[0];
        }
        int value(int i) const { return node.inputs[std::size_t(i)].value; }
        Range rows(int i) const { return ws.rows_of(value(i), examples); }
        bool any() const { return of[0].data != nullptr || of[1].data != nullptr; }

        template <class Into>
        void finish(const Into& into) const {
            for (int i = 0; i < tensors; ++i)
                if (of[i].data != nullptr)
                    for_stretches(of[i], rows(i), [&](Range r) { into.done(i, r.begin, r.size()); });
        }
    };
};

}  // namespace fnn::FNN_ISA::net
