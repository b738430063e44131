// The walks through a plan: forward, backward, and the tangent (directional derivative) of each.
#pragma once

#include "exec/cpu.h"
#include "net/ops/maps.h"
#include "net/ops/op.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

using exec::Exec;

// The walks over examples touch no others, so each thread takes its own through all nodes without waiting.
// Those over parameters need the walks of all examples to be complete. Where rows are coupled, all threads
// come to such a node together, each with all of its examples, and share its columns.
template <class T, class F>
void for_node(Exec& exec, const Workspace<T>& ws, const Node& node, const Panels<T>& to, Range examples,
              const F& f) {
    if (!ws.couples_rows() || Maps<T>::cut(node, ws.run) != Cut::columns)
        return f(examples, Range{0, to.count()});
    exec.barrier();
    const Range own = exec.share(to.count());
    if (!own.empty()) f(Range{0, ws.rows}, own);
    exec.barrier();
}

// Rows that a thread takes through the nodes of a stretch before it begins with others: what one node leaves
// is in the cache for the next.
constexpr index piece_rows = 512;

// f(nodes, examples): the nodes in stretches, where all have several positions or all have one, and for each
// stretch the examples in pieces. Many positions are many rows, of few examples; what is behind them, with
// one row for each, would do little with so few.
template <class T, class F>
void for_stretches_of_nodes(Exec& exec, const Workspace<T>& ws, Range examples, bool from_last, const F& f) {
    const Plan& plan = ws.plan;
    const index count = index(plan.nodes.size());
    const auto node = [&](index k) -> const Node& {
        return plan.nodes[std::size_t(from_last ? count - 1 - k : k)];
    };
    const auto walk = [&](Range nodes, Range some) {
        for (index k = nodes.begin; k < nodes.end; ++k) f(node(k), some);
    };
    if (ws.couples_rows()) return walk({0, count}, examples);
    const auto positions = [&](index k) {
        index most = plan.values[std::size_t(node(k).output)].positions();
        for (const Input& input : node(k).inputs)
            most = exec::max(most, plan.values[std::size_t(input.value)].positions());
        return most;
    };
    for (Range nodes; nodes.begin < count; nodes.begin = nodes.end) {
        const bool several = positions(nodes.begin) > 1;
        index most = 1;
        for (nodes.end = nodes.begin; nodes.end < count; ++nodes.end) {
            const index here = positions(nodes.end);
            if ((here > 1) != several) break;
            most = exec::max(most, here);
        }
        const index rows = plan.traits.walks_positions ? piece_rows : exec::max(piece_rows / most, 1);
        exec::for_pieces(examples, rows, [&](Range some) {
            exec.poll();
            walk(nodes, some);
        });
    }
}

template <class T>
void forward(Exec& exec, Workspace<T>& ws, Range examples) {
    for_stretches_of_nodes(exec, ws, examples, false, [&](const Node& node, Range some) {
        for_node(exec, ws, node, ws.z(node.output), some,
                 [&](Range r, Range panels) { Maps<T>::forward(ws, node, r, panels); });
    });
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

// f(node) for those that go backward, from the last one.
template <class T, class F>
void for_nodes_backward(const Workspace<T>& ws, const F& f) {
    for (std::size_t n = ws.plan.nodes.size(); n-- > 0;) {
        const Node& node = ws.plan.nodes[n];
        if (ws.goes_back(node)) f(node);
    }
}

// The same with examples in pieces: for_node's f(examples, panels) of each.
template <class T, class F>
void walk_backward(Exec& exec, Workspace<T>& ws, Range examples, const F& f) {
    for_stretches_of_nodes(exec, ws, examples, true, [&](const Node& node, Range some) {
        if (!ws.goes_back(node)) return;
        for_node(exec, ws, node, ws.da(node.input()), some,
                 [&](Range r, Range panels) { f(node, r, panels); });
    });
}

// Starts from da of the output.
template <class T>
void backward(Exec& exec, Workspace<T>& ws, Range examples) {
    complete_output_gradient(ws, examples);
    walk_backward(exec, ws, examples,
                  [&](const Node& node, Range r, Range panels) { Maps<T>::backward(ws, node, r, panels); });
}

// The tangent of `forward` along the direction; the network's input does not move.
template <class T>
void tangent_forward(Exec& exec, Workspace<T>& ws, Range examples) {
    for_stretches_of_nodes(exec, ws, examples, false, [&](const Node& node, Range some) {
        for_node(exec, ws, node, ws.rz(node.output), some,
                 [&](Range r, Range panels) { Maps<T>::tangent_forward(ws, node, r, panels); });
    });
}

// The tangent of `backward`, which must have run; starts from rda of the output.
template <class T>
void tangent_backward(Exec& exec, Workspace<T>& ws, Range examples) {
    const int last = ws.plan.output();
    for_stretches(ws.rd(last), ws.rows_of(last, examples), [&](Range r) { complete_tangent(ws, last, r); });
    walk_backward(exec, ws, examples, [&](const Node& node, Range r, Range panels) {
        Maps<T>::tangent_backward(ws, node, r, panels);
    });
}

}  // namespace fnn::FNN_ISA::net
