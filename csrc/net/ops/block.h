// The block of an op that evaluates some nodes again and again: a network within the network, whose
// parameters are those of the whole one.
//
// What the block reads and all values within it have memory for several evaluations of each example: number k
// of example e is example k n + e of those values, where n are the examples of the workspace. So the maps of
// the nodes, asked for these examples, compute one evaluation of some examples; and gradients of parameters
// are sums over all evaluations as they are over examples.
#pragma once

#include "exec/cpu.h"
#include "net/ops/op.h"
#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

// What the block reads, which the op that evaluates it writes.
template <class T>
struct Evaluation : OpBase {
    static constexpr Traits traits{false, false, false, true, false, /*reads_output=*/true};

    // A number for the op that evaluates it.
    static index kept(const Node&, const Plan&, index rows) { return rows; }

    template <class Done>
    static void forward(Workspace<T>&, const Node&, Range, Range, const Done&) {}
    template <class Into>
    static void backward(Workspace<T>&, const Node&, Range, Range, const Into&) {}
    template <class Done>
    static void tangent_forward(Workspace<T>&, const Node&, Range, Range, const Done&) {}
    template <class Into>
    static void tangent_backward(Workspace<T>&, const Node&, Range, Range, const Into&) {}
};

template <class T>
class InnerBlock {
   public:
    // Of an op whose last input is what its block puts out.
    InnerBlock(Workspace<T>& ws, const Node& node)
        : reads(ws.plan.nodes[std::size_t(node.block)].output),
          puts_out(node.inputs.back().value),
          ws_(ws),
          first_(ws.plan.nodes.data() + node.block + 1),
          end_(&node) {}

    const int reads, puts_out;  // values

    // The examples of the block's values that evaluation k of some examples is, and their rows.
    Range examples(index k, Range some) const { return {k * ws_.rows + some.begin, k * ws_.rows + some.end}; }
    Range rows(index k, Range some) const { return ws_.rows_of(reads, examples(k, some)); }

    // The maps, from a, da, ra, rda of the ends.
    void forward(index k, Range some) const {
        for (const Node* node = first_; node != end_; ++node)
            Maps<T>::forward(ws_, *node, examples(k, some), {0, ws_.z(node->output).count()});
    }
    void backward(index k, Range some) const {
        for_stretches(ws_.d(puts_out), rows(k, some), [&](Range r) { complete_gradient(ws_, puts_out, r); });
        go_back(
            [&](const Node& node, Range panels) { Maps<T>::backward(ws_, node, examples(k, some), panels); });
    }
    void tangent_forward(index k, Range some) const {
        for (const Node* node = first_; node != end_; ++node)
            Maps<T>::tangent_forward(ws_, *node, examples(k, some), {0, ws_.z(node->output).count()});
    }
    void tangent_backward(index k, Range some) const {
        for_stretches(ws_.rd(puts_out), rows(k, some), [&](Range r) { complete_tangent(ws_, puts_out, r); });
        go_back([&](const Node& node, Range panels) {
            Maps<T>::tangent_backward(ws_, node, examples(k, some), panels);
        });
    }

   private:
    template <class F>
    void go_back(const F& f) const {
        for (const Node* node = end_; node-- != first_;)
            if (ws_.goes_back(*node)) f(*node, {0, ws_.z(node->input()).count()});
    }

    Workspace<T>& ws_;
    const Node *first_, *end_;
};

}  // namespace fnn::FNN_ISA::net
