// Activations over a stretch of buffers: the four maps, and what each says of itself.
#pragma once

#include "exec/elementwise.h"
#include "net/plan.h"
#include "rules/activations.h"

namespace fnn::FNN_ISA::net {

using exec::Range;

// f(Rule) with the rule that an activation names.
template <class T, class F>
inline auto with_rule(Activation kind, const F& f) {
    switch (kind) {
        case Activation::relu:
            return f(rules::ReLU<T>{});
        case Activation::tanh:
            return f(rules::Tanh<T>{});
        case Activation::sigmoid:
            return f(rules::Sigmoid<T>{});
        case Activation::identity:
            break;
    }
    return f(rules::Identity<T>{});
}

template <class T>
inline Traits activation_traits(Activation kind) {
    return with_rule<T>(kind, [](auto rule) {
        Traits traits;
        traits.piecewise_linear = rule.piecewise_linear;
        return traits;
    });
}

// a = f(z); a may be z.
template <class T, class Rule>
struct Forward {
    T* a;
    const T* z;
    void operator()(index i) const { a[i] = Rule::value(z[i]); }
};

// dz = da f'(z); dz may be da.
template <class T, class Rule>
struct Backward {
    T* dz;
    const T *da, *a;
    void operator()(index i) const { dz[i] = da[i] * Rule::derivative(a[i]); }
};

// ra = f'(z) rz
template <class T, class Rule>
struct TangentForward {
    T* ra;
    const T *rz, *a;
    void operator()(index i) const { ra[i] = rz[i] * Rule::derivative(a[i]); }
};

// rdz = rda f'(z) + da f''(z) rz; rdz may be rda.
template <class T, class Rule>
struct TangentBackward {
    T* rdz;
    const T *rda, *da, *a, *rz;
    void operator()(index i) const {
        rdz[i] = rda[i] * Rule::derivative(a[i]) + da[i] * Rule::second_derivative(a[i]) * rz[i];
    }
};

template <class T>
inline void activation_forward(Activation kind, T* a, const T* z, Range r) {
    if (kind == Activation::identity && a == z) return;
    with_rule<T>(kind, [&](auto rule) { exec::elementwise(r, Forward<T, decltype(rule)>{a, z}); });
}

template <class T>
inline void activation_backward(Activation kind, T* dz, const T* da, const T* a, Range r) {
    if (kind == Activation::identity && dz == da) return;
    with_rule<T>(kind, [&](auto rule) { exec::elementwise(r, Backward<T, decltype(rule)>{dz, da, a}); });
}

template <class T>
inline void activation_tangent_forward(Activation kind, T* ra, const T* rz, const T* a, Range r) {
    if (kind == Activation::identity && ra == rz) return;
    with_rule<T>(kind,
                 [&](auto rule) { exec::elementwise(r, TangentForward<T, decltype(rule)>{ra, rz, a}); });
}

template <class T>
inline void activation_tangent_backward(Activation kind, T* rdz, const T* rda, const T* da, const T* a,
                                        const T* rz, Range r) {
    if (kind == Activation::identity && rdz == rda) return;
    with_rule<T>(kind, [&](auto rule) {
        exec::elementwise(r, TangentBackward<T, decltype(rule)>{rdz, rda, da, a, rz});
    });
}

}  // namespace fnn::FNN_ISA::net
