// The one place that knows every op.
#pragma once

#include "net/ops/attention.h"
#include "net/ops/augment.h"
#include "net/ops/avg_pool.h"
#include "net/ops/batch_norm.h"
#include "net/ops/block.h"
#include "net/ops/concatenate.h"
#include "net/ops/convolution.h"
#include "net/ops/cosine.h"
#include "net/ops/dense.h"
#include "net/ops/dropout.h"
#include "net/ops/elementwise.h"
#include "net/ops/embedding.h"
#include "net/ops/equilibrium.h"
#include "net/ops/gaussian_noise.h"
#include "net/ops/max_pool.h"
#include "net/ops/neural_ode.h"
#include "net/ops/permute.h"
#include "net/ops/positions.h"
#include "net/ops/prelu.h"
#include "net/ops/recurrent.h"
#include "net/ops/reshape.h"
#include "net/ops/rotary.h"
#include "net/ops/row_norms.h"
#include "net/ops/scale.h"
#include "net/ops/slice.h"
#include "net/ops/softmax.h"
#include "net/ops/spread.h"
#include "net/ops/sum_positions.h"
#include "net/ops/weight_norm.h"

namespace fnn::FNN_ISA::net {

// f(op) with the type that computes an op's maps.
template <class T, class F>
inline auto with_op(const OpSpec& spec, const F& f) {
    switch (spec.kind) {
        case OpKind::dense:
            return f(Dense<T>{});
        case OpKind::convolution:
            return f(Convolution<T>{});
        case OpKind::weight_norm:
            return f(WeightNorm<T>{});
        case OpKind::embedding:
            return f(Embedding<T>{});
        case OpKind::spread:
            return f(Spread<T>{});
        case OpKind::cosine:
            return f(Cosine<T>{});
        case OpKind::softmax:
            return f(Softmax<T>{});
        case OpKind::add:
            return f(Add<T>{});
        case OpKind::multiply:
            return f(Multiply<T>{});
        case OpKind::concatenate:
            return f(Concatenate<T>{});
        case OpKind::slice:
            return f(Slice<T>{});
        case OpKind::attention:
            return f(Attention<T>{});
        case OpKind::rotary:
            return f(Rotary<T>{});
        case OpKind::positions:
            return f(Positions<T>{});
        case OpKind::dropout:
            return f(Dropout<T>{});
        case OpKind::gaussian_noise:
            return f(GaussianNoise<T>{});
        case OpKind::scale:
            return f(Scale<T>{});
        case OpKind::prelu:
            return f(PReLU<T>{});
        case OpKind::layer_norm:
            return f(LayerNorm<T>{});
        case OpKind::rms_norm:
            return f(RMSNorm<T>{});
        case OpKind::group_norm:
            return f(GroupNorm<T>{});
        case OpKind::batch_norm:
            return f(BatchNorm<T>{});
        case OpKind::augment:
            return f(Augment<T>{});
        case OpKind::reshape:
            return f(Reshape<T>{});
        case OpKind::permute:
            return f(Permute<T>{});
        case OpKind::max_pool:
        case OpKind::max_positions:
            return f(MaxPool<T>{});
        case OpKind::avg_pool:
            return f(AvgPool<T>{});
        case OpKind::sum_positions:
            return f(SumPositions<T>{});
        case OpKind::mean_positions:
            return f(MeanPositions<T>{});
        case OpKind::rnn:
            return spec.rectifies != 0 ? f(RNN<T, true>{}) : f(RNN<T, false>{});
        case OpKind::gru:
            return f(GRU<T>{});
        case OpKind::lstm:
            return f(LSTM<T>{});
        case OpKind::evaluation:
            return f(Evaluation<T>{});
        case OpKind::neural_ode:
            return f(NeuralODE<T>{});
        case OpKind::equilibrium:
            return f(Equilibrium<T>{});
        case OpKind::identity:
            break;
    }
    return f(Identity<T>{});
}

}  // namespace fnn::FNN_ISA::net
