// The cells of recurrent layers: one step of one unit, and its way back. Gates come activated; torch's order
// of gates and its placement of biases.
//
//   RNN    h = f(p), f the hyperbolic tangent or the rectifier: J. L. Elman (1990), "Finding structure in
//   time",
//          Cognitive Science 14
//   LSTM   c = f c' + i g, h = o tanh(c): S. Hochreiter, J. Schmidhuber (1997), "Long short-term memory",
//          Neural Computation 9; F. A. Gers, J. Schmidhuber, F. Cummins (2000), "Learning to forget", ibid.
//          12
//   GRU    h = n + z (h' - n), n = tanh(p + r m): K. Cho et al. (2014), "Learning phrase representations
//   using
//          RNN encoder-decoder", EMNLP; with r behind the product, m, as in cuDNN
//
// c' and h' are those of the step before; d is the derivative of the loss. All of it is for numbers and for
// numbers that move along a direction, whose tangents come with them: so the tangent of the way back stands
// nowhere.
#pragma once

#include "rules/activations.h"

namespace fnn::FNN_ISA::rules {

// A number and how it moves.
template <class T>
struct Moving {
    T value, tangent;
};

template <class T>
FNN_RULE Moving<T> operator+(Moving<T> a, Moving<T> b) {
    return {a.value + b.value, a.tangent + b.tangent};
}
template <class T>
FNN_RULE Moving<T> operator-(Moving<T> a, Moving<T> b) {
    return {a.value - b.value, a.tangent - b.tangent};
}
template <class T>
FNN_RULE Moving<T> operator*(Moving<T> a, Moving<T> b) {
    return {a.value * b.value, a.tangent * b.value + a.value * b.tangent};
}

// What of an activation is a function of its value.

template <class N>
FNN_RULE N slope_of_sigmoid(N a) {
    return a - a * a;
}

template <class T>
FNN_RULE T slope_of_tanh(T a) {
    return 1 - a * a;
}
template <class T>
FNN_RULE Moving<T> slope_of_tanh(Moving<T> a) {
    return {slope_of_tanh(a.value), -2 * a.value * a.tangent};
}

template <class T>
FNN_RULE T slope_of_relu(T a) {
    return ReLU<T>{}.derivative(a);
}
template <class T>
FNN_RULE Moving<T> slope_of_relu(Moving<T> a) {
    return {slope_of_relu(a.value), T(0)};
}

template <class T>
FNN_RULE Moving<T> tanh(Moving<T> x) {
    const T a = tanh(x.value);
    return {a, slope_of_tanh(a) * x.tangent};
}

// A gate whose argument moves so.
template <class T>
FNN_RULE Moving<T> moving_sigmoid(T a, T tangent) {
    return {a, slope_of_sigmoid(a) * tangent};
}
template <class T>
FNN_RULE Moving<T> moving_tanh(T a, T tangent) {
    return {a, slope_of_tanh(a) * tangent};
}
template <class T>
FNN_RULE Moving<T> moving_relu(T a, T tangent) {
    return {a, slope_of_relu(a) * tangent};
}

template <class N>
struct LSTM {
    N i, f, g, o;

    FNN_RULE N cell(N before) const { return f * before + i * g; }
    FNN_RULE N output(N cell) const { return o * tanh(cell); }

    // In the gates' arguments, and in the cell before.
    struct Back {
        N i, f, g, o, before;
    };
    // dc: what the next step gives.
    FNN_RULE Back back(N before, N cell, N dh, N dc) const {
        const N t = tanh(cell), all = dc + dh * o * slope_of_tanh(t);
        return {all * g * slope_of_sigmoid(i), all * before * slope_of_sigmoid(f), all * i * slope_of_tanh(g),
                dh * t * slope_of_sigmoid(o), all * f};
    }
};

template <class N>
struct GRU {
    N r, z, n;

    FNN_RULE N output(N before) const { return n + z * (before - n); }

    // In the gates' arguments, of n in p and in m, and in what came before, but for products.
    struct Back {
        N r, z, n, m, before;
    };
    FNN_RULE Back back(N before, N m, N dh) const {
        const N kept = dh * z, dn = (dh - kept) * slope_of_tanh(n);
        return {dn * m * slope_of_sigmoid(r), dh * (before - n) * slope_of_sigmoid(z), dn, dn * r, kept};
    }
};

}  // namespace fnn::FNN_ISA::rules
