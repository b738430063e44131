// The walks through a plan: forward, backward, and the tangent (directional derivative) of each.
#pragma once

#include "exec/cpu.h"
#include "net/ops/maps.h"
#include "net/ops/op.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

using exec::Exec;

// Rows that a thread takes through the nodes of a stretch before it begins with others: what one node leaves
// is in the cache for the next.
constexpr index piece_rows = 512;

// The walks over examples touch no others, so each thread takes its own through all nodes without waiting.
// Those over parameters need the walks of all examples to be complete.
//
// Where rows depend on each other, all threads come to such a node together. Either each of them computes
// some of its columns, of all rows; or, where sums over each example are enough, they share these sums, and
// go on with their own examples.
template <class T>
bool rows_meet(const Workspace<T>& ws, const Node& node) {
    return ws.couples_rows() && Maps<T>::cut(node, ws.run) == Cut::columns;
}

// What all rows have to do with each other at such a node, by all threads, who have `tallied` before if the
// node asks for it; f(examples, panels) where columns are computed.
template <class T, class F>
void meet(Exec& exec, const Workspace<T>& ws, const Node& node, Way way, const F& f) {
    const index panels = ws.z(node.output).count();
    const Range own = exec.share(panels);
    exec.barrier();
    if (!own.empty()) Maps<T>::meet(ws, node, way, own);
    if (!own.empty() && !Maps<T>::tallies(ws, node)) f(Range{0, ws.rows}, own);
    exec.barrier();
}

// All panels of what a node writes.
template <class T>
Range panels_of(const Workspace<T>& ws, const Node& node, Way way) {
    const bool back = way == Way::backward || way == Way::tangent_backward;
    return {0, ws.z(back ? node.input() : node.output).count()};
}

// f(examples, panels) for one node.
template <class T, class F>
void for_node(Exec& exec, const Workspace<T>& ws, const Node& node, Way way, Range examples, const F& f) {
    const Range all = panels_of(ws, node, way);
    if (!rows_meet(ws, node)) return f(examples, all);
    const bool tallies = Maps<T>::tallies(ws, node);
    if (tallies) Maps<T>::tally(ws, node, way, examples);
    meet(exec, ws, node, way, f);
    if (tallies) f(examples, all);
}

// The most positions of what a node reads and writes.
inline index positions_at(const Plan& plan, const Node& node) {
    index most = plan.values[std::size_t(node.output)].positions();
    for (const Input& input : node.inputs)
        most = exec::max(most, plan.values[std::size_t(input.value)].positions());
    return most;
}

// f(node, examples, panels) for the nodes that next(node) goes through, from a first one to null, in
// stretches. Each of these ends where rows meet; and all of its nodes have several positions, or all have
// one: many positions are many rows, of few examples, and what is behind them, with one row for each, would
// do little with so few.
template <class T, class Next, class F>
void walk(Exec& exec, const Workspace<T>& ws, Way way, const Node* first, Range examples, const Next& next,
          const F& f) {
    const Node* met = nullptr;  // where rows have just met, which is still to be computed
    while (first != nullptr) {
        const bool several = positions_at(ws.plan, *first) > 1;
        index most = 1;
        const Node* end = first;
        for (; end != nullptr && (end == met || !rows_meet(ws, *end)); end = next(end)) {
            const index here = positions_at(ws.plan, *end);
            if ((here > 1) != several) break;
            most = exec::max(most, here);
        }
        const bool meets = end != nullptr && rows_meet(ws, *end);
        const bool tallies = meets && Maps<T>::tallies(ws, *end);
        const index piece = ws.plan.traits.walks_positions ? piece_rows : exec::max(piece_rows / most, 1);
        exec::for_pieces(examples, piece, [&](Range some) {
            exec.poll();
            for (const Node* node = first; node != end; node = next(node))
                f(*node, some, panels_of(ws, *node, way));
            if (tallies) Maps<T>::tally(ws, *end, way, some);
        });
        if (meets) meet(exec, ws, *end, way, [&](Range all, Range panels) { f(*end, all, panels); });
        met = tallies ? end : nullptr;
        first = meets && !tallies ? next(end) : end;
    }
}

template <class T, class F>
void walk_forward(Exec& exec, const Workspace<T>& ws, Way way, Range examples, const F& f) {
    const Node* const end = ws.plan.nodes.data() + ws.plan.nodes.size();
    const auto outside = [&](const Node* node) {
        while (node != end && node->is_within_block()) ++node;
        return node == end ? nullptr : node;
    };
    const auto next = [&](const Node* node) { return outside(node + 1); };
    walk(exec, ws, way, outside(ws.plan.nodes.data()), examples, next, f);
}

template <class T>
void forward(Exec& exec, Workspace<T>& ws, Range examples) {
    walk_forward(exec, ws, Way::forward, examples,
                 [&](const Node& node, Range r, Range panels) { Maps<T>::forward(ws, node, r, panels); });
}

// For all examples, which are few and of one position, from the parameters as they lie: threads share the
// columns of a layer, as reading its parameters is most of the work. Ends with wait().
template <class T, class Share, class Wait>
void forward_few(Workspace<T>& ws, const T* parameters, const Share& share, const Wait& wait) {
    for (const Node& node : ws.plan.nodes) {
        const index panels = ws.z(node.output).count();
        if (Maps<T>::cut(node, ws.run) == Cut::products)
            Maps<T>::forward_few(ws, node, parameters, share(panels));
        else
            Maps<T>::forward(ws, node, share(ws.rows), {0, panels});
        wait();
    }
}

// d of the output from its da.
template <class T>
void complete_output_gradient(Workspace<T>& ws, Range examples) {
    const int last = ws.plan.output();
    for_stretches(ws.d(last), ws.rows_of(last, examples), [&](Range r) { complete_gradient(ws, last, r); });
}

// The last node that goes backward, of those in front of one; or null.
template <class T>
const Node* before(const Workspace<T>& ws, const Node* node) {
    while (node != ws.plan.nodes.data())
        if (--node; ws.goes_back(*node) && !node->is_within_block()) return node;
    return nullptr;
}

// f(node) for those that go backward, from the last one.
template <class T, class F>
void for_nodes_backward(const Workspace<T>& ws, const F& f) {
    const Node* node = ws.plan.nodes.data() + ws.plan.nodes.size();
    while ((node = before(ws, node)) != nullptr) f(*node);
}

template <class T, class F>
void walk_backward(Exec& exec, const Workspace<T>& ws, Way way, Range examples, const F& f) {
    const auto next = [&](const Node* node) { return before(ws, node); };
    walk(exec, ws, way, next(ws.plan.nodes.data() + ws.plan.nodes.size()), examples, next, f);
}

// Starts from da of the output.
template <class T>
void backward(Exec& exec, Workspace<T>& ws, Range examples) {
    complete_output_gradient(ws, examples);
    walk_backward(exec, ws, Way::backward, examples,
                  [&](const Node& node, Range r, Range panels) { Maps<T>::backward(ws, node, r, panels); });
}

// The tangent of `forward` along the direction; the network's input does not move.
template <class T>
void tangent_forward(Exec& exec, Workspace<T>& ws, Range examples) {
    walk_forward(exec, ws, Way::tangent_forward, examples, [&](const Node& node, Range r, Range panels) {
        Maps<T>::tangent_forward(ws, node, r, panels);
    });
}

// The tangent of `backward`, which must have run; starts from rda of the output.
template <class T>
void tangent_backward(Exec& exec, Workspace<T>& ws, Range examples) {
    const int last = ws.plan.output();
    for_stretches(ws.rd(last), ws.rows_of(last, examples), [&](Range r) { complete_tangent(ws, last, r); });
    walk_backward(exec, ws, Way::tangent_backward, examples, [&](const Node& node, Range r, Range panels) {
        Maps<T>::tangent_backward(ws, node, r, panels);
    });
}

}  // namespace fnn::FNN_ISA::net
