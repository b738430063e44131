// Updates by the names of their rules and hyper-parameters.
#pragma once

#include <string>
#include <vector>

#include "optim/spec.h"

namespace fnn {

struct NamedNumber {
    std::string name;
    double UpdateSpec::* number;
    bool needed;        // else 0 where it is not given
    bool brings_state;  // there is one more state unless it is 0
};

struct UpdateRule {
    UpdateKind kind;
    int states;  // at least
    std::vector<NamedNumber> numbers;
};

// Throws std::invalid_argument for a name that is none.
const UpdateRule& rule_named(const std::string& name);

// The update by a rule, given its numbers; those of `schedules` are not always 0.
UpdateSpec update_by(const UpdateRule& rule, UpdateSpec numbers, const std::vector<Schedule>& schedules);

}  // namespace fnn
