// Elementwise optimizer rules: (parameter, gradient, state...) -> new values, with torch's names and
// formulas. A rule is made once per step; what does not depend on the element is computed then, in float64.
// The number of states, and so of further arguments, is `states`.
#pragma once

#include "rules/math.h"

namespace fnn::FNN_ISA::rules {

// The larger of both, or NaN if either is.
template <class T>
FNN_RULE T maximum(T x, T y) {
    return select((x > y) | (x != x), x, y);
}

// -1, 0 or 1, or NaN.
template <class T>
FNN_RULE T sign(T x) {
    return select(x > T(0), T(1), select(x < T(0), T(-1), x));
}

// p -= lr g, with weight decay as an L2 penalty. Robbins and Monro (1951).
template <class T>
struct SGD {
    static constexpr int states = 0;
    T lr, weight_decay;
    FNN_HD void operator()(T& p, T g) const { p = p - lr * mul_add(weight_decay, p, g); }
};

// Heavy-ball momentum, Polyak (1964): v = momentum v + (1 - dampening) g, p -= lr v; Nesterov (1983) as in
// Sutskever et al. (2013): p -= lr (g + momentum v).
template <class T, bool Nesterov>
struct Momentum {
    static constexpr int states = 1;
    T lr, weight_decay, momentum;
    T gain;  // 1 - dampening
    FNN_HD void operator()(T& p, T g, T& v) const {
        g = mul_add(weight_decay, p, g);
        v = mul_add(momentum, v, gain * g);
        p = p - lr * (Nesterov ? mul_add(momentum, v, g) : v);
    }
};

// Averaged SGD, Polyak and Juditsky (1992), as Bottou's: p -= eta (g + lambd p), and `average` follows p.
template <class T>
struct ASGD {
    static constexpr int states = 1;
    T weight_decay;  // with lambd
    T eta;           // the learning rate of this step
    T mu;            // 1 until the averaging begins, then 1 / (steps since then)
    FNN_HD void operator()(T& p, T g, T& average) const {
        p = p - eta * mul_add(weight_decay, p, g);
        average = select(mu == T(1), p, mul_add(mu, p - average, average));
    }
};

// Adagrad, Duchi, Hazan and Singer (2011).
template <class T>
struct Adagrad {
    static constexpr int states = 1;
    T lr, weight_decay, eps;
    FNN_HD void operator()(T& p, T g, T& sum) const {
        g = mul_add(weight_decay, p, g);
        sum = mul_add(g, g, sum);
        p = p - lr * g / (square_root(sum) + eps);
    }
};

// Adadelta, Zeiler (2012): v and u are averages of the squares of gradients and of steps.
template <class T>
struct Adadelta {
    static constexpr int states = 2;
    T lr, weight_decay, eps, rho;
    T gain;  // 1 - rho
    FNN_HD void operator()(T& p, T g, T& v, T& u) const {
        g = mul_add(weight_decay, p, g);
        v = mul_add(rho, v, gain * g * g);
        const T delta = square_root((u + eps) / (v + eps)) * g;
        u = mul_add(rho, u, gain * delta * delta);
        p = p - lr * delta;
    }
};

// RMSprop, Tieleman and Hinton (2012): v averages the squares of gradients. Centered, Graves (2013): a second
// state averages the gradients, and what divides is their deviation from it. Heavy: the last state sums up
// steps with momentum.
template <class T, bool Centered, bool Heavy>
struct RMSprop {
    static constexpr int states = 1 + int(Centered) + int(Heavy);
    T lr, weight_decay, eps, alpha, momentum;
    T gain;  // 1 - alpha

    template <class... More>
    FNN_HD void operator()(T& p, T g, T& v, More&... more) const {
        [[maybe_unused]] T* const others[] = {&more..., nullptr};
        g = mul_add(weight_decay, p, g);
        v = mul_add(alpha, v, gain * g * g);
        T variance = v;
        if constexpr (Centered) {
            T& mean = *others[0];
            mean = mul_add(gain, g - mean, mean);
            variance = mul_add(-mean, mean, v);
            // where gradients hardly change, rounding may make it negative
            variance = select(variance < T(0), T(0), variance);
        }
        T step = g / (square_root(variance) + eps);
        if constexpr (Heavy) {
            T& sum = *others[int(Centered)];
            sum = mul_add(momentum, sum, step);
            step = sum;
        }
        p = p - lr * step;
    }
};

// What Adam and its kin have in common: weight decay, as an L2 penalty or decoupled, Loshchilov and Hutter
// (2019), and averages m of the gradient and v of its square.
template <class T>
struct Moments {
    T decay;         // lr weight_decay where it is decoupled, otherwise 0
    T weight_decay;  // the other way around
    T beta2;
    T gain1, gain2;  // 1 - beta1, 1 - beta2

    FNN_HD void operator()(T p, T& g, T& m) const {
        g = mul_add(weight_decay, p, g);
        m = mul_add(gain1, g - m, m);
    }
    FNN_HD void operator()(T p, T& g, T& m, T& v) const {
        (*this)(p, g, m);
        v = mul_add(beta2, v, gain2 * g * g);
    }
    // The decay is part of the step: rounded on its own, as a factor close to 1, it would be lost in float32.
    FNN_HD void move(T& p, T step) const { p = p - mul_add(decay, p, step); }
};

// Adam, Kingma and Ba (2015), and RAdam once its variance can be told.
template <class T>
struct Adam {
    static constexpr int states = 2;
    Moments<T> moments;
    T step_size, root_correction, eps;

    FNN_HD void operator()(T& p, T g, T& m, T& v) const {
        moments(p, g, m, v);
        moments.move(p, step_size * m / (square_root(v) * root_correction + eps));
    }
};

// AMSGrad, Reddi, Kale and Kumar (2018): Adam whose v never falls.
template <class T>
struct AMSGrad {
    static constexpr int states = 3;
    Moments<T> moments;
    T step_size, root_correction, eps;

    FNN_HD void operator()(T& p, T g, T& m, T& v, T& largest) const {
        moments(p, g, m, v);
        largest = maximum(largest, v);
        moments.move(p, step_size * m / (square_root(largest) * root_correction + eps));
    }
};

// NAdam, Dozat (2016): Nesterov's momentum in Adam. The step is a sum of the gradient's and the mean's.
template <class T>
struct NAdam {
    static constexpr int states = 2;
    Moments<T> moments;
    T step_of_gradient, step_of_mean, root_correction, eps;

    FNN_HD void operator()(T& p, T g, T& m, T& v) const {
        moments(p, g, m, v);
        const T step = mul_add(step_of_gradient, g, step_of_mean * m);
        moments.move(p, step / (square_root(v) * root_correction + eps));
    }
};

// The first steps of RAdam, Liu et al. (2020): v is kept, but not used yet.
template <class T>
struct RAdamStart {
    static constexpr int states = 2;
    Moments<T> moments;
    T step_size;

    FNN_HD void operator()(T& p, T g, T& m, T& v) const {
        moments(p, g, m, v);
        moments.move(p, step_size * m);
    }
};

// Adamax, Kingma and Ba (2015): Adam in the infinity norm.
template <class T>
struct Adamax {
    static constexpr int states = 2;
    Moments<T> moments;
    T step_size, eps;

    FNN_HD void operator()(T& p, T g, T& m, T& norm) const {
        moments(p, g, m);
        norm = maximum(moments.beta2 * norm, abs(g) + eps);
        moments.move(p, step_size * m / norm);
    }
};

// Rprop, Riedmiller and Braun (1993), without weight-backtracking: each parameter has a step size of its own,
// which grows while its gradient keeps its sign; where the sign has changed, the parameter waits for a step.
template <class T>
struct Rprop {
    static constexpr int states = 2;
    T shrink, grow, smallest, largest;

    FNN_HD void operator()(T& p, T g, T& previous, T& step_size) const {
        const T turn = g * sign(previous);
        const T factor = select(turn > T(0), grow, select(turn < T(0), shrink, turn + T(1)));
        const T next = step_size * factor;
        step_size = select(next < smallest, smallest, select(next > largest, largest, next));
        previous = select(turn < T(0), T(0), g);
        p = p - sign(previous) * step_size;
    }
};

// Lion, Chen et al. (2023), with decoupled weight decay.
template <class T>
struct Lion {
    static constexpr int states = 1;
    T lr;
    T decay;         // lr weight_decay
    T gain1, gain2;  // 1 - beta1, 1 - beta2

    FNN_HD void operator()(T& p, T g, T& m) const {
        const T rise = g - m;
        p = p - mul_add(decay, p, lr * sign(mul_add(gain1, rise, m)));
        m = mul_add(gain2, rise, m);
    }
};

// What is kept beside the parameters. x is the parameter, or the gradient with `OfGradient`.

// A copy of x.
template <class T, bool OfGradient>
struct Remember {
    static constexpr int states = 1;
    FNN_HD void operator()(const T& p, T g, T& kept) const { kept = OfGradient ? g : p; }
};

template <class T>
struct Restore {
    static constexpr int states = 1;
    FNN_HD void operator()(T& p, T, T& kept) const { p = kept; }
};

// The mean of n values of x, where weight = 1 / n; an exponential one, where it is constant. Of parameters:
// Polyak and Juditsky (1992), Izmailov et al. (2018).
template <class T, bool OfGradient>
struct Average {
    static constexpr int states = 1;
    T weight;
    FNN_HD void operator()(const T& p, T g, T& mean) const {
        mean = mul_add(weight, (OfGradient ? g : p) - mean, mean);
    }
};

// Slow weights that follow the fast ones and take their place: Zhang et al. (2019).
template <class T>
struct Lookahead {
    static constexpr int states = 1;
    T alpha;
    FNN_HD void operator()(T& p, T, T& slow) const {
        slow = mul_add(alpha, p - slow, slow);
        p = slow;
    }
};

// p += g, from where `Restore` goes back: Foret et al. (2021), with g of norm rho.
template <class T>
struct Ascend {
    static constexpr int states = 1;
    FNN_HD void operator()(T& p, T g, T& original) const {
        original = p;
        p = p + g;
    }
};

}  // namespace fnn::FNN_ISA::rules
