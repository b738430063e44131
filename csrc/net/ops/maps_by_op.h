// The definitions of net/ops/maps.h.
#pragma once

#include "net/ops/maps.h"
#include "net/ops/with_op.h"

namespace fnn::FNN_ISA::net {

// Of so many examples, what an op is asked for: rows of its output, or examples.
template <class Op>
inline index size_of(const Plan& plan, const Node& node, index examples) {
    return Op::mixes_positions ? examples : examples * plan.values[std::size_t(node.output)].positions();
}

template <class T>
index Maps<T>::kept(const Node& node, const Plan& plan, index examples) {
    return with_op<T>(
        node.op, [&](auto op) { return op.kept(node, plan, size_of<decltype(op)>(plan, node, examples)); });
}

template <class T>
index Maps<T>::kept_tangent(const Node& node, const Plan& plan, index examples) {
    return with_op<T>(node.op, [&](auto op) {
        return op.kept_tangent(node, plan, size_of<decltype(op)>(plan, node, examples));
    });
}

template <class T>
index Maps<T>::kept_back(const Node& node, const Plan& plan, index examples) {
    return with_op<T>(node.op, [&](auto op) {
        return op.kept_back(node, plan, size_of<decltype(op)>(plan, node, examples));
    });
}

template <class T>
Cut Maps<T>::cut(const Node& node, const Run& run) {
    return with_op<T>(node.op, [&](auto op) { return op.cut(run); });
}

template <class Op, class T>
inline Range part_of(const Workspace<T>& ws, const Node& node, Range examples) {
    return {size_of<Op>(ws.plan, node, examples.begin), size_of<Op>(ws.plan, node, examples.end)};
}

template <class T>
void Maps<T>::forward(Workspace<T>& ws, const Node& node, Range examples, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        op.forward(ws, node, part_of<decltype(op)>(ws, node, examples), panels, Activate<T>{ws, node});
    });
}

template <class T>
void Maps<T>::forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.cut(Run{}) == Cut::products)
            op.forward_few(ws, node, parameters, panels, Activate<T>{ws, node});
    });
}

template <class T>
void Maps<T>::backward(Workspace<T>& ws, const Node& node, Range examples, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        op.backward(ws, node, part_of<decltype(op)>(ws, node, examples), panels, IntoGradient<T>{ws, node});
    });
}

template <class T>
void Maps<T>::tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        op.tangent_forward(ws, node, part_of<decltype(op)>(ws, node, examples), panels,
                           ActivateTangent<T>{ws, node});
    });
}

template <class T>
void Maps<T>::tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        op.tangent_backward(ws, node, part_of<decltype(op)>(ws, node, examples), panels,
                            IntoTangent<T>{{ws, node}});
    });
}

template <class T>
void Maps<T>::tangent_backward_alone(Workspace<T>& ws, const Node& node, Range examples, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        op.tangent_backward(ws, node, part_of<decltype(op)>(ws, node, examples), panels,
                            IntoScratch<T>{ws, node});
    });
}

template <class T>
bool Maps<T>::has_pair(const Workspace<T>& ws, const Node& node, Pair pair) {
    return with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_matrix) return op.has_pair(ws, node, pair);
        return false;
    });
}

template <class T>
void Maps<T>::weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                              const exec::Strips<T>& strips, Range examples, Range rows, Range panels,
                              bool add, Part turn, const exec::Beside<T>& beside) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_matrix)
            op.weight_gradient(ws, node, pair, strips, examples, rows, panels, add, turn, beside);
    });
}

template <class T>
bool Maps<T>::vector_terms(const Workspace<T>& ws, const Node& node, index k, Pair pair, Range examples,
                           index p, T* room, const TakeRows<T>& take) {
    return with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_vector_terms) {
            if (!op.gives_vector_terms(ws, node)) return false;
            op.vector_terms(ws, node, k, pair, examples, p, room, take);
        }
        return op.has_vector_terms;
    });
}

template <class T>
bool Maps<T>::tallies(const Workspace<T>& ws, const Node& node) {
    return with_op<T>(node.op, [&](auto op) {
        if constexpr (op.traits.couples_rows) return op.tallies(ws, node);
        return false;
    });
}

template <class T>
void Maps<T>::tally(const Workspace<T>& ws, const Node& node, Way way, Range examples) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.traits.couples_rows) op.tally(ws, node, way, examples);
    });
}

template <class T>
void Maps<T>::meet(const Workspace<T>& ws, const Node& node, Way way, Range panels) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.traits.couples_rows) op.meet(ws, node, way, panels);
    });
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
index Maps<T>::evaluations(const Workspace<T>& ws, const Node& node) {
    return with_op<T>(node.op, [&](auto op) -> index {
        if constexpr (op.has_block) return op.evaluations(ws, node);
        return 1;
    });
}

template <class T>
void Maps<T>::settle(Workspace<T>& ws, const Node& node, Range examples, index part) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_block) op.settle(ws, node, examples, part);
    });
}

template <class T>
bool Maps<T>::settles_on(Workspace<T>& ws, const Node& node, index part) {
    return with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_block) return op.settles_on(ws, node, part);
        return false;
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
