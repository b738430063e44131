// Every rule in a kernel, and the loop bodies that apply them: tests/test_device.py compiles this where there
// is nvcc or Clang with CUDA. Nothing runs it.
#include "net/ops/activation.h"
#include "net/ops/recurrent_cells.h"
#include "net/random.h"
#include "optim/update.h"
#include "rules/adafactor.h"
#include "rules/beta.h"
#include "rules/inputs.h"
#include "rules/lamb.h"
#include "rules/losses.h"
#include "rules/muon.h"
#include "rules/norm.h"
#include "rules/pairs.h"
#include "rules/rotary.h"
#include "rules/rounding.h"
#include "rules/runge_kutta.h"
#include "rules/turns.h"
#include "rules/weight_norm.h"

namespace fnn::FNN_ISA {

template <class F>
__global__ void kernel(F f) {
    f(0);
}

// As if it were launched.
template <class F>
void (*launch(F))(F) {
    return kernel<F>;
}

template <class T, class Rule>
struct Loss {
    Rule rule;
    T *x, *y;
    FNN_HD void operator()(index i) const {
        const T z = x[i], t = y[i];
        x[i] = rule.value(z, t) + rule.gradient(z, t) + rule.curvature(z, t, z);
        y[i] = T(rule.is_right(z, t));
    }
};

// What is not one function of a number, or needs sums over a row or a tensor between its parts.
template <class T>
struct Parts {
    rules::LabelSmoothing<T> smoothing;
    rules::MultiMargin<T> margin;
    rules::Contrastive<T> apart;
    rules::Triplet<T> triplet;
    rules::Adafactor<T> adafactor;
    rules::LAMB<T> lamb;
    rules::Muon<T> muon;
    T *x, *y;
    FNN_HD void operator()(index i) const {
        using Cross = rules::CrossEntropy<T>;
        using Entropy = rules::NegativeEntropy<T>;
        using Norm = rules::Norm;
        using Softmax = rules::Softmax<T>;
        T z = x[i], t = smoothing(y[i]);
        z += Softmax::exponential(z, t) + Softmax::logarithm(z, t, z) + Softmax::decided(z, t, z);
        z += Softmax::product(z, t, z) + Softmax::product_tangent(z, t, z, t, z, t);
        z += Cross::value(z, t, z) + Cross::log_normaliser(z, t) + Cross::gradient(z, t, z);
        z += Cross::largest_gradient(z, t, z) + Cross::curvature(z, t, z, t);
        z += Cross::factor(z, t, z, t) + Cross::largest_factor(z, t, z, t);
        z += Entropy::value(z, t) + Entropy::gradient(z, t, z) + Entropy::curvature(z, t, z, t, z, t);
        z += margin.half_value(z, t) + margin.gradient(z, t) + margin.curvature(z, t, z);
        using Choice = rules::InfoNCE<T>;
        using Sup = rules::SupCon<T>;
        using Noise = rules::NCE<T>;
        using Distance = rules::Distance<T>;
        z += Choice::value(z, t) + Choice::slope(z, t) + Choice::bend(z, t);
        z += Noise::value(z, true, t) + Noise::gradient(z, true, t, z, t);
        z += Noise::tangent(z, t, false, z, t, z, t, z);
        z += Choice::gradient(z, true, t, z, t) + Choice::tangent(z, t, false, z, t, z, t, z);
        z += Sup::value(z, t) + Sup::slope(z, t) + Sup::bend(z, t);
        z += Sup::gradient(z, true, t, z, t) + Sup::tangent(z, t, false, z, t, z, t, z);
        z += Distance::value(z) + Distance::gradient(z) + Distance::curvature(z);
        z += apart.value(z, true) + apart.gradient(z, false) + apart.tangent(z, t, false);
        z += triplet.value(triplet.slack(z, t));
        z += Norm::normalize(z, t, z) + Norm::product(z, t, z, t, z);
        z += Norm::product_tangent(z, t, z, t, z, t, z, t, z, t);
        rules::merge_moments(z, t, 2, z, t, 1);
        const auto column = rules::WeightNorm::of(z, t);
        z += T(column.along_tangent(column.along(z), z, t) + column.back(z));
        z += T(column.back_tangent(z, t, column.scale_tangent(z, t), t));
        adafactor.average(z, t);
        z += adafactor.row_factor(z, t) + adafactor.direction(z, t);
        adafactor.move(z, t);
        z += lamb.direction(z, t, z) + muon.average(z, t);
        muon.move(z, t);
        const rules::RobustScale robust{z, t, 3};
        const rules::QuantileNormal normal{z, t, 1, 9};
        const rules::PiecewiseLinear bin{z, t};
        z += T(robust.value(z) + robust.slope(z) + normal.value(z) + normal.slope(z));
        z += T(bin.value(z) + bin.slope(z));
        x[i] = z + rules::exp(z) + rules::log(z) + rules::log1p(z) + rules::tanh(z) + rules::erf(z);
        z = rules::Cosine<T>::value(z) + rules::Cosine<T>::derivative(t);
        x[i] += rules::Cosine<T>::second_derivative(z);
        using Size = rules::StepSize;
        constexpr rules::RungeKutta dopri5 = rules::runge_kutta[3];
        x[i] += T(Size::first(Size::trial(z, t), dopri5.b[0], t) * Size::factor_after(z));
        const rules::Rotary<T> turned{z, rules::Rotary<T>::turns(3, 1, 8)};
        x[i] += turned.first(z, t) + turned.second(z, t);
        y[i] = t + T(rules::bounded(rules::bits(1, 2, std::uint64_t(i)), 10));
        y[i] += T(rules::beta(0.4, 1, 2, std::uint64_t(i)));
        x[i] += rules::Unrounded<T>{}(z) + T(rules::ToTFloat32{}(float(z)) + rules::ToBFloat16{}(float(t)));
        y[i] += T(rules::BFloat16::nearest(float(z)).bits);
    }
};

template <class T>
struct Kernels {
    T *x, *y;

    template <class Rule>
    void activation(Rule rule) const {
        launch(net::Forward<T, Rule>{rule, x, y});
        launch(net::Backward<T, Rule>{rule, x, y, y});
        launch(net::TangentForward<T, Rule>{rule, x, y, y});
        launch(net::TangentBackward<T, Rule>{rule, x, y, y, y, y});
    }
    template <class Rule>
    void loss(Rule rule) const {
        launch(Loss<T, Rule>{rule, x, y});
    }
    template <class Rule>
    void update(Rule rule) const {
        launch(optim::Apply<T, Rule>{rule, x, x, x, x, y});
    }

    template <class Cell>
    void recurrent(Cell) const {
        constexpr int gates = Cell::gates;
        launch(net::StepOf<Cell, net::StepForward<T, gates>>{});
        launch(net::StepOf<Cell, net::StepTangentForward<T, gates>>{});
        launch(net::StepOf<Cell, net::StepBackward<T, gates>>{});
        launch(net::StepOf<Cell, net::StepTangentBackward<T, gates>>{});
    }

    void all() const {
        using namespace rules;
        activation(Identity<T>{}), activation(ReLU<T>{}), activation(LeakyReLU<T>{}), activation(ELU<T>{});
        activation(Tanh<T>{}), activation(Hardtanh<T>{}), activation(Sigmoid<T>{}), activation(Softplus<T>{});
        activation(SiLU<T>{}), activation(GELUTanh<T>{}), activation(GELU<T>{}), activation(Step<T>{});
        activation(Sign<T>{});
        loss(BinaryCrossEntropy<T>{}), loss(Hinge<T>{}), loss(SquaredError<T>{}), loss(AbsoluteError<T>{});
        loss(Huber<T>(1)), loss(Poisson<T>{}), loss(LogCosh<T>{}), loss(Quantile<T>(0.5));
        update(SGD<T>{}), update(Momentum<T, false>{}), update(Momentum<T, true>{}), update(ASGD<T>{});
        update(Adagrad<T>{}), update(Adadelta<T>{}), update(RMSprop<T, false, false>{});
        update(RMSprop<T, false, true>{}), update(RMSprop<T, true, false>{}),
            update(RMSprop<T, true, true>{});
        update(Adam<T>{}), update(AMSGrad<T>{}), update(NAdam<T>{}), update(RAdamStart<T>{});
        update(Adamax<T>{}), update(Rprop<T>{}), update(Lion<T>{});
        update(Remember<T, false>{}), update(Remember<T, true>{}), update(Restore<T>{});
        update(Average<T, false>{}), update(Average<T, true>{}), update(Lookahead<T>{}), update(Ascend<T>{});
        launch(net::Uniform<T>{1, 2, x}), launch(net::Normal<T>{1, 2, x});
        recurrent(net::RNNCell<T, false>{}), recurrent(net::RNNCell<T, true>{});
        recurrent(net::GRUCell<T>{}), recurrent(net::LSTMCell<T>{});
        launch(Parts<T>{{0.1, 10}, {}, {}, {}, {}, {}, {}, x, y});
    }
};

template struct Kernels<float>;
template struct Kernels<double>;

}  // namespace fnn::FNN_ISA
