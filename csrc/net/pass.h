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

template <class T>
void forward(Exec& exec, Workspace<T>& ws, Range examples) {
    for (const Node& node : ws.plan.nodes)
        for_node(exec, ws, node, ws.z(node.output), examples,
                 [&](Range r, Range panels) { Maps<T>::forward(ws, node, r, panels); });
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

// Starts from da of the output.
template <class T>
void backward(Exec& exec, Workspace<T>& ws, Range examples) {
    complete_output_gradient(ws, examples);
    for_nodes_backward(ws, [&](const Node& node) {
        for_node(exec, ws, node, ws.da(node.input()), examples,
                 [&](Range r, Range panels) { Maps<T>::backward(ws, node, r, panels); });
    });
}

// The tangent of `forward` along the direction; the network's input does not move.
template <class T>
void tangent_forward(Exec& exec, Workspace<T>& ws, Range examples) {
    for (const Node& node : ws.plan.nodes)
        for_node(exec, ws, node, ws.rz(node.output), examples,
                 [&](Range r, Range panels) { Maps<T>::tangent_forward(ws, node, r, panels); });
}

// The tangent of `backward`, which must have run; starts from rda of the output.
template <class T>
void tangent_backward(Exec& exec, Workspace<T>& ws, Range examples) {
    const int last = ws.plan.output();
    for_stretches(ws.rd(last), ws.rows_of(last, examples), [&](Range r) { complete_tangent(ws, last, r); });
    for_nodes_backward(ws, [&](const Node& node) {
        for_node(exec, ws, node, ws.rda(node.input()), examples,
                 [&](Range r, Range panels) { Maps<T>::tangent_backward(ws, node, r, panels); });
    });
}

}  // namespace fnn::FNN_ISA::net
