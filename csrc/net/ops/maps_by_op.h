// The definitions of net/ops/maps.h.
#pragma once

#include "net/ops/maps.h"
#include "net/ops/with_op.h"

namespace fnn::FNN_ISA::net {

template <class T>
index Maps<T>::kept(const Node& node, const Plan& plan, index rows) {
    return with_op<T>(node.op, [&](auto op) { return op.kept(node, plan, rows); });
}

template <class T>
index Maps<T>::kept_tangent(const Node& node, const Plan& plan, index rows) {
    return with_op<T>(node.op, [&](auto op) { return op.kept_tangent(node, plan, rows); });
}

template <class T>
Cut Maps<T>::cut(const Node& node, const Run& run) {
    return with_op<T>(node.op, [&](auto op) { return op.cut(run); });
}

template <class T>
void Maps<T>::forward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    with_op<T>(node.op, [&](auto op) { op.forward(ws, node, rows, panels, Activate<T>{ws, node}); });
}

template <class T>
void Maps<T>::forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.cut(Run{}) == Cut::products)
            op.forward_few(ws, node, parameters, panels, Activate<T>{ws, node});
    });
}

template <class T>
void Maps<T>::backward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    with_op<T>(node.op, [&](auto op) { op.backward(ws, node, rows, panels, IntoGradient<T>{ws, node}); });
}

template <class T>
void Maps<T>::tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    with_op<T>(node.op,
               [&](auto op) { op.tangent_forward(ws, node, rows, panels, ActivateTangent<T>{ws, node}); });
}

template <class T>
void Maps<T>::tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    with_op<T>(node.op,
               [&](auto op) { op.tangent_backward(ws, node, rows, panels, IntoTangent<T>{{ws, node}}); });
}

template <class T>
void Maps<T>::tangent_backward_alone(Workspace<T>& ws, const Node& node, Range rows, Range panels) {
    with_op<T>(node.op,
               [&](auto op) { op.tangent_backward(ws, node, rows, panels, IntoScratch<T>{ws, node}); });
}

template <class T>
bool Maps<T>::has_factor(const Node& node, index k) {
    return with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_factors) return op.has_factor(k);
        return false;
    });
}

template <class T>
const T* Maps<T>::factor(const Workspace<T>& ws, const Node& node, index k, Range rows, index p, T* room) {
    return with_op<T>(node.op, [&](auto op) -> const T* {
        if constexpr (op.has_factors) return op.factor(ws, node, k, rows, p, room);
        return nullptr;
    });
}

template <class T>
const T* Maps<T>::factor_tangent(const Workspace<T>& ws, const Node& node, index k, Range rows, index p,
                                 T* room) {
    return with_op<T>(node.op, [&](auto op) -> const T* {
        if constexpr (op.has_factors) return op.factor_tangent(ws, node, k, rows, p, room);
        return nullptr;
    });
}

template <class T>
bool Maps<T>::has_state(const Node& node) {
    return with_op<T>(node.op, [&](auto op) { return op.traits.has_state; });
}

template <class T>
void Maps<T>::learn(const Workspace<T>& ws, const Node& node, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.traits.has_state) op.learn(ws, node, panels);
    });
}

template <class T>
void Maps<T>::calibrate(const Workspace<T>& ws, const Node& node, index before, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.traits.has_state) op.calibrate(ws, node, before, panels);
    });
}

}  // namespace fnn::FNN_ISA::net
