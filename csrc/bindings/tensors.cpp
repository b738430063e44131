#include "bindings/tensors.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace fnn::bindings {

namespace {

bool is_aligned(const py::array& x) {
    return reinterpret_cast<std::uintptr_t>(x.data()) % std::size_t(x.itemsize()) == 0;
}

bool is_dense(const py::array& x, int flag) { return (x.flags() & flag) != 0 && is_aligned(x); }

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

Tensors::Tensors(const py::object& params, py::object convert)
    : tree_(params, "params"), convert_(std::move(convert)) {
    if (tree_.size() == 0) throw py::value_error(expected("params", "at least one array", "none"));
    std::vector<NamedArray> named;
    tensors_.reserve(tree_.size());
    for (std::size_t i = 0; i < tree_.size(); ++i) {
        const std::string path = tree_.path(i, "params");
        py::object leaf = tree_.first_leaves()[i];
        if (!py::isinstance<py::array>(leaf)) leaf = convert_(leaf, path);
        const auto array = py::reinterpret_borrow<py::array>(leaf);
        const bool is_float64 =
            with_type_of(array, path.c_str(), [](auto zero) { return sizeof(zero) == 8; });
        check_writeable(array, path.c_str());
        check_own_places(array, path);
        named.emplace_back(path, array);

        Tensor& t = tensors_.emplace_back();
        t.array = array;
        t.is_float64 = is_float64;
        const bool c = is_dense(array, py::array::c_style);
        t.fortran = !c && is_dense(array, py::array::f_style);
        t.shape = shape_of(array);
        t.strides = {array.strides(), array.strides() + array.ndim()};
        t.gradient_strides = t.strides;
        if (t.fortran) {
            std::reverse(t.shape.begin(), t.shape.end());
            std::reverse(t.strides.begin(), t.strides.end());
        }
        if (!c && !t.fortran && array.size() > 0)
            t.places = {int(array.ndim()), t.shape.data(), t.strides.data()};
        spans_.emplace_back(span_of(array), i);
    }
    check_apart(named);
    std::sort(spans_.begin(), spans_.end(),
              [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
    for (std::size_t k = 1; k < spans_.size(); ++k)
        spans_are_apart_ = spans_are_apart_ && spans_[k - 1].first.end <= spans_[k].first.begin;
}

Tensors::Use::Use(Tensors& tensors) : tensors_(tensors) {
    if (tensors.in_use_) throw std::runtime_error("these parameters are being updated by another call");
    tensors.in_use_ = true;
}

Tensors::Use::~Use() {
    tensors_.gradients_.clear();
    tensors_.in_use_ = false;
}

std::vector<py::array> Tensors::arrays() const {
    std::vector<py::array> all;
    for (const Tensor& t : tensors_) all.push_back(t.array);
    return all;
}

std::vector<std::string> Tensors::paths() const {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < size(); ++i) all.push_back(path(i));
    return all;
}

std::vector<std::string> Tensors::keys() const {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < size(); ++i) all.push_back(tree_.key(i));
    return all;
}

std::vector<bool> Tensors::are_fortran() const {
    std::vector<bool> all;
    for (const Tensor& t : tensors_) all.push_back(t.fortran);
    return all;
}

Units Tensors::units(std::size_t i, index axis) const {
    const Tensor& t = tensors_[i];
    const index dims = t.array.ndim();
    if (dims <= 1) return {1, t.array.size()};
    if (axis < -dims || axis >= dims)
        throw py::value_error(expected("unit_axis",
                                       std::to_string(-dims) + " to " + std::to_string(dims - 1) + ", as " +
                                           path(i) + " has shape " + shape_text(shape_of(t.array)),
                                       std::to_string(axis)));
    if (axis < 0) axis += dims;
    if (t.fortran) axis = dims - 1 - axis;
    Units units{t.shape[std::size_t(axis)], 1};
    for (index d = axis + 1; d < dims; ++d) units.inner *= t.shape[std::size_t(d)];
    return units;
}

void Tensors::read(const py::object& grads, None none) {
    tree_.read(grads, "grads", leaves_);
    gradients_.resize(size());
    present_.assign(size(), true);
    for (std::size_t i = 0; i < size(); ++i) read_gradient(i, leaves_[i], none);
    leaves_.clear();
}

void Tensors::read_gradient(std::size_t i, py::object& leaf, None none) {
    const auto path = [&] { return tree_.path(i, "grads"); };
    if (leaf.is_none()) {
        present_[i] = false;
        if (none == None::nothing) {
            gradients_[i] = py::reinterpret_steal<py::array>(py::handle());
            return;
        }
        const py::array& like = tensors_[i].array;
        leaf = py::module_::import("numpy").attr("zeros")(shape_of(like), like.dtype());
    }
    if (!py::isinstance<py::array>(leaf)) leaf = convert_(leaf, path());
    gradients_[i] = py::reinterpret_borrow<py::array>(leaf);
    const py::array& g = gradients_[i];
    Tensor& t = tensors_[i];
    if (g.ndim() != t.array.ndim() || !std::equal(g.shape(), g.shape() + g.ndim(), t.array.shape()))
        throw py::value_error(expected(path(),
                                       "shape " + shape_text(shape_of(t.array)) + ", that of its parameter",
                                       shape_text(shape_of(g))));
    if (py::detail::array_proxy(g.ptr())->descr != py::detail::array_proxy(t.array.ptr())->descr &&
        !g.dtype().equal(t.array.dtype()))
        throw py::type_error(expected(path(), "dtype " + text_of(t.array.dtype()) + ", that of its parameter",
                                      text_of(g.dtype())));
    check_apart_from_parameters(g, i);
    if (g.size() == 0 || is_dense(g, t.fortran ? py::array::f_style : py::array::c_style)) {
        t.gradient_places = {};
        return;
    }
    std::copy(g.strides(), g.strides() + g.ndim(), t.gradient_strides.begin());
    if (t.fortran) std::reverse(t.gradient_strides.begin(), t.gradient_strides.end());
    t.gradient_places = {int(g.ndim()), t.shape.data(), t.gradient_strides.data()};
}

void Tensors::check_apart_from_parameters(const py::array& gradient, std::size_t i) const {
    const Span own = span_of(gradient);
    if (own.begin == own.end) return;
    auto next = std::lower_bound(spans_.begin(), spans_.end(), own.end,
                                 [](const auto& span, const char* end) { return span.first.begin < end; });
    while (next != spans_.begin()) {
        --next;
        if (next->first.end <= own.begin) {
            if (spans_are_apart_) return;
            continue;
        }
        const py::array& other = tensors_[next->second].array;
        if (py::cast<bool>(py::module_::import("numpy").attr("shares_memory")(gradient, other)))
            throw py::value_error(
                expected(tree_.path(i, "grads") + " and " + tree_.path(next->second, "params"),
                         "memory of their own", "arrays that overlap"));
    }
}

Updater::Updater(std::shared_ptr<Tensors> tensors, const std::vector<int>& group_of, int n_groups)
    : tensors_(std::move(tensors)), n_groups_(n_groups) {
    if (group_of.size() != tensors_->size())
        throw py::value_error(expected("group_of", std::to_string(tensors_->size()) + " items",
                                       std::to_string(group_of.size())));
    missed.assign(tensors_->size(), 0);
    for_types([&](auto& typed) {
        using T = std::decay_t<decltype(*typed.segments[0].parameters)>;
        for (int group = 0; group < n_groups; ++group) {
            for (std::size_t i = 0; i < group_of.size(); ++i) {
                if (group_of[i] != group || tensors_->is_float64(i) != (sizeof(T) == 8)) continue;
                typed.segments.push_back(tensors_->segment<T>(i));
                typed.starts.push_back(typed.starts.back() + typed.segments.back().length);
                typed.tensors.push_back(i);
            }
            typed.groups.push_back({{}, true, index(typed.segments.size()), 0});
        }
    });
}

void Updater::set_updates(const py::list& updates, index ahead) {
    const Tensors::Use use(*tensors_);
    states_are_checked_ = false;
    if (int(updates.size()) != n_groups_)
        throw py::value_error(
            expected("updates", std::to_string(n_groups_) + " items", std::to_string(updates.size())));
    need_at_least(1, ahead, "steps");
    schedules_.assign(std::size_t(n_groups_), {ahead, {}, {}});
    first_ = steps;
    end_ = steps + ahead;
    for (int group = 0; group < n_groups_; ++group) {
        const py::object update = updates[std::size_t(group)];
        UpdateSpec spec;
        if (!update.is_none()) {
            const auto [name_and_numbers, lr] = py::cast<std::pair<py::tuple, py::object>>(update);
            Schedules& schedules = schedules_[std::size_t(group)];
            spec = update_of(name_and_numbers, &schedules);
            set_rate(spec, lr, schedules);
        }
        for_types([&](auto& typed) {
            typed.groups[std::size_t(group)].update = spec;
            typed.groups[std::size_t(group)].frozen = update.is_none();
        });
    }
}

void Updater::set_rates(const std::vector<double>& rates) {
    const Tensors::Use use(*tensors_);
    if (int(rates.size()) != n_groups_)
        throw py::value_error(
            expected("rates", std::to_string(n_groups_) + " items", std::to_string(rates.size())));
    for_types([&](auto& typed) {
        for (std::size_t group = 0; group < rates.size(); ++group)
            typed.groups[group].update.lr = rates[group];
    });
}

void Updater::set_numbers_of_step() {
    for (std::size_t group = 0; group < schedules_.size(); ++group)
        for (const Schedule& schedule : schedules_[group].list)
            for_types([&](auto& typed) {
                typed.groups[group].update.*schedule.number = schedule.values[steps - first_];
            });
}

void Updater::set_states(const py::list& states) {
    const Tensors::Use use(*tensors_);
    if (states.size() > max_states)
        throw py::value_error(expected("states", "at most " + std::to_string(max_states) + " items",
                                       std::to_string(states.size())));
    held_.clear();
    states_are_checked_ = false;
    for_types([&](auto& typed) {
        using T = std::decay_t<decltype(*typed.segments[0].parameters)>;
        for (std::size_t s = 0; s < typed.segments.size(); ++s) {
            Segment<T>& segment = typed.segments[s];
            for (std::size_t k = 0; k < std::size_t(max_states); ++k) {
                segment.states[k] = nullptr;
                segment.state_lengths[k] = 0;
                if (k >= states.size()) continue;
                const auto list = py::cast<py::list>(states[k]);
                if (list.size() != tensors_->size())
                    throw py::value_error(
                        expected("states[" + std::to_string(k) + "]",
                                 std::to_string(tensors_->size()) + " items, one for each tensor",
                                 std::to_string(list.size())));
                const py::object item = list[typed.tensors[s]];
                if (item.is_none()) continue;
                held_.push_back(py::cast<py::array>(item));
                segment.state_lengths[k] = held_.back().size();
                segment.states[k] = to_write<T>(held_.back(), "a state", {held_.back().size()});
            }
        }
    });
}

void Updater::check_states() {
    for_types([&](auto& typed) {
        for (std::size_t g = 0, s = 0; g < typed.groups.size(); ++g)
            for (; index(s) < typed.groups[g].end; ++s) {
                const auto& segment = typed.segments[s];
                const UpdateSpec& update = typed.groups[g].update;
                if (typed.groups[g].frozen) continue;
                if (update.kind == UpdateKind::muon && segment.dims != 2)
                    throw py::value_error(expected("update 'muon'", "tensors that are matrices",
                                                   std::to_string(segment.dims) + " dimensions"));
                for (int k = 0; k < update.states; ++k) {
                    const std::string name = "states[" + std::to_string(k) + "]";
                    const index length = state_length(update, k, segment);
                    if ((segment.states[k] == nullptr && length > 0) || segment.state_lengths[k] != length)
                        throw py::value_error(expected(name, std::to_string(length) + " numbers",
                                                       std::to_string(segment.state_lengths[k])));
                }
            }
    });
    states_are_checked_ = true;
}

template <class T>
Step<T> Updater::step_of(const Typed<T>& typed, const GradientMap& map) const {
    const auto step = [&](const auto& of) -> Step<T> {
        return {{of.segments.data(), of.starts.data(), index(of.segments.size())},
                of.groups.data(),
                index(of.groups.size()),
                steps,
                map,
                typed.scratch};
    };
    return in_part_ ? step(typed.part) : step(typed);
}

// Collects the tensors that are present, where some are not or have made fewer steps than others: tensors of
// a group that have made as many are one of `part`.
void Updater::take_part() {
    const auto all = [](const auto& list, auto value) {
        return std::all_of(list.begin(), list.end(), [&](auto x) { return x == value; });
    };
    in_part_ = !all(present_, true) || !all(missed, index{0});
    if (!in_part_) return;
    for_types([&](auto& typed) {
        auto& part = typed.part;
        part = {{}, {0}, {}, {}, {}};
        std::vector<std::size_t> mine;
        for (std::size_t g = 0, s = 0; g < typed.groups.size(); ++g) {
            mine.clear();
            for (; index(s) < typed.groups[g].end; ++s)
                if (present_[typed.tensors[s]] && !typed.groups[g].frozen) mine.push_back(s);
            const auto missed_by = [&](std::size_t k) { return missed[typed.tensors[k]]; };
            std::stable_sort(mine.begin(), mine.end(),
                             [&](std::size_t k, std::size_t l) { return missed_by(k) < missed_by(l); });
            for (std::size_t k = 0; k < mine.size(); ++k) {
                part.segments.push_back(typed.segments[mine[k]]);
                part.starts.push_back(part.starts.back() + part.segments.back().length);
                part.tensors.push_back(typed.tensors[mine[k]]);
                const bool last = k + 1 == mine.size() || missed_by(mine[k]) != missed_by(mine[k + 1]);
                if (!last) continue;
                part.groups.push_back(typed.groups[g]);
                part.groups.back().end = index(part.segments.size());
                part.groups.back().missed = missed_by(mine[k]);
                part.group_of.push_back(g);
            }
        }
    });
}

void Updater::read(const py::object& grads, Tensors::None none, const std::vector<bool>& also) {
    if (!states_are_checked_) check_states();
    for (const Schedules& schedules : schedules_)
        if (!schedules.list.empty() && (steps < first_ || steps >= end_))
            throw py::value_error(expected("steps",
                                           std::to_string(first_) + " to " + std::to_string(end_ - 1) +
                                               ", for which there are hyper-parameters",
                                           std::to_string(steps)));
    tensors_->read(grads, none);
    present_ = tensors_->present();
    for (std::size_t i = 0; i < also.size(); ++i) present_[i] = present_[i] || also[i];
    for_types([&](auto& typed) {
        for (std::size_t s = 0; s < typed.segments.size(); ++s)
            tensors_->set_gradient(typed.segments[s], typed.tensors[s]);
    });
    take_part();
    const Table& table = current_table();
    threads_ = get_num_threads();
    for_types([&](auto& typed) {
        using T = std::decay_t<decltype(*typed.segments[0].parameters)>;
        const std::size_t bytes = functions<T>(table).step_scratch(step_of(typed, {}), threads_);
        if (bytes > 0) typed.scratch = typed.arena.reserve(bytes);
    });
}

void Updater::update(const GradientMap& map) {
    const Table& table = current_table();
    set_numbers_of_step();
    if (in_part_)
        for_types([&](auto& typed) {
            for (std::size_t g = 0; g < typed.part.groups.size(); ++g)
                typed.part.groups[g].update = typed.groups[typed.part.group_of[g]].update;
        });
    {
        const WithoutGil released;
        for_types([&](auto& typed) {
            using T = std::decay_t<decltype(*typed.segments[0].parameters)>;
            if (!typed.segments.empty()) functions<T>(table).step(step_of(typed, map), threads_);
        });
    }
    ++steps;
    if (!in_part_) return;
    for_types([&](auto& typed) {
        for (std::size_t g = 0, s = 0; g < typed.groups.size(); ++g)
            for (; index(s) < typed.groups[g].end; ++s)
                if (!typed.groups[g].frozen && !present_[typed.tensors[s]]) ++missed[typed.tensors[s]];
    });
}

void Updater::step(const py::object& grads) {
    const Tensors::Use use(*tensors_);
    read(grads);
    update({});
}

void register_tensors(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<Tensors, std::shared_ptr<Tensors>>(m, "Tensors")
        .def(py::init([](const py::object& params, const py::object& convert) {
                 return std::make_shared<Tensors>(params, convert);
             }),
             "params"_a, "convert"_a)
        .def_property_readonly("arrays", &Tensors::arrays)
        .def_property_readonly("paths", &Tensors::paths)
        .def_property_readonly("keys", &Tensors::keys)
        .def_property_readonly("are_fortran", &Tensors::are_fortran);
    py::class_<Updater, std::shared_ptr<Updater>>(m, "Updater")
        .def(py::init([](const std::shared_ptr<Tensors>& tensors, const std::vector<int>& group_of,
                         int n_groups) { return std::make_shared<Updater>(tensors, group_of, n_groups); }),
             "tensors"_a, "group_of"_a, "n_groups"_a)
        .def("set_updates", &Updater::set_updates, "updates"_a, "steps"_a)
        .def("set_rates", &Updater::set_rates, "rates"_a)
        .def("set_states", &Updater::set_states, "states"_a)
        .def("step", &Updater::step, "grads"_a)
        .def_readwrite("steps", &Updater::steps)
        .def_readwrite("missed", &Updater::missed);
}

}  // namespace fnn::bindings
