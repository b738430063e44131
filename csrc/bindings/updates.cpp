#include "bindings/updates.h"

#include <map>
#include <utility>

#include "optim/names.h"

namespace fnn::bindings {

UpdateSpec update_of(const py::tuple& given, Schedules* schedules) {
    const Named named(given, "update");
    const UpdateRule& rule = rule_named(named.name);
    UpdateSpec numbers;
    std::vector<Named::Field> fields;
    for (const NamedNumber& each : rule.numbers)
        fields.push_back({each.name, &(numbers.*each.number), each.needed});
    std::map<std::string, py::array> changing;
    named.read(std::move(fields), schedules == nullptr ? nullptr : &changing);
    if (schedules == nullptr) return update_by(rule, numbers, {});
    for (const NamedNumber& each : rule.numbers) {
        const auto found = changing.find(each.name);
        if (found == changing.end()) continue;
        const std::string full = "update '" + named.name + "': " + each.name;
        schedules->list.push_back(
            {each.number, to_read<double>(found->second, full.c_str(), {schedules->steps})});
        schedules->arrays.push_back(found->second);
    }
    return update_by(rule, numbers, schedules->list);
}

void set_rate(UpdateSpec& update, const py::object& lr, Schedules& schedules) {
    if (py::isinstance<py::array>(lr)) {
        schedules.arrays.push_back(lr);
        schedules.list.push_back(
            {&UpdateSpec::lr, to_read<double>(schedules.arrays.back(), "lr", {schedules.steps})});
    } else if (PyNumber_Check(lr.ptr()) == 0) {
        throw py::type_error(expected("lr", "a number or an array", repr_of(lr)));
    } else {
        update.lr = py::cast<double>(py::float_(lr));
    }
}

}  // namespace fnn::bindings
