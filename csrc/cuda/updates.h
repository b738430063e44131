// Updates of elementwise rules on a device: the formulas of rules/updates.h, applied by optim/update.h.
#pragma once

#include <cstring>
#include <vector>

#include "cuda/workspace.h"
#include "optim/spec.h"

namespace fnn::FNN_ISA::device {

// The numbers of a rule, whose type is forgotten.
template <class T>
struct RuleNumbers {
    T numbers[16];
};

// Parameters, gradient and states in device memory.
template <class T>
struct Tensors {
    T* parameters;
    const T* gradient;
    T* states[max_states];
};

// What applies the rule with the numbers rules[now->step] to n numbers, unless the training has stopped; null
// for `now`: rules[0].
template <class T>
using ApplyRule = void (*)(Stream&, const RuleNumbers<T>* rules, const Now* now, const Tensors<T>&, index n);

template <class T>
struct Rule {
    ApplyRule<T> apply = nullptr;
    RuleNumbers<T> of_step{};
};

// For one step; `step` counts those already taken. Throws std::invalid_argument for a rule that needs whole
// tensors.
template <class T>
Rule<T> rule_of(const UpdateSpec&, index step);

extern template Rule<float> rule_of(const UpdateSpec&, index);
extern template Rule<double> rule_of(const UpdateSpec&, index);

}  // namespace fnn::FNN_ISA::device
