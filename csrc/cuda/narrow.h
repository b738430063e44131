// Steps of a small network in one kernel: a chain of narrow dense layers, whose parameters and activations
// one block holds in its shared memory from step to step. What takes its time otherwise is not the work but
// the launches. It rounds no operands: where that is asked for, steps are made as those of larger networks.
#pragma once

#include "cuda/losses.h"
#include "cuda/updates.h"

namespace fnn::FNN_ISA::device {

// Of the step at hand and, behind, of those that are complete: loss, right, penalty. And the sum of the
// squares of what ridge penalizes.
struct Progress {
    double step[3], all[3], squares;
};

// All that steps read and write in device memory.
template <class T>
struct StepsOf {
    const T* X;  // (all, in_features)
    Examples<T> examples;
    index rows, batch_size;  // of the epoch, of a batch
    LossSpec loss;
    const RuleNumbers<T>* rules;  // by step
    Tensors<T> tensors;
    Progress* progress;
    Now* now;
};

template <class T>
using RunSteps = void (*)(Stream&, const Plan&, const StepsOf<T>&, index steps);

// What queues so many steps of such a network from the present one on; null where the network, the loss, the
// rule or the size of a batch ask for more.
template <class T>
RunSteps<T> narrow_steps(const Plan&, const LossSpec&, const UpdateSpec&, index batch_size);

extern template RunSteps<float> narrow_steps(const Plan&, const LossSpec&, const UpdateSpec&, index);
extern template RunSteps<double> narrow_steps(const Plan&, const LossSpec&, const UpdateSpec&, index);

}  // namespace fnn::FNN_ISA::device
