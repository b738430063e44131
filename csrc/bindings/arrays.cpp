#include "bindings/arrays.h"

#include <map>
#include <utility>

namespace fnn::bindings {

std::string shape_text(const std::vector<index>& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

std::vector<index> shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

void check_array(const py::array& array, const char* name, const std::vector<index>& shape,
                 const py::dtype& dtype, Access access) {
    if (!array.dtype().equal(dtype))
        throw py::type_error(std::string(name) + " has dtype " + std::string(py::str(array.dtype())) +
                             ", expected " + std::string(py::str(dtype)));
    if (shape_of(array) != shape)
        throw py::value_error(std::string(name) + " has shape " + shape_text(shape_of(array)) +
                              ", expected " + shape_text(shape));
    if ((array.flags() & py::array::c_style) == 0)
        throw py::value_error(std::string(name) + " is not C-contiguous, as it must be");
    if (reinterpret_cast<std::uintptr_t>(array.data()) % std::size_t(dtype.alignment()) != 0)
        throw py::value_error(std::string(name) + " is not aligned, as it must be");
    if (access == Access::write && !array.writeable())
        throw py::value_error(std::string(name) + " is read-only, but it is written to");
}

namespace {

void set_dtype(Source& source, const py::dtype& dtype, const char* name) {
    static const std::map<std::pair<char, index>, DType> dtypes = {
        {{'f', 2}, DType::float16}, {{'f', 4}, DType::float32}, {{'f', 8}, DType::float64},
        {{'i', 1}, DType::int8},    {{'i', 2}, DType::int16},   {{'i', 4}, DType::int32},
        {{'i', 8}, DType::int64},   {{'u', 1}, DType::uint8},   {{'u', 2}, DType::uint16},
        {{'u', 4}, DType::uint32},  {{'u', 8}, DType::uint64},  {{'b', 1}, DType::uint8},
    };
    const auto found = dtypes.find({dtype.kind(), dtype.itemsize()});
    if (found == dtypes.end())
        throw py::type_error(std::string(name) + " has dtype " + std::string(py::str(dtype)) +
                             ", expected float16, float32, float64, an integer type or bool");
    source.dtype = found->second;
    source.swapped = !py::cast<bool>(dtype.attr("isnative"));
}

}  // namespace

Source source_of(const py::array& x, const char* name, index columns) {
    if (x.ndim() != 2)
        throw py::value_error(std::string(name) + " has " + std::to_string(x.ndim()) +
                              " dimensions, expected 2: (n, " + std::to_string(columns) + ")");
    if (x.shape(1) != columns)
        throw py::value_error(std::string(name) + " has " + std::to_string(x.shape(1)) +
                              " columns, expected " + std::to_string(columns));
    Source source;
    source.data = static_cast<const char*>(x.data());
    source.rows = x.shape(0);
    source.row_stride = x.strides(0);
    source.col_stride = x.strides(1);
    set_dtype(source, x.dtype(), name);
    return source;
}

std::vector<std::int64_t> checked_places(const py::array& array, const char* name, index n, index end,
                                         const char* what) {
    const std::int64_t* data = to_read<std::int64_t>(array, name, {n});
    std::vector<std::int64_t> places(data, data + n);
    for (index i = 0; i < n; ++i)
        if (places[std::size_t(i)] < 0 || places[std::size_t(i)] >= end)
            throw py::value_error(std::string(name) + "[" + std::to_string(i) + "] is " +
                                  std::to_string(places[std::size_t(i)]) + ", expected " + what + " in [0, " +
                                  std::to_string(end) + ")");
    return places;
}

Named::Named(const py::tuple& pair, const char* what) : what_(what) {
    if (pair.size() != 2 || !py::isinstance<py::str>(pair[0]) || !py::isinstance<py::dict>(pair[1]))
        throw py::type_error(std::string(what) + " is " + std::string(py::repr(pair)) +
                             ", expected a tuple of a name and a dict of numbers");
    name = py::cast<std::string>(pair[0]);
    numbers_ = py::cast<py::dict>(pair[1]);
}

void Named::read(std::map<std::string, double*> fields) const {
    const std::string self = std::string(what_) + " '" + name + "'";
    for (const auto& [key, value] : numbers_) {
        const std::string text = py::str(key);
        const auto field = fields.find(text);
        if (field == fields.end()) throw py::value_error(self + " has no number '" + text + "'");
        if (PyNumber_Check(value.ptr()) == 0)
            throw py::type_error(self + ": " + text + " is " + std::string(py::repr(value)) +
                                 ", expected a number");
        *field->second = py::cast<double>(py::float_(py::reinterpret_borrow<py::object>(value)));
        fields.erase(field);
    }
    if (!fields.empty()) throw py::value_error(self + " lacks '" + fields.begin()->first + "'");
}

LossSpec loss_of(const py::tuple& loss) {
    static const std::map<std::string, LossKind> kinds = {
        {"cross_entropy", LossKind::cross_entropy},
        {"multi_margin", LossKind::multi_margin},
        {"binary_cross_entropy", LossKind::binary_cross_entropy},
        {"hinge", LossKind::hinge},
        {"mse", LossKind::mse},
        {"mae", LossKind::mae},
        {"huber", LossKind::huber},
        {"poisson", LossKind::poisson},
        {"log_cosh", LossKind::log_cosh},
        {"quantile", LossKind::quantile},
    };
    const Named named(loss, "loss");
    const auto found = kinds.find(named.name);
    if (found == kinds.end()) throw py::value_error("loss: there is none of name '" + named.name + "'");
    LossSpec spec;
    spec.kind = found->second;
    std::map<std::string, double*> fields;
    if (spec.kind == LossKind::cross_entropy)
        fields = {{"label_smoothing", &spec.label_smoothing},
                  {"confidence_penalty", &spec.confidence_penalty}};
    if (spec.kind == LossKind::multi_margin) fields = {{"margin", &spec.margin}};
    if (spec.kind == LossKind::huber) fields = {{"delta", &spec.delta}};
    if (spec.kind == LossKind::quantile) fields = {{"q", &spec.q}};
    named.read(fields);
    return spec;
}

}  // namespace fnn::bindings
