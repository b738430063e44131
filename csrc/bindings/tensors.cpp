#include "bindings/tensors.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/dlpack.h"

namespace fnn::bindings {

namespace {

bool is_aligned(const py::array& x) {
    return reinterpret_cast<std::uintptr_t>(x.data()) % std::size_t(x.itemsize()) == 0;
}

bool is_dense(const py::array& x, int flag) { return (x.flags() & flag) != 0 && is_aligned(x); }

// To CUDA, the default stream that waits for all others.
constexpr std::uintptr_t default_stream = 1;

// Whether it lies in the memory of a GPU, as CuPy says of its arrays and torch of its tensors there, or as
// DLPack does.
bool is_on_gpu(const py::object& leaf) {
    if (py::isinstance<py::array>(leaf)) return false;
    if (py::hasattr(leaf, "__cuda_array_interface__")) return true;
    if (!py::hasattr(leaf, "__dlpack_device__")) return false;
    const py::tuple kind_and_number = leaf.attr("__dlpack_device__")();
    const int kind = py::cast<int>(py::int_(kind_and_number[0]));
    return kind == dlpack::cuda || kind == dlpack::managed;
}

}  // namespace

Tensors::Tensors(const py::object& params, py::object convert)
    : tree_(params, "params"), convert_(std::move(convert)) {
    if (tree_.size() == 0) throw py::value_error(expected("params", "at least one array", "none"));
    on_gpu_ = is_on_gpu(tree_.first_leaves()[0]);
    std::vector<NamedArray> named;
    tensors_.reserve(tree_.size());
    for (std::size_t i = 0; i < tree_.size(); ++i) {
        const std::string path = tree_.path(i, "params");
        const py::object leaf = tree_.first_leaves()[i];
        const py::array array = array_of(leaf, path, default_stream);
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
    if (on_gpu_ && device_ == nullptr) stay_on("cuda:0", "params");  // there are no numbers
    check_apart(named);
    std::sort(spans_.begin(), spans_.end(),
              [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
    for (std::size_t k = 1; k < spans_.size(); ++k)
        spans_are_apart_ = spans_are_apart_ && spans_[k - 1].first.end <= spans_[k].first.begin;
}

// An array at the addresses of the leaf, which nobody but the device follows if they are the device's.
py::array Tensors::array_of(const py::object& leaf, const std::string& path, std::uintptr_t stream) {
    if (is_on_gpu(leaf) != on_gpu_)
        throw py::type_error(expected(path,
                                      on_gpu_ ? "an array on the GPU, where the parameters are"
                                              : "an array of the processor, as the parameters are",
                                      type_of(leaf) + (on_gpu_ ? " of the processor" : " on the GPU")));
    if (py::isinstance<py::array>(leaf)) return py::reinterpret_borrow<py::array>(leaf);
    const auto array = py::reinterpret_borrow<py::array>(convert_(leaf, path, on_gpu_ ? stream : 0));
    if (on_gpu_ && array.size() > 0) stay_on(owner_of("cuda", array.data()), path);
    return array;
}

// The device is that of the first array, where all others have to be.
void Tensors::stay_on(const std::string& gpu, const std::string& path) {
    if (gpu.empty())
        throw py::value_error(expected(path, "memory of a GPU", "an address that CUDA does not know"));
    if (device_ == nullptr) device_ = device_named(device_name_ = gpu);
    if (gpu != device_name_)
        throw py::value_error(
            expected(path, "an array on " + device_name_ + ", where the first is", "one on " + gpu));
}

Tensors::Use::Use(Tensors& tensors) : tensors_(tensors) {
    if (tensors.in_use_) throw std::runtime_error("these parameters are being updated by another call");
    tensors.in_use_ = true;
}

Tensors::Use::~Use() {
    tensors_.held_.clear();
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

std::vector<TensorView> Tensors::views() {
    std::vector<TensorView> all;
    for (Tensor& t : tensors_)
        all.push_back({t.is_float64, t.array.mutable_data(), t.array.size(), t.places, int(t.shape.size()),
                       t.shape.data(), t.fortran});
    return all;
}

VectorView Tensors::vector_of(std::size_t i, py::array& array, const char* name, index length) const {
    check_array(array, name, {length}, tensors_[i].array.dtype(), Access::write);
    return {array.mutable_data(), length};
}

std::vector<Units> Tensors::units(index axis) const {
    std::vector<Units> all;
    for (std::size_t i = 0; i < size(); ++i) {
        const Tensor& t = tensors_[i];
        const index dims = t.array.ndim();
        if (dims > 1 && (axis < -dims || axis >= dims))
            throw py::value_error(expected("unit_axis",
                                           std::to_string(-dims) + " to " + std::to_string(dims - 1) +
                                               ", as " + path(i) + " has shape " +
                                               shape_text(shape_of(t.array)),
                                           std::to_string(axis)));
        all.push_back(units_along(axis, t.shape, t.fortran));
    }
    return all;
}

void Tensors::read(const py::object& grads, None none, std::uintptr_t stream) {
    tree_.read(grads, "grads", leaves_);
    held_.resize(size());
    gradients_.assign(size(), {});
    present_.assign(size(), true);
    for (std::size_t i = 0; i < size(); ++i) read_gradient(i, leaves_[i], none, stream);
    leaves_.clear();
}

void Tensors::read_gradient(std::size_t i, py::object& leaf, None none, std::uintptr_t stream) {
    const auto path = [&] { return tree_.path(i, "grads"); };
    if (leaf.is_none()) {
        present_[i] = false;
        if (none == None::nothing) {
            return;
        }
        const py::array& like = tensors_[i].array;
        leaf = py::module_::import("numpy").attr("zeros")(shape_of(like), like.dtype());
    }
    held_[i] = array_of(leaf, path(), stream);
    const py::array& g = held_[i];
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
    gradients_[i].numbers = g.data();
    if (g.size() == 0 || is_dense(g, t.fortran ? py::array::f_style : py::array::c_style)) return;
    std::copy(g.strides(), g.strides() + g.ndim(), t.gradient_strides.begin());
    if (t.fortran) std::reverse(t.gradient_strides.begin(), t.gradient_strides.end());
    gradients_[i].places = {int(g.ndim()), t.shape.data(), t.gradient_strides.data()};
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
        .def_property_readonly("are_fortran", &Tensors::are_fortran)
        .def_property_readonly("device", &Tensors::device_name);
}

}  // namespace fnn::bindings
