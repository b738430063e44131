// The one place that knows every op that a device has.
#pragma once

#include "cuda/ops/dense.h"
#include "cuda/ops/elementwise.h"
#include "cuda/ops/norms.h"
#include "cuda/ops/random.h"
#include "cuda/ops/scale.h"
#include "cuda/ops/softmax.h"

namespace fnn::FNN_ISA::device {

constexpr const char* known_ops =
    "Dense, activations, Softmax, Dropout, GaussianNoise, LayerNorm, RMSNorm, GroupNorm, BatchNorm, Add, "
    "Multiply, "
    "Concatenate, Slice, Scale, PReLU";

inline bool has_op(OpKind kind) {
    switch (kind) {
        case OpKind::dense:
        case OpKind::identity:
        case OpKind::softmax:
        case OpKind::add:
        case OpKind::multiply:
        case OpKind::concatenate:
        case OpKind::slice:
        case OpKind::dropout:
        case OpKind::gaussian_noise:
        case OpKind::scale:
        case OpKind::prelu:
        case OpKind::layer_norm:
        case OpKind::rms_norm:
        case OpKind::group_norm:
        case OpKind::batch_norm:
            return true;
        default:
            return false;
    }
}

// f(op) with the type that computes its maps; it must be one of those above.
template <class T, class F>
auto with_op(const OpSpec& spec, const F& f) {
    switch (spec.kind) {
        case OpKind::dense:
            return f(Dense<T>{});
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
        case OpKind::dropout:
            return f(Dropout<T>{});
        case OpKind::gaussian_noise:
            return f(GaussianNoise<T>{});
        case OpKind::scale:
            return f(Scale<T>{});
        case OpKind::prelu:
            return f(PReLU<T>{});
        case OpKind::layer_norm:
            return f(Norm<T, OpKind::layer_norm>{});
        case OpKind::rms_norm:
            return f(Norm<T, OpKind::rms_norm>{});
        case OpKind::group_norm:
            return f(Norm<T, OpKind::group_norm>{});
        case OpKind::batch_norm:
            return f(Norm<T, OpKind::batch_norm>{});
        default:
            return f(Identity<T>{});
    }
}

}  // namespace fnn::FNN_ISA::device
