// Updates over a stretch {parameters, gradient, states}: the drop-in optimizers and `fit` run the same loop.
#pragma once

#include <cmath>
#include <cstring>
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

    // Its end from a number on, with the gradient of that.
    Stretch from(index first, const T* gradient_there) const {
        Stretch s{parameters + first, gradient_there, {}};
        for (int k = 0; k < max_states; ++k)
            if (states[k] != nullptr) s.states[k] = states[k] + first;
        return s;
    }
};

template <class T, class Rule>
struct Apply {
    Rule rule;
    T *p, *s0, *s1, *s2;
    const T* g;
    // On copies: a rule that read again what it has just stored would wait for the store to leave the core
    // wherever a vector lies across two lines of the cache, as most do in arrays of NumPy.
    FNN_HD void operator()(index i) const {
        T x = p[i];
        if constexpr (Rule::states == 0) {
            rule(x, g[i]);
        } else if constexpr (Rule::states == 1) {
            T a = s0[i];
            rule(x, g[i], a);
            s0[i] = a;
        } else {
            T a = s0[i], b = s1[i];
            if constexpr (Rule::states == 2) {
                rule(x, g[i], a, b);
            } else {
                T c = s2[i];
                rule(x, g[i], a, b, c);
                s2[i] = c;
            }
            s0[i] = a;
            s1[i] = b;
        }
        // A rule that takes the parameter as const leaves it where it is.
        if constexpr (Rule::states != 1 || !std::is_invocable_v<const Rule&, const T&, T, T&>) p[i] = x;
    }
};

// A rule, with its loop. Its type is forgotten, so that what updates one stretch after another is compiled
// once for all rules.
template <class T>
class Update {
   public:
    int states = 0;

    Update() = default;
    template <class Rule>
    explicit Update(const Rule& rule) : states(Rule::states), loop(loop_of<Rule>) {
        static_assert(sizeof(Rule) <= sizeof(numbers) && std::is_trivially_copyable_v<Rule>);
        std::memcpy(numbers, &rule, sizeof(Rule));
    }

    void apply(const Stretch<T>& s, exec::Range r) const { loop(numbers, s, r); }

   private:
    template <class Rule>
    static void loop_of(const void* numbers, const Stretch<T>& s, exec::Range r) {
        Rule rule;
        std::memcpy(&rule, numbers, sizeof(Rule));
        exec::elementwise(
            r, Apply<T, Rule>{rule, s.parameters, s.states[0], s.states[1], s.states[2], s.gradient});
    }

    void (*loop)(const void* numbers, const Stretch<T>&, exec::Range) = nullptr;
    T numbers[16];  // of the rule
};

// NAdam's momentum at step t, at the next, and the product of those so far, with the present beta1.
struct NesterovMomentum {
    double now, next, product = 1;

    NesterovMomentum(const UpdateSpec& spec, double t) {
        const double fall = std::pow(0.96, spec.momentum_decay);
        const auto mu = [&](double power) { return spec.beta1 * (1 - 0.5 * power); };
        now = mu(std::pow(fall, t));
        next = mu(std::pow(fall, t + 1));
        double power = 1;
        for (double step = 1; step <= t && product > 1e-17; ++step) {  // below, it is lost beside 1
            power *= fall;
            product *= mu(power);
        }
    }
};

// with_update_rule for Adam and its kin. The corrections are those of torch where the betas change, too: 1 -
// beta^t with the present beta.
template <class T, class F>
inline void with_moments(const UpdateSpec& spec, double t, const F& f) {
    const bool decoupled = spec.kind == UpdateKind::adamw || spec.decoupled_weight_decay != 0;
    const rules::Moments<T> moments{T(decoupled ? spec.lr * spec.weight_decay : 0),
                                    T(decoupled ? 0 : spec.weight_decay), T(spec.beta2), T(1 - spec.beta1),
                                    T(1 - spec.beta2)};
    const double power2 = std::pow(spec.beta2, t), root2 = std::sqrt(1 - power2);
    const double step_size = spec.lr / (1 - std::pow(spec.beta1, t));
    const T eps = T(spec.eps);

    if (spec.kind == UpdateKind::adamax) {
        f(rules::Adamax<T>{moments, T(step_size), eps});
    } else if (spec.kind == UpdateKind::nadam) {
        const NesterovMomentum mu(spec, t);
        f(rules::NAdam<T>{moments, T(spec.lr * (1 - mu.now) / (1 - mu.product)),
                          T(spec.lr * mu.next / (1 - mu.product * mu.next)), T(1 / root2), eps});
    } else if (spec.kind == UpdateKind::radam) {
        const double limit = 2 / (1 - spec.beta2) - 1;                // of the length, for t to infinity
        const double length = limit - 2 * t * power2 / (1 - power2);  // steps that v is an average of
        if (length <= 5) return f(rules::RAdamStart<T>{moments, T(step_size)});
        const double rectification =
            std::sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length));
        f(rules::Adam<T>{moments, T(step_size * rectification * root2), T(1), eps});
    } else {
        const T size = T(spec.keras_eps != 0 ? step_size * root2 : step_size);
        const T correction = T(spec.keras_eps != 0 ? 1 : 1 / root2);
        if (spec.amsgrad != 0)
            f(rules::AMSGrad<T>{moments, size, correction, eps});
        else
            f(rules::Adam<T>{moments, size, correction, eps});
    }
}

template <class T, class F>
inline void with_sgd(const UpdateSpec& spec, index step, const F& f) {
    const T lr = T(spec.lr), weight_decay = T(spec.weight_decay), momentum = T(spec.momentum);
    const T gain = T(step == 0 ? 1 : 1 - spec.dampening);  // the first gradient is not dampened
    if (spec.heavy == 0)
        f(rules::SGD<T>{lr, weight_decay});
    else if (spec.nesterov != 0)
        f(rules::Momentum<T, true>{lr, weight_decay, momentum, gain});
    else
        f(rules::Momentum<T, false>{lr, weight_decay, momentum, gain});
}

template <class T, class F>
inline void with_rmsprop(const UpdateSpec& spec, const F& f) {
    const auto rule = [&](auto centered, auto heavy) {
        f(rules::RMSprop<T, decltype(centered)::value, decltype(heavy)::value>{
            T(spec.lr), T(spec.weight_decay), T(spec.eps), T(spec.alpha), T(spec.momentum),
            T(1 - spec.alpha)});
    };
    const bool centered = spec.centered != 0, heavy = spec.heavy != 0;
    if (centered)
        heavy ? rule(std::true_type{}, std::true_type{}) : rule(std::true_type{}, std::false_type{});
    else
        heavy ? rule(std::false_type{}, std::true_type{}) : rule(std::false_type{}, std::false_type{});
}

// f(rule) with the rule for one step; step counts those already taken.
template <class T, class F>
inline void with_update_rule(const UpdateSpec& spec, index step, const F& f) {
    const T weight_decay = T(spec.weight_decay), eps = T(spec.eps);
    switch (spec.kind) {
        case UpdateKind::sgd:
            return with_sgd<T>(spec, step, f);
        case UpdateKind::asgd: {
            const double eta = spec.lr / std::pow(1 + spec.lambd * spec.lr * double(step), spec.alpha);
            return f(rules::ASGD<T>{T(spec.weight_decay + spec.lambd), T(eta),
                                    T(1 / std::fmax(1, double(step) - spec.t0))});
        }
        case UpdateKind::adagrad:
            return f(rules::Adagrad<T>{T(spec.lr / (1 + double(step) * spec.lr_decay)), weight_decay, eps});
        case UpdateKind::adadelta:
            return f(rules::Adadelta<T>{T(spec.lr), weight_decay, eps, T(spec.rho), T(1 - spec.rho)});
        case UpdateKind::rmsprop:
            return with_rmsprop<T>(spec, f);
        case UpdateKind::adam:
        case UpdateKind::adamw:
        case UpdateKind::adamax:
        case UpdateKind::nadam:
        case UpdateKind::radam:
            return with_moments<T>(spec, double(step + 1), f);
        case UpdateKind::rprop:
            return f(rules::Rprop<T>{T(spec.etaminus), T(spec.etaplus), T(spec.step_min), T(spec.step_max)});
        case UpdateKind::lion:
            return f(rules::Lion<T>{T(spec.lr), T(spec.lr * spec.weight_decay), T(1 - spec.beta1),
                                    T(1 - spec.beta2)});
        case UpdateKind::lamb:
        case UpdateKind::adafactor:
        case UpdateKind::muon:
            return;  // see step.h
    }
}

template <class T>
Update<T> update_of(const UpdateSpec& spec, index step) {
    Update<T> update;
    with_update_rule<T>(spec, step, [&](const auto& rule) { update = Update<T>(rule); });
    return update;
}

extern template decltype(update_of<float>) update_of<float>;
extern template decltype(update_of<double>) update_of<double>;

// One update of n numbers.
template <class T>
void update(const UpdateSpec& spec, T* parameters, const T* gradient, T* const* states, index n, index step,
            int threads) {
    constexpr index smallest_shared = 50 * 1000;
    Stretch<T> s{parameters, gradient, {}};
    for (int k = 0; k < spec.states; ++k) s.states[k] = states[k];
    const Update<T> rule = update_of<T>(spec, step);
    exec::run(n < smallest_shared ? 1 : threads, nullptr,
              [&](exec::Exec& exec) { rule.apply(s, exec.share(n)); });
}

}  // namespace fnn::FNN_ISA::optim
