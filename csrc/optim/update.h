// Updates over a stretch {parameters, gradient, states}: the drop-in optimizers and `fit` run the same loop.
#pragma once

#include <cmath>
#include <type_traits>

#include "exec/cpu.h"
#include "exec/elementwise.h"
#include "optim/spec.h"
#include "rules/updates.h"

namespace fnn::FNN_ISA::optim {

template <class T>
struct Stretch {
    T* parameters;
    const T* gradient;
    T* states[max_states];
};

template <class T, class Rule>
struct Apply {
    Rule rule;
    T *p, *s0, *s1;
    const T* g;
    // On copies: a rule that read again what it has just stored would wait for the store to leave the core
    // wherever a vector lies across two lines of the cache, as most do in arrays of NumPy.
    void operator()(index i) const {
        T x = p[i];
        if constexpr (Rule::states == 0) {
            rule(x, g[i]);
        } else if constexpr (Rule::states == 1) {
            T a = s0[i];
            rule(x, g[i], a);
            s0[i] = a;
        } else {
            T a = s0[i], b = s1[i];
            rule(x, g[i], a, b);
            s0[i] = a;
            s1[i] = b;
        }
        p[i] = x;
    }
};

// f(rule) with the rule for one step; step counts those already taken. Adam's corrections are those of torch
// where the betas change, too: 1 - beta^t with the present beta.
template <class T, class F>
inline void with_update(const UpdateSpec& spec, index step, const F& f) {
    const auto adam = [&](auto decoupled) {
        const double t = double(step + 1);
        f(rules::Adam<T, decltype(decoupled)::value>{
            T(spec.beta2), T(spec.eps), T(spec.weight_decay), T(1 - spec.beta1), T(1 - spec.beta2),
            T(spec.lr / (1 - std::pow(spec.beta1, t))), T(1 / std::sqrt(1 - std::pow(spec.beta2, t))),
            T(1 - spec.lr * spec.weight_decay)});
    };
    switch (spec.kind) {
        case UpdateKind::sgd:
            if (spec.states == 0)
                f(rules::SGD<T>{T(spec.lr), T(spec.weight_decay)});
            else if (spec.nesterov != 0)
                f(rules::Momentum<T, true>{T(spec.lr), T(spec.weight_decay), T(spec.momentum)});
            else
                f(rules::Momentum<T, false>{T(spec.lr), T(spec.weight_decay), T(spec.momentum)});
            return;
        case UpdateKind::adam:
            return adam(std::false_type{});
        case UpdateKind::adamw:
            return adam(std::true_type{});
    }
}

template <class T, class Rule>
inline void apply(const Rule& rule, const Stretch<T>& s, exec::Range r) {
    exec::elementwise(r, Apply<T, Rule>{rule, s.parameters, s.states[0], s.states[1], s.gradient});
}

// One update of n numbers.
template <class T>
void update(const UpdateSpec& spec, T* parameters, const T* gradient, T* const* states, index n, index step,
            int threads) {
    constexpr index smallest_shared = 50 * 1000;
    const Stretch<T> s{
        parameters, gradient, {spec.states > 0 ? states[0] : nullptr, spec.states > 1 ? states[1] : nullptr}};
    with_update<T>(spec, step, [&](const auto& rule) {
        exec::run(n < smallest_shared ? 1 : threads, nullptr,
                  [&](exec::Exec& exec) { apply(rule, s, exec.share(n)); });
    });
}

}  // namespace fnn::FNN_ISA::optim
