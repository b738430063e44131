#include "bindings/arrays.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <utility>

namespace fnn::bindings {

std::string shape_text(const std::vector<index>& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

std::vector<index> shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

index rows_of(const py::array& array, const char* name) {
    if (array.ndim() != 2)
        throw py::value_error(expected(name, "2 dimensions", "shape " + shape_text(shape_of(array))));
    return array.shape(0);
}

void check_dtype_and_shape(const py::array& array, const char* name, const std::vector<index>& shape,
                           const py::dtype& dtype) {
    if (!array.dtype().equal(dtype))
        throw py::type_error(expected(name, "dtype " + text_of(dtype), text_of(array.dtype())));
    if (shape_of(array) != shape)
        throw py::value_error(expected(name, "shape " + shape_text(shape), shape_text(shape_of(array))));
}

void check_writeable(const py::array& array, const char* name) {
    if (!array.writeable())
        throw py::value_error(expected(name, "an array that may be written to", "one that is read-only"));
}

void check_array(const py::array& array, const char* name, const std::vector<index>& shape,
                 const py::dtype& dtype, Access access) {
    check_dtype_and_shape(array, name, shape, dtype);
    if ((array.flags() & py::array::c_style) == 0)
        throw py::value_error(expected(name, "a C-contiguous array", "one of other strides"));
    const auto address = reinterpret_cast<std::uintptr_t>(array.data());
    if (array.size() > 0 && address % std::size_t(dtype.alignment()) != 0)
        throw py::value_error(expected(name, "an aligned array", "one that is not"));
    if (access == Access::write) check_writeable(array, name);
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
        throw py::type_error(
            expected(name, "float16, float32, float64, an integer type or bool", "dtype " + text_of(dtype)));
    source.dtype = found->second;
    source.swapped = !py::cast<bool>(dtype.attr("isnative"));
}

void set_sparse(Inputs& inputs, const py::object& x, const char* name) {
    const auto part = [&](const char* attribute) {
        const py::object array = x.attr(attribute);
        if (!py::isinstance<py::array>(array) || py::cast<py::array>(array).ndim() != 1)
            throw py::type_error(
                expected(std::string(name) + "." + attribute, "an array (n,)", type_of(array)));
        inputs.held.push_back(py::cast<py::array>(array));
        return inputs.held.back();
    };
    const py::array numbers = part("data"), columns = part("indices"), starts = part("indptr");
    inputs.wide = py::isinstance<py::array_t<std::int64_t>>(starts);
    const py::dtype integer = inputs.wide ? py::dtype::of<std::int64_t>() : py::dtype::of<std::int32_t>();
    const std::string text(name);
    inputs.stored = std::min(numbers.size(), columns.size());
    check_array(columns, (text + ".indices").c_str(), {columns.size()}, integer, Access::read);
    check_array(starts, (text + ".indptr").c_str(), {inputs.rows + 1}, integer, Access::read);
    inputs.data = static_cast<const char*>(numbers.data());
    inputs.col_stride = numbers.strides(0);
    inputs.columns = columns.data();
    inputs.starts = starts.data();
    set_dtype(inputs, numbers.dtype(), name);
}

// Whether an array is a view of a numpy.memmap whose pages are those of the file, and no private copies.
bool is_in_file(const py::array& array) {
    py::object owner = array.base();
    if (!owner) return false;
    const py::object memmap = py::module_::import("numpy").attr("memmap");
    for (owner = array; py::isinstance<py::array>(owner); owner = owner.attr("base"))
        if (py::isinstance(owner, memmap)) {
            const py::object mode = owner.attr("mode");
            return py::isinstance<py::str>(mode) && py::cast<std::string>(mode) != "c";
        }
    return false;
}

// The bytes from the first to the last number of a matrix.
std::shared_ptr<Mapping> mapping_of(const Source& x, index columns, index itemsize) {
    if (x.rows == 0 || columns == 0) return nullptr;
    index first = 0, last = itemsize;
    for (const index reach : {(x.rows - 1) * x.row_stride, (columns - 1) * x.col_stride})
        (reach < 0 ? first : last) += reach;
    return std::make_shared<Mapping>(x.data + first, std::size_t(last - first));
}

}  // namespace

Inputs inputs_of(const py::object& x, const char* name, index columns) {
    const bool dense = py::isinstance<py::array>(x);
    if (!dense && !py::hasattr(x, "indptr"))
        throw py::type_error(expected(name, "an array or a sparse matrix in CSR format", type_of(x)));
    const auto shape = py::cast<std::vector<index>>(x.attr("shape"));
    if (shape.size() != 2)
        throw py::value_error(expected(name, "2 dimensions, (n, " + std::to_string(columns) + ")",
                                       "shape " + shape_text(shape)));
    if (shape[1] != columns)
        throw py::value_error(
            expected(name, std::to_string(columns) + " columns", "shape " + shape_text(shape)));
    Inputs inputs;
    inputs.rows = shape[0];
    if (dense) {
        const py::array& array = inputs.held.emplace_back(py::cast<py::array>(x));
        inputs.data = static_cast<const char*>(array.data());
        inputs.row_stride = array.strides(0);
        inputs.col_stride = array.strides(1);
        set_dtype(inputs, array.dtype(), name);
        if (is_in_file(array)) inputs.file = mapping_of(inputs, columns, array.itemsize());
        inputs.mapping = inputs.file.get();
    } else {
        set_sparse(inputs, x, name);
    }
    return inputs;
}

std::vector<std::int64_t> checked_places(const py::array& array, const char* name, index n, index end,
                                         const char* what) {
    const std::int64_t* data = to_read<std::int64_t>(array, name, {n});
    std::vector<std::int64_t> places(data, data + n);
    for (index i = 0; i < n; ++i)
        if (places[std::size_t(i)] < 0 || places[std::size_t(i)] >= end)
            throw py::value_error(expected(std::string(name) + "[" + std::to_string(i) + "]",
                                           std::string(what) + " in [0, " + std::to_string(end) + ")",
                                           std::to_string(places[std::size_t(i)])));
    return places;
}

Order order_of(const MaybeArray& order, const Source& x, std::vector<std::int64_t>& places) {
    if (!order) return {nullptr, x.rows};
    if (order->ndim() != 1)
        throw py::value_error(expected("order", "shape (m,)", shape_text(shape_of(*order))));
    places = checked_places(*order, "order", order->shape(0), x.rows, "a row of X");
    return {places.data(), index(places.size())};
}

void need_at_least(index least, index value, const char* name) {
    if (value < least)
        throw py::value_error(expected(name, "at least " + std::to_string(least), std::to_string(value)));
}

Named::Named(const py::tuple& pair, const char* what) : what_(what) {
    if (pair.size() != 2 || !py::isinstance<py::str>(pair[0]) || !py::isinstance<py::dict>(pair[1]))
        throw py::type_error(expected(what, "a tuple of a name and a dict of numbers", repr_of(pair)));
    name = py::cast<std::string>(pair[0]);
    numbers_ = py::cast<py::dict>(pair[1]);
}

void Named::read(std::vector<Field> fields, std::map<std::string, py::array>* arrays) const {
    const std::string self = std::string(what_) + " '" + name + "'";
    for (const auto& [key, value] : numbers_) {
        // not py::str(key), in which Python handles signals: `train` would end without a report
        const auto text = py::cast<std::string>(key);
        const auto field =
            std::find_if(fields.begin(), fields.end(), [&](const Field& each) { return each.name == text; });
        if (field == fields.end())
            throw py::value_error(expected(self, "numbers that it has", "'" + text + "'"));
        const bool is_array = py::isinstance<py::array>(value);
        if (arrays != nullptr && is_array)
            arrays->emplace(text, py::reinterpret_borrow<py::array>(value));
        else if (is_array || PyNumber_Check(value.ptr()) == 0)
            throw py::type_error(expected(self + ": " + text, "a number", repr_of(value)));
        else
            *field->number = py::cast<double>(py::float_(py::reinterpret_borrow<py::object>(value)));
        fields.erase(field);
    }
    for (const Field& field : fields)
        if (field.needed) throw py::value_error(expected(self + ": " + field.name, "a number", "none"));
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
        {"info_nce", LossKind::info_nce},
        {"supcon", LossKind::supcon},
        {"n_pair", LossKind::n_pair},
        {"nce", LossKind::nce},
        {"contrastive", LossKind::contrastive},
        {"triplet", LossKind::triplet},
    };
    const Named named(loss, "loss");
    const auto found = kinds.find(named.name);
    if (found == kinds.end())
        throw py::value_error(expected("loss", "the name of one", "'" + named.name + "'"));
    LossSpec spec;
    spec.kind = found->second;
    std::vector<Named::Field> fields;
    if (spec.kind == LossKind::cross_entropy)
        fields = {{"label_smoothing", &spec.label_smoothing},
                  {"confidence_penalty", &spec.confidence_penalty}};
    if (spec.kind == LossKind::multi_margin) fields = {{"margin", &spec.margin}};
    if (spec.kind == LossKind::huber) fields = {{"delta", &spec.delta}};
    if (spec.kind == LossKind::quantile) fields = {{"q", &spec.q}};
    double normalize = 0, mining = 0;
    if (spec.couples_rows()) fields = {{"normalize", &normalize}};
    switch (spec.kind) {
        case LossKind::info_nce:
        case LossKind::supcon:
        case LossKind::n_pair:
        case LossKind::nce:
            fields.push_back({"temperature", &spec.temperature});
            break;
        case LossKind::triplet:
            fields.push_back({"mining", &mining});
            [[fallthrough]];
        case LossKind::contrastive:
            fields.push_back({"margin", &spec.margin});
            break;
        default:
            break;
    }
    named.read(fields);
    spec.normalize = normalize != 0;
    if (mining != 0 && mining != 1 && mining != 2)
        throw py::value_error(
            expected("mining", "0 (all), 1 (hard) or 2 (semi-hard)", std::to_string(mining)));
    spec.mining = Mining(int(mining));
    return spec;
}

}  // namespace fnn::bindings
