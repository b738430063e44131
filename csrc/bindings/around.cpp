#include "bindings/around.h"

#include <pybind11/stl.h>

#include <utility>

namespace fnn::bindings {

namespace {

const char* name_of(Kept kind) {
    switch (kind) {
        case Kept::gradient:
            return "gradient";
        case Kept::average:
            return "average";
        case Kept::slow:
            return "slow";
        case Kept::original:
            return "original";
    }
    return "";
}

}  // namespace

BoundAround::BoundAround(std::shared_ptr<BoundUpdater> of) : core(of->core), updater_(std::move(of)) {}

void BoundAround::set_options(const AroundOptions& options) {
    const Tensors::Use use(tensors());
    core.options = options;
}

void BoundAround::reserve(Kept kind) {
    std::vector<py::array>& arrays = arrays_[std::size_t(kind)];
    if (!arrays.empty()) return;
    std::vector<py::array> made;
    std::vector<void*> views;
    for (const py::array& array : tensors().arrays()) {
        made.push_back(py::array(array.dtype(), std::vector<index>{array.size()}));
        views.push_back(made.back().mutable_data());
    }
    core.keep(kind, std::move(views));
    arrays = std::move(made);
}

void BoundAround::release() {
    core.forget();
    for (const Kept kind : all_kept)
        if (!core.needs(kind)) arrays_[std::size_t(kind)].clear();
}

// All that can fail, and nothing that changes what a later step gives.
void BoundAround::begin(const py::object& grads, const Loops& loops) {
    for (const Kept kind : all_kept)
        if (core.needs(kind)) reserve(kind);
    tensors().read(grads, Tensors::None::zeros);
    core.begin(loops, tensors().gradients(), tensors().present(),
               core.options.clip_units ? tensors().units(core.options.unit_axis) : std::vector<Units>{});
}

void BoundAround::step(const py::object& grads) {
    const Tensors::Use use(tensors());
    core.check_step();
    const Loops loops = loops_of_call();
    begin(grads, loops);
    {
        const WithoutGil released;
        core.step(loops);
    }
    release();
}

void BoundAround::ascend(const py::object& grads) {
    const Tensors::Use use(tensors());
    core.check_ascend();
    const Loops loops = loops_of_call();
    begin(grads, loops);
    const WithoutGil released;
    core.ascend(loops);
}

void BoundAround::descend() {
    const Tensors::Use use(tensors());
    const Loops loops = loops_of_call();
    const WithoutGil released;
    core.descend(loops);
}

void BoundAround::show_averages() {
    const Tensors::Use use(tensors());
    reserve(Kept::original);
    const Loops loops = loops_of_call();
    const WithoutGil released;
    core.show_averages(loops);
}

void BoundAround::show_parameters() {
    const Tensors::Use use(tensors());
    const Loops loops = loops_of_call();
    {
        const WithoutGil released;
        core.show_parameters(loops);
    }
    release();
}

py::dict BoundAround::buffers() {
    const Tensors::Use use(tensors());
    release();
    py::dict all;
    for (const Kept kind : all_kept) {
        if (!core.holds(kind)) continue;
        py::list vectors;
        for (std::size_t i = 0; i < tensors().size(); ++i)
            vectors.append(kind == Kept::gradient && !core.contributes()[i]
                               ? py::object(py::none())
                               : py::object(arrays_[std::size_t(kind)][i]));
        all[name_of(kind)] = vectors;
    }
    return all;
}

void BoundAround::set_buffer(const std::string& name, const py::list& given) {
    const Tensors::Use use(tensors());
    const std::vector<py::array> parameters = tensors().arrays();
    if (given.size() != parameters.size())
        throw py::value_error(expected("arrays", "one for each tensor", std::to_string(given.size())));
    std::vector<py::array> arrays;
    std::vector<void*> views;
    std::vector<bool> present;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        py::object array = given[i];
        present.push_back(!array.is_none());
        if (array.is_none())
            array = py::module_::import("numpy").attr("zeros")(parameters[i].size(), parameters[i].dtype());
        arrays.push_back(py::cast<py::array>(array));
        views.push_back(tensors().vector_of(i, arrays[i], name.c_str(), parameters[i].size()).numbers);
    }
    for (const Kept kind : {Kept::gradient, Kept::average, Kept::slow}) {
        if (name != name_of(kind)) continue;
        core.resume(kind, std::move(views), std::move(present));
        arrays_[std::size_t(kind)] = std::move(arrays);
        return;
    }
    throw py::value_error(expected("name", "'gradient', 'average' or 'slow'", "'" + name + "'"));
}

namespace {

// What `with optimizer.averaged():` calls: in C++, so that no signal comes between.
struct Averaged : public Shared {
    explicit Averaged(std::shared_ptr<BoundAround> of) : around(std::move(of)) {}
    std::shared_ptr<BoundAround> around;
};

}  // namespace

void register_around(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<BoundAround, std::shared_ptr<BoundAround>> around(m, "Around");
    around
        .def(py::init([](const std::shared_ptr<BoundUpdater>& updater) {
                 return std::make_shared<BoundAround>(updater);
             }),
             "updater"_a)
        .def(
            "set_options",
            [](BoundAround& self, bool maximize, std::optional<double> clip_norm,
               std::optional<double> clip_value, std::optional<double> clip_units, index unit_axis,
               bool skip_nonfinite, index accumulate, std::optional<double> ema, std::optional<index> swa,
               std::optional<std::pair<index, double>> lookahead, std::optional<double> sam) {
                self.set_options({maximize, clip_norm, clip_value, clip_units, unit_axis, skip_nonfinite,
                                  accumulate, ema, swa, lookahead, sam});
            },
            py::kw_only(), "maximize"_a, "clip_norm"_a, "clip_value"_a, "clip_units"_a, "unit_axis"_a,
            "skip_nonfinite"_a, "accumulate"_a, "ema"_a, "swa"_a, "lookahead"_a, "sam"_a)
        .def_property_readonly("grad_norm", [](const BoundAround& self) { return self.core.grad_norm; })
        .def("step", &BoundAround::step, "grads"_a)
        .def("ascend", &BoundAround::ascend, "grads"_a)
        .def("descend", &BoundAround::descend)
        .def(
            "check_at_rest",
            [](const BoundAround& self, const std::string& what) { self.core.check_at_rest(what); }, "what"_a)
        .def("buffers", &BoundAround::buffers)
        .def("set_buffer", &BoundAround::set_buffer, "name"_a, "arrays"_a);
    const auto count = [&](const char* name, index Around::* number) {
        around.def_property(
            name, [number](const BoundAround& self) { return self.core.*number; },
            [number](BoundAround& self, index n) { self.core.*number = n; });
    };
    count("skipped", &Around::skipped);
    count("accumulated", &Around::accumulated);
    count("averaged", &Around::averaged);
    count("since_lookahead", &Around::since_lookahead);
    py::class_<Averaged, std::shared_ptr<Averaged>>(m, "Averaged")
        .def(py::init([](const std::shared_ptr<BoundAround>& of) { return std::make_shared<Averaged>(of); }),
             "around"_a)
        .def("__enter__", [](Averaged& self) { self.around->show_averages(); })
        .def("__exit__", [](Averaged& self, const py::args&) { self.around->show_parameters(); });
}

}  // namespace fnn::bindings
