#include "cuda/walk.h"

#include "cuda/ops/with_op.h"

namespace fnn::FNN_ISA::device {

index kept_places(const Node& node, const Plan& plan, index rows) {
    switch (node.op.kind) {
        case OpKind::layer_norm:
        case OpKind::rms_norm:
        case OpKind::group_norm:
            return rows * places_of(node, plan).groups;
        case OpKind::batch_norm:
            return places_of(node, plan).cols;
        default:
            return 0;
    }
}

void need_known_layers(const Plan& plan) {
    const auto refuse = [](const std::string& what, const std::string& layer) {
        throw std::invalid_argument(expected("device",
                                             std::string("layers that CUDA has (") + known_ops + ")",
                                             what + " at layers[" + layer + "]; use device='cpu'"));
    };
    for (const Node& node : plan.nodes)
        if (!has_op(node.op.kind)) refuse("another", node.layer);
    if (plan.positions() > 1)
        for (const Node& node : plan.nodes)
            if (plan.values[std::size_t(node.output)].positions() > 1)
                refuse("several positions", node.layer);
}

// Column sums of u d, or of d: the gradient of a vector.
template <class T>
struct VectorGradient {
    const T *u, *d;
    T* to;
    bool add;
    FNN_HD void operator()(index i, T (&terms)[1]) const { terms[0] = u != nullptr ? u[i] * d[i] : d[i]; }
    FNN_HD void put(index j, const T (&sums)[1]) const { to[j] = add ? to[j] + sums[0] : sums[0]; }
};

namespace {

template <class T>
void activate_forward(const Workspace<T>& ws, const ActivationSpec& spec, T* a, const T* z, index n) {
    if (spec.kind == Activation::identity && a == z) return;
    net::with_rule<T>(
        spec, [&](auto rule) { elementwise(ws.stream, n, net::Forward<T, decltype(rule)>{rule, a, z}); });
}

// d = da f'(z), of a value whose gradient is complete.
template <class T>
void complete_gradient(const Workspace<T>& ws, int b) {
    const ActivationSpec spec = ws.activation_of(b);
    if (spec.kind == Activation::identity) return;
    net::with_rule<T>(spec, [&](auto rule) {
        elementwise(ws.stream, ws.size(b),
                    net::Backward<T, decltype(rule)>{rule, ws.d(b), ws.da(b), ws.z(b)});
    });
}

template <class T>
void complete_tangent(const Workspace<T>& ws, int b) {
    const ActivationSpec spec = ws.activation_of(b);
    if (spec.kind == Activation::identity) return;
    net::with_rule<T>(spec, [&](auto rule) {
        elementwise(
            ws.stream, ws.size(b),
            net::TangentBackward<T, decltype(rule)>{rule, ws.rd(b), ws.rd(b), ws.da(b), ws.z(b), ws.rz(b)});
    });
}

// f(node) for those that go backward, from the last one; and complete(value) for what is complete then.
template <class T, class F, class Complete>
void walk_backward(const Workspace<T>& ws, const F& f, const Complete& complete) {
    complete(ws.plan.output());
    for (auto node = ws.plan.nodes.rbegin(); node != ws.plan.nodes.rend(); ++node) {
        if (!ws.goes_back(*node)) continue;
        f(*node);
        for (const Input& input : node->inputs)
            if (input.completes_gradient && ws.wants_gradient(input.value)) complete(input.value);
    }
}

// f(parameters, node, add) for every use of what is trained.
template <class T, class F>
void for_learning(const Workspace<T>& ws, bool add, const F& f) {
    for (const Parameters& own : ws.plan.parameters) {
        if (!own.trainable) continue;
        bool adds = add;
        for (const int n : own.nodes) {
            f(own, ws.plan.nodes[std::size_t(n)], adds);
            adds = true;
        }
    }
}

template <class T>
void add_vector_gradient(const Workspace<T>& ws, const Node& node, index k, const T* u, const T* d,
                         bool add) {
    T* const to = ws.gradient + ws.own(node).vector_offset(k);
    for_columns<T, 1>(ws.stream, ws.rows, ws.features(node.output), VectorGradient<T>{u, d, to, add});
}

}  // namespace

template <class T>
void Walks<T>::forward(Space& ws, const Node* end) {
    if constexpr (std::is_same_v<T, float>)
        if (ws.rounded_parameters != nullptr)
            elementwise(ws.stream, ws.plan.n_parameters, Round{ws.rounded_parameters, ws.parameters});
    for (const Node& node : ws.plan.nodes) {
        if (&node == end) return;
        with_op<T>(node.op, [&](auto op) {
            op.forward(ws, node);
            const int out = node.output;
            if (!op.activates(node))
                activate_forward(ws, node.activation, ws.a(out), ws.z(out), ws.size(out));
        });
    }
}

template <class T>
void Walks<T>::backward(Space& ws) {
    walk_backward(
        ws, [&](const Node& node) { with_op<T>(node.op, [&](auto op) { op.backward(ws, node); }); },
        [&](int value) { complete_gradient(ws, value); });
}

template <class T>
void Walks<T>::tangent_forward(Space& ws) {
    for (const Node& node : ws.plan.nodes) {
        with_op<T>(node.op, [&](auto op) { op.tangent_forward(ws, node); });
        const int out = node.output;
        if (node.activation.kind == Activation::identity) continue;
        net::with_rule<T>(node.activation, [&](auto rule) {
            elementwise(ws.stream, ws.size(out),
                        net::TangentForward<T, decltype(rule)>{rule, ws.ra(out), ws.rz(out), ws.z(out)});
        });
    }
}

template <class T>
void Walks<T>::tangent_backward(Space& ws) {
    walk_backward(
        ws, [&](const Node& node) { with_op<T>(node.op, [&](auto op) { op.tangent_backward(ws, node); }); },
        [&](int value) { complete_tangent(ws, value); });
}

template <class T>
void Walks<T>::gradient(const Space& ws, bool add) {
    for_learning(ws, add, [&](const Parameters& own, const Node& node, bool adds) {
        const T* const d = ws.d(node.output);
        with_op<T>(node.op, [&](auto op) {
            if constexpr (op.has_matrix)
                op.weight_gradient(ws, node, ws.a(node.input()), d, adds, ws.gradient + own.offset);
            for (index k = 0; k < own.count(); ++k)
                add_vector_gradient(ws, node, k, op.factor(ws, node, k), d, adds);
        });
    });
}

template <class T>
void Walks<T>::gradient_tangent(const Space& ws, bool add) {
    for_learning(ws, add, [&](const Parameters& own, const Node& node, bool adds) {
        const T *const d = ws.d(node.output), *const rd = ws.rd(node.output);
        with_op<T>(node.op, [&](auto op) {
            if constexpr (op.has_matrix) {
                T* const to = ws.gradient + own.offset;
                op.weight_gradient(ws, node, ws.a(node.input()), rd, adds, to);
                if (const T* const rx = ws.ra(node.input())) op.weight_gradient(ws, node, rx, d, true, to);
            }
            for (index k = 0; k < own.count(); ++k) {
                add_vector_gradient(ws, node, k, op.factor(ws, node, k), rd, adds);
                if (const T* const change = op.factor_tangent(ws, node, k))
                    add_vector_gradient(ws, node, k, change, d, true);
            }
        });
    });
}

template <class T>
void Walks<T>::learn_state(const Space& ws) {
    if (!ws.run.learns_state) return;
    for (const Node& node : ws.plan.nodes)
        with_op<T>(node.op, [&](auto op) {
            if constexpr (op.has_state) op.learn(ws, node);
        });
}

template <class T>
bool Walks<T>::has_state(const Node& node) {
    return with_op<T>(node.op, [&](auto op) { return op.has_state; });
}

template <class T>
void Walks<T>::calibrate(const Space& ws, const Node& node, index before) {
    with_op<T>(node.op, [&](auto op) {
        if constexpr (op.has_state) op.calibrate(ws, node, before);
    });
}

template <class T>
const T* Walks<T>::factor(const Space& ws, const Node& node, index k) {
    return with_op<T>(node.op, [&](auto op) { return op.factor(ws, node, k); });
}

template <class T>
void Walks<T>::softmax(Space& ws, T* y) {
    for_rows(ws.stream, ws.rows, SoftmaxForward<T>{y, y, ws.plan.out_features()});
}

template <class T>
void Walks<T>::activate(Space& ws, const ActivationSpec& spec, T* y, index n) {
    activate_forward<T>(ws, spec, y, y, n);
}

template struct Walks<float>;
template struct Walks<double>;

}  // namespace fnn::FNN_ISA::device
