// Updates as Python gives them: a name with hyper-parameters, and states.
#pragma once

#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "optim/spec.h"

namespace fnn::bindings {

// The hyper-parameters that change from step to step; the arrays hold their values.
struct Schedules {
    index steps;
    std::vector<Schedule> list;
    std::vector<py::array> arrays;
};

// The update that ("adam", {"beta1": ..., ...}) names, each a number, or with `schedules` an array (steps,).
UpdateSpec update_of(const py::tuple& update, Schedules* schedules = nullptr);

// Its learning rate: a number, or an array (steps,).
void set_rate(UpdateSpec& update, const py::object& lr, Schedules& schedules);

// The states of an update: as many arrays of n numbers as it needs. Gives the arrays, which live as long as
// that.
template <class T>
std::vector<py::array> states_of(const UpdateSpec& spec, const py::list& state, index n, T** pointers) {
    if (needs_whole_tensors(spec.kind))
        throw py::value_error(expected("update", "one of numbers in a row", "one of whole tensors"));
    if (int(py::len(state)) != spec.states)
        throw py::value_error(
            expected("state", std::to_string(spec.states) + " arrays", std::to_string(py::len(state))));
    std::vector<py::array> arrays;
    for (int k = 0; k < spec.states; ++k) {
        const std::string name = "state[" + std::to_string(k) + "]";
        const py::object item = state[std::size_t(k)];
        if (!py::isinstance<py::array>(item)) throw py::type_error(expected(name, "an array", type_of(item)));
        arrays.push_back(py::reinterpret_borrow<py::array>(item));
        pointers[k] = to_write<T>(arrays.back(), name.c_str(), {n});
    }
    return arrays;
}

}  // namespace fnn::bindings
