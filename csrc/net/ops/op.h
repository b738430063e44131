// The contract of a layer. What a node computes before its activation is an op: a type in a header of its
// own, found by its kind through `with_op`. It has static members only; a Workspace holds what it reads and
// writes, a Node says where.
//
//   traits      What it says of itself (net/plan.h). What it does not say is refused: `exact_traces`, say.
//   cut(run)    Which parts of the output may be computed apart. A map is asked for such a part: some rows of
//               some panels (where whole rows are computed, of all panels; where whole columns are, all
//               rows).
//   mixes_positions
//               Says that an output depends on other positions of its example: the maps are asked for all
//               panels of some examples then, in place of rows. Otherwise the inputs have as many positions
//               as the output, a row for each, and an op works row by row.
//   kept(node, plan, rows)
//               Numbers that the way forward leaves for the way back, in ws.kept(node).
//   kept_tangent(node, plan, rows)
//               The same of its tangent, for each direction, in ws.kept_tangent(node).
//   kept_back(node, plan, rows)
//               Numbers that the way back leaves for the gradient of what the op learns, in
//               ws.kept_back(node); its tangent leaves as many in ws.kept_back_tangent(node). Where d means
//               what goes back along a direction, kept_back does, too.
//
// The four maps. Each writes all of its part and then calls done(...) for every finished stretch of it:
// that is where activations and their derivatives are computed, while the numbers are in the cache.
//
//   forward(ws, node, rows, panels, done)
//               z of the output from a of the inputs: done(first, count), a stretch of z.data
//   backward(ws, node, rows, panels, into)
//               for each input i with into.wants(i): da of it (+)= what d of the output gives, added if
//               into.adds(i): then into.done(i, first, count)
//   tangent_forward(ws, node, rows, panels, done)
//               rz of the output from ra of the inputs (without data: zero) and the direction
//   tangent_backward(ws, node, rows, panels, into)
//               the tangent of backward: rda of the inputs from rd and d of the output
//
// What it learns: a matrix, and vectors as long as that has columns. Gradients are sums over examples, which
// net/gradient.h asks for, of products of what went forward and what comes back, or where one of the two is
// its tangent: a Pair.
//
//   has_pair(ws, node, pair)
//               whether a pair adds to the gradient: ra_d not where the input does not move
//   weight_gradient(ws, node, pair, strips, examples, rows, panels, add, turn, beside)
//               strips of the matrix's gradient (+)= some of its rows and panels, summed over some examples
//               in a fixed order
//
// A vector w has one number for each column of the output, z = ... + u w + ..., elementwise, and its gradient
// is the sum of u d over rows:
//
//   has_factor(k)
//               whether vector k has such a u, or ones
//   factor(ws, node, k, rows, p, room)
//               u: rows of panel p, in `room` or where they lie
//   factor_tangent(ws, node, k, rows, p, room)
//               its tangent along the direction
//
// An op that `has_vector_terms` gives other terms of that sum itself:
//
//   vector_terms(ws, node, k, pair, examples, p, room, take)
//               take(terms, count) for all of them, rows as wide as panel p of the vector, in `room`
//               (rows_of_terms rows) or where they lie
//   gives_vector_terms(ws, node)
//               whether it does so now; otherwise they are those of its factors
//
// An op that `couples_rows` is cut by columns then, which are computed of all rows. What these have to do
// with each other is found out before each of the four maps, by all threads together:
//
//   tallies(ws, node)
//               whether sums over each example are enough: the maps are asked for some examples then
//   tally(ws, node, way, examples)
//               these sums, while the examples are in a cache
//   meet(ws, node, way, panels)
//               of all rows, or of what has been tallied, for some panels
//
// An op that `has_block` evaluates the nodes of a block, see net/ops/block.h, which walks through the network
// leave to it:
//
//   evaluations(ws, node)
//               of the block, which gradients of its parameters are sums over
//   settle(ws, node, examples, part)
//               so that there are as many of each example, when all have gone forward and back; where it does
//               not keep all (ws.keeps_evaluations), those of a part of them, beginning with part 0
//   settles_on(ws, node, part)
//               whether there is a part after that one, when all examples have settled
//
// What it keeps besides, if it says `has_state`: numbers at ws.state + node.state.
//
//   learn(ws, node, panels)
//               from a batch that has gone forward in training, once its loss is known to be finite
//   calibrate(ws, node, before, panels)
//               from a and all rows of the inputs: so that the state is that of these rows and of `before`
//               others, which it has been calibrated by
//
// It may read a, z, kept of what went forward, and d, rd, ra, rz, as the workspace says when they are there;
// z and a of the output are one memory unless the activation needs both, so an op whose way back reads its
// own output says `reads_output`. It may overwrite nothing but what it is asked for. What pads a last panel
// is finite in z, and zero in d, da, rd and rda: an op keeps it so.
#pragma once

#include "exec/gemm/multiply.h"
#include "net/ops/activation.h"
#include "net/ops/maps.h"
#include "net/ops/stretches.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

// d = da f'(z) for a stretch of a value.
template <class T>
void complete_gradient(const Workspace<T>& ws, int value, Range r) {
    activation_backward<T>(ws.activation_of(value), ws.d(value).data, ws.da(value).data, ws.z(value).data, r);
}

template <class T>
void complete_tangent(const Workspace<T>& ws, int value, Range r) {
    activation_tangent_backward<T>(ws.activation_of(value), ws.rd(value).data, ws.rda(value).data,
                                   ws.da(value).data, ws.z(value).data, ws.rz(value).data, r);
}

// `done` of the maps forward.
template <class T>
struct Activate {
    const Workspace<T>& ws;
    const Node& node;
    void operator()(index first, index count) const {
        const int value = node.output;
        activation_forward<T>(node.activation, ws.a(value).data, ws.z(value).data, {first, first + count});
    }
};

template <class T>
struct ActivateTangent {
    const Workspace<T>& ws;
    const Node& node;
    void operator()(index first, index count) const {
        const int value = node.output;
        activation_tangent_forward<T>(node.activation, ws.ra(value).data, ws.rz(value).data, ws.z(value).data,
                                      {first, first + count});
    }
};

// `into` of the maps backward.
template <class T>
struct IntoGradient {
    const Workspace<T>& ws;
    const Node& node;
    bool wants(int i) const { return ws.wants_gradient(node.inputs[std::size_t(i)].value); }
    bool adds(int i) const { return node.inputs[std::size_t(i)].adds_gradient; }
    void done(int i, index first, index count) const {
        const Input& input = node.inputs[std::size_t(i)];
        if (input.completes_gradient) complete_gradient(ws, input.value, {first, first + count});
    }
};

template <class T>
struct IntoTangent : IntoGradient<T> {
    void done(int i, index first, index count) const {
        const Input& input = this->node.inputs[std::size_t(i)];
        if (input.completes_gradient) complete_tangent(this->ws, input.value, {first, first + count});
    }
};

// `into` of a node alone: the derivatives in its inputs, by themselves, where those move.
template <class T>
struct IntoScratch {
    const Workspace<T>& ws;
    const Node& node;
    int value(int i) const { return node.inputs[std::size_t(i)].value; }
    bool wants(int i) const { return ws.wants_gradient(value(i)) && ws.ra(value(i)).data != nullptr; }
    bool adds(int i) const {
        for (int before = 0; before < i; ++before)
            if (value(before) == value(i)) return true;
        return false;
    }
    void done(int, index, index) const {}
};

// `done` of one input, for products and the like that have an epilogue.
template <class Into>
struct DoneOf {
    const Into& into;
    int i;
    void operator()(index first, index count) const { into.done(i, first, count); }
};

struct NoDone {
    void operator()(index, index) const {}
};

// Input i of a mixing op, through which nothing flows back: lengths, say.
template <class T, class Into>
void no_gradient(const Panels<T>& dx, Range rows, int i, const Into& into) {
    for_stretches(dx, rows, [&](Range r) {
        if (!into.adds(i)) exec::elementwise(r, Clear<T>{dx.data});
        into.done(i, r.begin, r.size());
    });
}

// What went forward and what comes back, of a pair.
template <class T>
Panels<const T> forward_of(const Workspace<T>& ws, const Node& node, Pair pair) {
    return pair == Pair::ra_d ? ws.ra(node.input()) : ws.a(node.input());
}
template <class T>
Panels<const T> backward_of(const Workspace<T>& ws, const Node& node, Pair pair) {
    return pair == Pair::a_rd ? ws.rd(node.output) : ws.d(node.output);
}

// Of an op that is linear in its inputs, row by row.
constexpr Traits linear_traits{false, false, false, /*piecewise_linear=*/true, /*exact_traces=*/true};

// What most ops say.
struct OpBase {
    static constexpr Cut cut(const Run&) { return Cut::elements; }
    static constexpr bool mixes_positions = false;
    static index kept(const Node&, const Plan&, index) { return 0; }
    static index kept_tangent(const Node&, const Plan&, index) { return 0; }
    static index kept_back(const Node&, const Plan&, index) { return 0; }
    static constexpr bool has_matrix = false;
    static constexpr bool has_factors = false;
    static constexpr bool has_vector_terms = false;
    static constexpr bool has_block = false;
    template <class T>
    static bool gives_vector_terms(const Workspace<T>&, const Node&) {
        return true;
    }
};

}  // namespace fnn::FNN_ISA::net
