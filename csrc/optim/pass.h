// What is done with tensors beside the update: copies, means, the moves of Lookahead and SAM.
#pragma once

#include "optim/step.h"

namespace fnn::FNN_ISA::optim {

template <class T, class F>
inline void with_pass(const Pass<T>& pass, const F& f) {
    switch (pass.kind) {
        case PassKind::remember:
            return f(rules::Remember<T, false>{});
        case PassKind::remember_gradient:
            return f(rules::Remember<T, true>{});
        case PassKind::restore:
            return f(rules::Restore<T>{});
        case PassKind::average:
            return f(rules::Average<T, false>{T(pass.weight)});
        case PassKind::average_gradient:
            return f(rules::Average<T, true>{T(pass.weight)});
        case PassKind::lookahead:
            return f(rules::Lookahead<T>{T(pass.weight)});
        case PassKind::ascend:
            return f(rules::Ascend<T>{});
    }
}

// This thread's part of all numbers of all tensors as one row, cut where the team's size says: where it is
// cut changes no bits of an elementwise rule.
template <class T>
inline Range own_numbers(const Exec& exec, const Segments<T>& all) {
    constexpr index line =
        line_bytes / index(sizeof(T));  // no two threads write to one, if tensors begin there
    const Range lines = exec.share(exec::divide_up(all.size(), line));
    return {lines.begin * line, exec::min(lines.end * line, all.size())};
}

// Not interrupted: it is part of a step.
template <class T>
void pass_all(const Pass<T>& pass, int threads) {
    const Segments<T>& all = pass.segments;
    with_pass<T>(pass, [&](const auto& rule) {
        exec::run(all.size() < smallest_shared ? 1 : threads, nullptr, [&](Exec& exec) {
            for_segments(all, own_numbers(exec, all),
                         [&](const Segment<T>& s, Range r) { apply_to_segment(rule, s, r, pass.gradient); });
        });
    });
}

}  // namespace fnn::FNN_ISA::optim
