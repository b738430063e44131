// One step of the drop-in: the update of every tensor, by the rule of its group.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "optim/adafactor.h"
#include "optim/lamb.h"
#include "optim/muon.h"
#include "optim/segments.h"
#include "optim/update.h"
#include "optim/whole.h"

namespace fnn::FNN_ISA::optim {

template <class Rule>
struct RuleType {
    using type = Rule;
};

constexpr index line_bytes = 64;

// The rule on some numbers of one tensor; one that reads no gradient needs none.
template <class T>
void apply_to_segment(const Update<T>& rule, const Segment<T>& s, Range numbers, const GradientMap& map) {
    const bool strided = s.parameter_places.dims != 0;
    if (!strided && s.gradient_places.dims == 0 && !map.changes()) {
        Stretch<T> all{s.parameters, s.gradient != nullptr ? s.gradient : s.parameters, {}};
        for (int k = 0; k < rule.states; ++k) all.states[k] = s.states[k];
        // First up to where a line of the cache begins: vectors that cross lines cost a third of the speed.
        const index odd = index(reinterpret_cast<std::uintptr_t>(s.parameters + numbers.begin) % line_bytes);
        const index head = exec::min(odd == 0 ? 0 : (line_bytes - odd) / index(sizeof(T)), numbers.size());
        const index cut = numbers.begin + head;
        for (const Range part : {Range{numbers.begin, cut}, Range{cut, numbers.end}}) rule.apply(all, part);
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
        for (int k = 0; k < rule.states; ++k) tile.states[k] = s.states[k] + at;
        rule.apply(tile, {0, here.size()});
        if (strided) scatter(s.parameters, s.parameter_places, here, parameters);
    }
}

// f(group, whether its tensors are needed whole) for all groups that are not left alone.
template <class T, class F>
inline void for_groups(const Step<T>& now, const F& f) {
    index begin = 0;
    for (const Group* group = now.groups; group < now.groups + now.n_groups; ++group) {
        const GroupStep<T> part{now.segments.list + begin, now.segments.starts + begin,
                                group->end - begin,        group->update,
                                now.step - group->missed,  now.gradient};
        begin = group->end;
        if (!group->frozen && part.size() > 0) f(part, needs_whole_tensors(group->update.kind));
    }
}

// f(rule) with the type of a rule that needs whole tensors.
template <class T, class F>
inline void with_whole_rule(UpdateKind kind, const F& f) {
    if (kind == UpdateKind::lamb) f(RuleType<Lamb<T>>{});
    if (kind == UpdateKind::adafactor) f(RuleType<Adafactor<T>>{});
    if (kind == UpdateKind::muon) f(RuleType<Muon<T>>{});
}

// Bytes of the scratch memory of a step, and the place of each group in it.
template <class T, class F>
inline std::size_t for_whole_groups(const Step<T>& now, int threads, const F& f) {
    std::size_t place = 0;
    for_groups(now, [&](const GroupStep<T>& group, bool whole) {
        if (!whole) return;
        with_whole_rule<T>(group.update.kind, [&](auto rule) {
            f(group, rule, place);
            const std::size_t bytes = decltype(rule)::type::scratch(group, threads);
            place += (bytes + line_bytes - 1) / line_bytes * line_bytes;
        });
    });
    return place;
}

template <class T>
std::size_t step_scratch(const Step<T>& now, int threads) {
    return for_whole_groups(now, threads, [](const auto&...) {});
}

// This thread's part of a step. All numbers of the elementwise groups are one row, cut where the team's size
// says: where it is cut changes no bits of an elementwise rule.
template <class T>
inline void step(Exec& exec, const Step<T>& now, int threads) {
    constexpr index line =
        line_bytes / index(sizeof(T));  // no two threads write to one, if tensors begin there
    const Segments<T>& all = now.segments;
    index numbers = 0;
    for_groups(now, [&](const GroupStep<T>& group, bool whole) { numbers += whole ? 0 : group.size(); });
    const Range lines = exec.share(exec::divide_up(numbers, line));
    index before = 0;  // of the row
    for_groups(now, [&](const GroupStep<T>& group, bool whole) {
        if (whole) return;
        const index first = group.starts[0] - before;  // of all numbers, where the row begins
        const Range mine = exec::intersect({lines.begin * line + first, lines.end * line + first},
                                           {group.starts[0], group.starts[group.count]});
        before += group.size();
        if (mine.empty()) return;
        const Update<T> rule = update_of<T>(group.update, group.step);
        for_segments(all, mine,
                     [&](const Segment<T>& s, Range r) { apply_to_segment(rule, s, r, now.gradient); });
    });
    for_whole_groups(now, threads, [&](const GroupStep<T>& group, auto rule, std::size_t place) {
        typename decltype(rule)::type(group, static_cast<char*>(now.scratch) + place, threads).step(exec);
    });
}

constexpr index smallest_shared = 50 * 1000;  // numbers

// By up to so many threads, as the crew of these tensors' steps finds worth having. Not interrupted: a step
// is made whole.
template <class T>
void step_all(const Step<T>& now, int threads, Crew& crew) {
    double numbers = 0;  // as much work as that many in an elementwise rule
    for_groups(now, [&](const GroupStep<T>& group, bool) {
        numbers += group.update.kind == UpdateKind::muon ? Muon<T>::work(group) / 16 : double(group.size());
    });
    if (threads == 1 || numbers < double(smallest_shared))
        return exec::run(1, nullptr, [&](Exec& exec) { step(exec, now, threads); });
    crew.begin(threads, index(numbers));
    exec::run(crew.size(), nullptr, [&](Exec& exec) {
        step(exec, now, threads);
        exec.barrier();
        if (exec.rank == 0) crew.after_step(exec.size, exec.long_wait());
    });
}

}  // namespace fnn::FNN_ISA::optim
