#include "cuda/updates.h"

#include "cuda/kernels/elementwise.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::device {

template <class T, class Rule>
struct ApplyNow {
    const RuleNumbers<T>* rules;
    const Now* now;
    Tensors<T> all;
    FNN_HD void operator()(index i) const {
        if (now != nullptr && now->stopped) return;
        Rule rule;
        memcpy(&rule, rules[now != nullptr ? now->step : 0].numbers, sizeof(Rule));
        optim::Apply<T, Rule>{rule,          all.parameters, all.states[0],
                              all.states[1], all.states[2],  all.gradient}(i);
    }
};

namespace {

template <class T, class Rule>
void apply(Stream& stream, const RuleNumbers<T>* rules, const Now* now, const Tensors<T>& all, index n) {
    elementwise(stream, n, ApplyNow<T, Rule>{rules, now, all});
}

}  // namespace

template <class T>
Rule<T> rule_of(const UpdateSpec& spec, index step) {
    device::Rule<T> result;
    optim::with_update_rule<T>(spec, step, [&](const auto& rule) {
        using Own = std::decay_t<decltype(rule)>;
        static_assert(sizeof(Own) <= sizeof(RuleNumbers<T>) && std::is_trivially_copyable_v<Own>);
        result.apply = apply<T, Own>;
        std::memcpy(result.of_step.numbers, &rule, sizeof(Own));
    });
    if (result.apply == nullptr)
        throw std::invalid_argument(expected("device", "an optimizer whose rule is elementwise",
                                             "one that needs whole tensors; use device='cpu'"));
    return result;
}

template Rule<float> rule_of(const UpdateSpec&, index);
template Rule<double> rule_of(const UpdateSpec&, index);

}  // namespace fnn::FNN_ISA::device
