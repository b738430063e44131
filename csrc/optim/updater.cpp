#include "optim/updater.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "expected.h"

namespace fnn {

namespace {

template <class T>
Segment<T> segment_of(const TensorView& tensor) {
    Segment<T> s;
    s.parameters = static_cast<T*>(tensor.parameters);
    s.length = tensor.length;
    s.parameter_places = tensor.places;
    s.dims = tensor.dims;
    s.shape = tensor.shape;
    s.fortran = tensor.fortran;
    return s;
}

// How many numbers state k of a tensor has.
template <class T>
index state_length(const UpdateSpec& update, int k, const Segment<T>& s) {
    if (update.kind != UpdateKind::adafactor) return s.length;
    if (s.dims < 2) return k == 0 ? s.length : 0;
    index n = 1;
    for (int d = 0; d < s.dims; ++d) {
        const int axis = s.fortran ? s.dims - 1 - d : d;
        if (axis != s.dims - 1 - k) n *= s.shape[d];  // averages over the last axis, and over that before it
    }
    return n;
}

}  // namespace

Units units_along(index axis, const std::vector<index>& shape, bool fortran) {
    const index dims = index(shape.size());
    Units units;
    if (axis < 0) axis += dims;
    if (fortran) axis = dims - 1 - axis;
    if (dims <= 1)
        axis = -1;
    else
        units.count = shape[std::size_t(axis)];
    for (index d = axis + 1; d < dims; ++d) units.inner *= shape[std::size_t(d)];
    return units;
}

Updater::Updater(const std::vector<TensorView>& tensors, const std::vector<int>& group_of, int n_groups)
    : missed(tensors.size(), 0), n_groups_(n_groups) {
    if (group_of.size() != tensors.size())
        throw std::invalid_argument(
            expected("group_of", std::to_string(tensors.size()) + " items", std::to_string(group_of.size())));
    all_.for_types([&](auto& all, auto zero) {
        using T = decltype(zero);
        for (int group = 0; group < n_groups; ++group) {
            for (std::size_t i = 0; i < tensors.size(); ++i)
                if (group_of[i] == group && tensors[i].is_float64 == (sizeof(T) == 8))
                    all.add(segment_of<T>(tensors[i]), i);
            all.groups.push_back({{}, true, index(all.segments.size()), 0});
        }
    });
}

void Updater::set_updates(std::vector<GroupUpdate> updates, index ahead) {
    states_are_checked_ = false;
    updates_ = std::move(updates);
    first_ = steps;
    end_ = steps + ahead;
    all_.for_types([&](auto& all, auto) {
        for (std::size_t g = 0; g < updates_.size(); ++g) {
            all.groups[g].update = updates_[g].update.value_or(UpdateSpec{});
            all.groups[g].frozen = !updates_[g].update;
        }
    });
}

void Updater::set_rates(const std::vector<double>& rates) {
    all_.for_types([&](auto& all, auto) {
        for (std::size_t g = 0; g < rates.size(); ++g) all.groups[g].update.lr = rates[g];
    });
}

void Updater::set_states(const std::vector<std::vector<VectorView>>& states) {
    states_are_checked_ = false;
    all_.for_types([&](auto& all, auto zero) {
        using T = decltype(zero);
        for (std::size_t s = 0; s < all.segments.size(); ++s)
            for (std::size_t k = 0; k < std::size_t(max_states); ++k) {
                const VectorView state = k < states.size() ? states[k][all.tensors[s]] : VectorView{};
                all.segments[s].states[k] = static_cast<T*>(state.numbers);
                all.segments[s].state_lengths[k] = state.length;
            }
    });
}

void Updater::check_states() {
    all_.for_types([&](auto& all, auto) {
        all.for_tensors([&](const auto& segment, std::size_t, const Group& group) {
            const UpdateSpec& update = group.update;
            if (group.frozen) return;
            if (update.kind == UpdateKind::muon && segment.dims != 2)
                throw std::invalid_argument(expected("update 'muon'", "tensors that are matrices",
                                                     std::to_string(segment.dims) + " dimensions"));
            for (int k = 0; k < update.states; ++k) {
                const index length = state_length(update, k, segment), came = segment.state_lengths[k];
                if ((segment.states[k] == nullptr && length > 0) || came != length)
                    throw std::invalid_argument(expected("states[" + std::to_string(k) + "]",
                                                         std::to_string(length) + " numbers",
                                                         std::to_string(came)));
            }
        });
    });
    states_are_checked_ = true;
}

void Updater::check_schedules() const {
    for (const GroupUpdate& group : updates_)
        if (!group.schedules.empty() && (steps < first_ || steps >= end_))
            throw std::invalid_argument(expected("steps",
                                                 std::to_string(first_) + " to " + std::to_string(end_ - 1) +
                                                     ", for which there are hyper-parameters",
                                                 std::to_string(steps)));
}

void Updater::set_numbers_of_step() {
    all_.for_types([&](auto& all, auto) {
        for (std::size_t g = 0; g < updates_.size(); ++g)
            for (const Schedule& schedule : updates_[g].schedules)
                all.groups[g].update.*schedule.number = schedule.values[steps - first_];
        for (std::size_t g = 0; in_part_ && g < all.part.groups.size(); ++g)
            all.part.groups[g].update = all.groups[all.part.group_of[g]].update;
    });
}

template <class T>
Step<T> Updater::step_of(const All<T>& all, const Loops& loops, const GradientMap& map) const {
    const Groups<T>& of = in_part_ ? all.part : static_cast<const Groups<T>&>(all);
    return {of.view(), of.groups.data(), index(of.groups.size()), steps, map, all.scratch, loops.stream};
}

// Collects the tensors that are present, where some are not or have made fewer steps than others: tensors of
// a group that have made as many are one of `part`.
void Updater::take_part() {
    const auto all_are = [](const auto& list, auto value) {
        return std::all_of(list.begin(), list.end(), [&](auto x) { return x == value; });
    };
    in_part_ = !all_are(present_, true) || !all_are(missed, index{0});
    if (!in_part_) return;
    all_.for_types([&](auto& all, auto) {
        auto& part = all.part;
        part = {};
        std::vector<std::size_t> mine;
        for (std::size_t g = 0, s = 0; g < all.groups.size(); ++g) {
            mine.clear();
            for (; index(s) < all.groups[g].end; ++s)
                if (present_[all.tensors[s]] && !all.groups[g].frozen) mine.push_back(s);
            const auto missed_by = [&](std::size_t k) { return missed[all.tensors[k]]; };
            std::stable_sort(mine.begin(), mine.end(),
                             [&](std::size_t k, std::size_t l) { return missed_by(k) < missed_by(l); });
            for (std::size_t k = 0; k < mine.size(); ++k) {
                part.add(all.segments[mine[k]], all.tensors[mine[k]]);
                const bool last = k + 1 == mine.size() || missed_by(mine[k]) != missed_by(mine[k + 1]);
                if (!last) continue;
                part.groups.push_back(all.groups[g]);
                part.groups.back().end = index(part.segments.size());
                part.groups.back().missed = missed_by(mine[k]);
                part.group_of.push_back(g);
            }
        }
    });
}

void Updater::begin(const Loops& loops, const std::vector<GradientView>& gradients,
                    std::vector<bool> present) {
    if (!states_are_checked_) check_states();
    check_schedules();
    present_ = std::move(present);
    all_.for_types([&](auto& all, auto zero) {
        using T = decltype(zero);
        for (std::size_t s = 0; s < all.segments.size(); ++s) {
            const GradientView& gradient = gradients[all.tensors[s]];
            all.segments[s].gradient = static_cast<const T*>(gradient.numbers);
            all.segments[s].gradient_places = gradient.places;
        }
    });
    take_part();
    all_.for_types([&](auto& all, auto zero) {
        const std::size_t bytes = loops.of(zero).step_scratch(step_of(all, loops, {}), loops.threads);
        if (bytes > 0) all.scratch = all.arena.reserve(bytes);
    });
}

void Updater::replace_gradients(const std::vector<void*>& vectors) {
    all_.for_types([&](auto& all, auto) {
        all.set_gradients(vectors);
        all.part.set_gradients(vectors);
    });
}

void Updater::update(const Loops& loops, const GradientMap& map) {
    set_numbers_of_step();
    all_.for_types([&](auto& all, auto zero) {
        if (!all.segments.empty()) loops.of(zero).step(step_of(all, loops, map), loops.threads, all.crew);
    });
    ++steps;
    if (!in_part_) return;
    all_.for_types([&](auto& all, auto) {
        all.for_tensors([&](const auto&, std::size_t tensor, const Group& group) {
            if (!group.frozen && !present_[tensor]) ++missed[tensor];
        });
    });
}

}  // namespace fnn
