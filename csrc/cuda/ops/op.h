// The contract of a layer on a device, as far as it differs from that of net/ops/op.h: a map computes all
// rows at once.
//
//   forward(ws, node)            z of the output from a of the inputs
//   backward(ws, node)           da of those inputs that want it (+)= what d of the output gives
//   tangent_forward(ws, node)    rz of the output from ra of the inputs (null: zero) and the direction
//   tangent_backward(ws, node)   the tangent of backward
//   factor(ws, node, k)          u of vector k: where it lies, or in ws.scratch; null for ones
//   factor_tangent(ws, node, k)  its tangent along the direction; null for zero
//
// What learns a matrix multiplies by it. Activations are the walk's, but where an op says that it
// `activates`.
#pragma once

#include "cuda/kernels/elementwise.h"
#include "cuda/workspace.h"

namespace fnn::FNN_ISA::device {

struct OpBase {
    static constexpr bool has_matrix = false, has_state = false;
    static bool activates(const Node&) { return false; }
    template <class T>
    static const T* factor(const Workspace<T>&, const Node&, index) {
        return nullptr;
    }
    template <class T>
    static const T* factor_tangent(const Workspace<T>&, const Node&, index) {
        return nullptr;
    }
};

// f(input, its value, add) for the inputs of a node that want a gradient.
template <class T, class F>
void for_wanted(const Workspace<T>& ws, const Node& node, const F& f) {
    for (int i = 0; i < int(node.inputs.size()); ++i) {
        const Input& input = node.inputs[std::size_t(i)];
        if (ws.wants_gradient(input.value)) f(i, input.value, input.adds_gradient);
    }
}

// to (+)= from, or zero where `from` is null.
template <class T>
struct PassOn {
    T* to;
    const T* from;
    bool add;
    FNN_HD void operator()(index i) const {
        const T x = from != nullptr ? from[i] : T(0);
        to[i] = add ? to[i] + x : x;
    }
};

template <class T>
void pass_on(Stream& stream, T* to, const T* from, index n, bool add) {
    if (!(add && from == nullptr)) elementwise(stream, n, PassOn<T>{to, from, add});
}

}  // namespace fnn::FNN_ISA::device
