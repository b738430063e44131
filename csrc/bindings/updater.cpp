#include "bindings/updater.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>

namespace fnn::bindings {

namespace {

void check_items(const char* name, std::size_t expected_items, std::size_t came, const char* what = "") {
    if (came != expected_items)
        throw py::value_error(
            expected(name, std::to_string(expected_items) + " items" + what, std::to_string(came)));
}

}  // namespace

Loops loops_of_call() {
    const Table& table = current_table();
    return {table.float32, table.float64, get_num_threads()};
}

BoundUpdater::BoundUpdater(std::shared_ptr<Tensors> of, const std::vector<int>& group_of, int n_groups)
    : tensors(std::move(of)), core(tensors->views(), group_of, n_groups) {}

void BoundUpdater::set_updates(const py::list& updates, index ahead) {
    const Tensors::Use use(*tensors);
    check_items("updates", std::size_t(core.n_groups()), updates.size());
    need_at_least(1, ahead, "steps");
    std::vector<GroupUpdate> groups;
    std::vector<py::array> arrays;
    for (const auto& item : updates) {
        GroupUpdate& group = groups.emplace_back();
        if (item.is_none()) continue;
        const auto [name_and_numbers, lr] = py::cast<std::pair<py::tuple, py::object>>(item);
        Schedules schedules{ahead, {}, {}};
        group.update = update_of(name_and_numbers, &schedules);
        set_rate(*group.update, lr, schedules);
        group.schedules = std::move(schedules.list);
        arrays.insert(arrays.end(), schedules.arrays.begin(), schedules.arrays.end());
    }
    core.set_updates(std::move(groups), ahead);
    schedules_ = std::move(arrays);
}

void BoundUpdater::set_rates(const std::vector<double>& rates) {
    const Tensors::Use use(*tensors);
    check_items("rates", std::size_t(core.n_groups()), rates.size());
    core.set_rates(rates);
}

void BoundUpdater::set_states(const py::list& states) {
    const Tensors::Use use(*tensors);
    if (states.size() > max_states)
        throw py::value_error(expected("states", "at most " + std::to_string(max_states) + " items",
                                       std::to_string(states.size())));
    std::vector<std::vector<VectorView>> views;
    std::vector<py::array> arrays;
    for (std::size_t k = 0; k < states.size(); ++k) {
        const auto list = py::cast<py::list>(states[k]);
        check_items(("states[" + std::to_string(k) + "]").c_str(), tensors->size(), list.size(),
                    ", one for each tensor");
        views.emplace_back(tensors->size());
        for (std::size_t i = 0; i < tensors->size(); ++i) {
            if (list[i].is_none()) continue;
            py::array& array = arrays.emplace_back(py::cast<py::array>(list[i]));
            views[k][i] = tensors->vector_of(i, array, "a state", array.size());
        }
    }
    core.set_states(views);
    states_ = std::move(arrays);
}

void BoundUpdater::set_missed(const std::vector<index>& missed) {
    check_items("missed", tensors->size(), missed.size(), ", one for each tensor");
    core.missed = missed;
}

void BoundUpdater::step(const py::object& grads, std::uintptr_t stream, bool waits) {
    const Tensors::Use use(*tensors);
    tensors->read(grads, Tensors::None::nothing, stream);
    Loops loops = loops_of_call();
    const Device* const device = tensors->device();
    if (device != nullptr)
        loops = {device->table.float32, device->table.float64, 1, reinterpret_cast<void*>(stream)};
    core.begin(loops, tensors->gradients(), tensors->present());
    const WithoutGil released;
    const On on(device);
    core.update(loops, {});
    if (device != nullptr && waits) device->wait();
}

void register_updater(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<BoundUpdater, std::shared_ptr<BoundUpdater>>(m, "Updater")
        .def(py::init(
                 [](const std::shared_ptr<Tensors>& tensors, const std::vector<int>& group_of, int n_groups) {
                     return std::make_shared<BoundUpdater>(tensors, group_of, n_groups);
                 }),
             "tensors"_a, "group_of"_a, "n_groups"_a)
        .def("set_updates", &BoundUpdater::set_updates, "updates"_a, "steps"_a)
        .def("set_rates", &BoundUpdater::set_rates, "rates"_a)
        .def("set_states", &BoundUpdater::set_states, "states"_a)
        .def("step", &BoundUpdater::step, "grads"_a, "stream"_a = 0, "waits"_a = false)
        .def_property(
            "steps", [](const BoundUpdater& self) { return self.core.steps; },
            [](BoundUpdater& self, index steps) { self.core.steps = steps; })
        .def_property(
            "missed", [](const BoundUpdater& self) { return self.core.missed; }, &BoundUpdater::set_missed);
}

}  // namespace fnn::bindings
