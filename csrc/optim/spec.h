// Which update, with which hyper-parameters.
#pragma once

#include "common.h"

namespace fnn {

enum class UpdateKind { sgd, adam, adamw };

constexpr int max_states = 2;

struct UpdateSpec {
    UpdateKind kind = UpdateKind::sgd;
    int states = 0;  // numbers that each parameter carries along: its momentum, its moments
    double lr = 0, weight_decay = 0;
    double momentum = 0, nesterov = 0;  // the latter a switch
    double beta1 = 0, beta2 = 0, eps = 0;
};

// A hyper-parameter that changes: its value at each step of an epoch.
struct Schedule {
    double UpdateSpec::* number;
    const double* values;  // (steps,)
};

}  // namespace fnn
