// Ops that mix the positions of an example, and are linear in what they read.
#pragma once

#include "net/ops/lengths.h"

namespace fnn::FNN_ISA::net {

// f(examples) for a few of them at a time, and done(first, count) for the stretches of `to` that these have.
template <class T, class Done, class F>
inline void for_examples(const Workspace<T>& ws, int value, const Panels<T>& to, Range examples,
                         const Done& done, const F& f) {
    constexpr index rows = 16;  // at least
    const index positions = ws.plan.values[std::size_t(value)].positions();
    exec::for_pieces(examples, exec::max(rows / positions, 1), [&](Range some) {
        f(some);
        for_stretches(to, ws.rows_of(value, some), [&](Range r) { done(r.begin, r.size()); });
    });
}

// Their four maps, of a Map that is made of a workspace and a node, and has
//
//   map.there(z, x, e)            of example e: z of the output from x of the input
//   map.back(dx, dz, e, add)      dx of the input (+)= what dz of the output gives
//
// Both write what pads a row, too.
template <class T, class Map>
struct LinearByExample : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr bool mixes_positions = true;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        there(ws, node, ws.z(node.output), ws.a(node.input()), examples, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        if (into.wants(0)) back(ws, node, ws.da(node.input()), ws.d(node.output), examples, into);
        stop_at_lengths(ws, node, ws.da(node.inputs.back().value), examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        there(ws, node, ws.rz(node.output), ws.ra(node.input()), examples, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        if (into.wants(0)) back(ws, node, ws.rda(node.input()), ws.rd(node.output), examples, into);
        stop_at_lengths(ws, node, ws.rda(node.inputs.back().value), examples, into);
    }

   private:
    template <class Done>
    static void there(const Workspace<T>& ws, const Node& node, const Panels<T>& z, const Panels<T>& x,
                      Range examples, const Done& done) {
        const Map map(ws, node);
        for_examples(ws, node.output, z, examples, done, [&](Range some) {
            if (x.data == nullptr)
                for_stretches(z, ws.rows_of(node.output, some),
                              [&](Range r) { exec::elementwise(r, Clear<T>{z.data}); });
            else
                for (index e = some.begin; e < some.end; ++e) map.there(z, x, e);
        });
    }
    template <class Into>
    static void back(const Workspace<T>& ws, const Node& node, const Panels<T>& dx, const Panels<T>& dz,
                     Range examples, const Into& into) {
        const Map map(ws, node);
        const bool add = into.adds(0);
        for_examples(ws, node.input(), dx, examples, DoneOf<Into>{into, 0}, [&](Range some) {
            for (index e = some.begin; e < some.end; ++e) map.back(dx, dz, e, add);
        });
    }
};

}  // namespace fnn::FNN_ISA::net
