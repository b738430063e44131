// What is done with tensors beside the update: copies, means, the moves of Lookahead and SAM.
#pragma once

#include "optim/step.h"

namespace fnn::FNN_ISA::optim {

template <class T>
inline Update<T> update_of_pass(const Pass<T>& pass) {
    switch (pass.kind) {
        case PassKind::remember:
            return Update<T>(rules::Remember<T, false>{});
        case PassKind::remember_gradient:
            return Update<T>(rules::Remember<T, true>{});
        case PassKind::restore:
            return Update<T>(rules::Restore<T>{});
        case PassKind::average:
            return Update<T>(rules::Average<T, false>{T(pass.weight)});
        case PassKind::average_gradient:
            return Update<T>(rules::Average<T, true>{T(pass.weight)});
        case PassKind::lookahead:
            return Update<T>(rules::Lookahead<T>{T(pass.weight)});
        case PassKind::ascend:
            return Update<T>(rules::Ascend<T>{});
    }
    return {};
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
    const Update<T> rule = update_of_pass(pass);
    exec::run(all.size() < smallest_shared ? 1 : threads, nullptr, [&](Exec& exec) {
        for_segments(all, own_numbers(exec, all),
                     [&](const Segment<T>& s, Range r) { apply_to_segment(rule, s, r, pass.gradient); });
    });
}

}  // namespace fnn::FNN_ISA::optim
