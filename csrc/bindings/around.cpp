#include "bindings/around.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

namespace fnn::bindings {

namespace {

template <class Row>
using NumberOf = std::remove_pointer_t<decltype(std::declval<Row>().segments[0].parameters)>;

}  // namespace

Around::Around(std::shared_ptr<Updater> updater) : updater_(std::move(updater)) {
    index pieces = 0;
    updater_->for_types([&](const auto& typed) {
        for (const auto& segment : typed.segments) pieces += segment.length / piece_length + 1;
    });
    arena_.reserve(std::size_t(pieces) * sizeof(double));
}

// All that can fail, and nothing that changes what a later step gives.
void Around::prepare(const py::object& grads) {
    if (accumulate > 1 || accumulated > 0 || clip_units) reserve(gradient_);
    if (ema || swa) reserve(average_);
    if (lookahead) reserve(slow_);
    if (sam) reserve(original_);
    if (accumulated == 0) contributes_.clear();
    updater_->read(grads, Tensors::None::zeros, contributes_);
    collect();
    forget();
}

void Around::collect() {
    const Tensors& tensors = updater_->tensors();
    const auto take = [&](auto& row, const auto& typed, bool with_frozen) {
        row.segments.clear();
        row.starts.assign(1, 0);
        row.tensors.clear();
        row.units.clear();
        for (std::size_t g = 0, s = 0; g < typed.groups.size(); ++g)
            for (; index(s) < typed.groups[g].end; ++s) {
                if (typed.groups[g].frozen && !with_frozen) continue;
                row.segments.push_back(typed.segments[s]);
                row.starts.push_back(row.starts.back() + typed.segments[s].length);
                row.tensors.push_back(typed.tensors[s]);
                if (clip_units) row.units.push_back(tensors.units(typed.tensors[s], unit_axis));
            }
    };
    updater_->for_types([&](const auto& typed) {
        if constexpr (sizeof(NumberOf<decltype(typed)>) == 4) {
            take(all_.float32, typed, true);
            take(active_.float32, typed, false);
        } else {
            take(all_.float64, typed, true);
            take(active_.float64, typed, false);
        }
    });
}

// Drops what belongs to options that are no longer used.
void Around::forget() {
    if (averages_by_ema_ != ema.has_value()) averaged = 0;
    averages_by_ema_ = ema.has_value();
    if (swa && averaged > std::max(updater_->steps - *swa, index{0})) averaged = 0;  // one no longer counts
    if (!ema && !swa) {
        average_ = {};
        averaged = 0;
    }
    if (!lookahead) {
        slow_ = {};
        has_slow_ = false;
        since_lookahead = 0;
    }
}

void Around::reserve(Buffer& buffer) const {
    if (!buffer.empty()) return;
    Buffer made;
    for (const py::array& array : updater_->tensors().arrays()) {
        made.arrays.push_back(py::array(array.dtype(), std::vector<index>{array.size()}));
        made.data.push_back(made.arrays.back().mutable_data());
    }
    buffer = std::move(made);
}

void Around::pass(Rows& rows, PassKind kind, const Buffer& buffer, double weight, GradientMap map) {
    const Table& table = current_table();
    const int threads = get_num_threads();
    const WithoutGil released;
    rows.for_types([&](auto& row) {
        using T = NumberOf<decltype(row)>;
        if (row.segments.empty()) return;
        for (std::size_t s = 0; s < row.segments.size(); ++s)
            row.segments[s].states[0] = static_cast<T*>(buffer.data[row.tensors[s]]);
        functions<T>(table).pass({row.view(), kind, weight, map}, threads);
    });
}

void Around::Rows::drop_gradients() {
    for_types([](auto& row) {
        for (auto& segment : row.segments) segment.gradient = nullptr;
    });
}

void Around::use_as_gradient(const Buffer& buffer) {
    const auto set = [&](auto& row) {
        using T = NumberOf<decltype(row)>;
        for (std::size_t s = 0; s < row.segments.size(); ++s) {
            row.segments[s].gradient = static_cast<const T*>(buffer.data[row.tensors[s]]);
            row.segments[s].gradient_places = {};
        }
    };
    updater_->for_types([&](auto& typed) {
        set(typed);
        set(typed.part);
    });
    active_.for_types(set);
}

// Of all gradients that are not left alone.
double Around::norm() {
    const Table& table = current_table();
    const int threads = get_num_threads();
    const WithoutGil released;
    double norm = 0;
    active_.for_types([&](auto& row) {
        using T = NumberOf<decltype(row)>;
        if (row.segments.empty()) return;
        norm = std::hypot(norm, functions<T>(table).gradient_norm(row.view(), threads, nullptr, arena_));
    });
    return norm;
}

void Around::clip_each_unit() {
    const Table& table = current_table();
    const int threads = get_num_threads();
    const WithoutGil released;
    active_.for_types([&](auto& row) {
        using T = NumberOf<decltype(row)>;
        if (row.segments.empty()) return;
        for (std::size_t s = 0; s < row.segments.size(); ++s)
            row.segments[s].states[0] = static_cast<T*>(gradient_.data[row.tensors[s]]);
        functions<T>(table).clip_units(row.view(), row.units.data(), *clip_units, threads);
    });
}

void Around::check_at_rest(const char* what) const {
    if (showing_)
        throw std::runtime_error(std::string(what) +
                                 ": the parameters hold their averages, expected it after averaged()");
    if (ascended_)
        throw std::runtime_error(std::string(what) +
                                 ": the parameters are where ascend has moved them, expected step before it");
}

void Around::restore() {
    if (ascended_) pass(moved_, PassKind::restore, original_);
    ascended_ = false;
    has_no_direction_ = false;
}

void Around::descend() {
    const Tensors::Use use(updater_->tensors());
    restore();
}

void Around::step(const py::object& grads) {
    const Tensors::Use use(updater_->tensors());
    if (showing_ || !ascended_) check_at_rest("step");
    if (sam && !ascended_)
        throw std::runtime_error("step: expected ascend before each step of an optimizer with sam");
    prepare(grads);

    std::optional<double> norm;
    if (skip_nonfinite) norm = this->norm();
    const bool skips = norm && (has_no_direction_ || !std::isfinite(*norm));
    restore();
    if (skips) return skip(*norm);
    if (accumulate > 1 || accumulated > 0 || clip_units) {
        ++accumulated;
        contributes_ = updater_->present();
        if (accumulated == 1)
            pass(all_, PassKind::remember_gradient, gradient_);
        else
            pass(all_, PassKind::average_gradient, gradient_, 1 / double(accumulated));
        if (accumulated < accumulate) return;
        if (accumulated > 1) norm.reset();
        accumulated = 0;
        use_as_gradient(gradient_);
    }
    GradientMap map{maximize ? -1.0 : 1.0, clip_value.value_or(0), clip_value.has_value()};
    if ((clip_norm || skip_nonfinite) && !norm) norm = this->norm();
    if (skip_nonfinite && !std::isfinite(*norm)) return skip(*norm);
    if (clip_norm && std::isfinite(*norm) && *norm > *clip_norm) map.scale *= *clip_norm / *norm;
    if (clip_units) clip_each_unit();
    if (lookahead && !has_slow_) {
        pass(all_, PassKind::remember, slow_);
        has_slow_ = true;
    }
    updater_->update(map);
    if (lookahead && ++since_lookahead >= lookahead->first) {
        pass(active_, PassKind::lookahead, slow_, lookahead->second);
        since_lookahead = 0;
    }
    if (ema || (swa && updater_->steps > *swa)) average();
    grad_norm = norm;
}

void Around::skip(double norm) {
    ++skipped;
    grad_norm = norm;
}

void Around::average() {
    ++averaged;
    if (averaged == 1)
        pass(all_, PassKind::remember, average_);
    else
        pass(all_, PassKind::average, average_, ema ? 1 - *ema : 1 / double(averaged));
}

void Around::ascend(const py::object& grads) {
    const Tensors::Use use(updater_->tensors());
    check_at_rest("ascend");
    if (!sam) throw std::runtime_error("ascend: expected an optimizer with sam");
    prepare(grads);
    moved_ = active_;
    const double norm = this->norm(), scale = *sam / norm * (maximize ? -1 : 1);
    has_no_direction_ = !std::isfinite(norm);
    if (std::isfinite(norm) && std::isfinite(scale))
        pass(active_, PassKind::ascend, original_, 1, {scale, 0, false});
    else
        pass(active_, PassKind::remember, original_);
    ascended_ = true;
    moved_.drop_gradients();
}

void Around::show_averages() {
    const Tensors::Use use(updater_->tensors());
    check_at_rest("averaged");
    forget();
    shows_originals_ = averaged == 0;
    if (averaged > 0) {
        reserve(original_);
        collect();
        all_.drop_gradients();
        pass(all_, PassKind::remember, original_);
        pass(all_, PassKind::restore, average_);
    }
    showing_ = true;
}

void Around::show_parameters() {
    const Tensors::Use use(updater_->tensors());
    if (!showing_) return;
    if (!shows_originals_) pass(all_, PassKind::restore, original_);
    if (!sam) original_ = {};
    showing_ = false;
}

py::dict Around::buffers() {
    const Tensors::Use use(updater_->tensors());
    forget();
    py::dict all;
    if (accumulated > 0) {
        py::list gradients;
        for (std::size_t i = 0; i < gradient_.arrays.size(); ++i)
            gradients.append(contributes_[i] ? py::object(gradient_.arrays[i]) : py::none());
        all["gradient"] = gradients;
    }
    if (averaged > 0) all["average"] = average_.arrays;
    if (has_slow_) all["slow"] = slow_.arrays;
    return all;
}

void Around::set_buffer(const std::string& name, const py::list& arrays) {
    const Tensors::Use use(updater_->tensors());
    const std::vector<py::array> tensors = updater_->tensors().arrays();
    if (arrays.size() != tensors.size()) throw py::value_error("arrays: expected one for each tensor");
    Buffer buffer;
    std::vector<bool> present;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        py::object array = arrays[i];
        present.push_back(!array.is_none());
        if (array.is_none())
            array = py::module_::import("numpy").attr("zeros")(tensors[i].size(), tensors[i].dtype());
        buffer.arrays.push_back(py::cast<py::array>(array));
        check_array(buffer.arrays[i], name.c_str(), {tensors[i].size()}, tensors[i].dtype(), Access::write);
        buffer.data.push_back(buffer.arrays[i].mutable_data());
    }
    if (name == "gradient") contributes_ = present;
    Buffer* const own = name == "gradient" ? &gradient_ : name == "average" ? &average_ : &slow_;
    *own = std::move(buffer);
    has_slow_ = has_slow_ || own == &slow_;
    averages_by_ema_ = ema.has_value();
}

namespace {

// What `with optimizer.averaged():` calls: in C++, so that no signal comes between.
struct Averaged : public Shared {
    explicit Averaged(std::shared_ptr<Around> of) : around(std::move(of)) {}
    std::shared_ptr<Around> around;
};

}  // namespace

void register_around(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<Around, std::shared_ptr<Around>>(m, "Around")
        .def(py::init(
                 [](const std::shared_ptr<Updater>& updater) { return std::make_shared<Around>(updater); }),
             "updater"_a)
        .def_readwrite("maximize", &Around::maximize)
        .def_readwrite("clip_norm", &Around::clip_norm)
        .def_readwrite("clip_value", &Around::clip_value)
        .def_readwrite("clip_units", &Around::clip_units)
        .def_readwrite("unit_axis", &Around::unit_axis)
        .def_readwrite("skip_nonfinite", &Around::skip_nonfinite)
        .def_readwrite("accumulate", &Around::accumulate)
        .def_readwrite("ema", &Around::ema)
        .def_readwrite("swa", &Around::swa)
        .def_readwrite("lookahead", &Around::lookahead)
        .def_readwrite("sam", &Around::sam)
        .def_readwrite("skipped", &Around::skipped)
        .def_readwrite("accumulated", &Around::accumulated)
        .def_readwrite("averaged", &Around::averaged)
        .def_readwrite("since_lookahead", &Around::since_lookahead)
        .def_readonly("grad_norm", &Around::grad_norm)
        .def("step", &Around::step, "grads"_a)
        .def("ascend", &Around::ascend, "grads"_a)
        .def("descend", &Around::descend)
        .def("check_at_rest", &Around::check_at_rest, "what"_a)
        .def("buffers", &Around::buffers)
        .def("set_buffer", &Around::set_buffer, "name"_a, "arrays"_a);
    py::class_<Averaged, std::shared_ptr<Averaged>>(m, "Averaged")
        .def(py::init(
                 [](const std::shared_ptr<Around>& around) { return std::make_shared<Averaged>(around); }),
             "around"_a)
        .def("__enter__", [](Averaged& self) { self.around->show_averages(); })
        .def("__exit__", [](Averaged& self, const py::args&) { self.around->show_parameters(); });
}

}  // namespace fnn::bindings
