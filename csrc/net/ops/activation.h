// Activations over a stretch of buffers: the four maps, and what each says of itself.
#pragma once

#include "exec/elementwise.h"
#include "net/plan.h"
#include "rules/activations.h"

namespace fnn::FNN_ISA::net {

using exec::Range;

// f(rule) with the rule that an activation names.
template <class T, class F>
inline auto with_rule(const ActivationSpec& spec, const F& f) {
    const T first = T(spec.values[0]), second = T(spec.values[1]);
    switch (spec.kind) {
        case Activation::relu:
            return f(rules::ReLU<T>{});
        case Activation::leaky_relu:
            return f(rules::LeakyReLU<T>{first});
        case Activation::elu:
            return f(rules::ELU<T>{first});
        case Activation::softplus:
            return f(rules::Softplus<T>{first});
        case Activation::gelu:
            return f(rules::GELU<T>{});
        case Activation::gelu_tanh:
            return f(rules::GELUTanh<T>{});
        case Activation::silu:
            return f(rules::SiLU<T>{});
        case Activation::tanh:
            return f(rules::Tanh<T>{});
        case Activation::hardtanh:
            return f(rules::Hardtanh<T>{first, second});
        case Activation::sigmoid:
            return f(rules::Sigmoid<T>{});
        case Activation::step:
            return f(rules::Step<T>{});
        case Activation::sign:
            return f(rules::Sign<T>{});
        case Activation::identity:
            break;
    }
    return f(rules::Identity<T>{});
}

template <class T>
inline Traits activation_traits(const ActivationSpec& spec) {
    return with_rule<T>(spec, [](auto rule) {
        Traits traits;
        traits.piecewise_linear = rule.piecewise_linear;
        traits.exact_traces = true;
        return traits;
    });
}

// Whether the derivatives are functions of z. They take `s`: z then, otherwise a.
template <class T>
inline bool reads_z(const ActivationSpec& spec) {
    return with_rule<T>(spec, [](auto rule) { return rule.reads_z; });
}

// a = f(z); a may be z.
template <class T, class Rule>
struct Forward {
    Rule rule;
    T* a;
    const T* z;
    FNN_HD void operator()(index i) const { a[i] = rule.value(z[i]); }
};

// dz = da f'(z); dz may be da.
template <class T, class Rule>
struct Backward {
    Rule rule;
    T* dz;
    const T *da, *s;
    FNN_HD void operator()(index i) const { dz[i] = da[i] * rule.derivative(s[i]); }
};

// ra = f'(z) rz
template <class T, class Rule>
struct TangentForward {
    Rule rule;
    T* ra;
    const T *rz, *s;
    FNN_HD void operator()(index i) const { ra[i] = rz[i] * rule.derivative(s[i]); }
};

// rdz = rda f'(z) + da f''(z) rz; rdz may be rda.
template <class T, class Rule>
struct TangentBackward {
    Rule rule;
    T* rdz;
    const T *rda, *da, *s, *rz;
    FNN_HD void operator()(index i) const {
        rdz[i] = rda[i] * rule.derivative(s[i]);
        if constexpr (!Rule::piecewise_linear) rdz[i] += da[i] * rule.second_derivative(s[i]) * rz[i];
    }
};

template <class T>
void activation_forward(const ActivationSpec& spec, T* a, const T* z, Range r) {
    if (spec.kind == Activation::identity && a == z) return;
    with_rule<T>(spec, [&](auto rule) { exec::elementwise(r, Forward<T, decltype(rule)>{rule, a, z}); });
}

template <class T>
void activation_backward(const ActivationSpec& spec, T* dz, const T* da, const T* s, Range r) {
    if (spec.kind == Activation::identity && dz == da) return;
    with_rule<T>(spec,
                 [&](auto rule) { exec::elementwise(r, Backward<T, decltype(rule)>{rule, dz, da, s}); });
}

template <class T>
void activation_tangent_forward(const ActivationSpec& spec, T* ra, const T* rz, const T* s, Range r) {
    if (spec.kind == Activation::identity && ra == rz) return;
    with_rule<T>(
        spec, [&](auto rule) { exec::elementwise(r, TangentForward<T, decltype(rule)>{rule, ra, rz, s}); });
}

template <class T>
void activation_tangent_backward(const ActivationSpec& spec, T* rdz, const T* rda, const T* da, const T* s,
                                 const T* rz, Range r) {
    if (spec.kind == Activation::identity && rdz == rda) return;
    with_rule<T>(spec, [&](auto rule) {
        exec::elementwise(r, TangentBackward<T, decltype(rule)>{rule, rdz, rda, da, s, rz});
    });
}

extern template decltype(activation_forward<float>) activation_forward<float>;
extern template decltype(activation_forward<double>) activation_forward<double>;
extern template decltype(activation_backward<float>) activation_backward<float>;
extern template decltype(activation_backward<double>) activation_backward<double>;
extern template decltype(activation_tangent_forward<float>) activation_tangent_forward<float>;
extern template decltype(activation_tangent_forward<double>) activation_tangent_forward<double>;
extern template decltype(activation_tangent_backward<float>) activation_tangent_backward<float>;
extern template decltype(activation_tangent_backward<double>) activation_tangent_backward<double>;

}  // namespace fnn::FNN_ISA::net
