// z = a part of x at other positions, while training: one that begins at a random place, turned round or not,
// with zeros where it reaches beyond x and in a hole. Otherwise the part in the middle of x.
//
// The part begins between `margin` positions in front of x and where it ends as many behind x. A hole is a
// square around a random position: T. DeVries, G. W. Taylor (2017), "Improved regularization of convolutional
// neural networks with Cutout". Random numbers are functions of the seed, the step, the layer and the
// example: all maps see the same ones. Where there is one row of positions, nothing happens along the other
// axis.
#pragma once

#include "net/ops/op.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Augment : OpBase {
    static constexpr Traits traits{false, /*is_random=*/true, false, /*piecewise_linear=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        take(ws, node, ws.z(node.output), ws.a(node.input()), examples, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        put_back(ws, node, ws.da(node.input()), ws.d(node.output), examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        take(ws, node, ws.rz(node.output), ws.ra(node.input()), examples, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        put_back(ws, node, ws.rda(node.input()), ws.rd(node.output), examples, into);
    }

   private:
    // Along one axis: position i of z is start + i of x, or counted from the other end, but in the hole.
    struct Axis {
        index from, to;  // lengths of x and z
        index start;
        bool turned = false;
        Range hole{};

        index source(index i) const { return start + (turned ? to - 1 - i : i); }
        // The positions of z that lie in x.
        Range inside() const {
            const Range all = exec::intersect({0, from - start}, {exec::max(-start, 0), to});
            return turned ? Range{to - all.end, to - all.begin} : all;
        }
    };

    // Of 32 random bits, one of n numbers.
    static index below(index n, std::uint32_t bits) { return index(std::uint64_t(n) * bits >> 32); }

    static Axis at_rest(index from, index to) { return {from, to, (from - to) / 2}; }
    static Axis drawn(const OpSpec& op, index from, index to, double turns, const std::uint32_t (&start)[2],
                      std::uint32_t centre) {
        const index margin = index(op.margin), hole = index(op.hole);
        Axis axis{from, to, below(from - to + 2 * margin + 1, start[0]) - margin};
        axis.turned = turns != 0 && start[1] >> 31 != 0;
        const index first = below(to, centre) - hole / 2;
        axis.hole = {first, first + hole};
        return axis;
    }

    // f(row of z, row of x, count, step) for stretches of positions of an example that are copied.
    template <class F>
    static void for_copied(const Workspace<T>& ws, const Node& node, index e, const F& f) {
        const Shape &from = ws.plan.values[std::size_t(node.input())].shape,
                    &to = ws.plan.values[std::size_t(node.output)].shape;
        Axis y = at_rest(from.height, to.height), x = at_rest(from.width, to.width);
        if (ws.run.random) {
            const std::uint64_t place =
                (std::uint64_t(node.random) << 48) + 2 * std::uint64_t(ws.run.first + e);
            const rules::Block start = rules::philox(ws.run.seed, ws.run.stream(), place),
                               centre = rules::philox(ws.run.seed, ws.run.stream(), place + 1);
            if (from.height > 1)
                y = drawn(node.op, from.height, to.height, node.op.flips_rows, {start.word[0], start.word[1]},
                          centre.word[0]);
            x = drawn(node.op, from.width, to.width, node.op.flips_columns, {start.word[2], start.word[3]},
                      centre.word[1]);
            if (from.height == 1) y.hole = {0, to.height * index(node.op.hole > 0)};
        }
        const index z_first = ws.rows_of(node.output, {e, e}).begin,
                    x_first = ws.rows_of(node.input(), {e, e}).begin;
        const Range rows = y.inside(), columns = x.inside();
        for (index i = rows.begin; i < rows.end; ++i) {
            const auto copy = [&](Range some) {
                if (some.empty()) return;
                f(z_first + i * to.width + some.begin,
                  x_first + y.source(i) * from.width + x.source(some.begin), some.size(), x.turned ? -1 : 1);
            };
            if (y.hole.begin <= i && i < y.hole.end) {
                copy(exec::intersect(columns, {0, x.hole.begin}));
                copy(exec::intersect(columns, {x.hole.end, to.width}));
            } else {
                copy(columns);
            }
        }
    }

    // `to` (+)= from, some rows of a panel, each of which is `step` rows behind the one before.
    template <bool add, int N>
    static void copy_rows(T* to, const T* from, index count, index to_step, index from_step) {
        constexpr index width = N * exec::lanes<T>;
        for (index r = 0; r < count; ++r)
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) {
                T* const y = to + r * to_step * width + n * exec::lanes<T>;
                const exec::Vector<T> v = exec::load(from + r * from_step * width + n * exec::lanes<T>);
                exec::store(y, add ? exec::load(y) + v : v);
            }
    }
    static void copy(const Panels<T>& to, const Panels<const T>& from, index p, index to_row, index from_row,
                     index count, index to_step, index from_step, bool add) {
        const bool wide = to.width(p) == to.full;
        const auto rows = wide ? (add ? copy_rows<true, 2> : copy_rows<false, 2>)
                               : (add ? copy_rows<true, 1> : copy_rows<false, 1>);
        rows(to.row(p, to_row), from.row(p, from_row), count, to_step, from_step);
    }

    template <class Done>
    static void take(const Workspace<T>& ws, const Node& node, const Panels<T>& z, const Panels<const T>& x,
                     Range examples, const Done& done) {
        const Range rows = ws.rows_of(node.output, examples);
        for_stretches(z, rows, [&](Range r) { exec::elementwise(r, Clear<T>{z.data}); });
        for (index e = examples.begin; x.data != nullptr && e < examples.end; ++e)
            for_copied(ws, node, e, [&](index to, index from, index count, index step) {
                for (index p = 0; p < z.count(); ++p) copy(z, x, p, to, from, count, 1, step, false);
            });
        for_stretches(z, rows, [&](Range r) { done(r.begin, r.size()); });
    }

    template <class Into>
    static void put_back(const Workspace<T>& ws, const Node& node, const Panels<T>& dx,
                         const Panels<const T>& dz, Range examples, const Into& into) {
        if (!into.wants(0)) return;
        const Range rows = ws.rows_of(node.input(), examples);
        if (!into.adds(0)) for_stretches(dx, rows, [&](Range r) { exec::elementwise(r, Clear<T>{dx.data}); });
        for (index e = examples.begin; e < examples.end; ++e)
            for_copied(ws, node, e, [&](index from, index to, index count, index step) {
                for (index p = 0; p < dx.count(); ++p) copy(dx, dz, p, to, from, count, step, 1, true);
            });
        for_stretches(dx, rows, [&](Range r) { into.done(0, r.begin, r.size()); });
    }
};

}  // namespace fnn::FNN_ISA::net
