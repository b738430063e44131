#include "optim/names.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "expected.h"

namespace fnn {

namespace {

using S = UpdateSpec;

const std::map<std::string, double S::*> numbers = {
    {"weight_decay", &S::weight_decay},
    {"eps", &S::eps},
    {"momentum", &S::momentum},
    {"dampening", &S::dampening},
    {"lambd", &S::lambd},
    {"alpha", &S::alpha},
    {"t0", &S::t0},
    {"lr_decay", &S::lr_decay},
    {"rho", &S::rho},
    {"beta1", &S::beta1},
    {"beta2", &S::beta2},
    {"momentum_decay", &S::momentum_decay},
    {"etaminus", &S::etaminus},
    {"etaplus", &S::etaplus},
    {"step_min", &S::step_min},
    {"step_max", &S::step_max},
    {"beta2_decay", &S::beta2_decay},
    {"eps1", &S::eps1},
    {"eps2", &S::eps2},
    {"d", &S::d},
    {"ns_a", &S::ns_a},
    {"ns_b", &S::ns_b},
    {"ns_c", &S::ns_c},
    {"ns_steps", &S::ns_steps},
    {"match_rms_adamw", &S::match_rms_adamw},
    {"first_is_unit", &S::first_is_unit},
    {"heavy", &S::heavy},
    {"nesterov", &S::nesterov},
    {"centered", &S::centered},
    {"amsgrad", &S::amsgrad},
    {"keras_eps", &S::keras_eps},
    {"decoupled_weight_decay", &S::decoupled_weight_decay},
};

using Names = std::vector<std::string>;

UpdateRule rule(UpdateKind kind, int states, const Names& needed, const Names& optional = {},
                const Names& with_state = {}) {
    UpdateRule made{kind, states, {}};
    for (const auto& name : needed) made.numbers.push_back({name, numbers.at(name), true, false});
    for (const auto& name : optional) {
        const bool brings_state = std::count(with_state.begin(), with_state.end(), name) != 0;
        made.numbers.push_back({name, numbers.at(name), false, brings_state});
    }
    return made;
}

const std::map<std::string, UpdateRule> rules = {
    {"sgd",
     rule(UpdateKind::sgd, 0, {"weight_decay", "momentum"}, {"dampening", "nesterov", "heavy"}, {"heavy"})},
    {"asgd", rule(UpdateKind::asgd, 1, {"weight_decay", "lambd", "alpha", "t0"})},
    {"adagrad", rule(UpdateKind::adagrad, 1, {"weight_decay", "eps"}, {"lr_decay"})},
    {"adadelta", rule(UpdateKind::adadelta, 2, {"weight_decay", "eps", "rho"})},
    {"rmsprop", rule(UpdateKind::rmsprop, 1, {"weight_decay", "eps", "alpha"},
                     {"momentum", "centered", "heavy"}, {"centered", "heavy"})},
    {"adam", rule(UpdateKind::adam, 2, {"weight_decay", "eps", "beta1", "beta2"}, {"amsgrad", "keras_eps"},
                  {"amsgrad"})},
    {"adamw", rule(UpdateKind::adamw, 2, {"weight_decay", "eps", "beta1", "beta2"}, {"amsgrad", "keras_eps"},
                   {"amsgrad"})},
    {"adamax", rule(UpdateKind::adamax, 2, {"weight_decay", "eps", "beta1", "beta2"})},
    {"nadam", rule(UpdateKind::nadam, 2, {"weight_decay", "eps", "beta1", "beta2", "momentum_decay"},
                   {"decoupled_weight_decay"})},
    {"radam",
     rule(UpdateKind::radam, 2, {"weight_decay", "eps", "beta1", "beta2"}, {"decoupled_weight_decay"})},
    {"rprop", rule(UpdateKind::rprop, 2, {"etaminus", "etaplus", "step_min", "step_max"})},
    {"lion", rule(UpdateKind::lion, 1, {"weight_decay", "beta1", "beta2"})},
    {"lamb", rule(UpdateKind::lamb, 2, {"weight_decay", "eps", "beta1", "beta2"})},
    {"muon",
     rule(UpdateKind::muon, 1, {"weight_decay", "eps", "momentum", "ns_a", "ns_b", "ns_c", "ns_steps"},
          {"nesterov", "match_rms_adamw", "first_is_unit"})},
    {"adafactor", rule(UpdateKind::adafactor, 2, {"weight_decay", "beta2_decay", "eps1", "eps2", "d"})},
};

}  // namespace

const UpdateRule& rule_named(const std::string& name) {
    const auto found = rules.find(name);
    if (found == rules.end())
        throw std::invalid_argument(expected("update", "the name of one", "'" + name + "'"));
    return found->second;
}

UpdateSpec update_by(const UpdateRule& rule, UpdateSpec spec, const std::vector<Schedule>& schedules) {
    const auto is_used = [&](double S::* number) {
        return spec.*number != 0 || std::any_of(schedules.begin(), schedules.end(),
                                                [&](const Schedule& s) { return s.number == number; });
    };
    spec.kind = rule.kind;
    if (is_used(&S::momentum)) spec.heavy = 1;
    spec.states = rule.states;
    for (const NamedNumber& each : rule.numbers)
        if (each.brings_state && is_used(each.number)) ++spec.states;
    return spec;
}

}  // namespace fnn
