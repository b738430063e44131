// One step of the drop-in: the update of every tensor, by the rule of its group.
#pragma once

#include <initializer_list>

#include "exec/cpu.h"
#include "optim/segments.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::optim {

using exec::Exec;

constexpr index line_bytes = 64;

// The rule on some numbers of one tensor; one that reads no gradient needs none.
template <class T, class Rule>
inline void apply_to_segment(const Rule& rule, const Segment<T>& s, Range numbers, const GradientMap& map) {
    const bool strided = s.parameter_places.dims != 0;
    if (!strided && s.gradient_places.dims == 0 && !map.changes()) {
        Stretch<T> all{s.parameters, s.gradient != nullptr ? s.gradient : s.parameters, {}};
        for (int k = 0; k < Rule::states; ++k) all.states[k] = s.states[k];
        // First up to where a line of the cache begins: vectors that cross lines cost a third of the speed.
        const index odd = index(reinterpret_cast<std::uintptr_t>(s.parameters + numbers.begin) % line_bytes);
        const index head = exec::min(odd == 0 ? 0 : (line_bytes - odd) / index(sizeof(T)), numbers.size());
        const index cut = numbers.begin + head;
        for (const Range part : {Range{numbers.begin, cut}, Range{cut, numbers.end}}) apply(rule, all, part);
        return;
    }
    alignas(64) T parameters[tile_length], gradient[tile_length];
    for (index at = numbers.begin; at < numbers.end; at += tile_length) {
        const Range here{at, exec::min(at + tile_length, numbers.end)};
        Stretch<T> tile{s.parameters + at, nullptr, {}};
        if (strided) {
            gather(parameters, s.parameters, s.parameter_places, here);
            tile.parameters = parameters;
        }
        tile.gradient = s.gradient != nullptr ? gradient_of(s, here, map, gradient) : tile.parameters;
        for (int k = 0; k < Rule::states; ++k) tile.states[k] = s.states[k] + at;
        apply(rule, tile, {0, here.size()});
        if (strided) scatter(s.parameters, s.parameter_places, here, parameters);
    }
}

// This thread's part of a step. All numbers of all tensors are one row, cut where the team's size says: where
// it is cut changes no bits of an elementwise rule.
template <class T>
inline void step(Exec& exec, const Step<T>& now) {
    constexpr index line =
        line_bytes / index(sizeof(T));  // no two threads write to one, if tensors begin there
    const Segments<T>& all = now.segments;
    const Range lines = exec.share(exec::divide_up(all.size(), line));
    const Range mine{lines.begin * line, exec::min(lines.end * line, all.size())};
    index begin = 0;
    for (const Group* group = now.groups; group < now.groups + now.n_groups; ++group) {
        const Range numbers{all.starts[begin], all.starts[group->end]};
        begin = group->end;
        if (group->frozen) continue;
        with_update<T>(group->update, now.step, [&](const auto& rule) {
            for_segments(all, exec::intersect(mine, numbers),
                         [&](const Segment<T>& s, Range r) { apply_to_segment(rule, s, r, now.gradient); });
        });
    }
}

// Not interrupted: a step is made whole.
template <class T>
void step_all(const Step<T>& now, int threads) {
    constexpr index smallest_shared = 50 * 1000;
    exec::run(now.segments.size() < smallest_shared ? 1 : threads, nullptr,
              [&](Exec& exec) { step(exec, now); });
}

}  // namespace fnn::FNN_ISA::optim
