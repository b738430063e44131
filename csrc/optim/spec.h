// Which update, with which hyper-parameters.
#pragma once

#include "common.h"

namespace fnn {

enum class UpdateKind { sgd, adam, adamw };

struct UpdateSpec {
    UpdateKind kind = UpdateKind::sgd;
    double momentum = 0, weight_decay = 0;
    bool nesterov = false;
    double beta1 = 0, beta2 = 0, eps = 0;
};

constexpr int max_states = 2;

// How many numbers of state each parameter has.
inline int update_states(const UpdateSpec& spec) {
    if (spec.kind == UpdateKind::sgd) return spec.momentum != 0 ? 1 : 0;
    return 2;
}

}  // namespace fnn
