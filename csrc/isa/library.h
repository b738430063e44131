// Fills the table of the instruction set that the including file is compiled for.
#pragma once

#include "exec/elementwise.h"
#include "exec/gemm/gemm.h"
#include "exec/lanczos.h"
#include "exec/measure.h"
#include "isa/table.h"
#include "net/curvature.h"
#include "net/evaluate.h"
#include "net/functions.h"
#include "net/inspect.h"
#include "net/landscape.h"
#include "net/random.h"
#include "net/traces.h"
#include "net/train.h"
#include "optim/around.h"
#include "optim/clip.h"
#include "optim/step.h"
#include "optim/units.h"
#include "optim/update.h"

namespace fnn::FNN_ISA {

template <class T, Elementary F>
struct Elementwise {
    T* y;
    const T* x;
    void operator()(index i) const {
        if constexpr (F == Elementary::exp) y[i] = rules::exp(x[i]);
        if constexpr (F == Elementary::log) y[i] = rules::log(x[i]);
        if constexpr (F == Elementary::log1p) y[i] = rules::log1p(x[i]);
        if constexpr (F == Elementary::tanh) y[i] = rules::tanh(x[i]);
        if constexpr (F == Elementary::erf) y[i] = rules::erf(x[i]);
    }
};

template <class T>
void elementary(Elementary function, const T* x, T* y, index n) {
    using E = Elementary;
    switch (function) {
        case E::exp:
            return exec::elementwise({0, n}, Elementwise<T, E::exp>{y, x});
        case E::log:
            return exec::elementwise({0, n}, Elementwise<T, E::log>{y, x});
        case E::log1p:
            return exec::elementwise({0, n}, Elementwise<T, E::log1p>{y, x});
        case E::tanh:
            return exec::elementwise({0, n}, Elementwise<T, E::tanh>{y, x});
        case E::erf:
            return exec::elementwise({0, n}, Elementwise<T, E::erf>{y, x});
    }
}

template <class T>
constexpr Functions<T> functions = {
    net::outputs<T>,
    net::evaluate<T>,
    net::losses_along<T>,
    net::loss_and_gradient<T>,
    net::outputs_for_pullback<T>,
    net::pull_back<T>,
    net::push_forward<T>,
    net::chunks_within<T>,
    net::shelf_bytes<T>,
    net::keep<T>,
    net::curvature_products<T>,
    net::quadratic_forms<T>,
    net::jacobian_products<T>,
    net::jacobian_transposed_products<T>,
    net::traces<T>,
    net::diagonal<T>,
    net::example_gradients<T>,
    net::train<T>,
    net::train_stepwise<T>,
    net::first_non_finite_row<T>,
    optim::update<T>,
    exec::gemm<T>,
    net::dense_forward<T>,
    net::dense_backward<T>,
    net::softmax<T>,
    net::softmax_backward<T>,
    net::activate<T>,
    net::activate_backward<T>,
    net::loss_and_output_gradient<T>,
    optim::step_scratch<T>,
    optim::step_all<T>,
    optim::pass_all<T>,
    optim::clip_units<T>,
    optim::gradient_norm<T>,
    optim::clip_norm<T>,
    exec::transpose_matrix<T>,
    exec::lanczos_step<T>,
    elementary<T>,
    net::uniform<T>,
    net::normal<T>,
};

const Table& table() {
    static constexpr Table all{functions<float>, functions<double>, net::column_statistics,
                               net::permutation, exec::fma_peak,    exec::memory_bandwidth};
    return all;
}

}  // namespace fnn::FNN_ISA
