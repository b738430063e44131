// NumPy arrays as the core sees them: checks that name the argument, what came and what was expected.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/message.h"
#include "net/call.h"
#include "net/plan.h"

namespace fnn::bindings {

namespace py = pybind11;

template <class T>
constexpr const char* dtype_name() {
    return sizeof(T) == 4 ? "float32" : "float64";
}
template <>
constexpr const char* dtype_name<std::int64_t>() {
    return "int64";
}

// "(3, 4)", "(5,)"
std::string shape_text(const std::vector<index>& shape);
std::vector<index> shape_of(const py::array& array);

// Of a matrix of any size.
index rows_of(const py::array& array, const char* name);

enum class Access { read, write };

// Throws TypeError for a wrong dtype, ValueError for a wrong shape.
void check_dtype_and_shape(const py::array& array, const char* name, const std::vector<index>& shape,
                           const py::dtype& dtype);
void check_writeable(const py::array& array, const char* name);

// All of these, and ValueError unless it is C-contiguous and aligned.
void check_array(const py::array& array, const char* name, const std::vector<index>& shape,
                 const py::dtype& dtype, Access access);

// The data of a C-contiguous array of type T and the given shape.
template <class T>
const T* to_read(const py::array& array, const char* name, const std::vector<index>& shape) {
    check_array(array, name, shape, py::dtype::of<T>(), Access::read);
    return static_cast<const T*>(array.data());
}
template <class T>
T* to_write(py::array& array, const char* name, const std::vector<index>& shape) {
    check_array(array, name, shape, py::dtype::of<T>(), Access::write);
    return static_cast<T*>(array.mutable_data());
}

// f(T{}) for the type of an array.
template <class F>
auto with_type_of(const py::array& array, const char* name, const F& f) {
    if (py::isinstance<py::array_t<float>>(array)) return f(float{});
    if (py::isinstance<py::array_t<double>>(array)) return f(double{});
    throw py::type_error(expected(name, "dtype float32 or float64", text_of(array.dtype())));
}

// Inputs, with the arrays that they lie in.
struct Inputs : Source {
    std::vector<py::array> held;
    std::shared_ptr<Mapping> file;
};

// Inputs (n, columns): an array of any strides and of any type that the gather converts, or a sparse matrix
// in CSR format as SciPy has it (`data`, `indices`, `indptr`, `shape`).
Inputs inputs_of(const py::object& x, const char* name, index columns);

// A name with numbers, ("adam", {"beta1": 0.9, ...}), as the core takes updates and losses.
class Named {
   public:
    Named(const py::tuple& pair, const char* what);

    struct Field {
        std::string name;
        double* number;
        bool needed = true;
    };

    // Every field gets the number of its name; throws if one is unknown, or needed and missing. With
    // `arrays`, those given as an array stand there instead.
    void read(std::vector<Field> fields, std::map<std::string, py::array>* arrays = nullptr) const;

    std::string name;

   private:
    const char* what_;
    py::dict numbers_;
};

LossSpec loss_of(const py::tuple& loss);

// An int64 vector whose numbers all lie in [0, end), copied: the core takes them as places in memory, and
// another thread must not change them after the check.
std::vector<std::int64_t> checked_places(const py::array& array, const char* name, index n, index end,
                                         const char* what);

using MaybeArray = std::optional<py::array>;

// The rows of x that an array or None names; `places` keeps them.
Order order_of(const MaybeArray& order, const Source& x, std::vector<std::int64_t>& places);

// Throws py::value_error for a smaller value.
void need_at_least(index least, index value, const char* name);

// Of so many examples: a row for each position of each.
inline std::vector<index> shape_of_outputs(const Plan& plan, index examples) {
    return {examples * plan.output_shape().positions(), plan.out_features()};
}

// Of each row of outputs (n, out): labels (n,) within [0, out), those of pairs any, or values of type T (n,
// out); `labels` keeps the former. Weights (n,) or None.
template <class T>
Targets<T> targets_of(const py::array& y, const MaybeArray& weights, const LossSpec& loss, index n, index out,
                      std::vector<std::int64_t>& labels) {
    Targets<T> targets;
    if (weights) targets.weights = to_read<T>(*weights, "weights", {n});
    const bool classes = loss.kind == LossKind::cross_entropy && y.ndim() == 1;
    if (loss.couples_rows()) {
        labels = checked_places(y, "y", n, std::numeric_limits<std::int32_t>::max(), "a label");
        targets.labels = labels.data();
    } else if (classes || loss.kind == LossKind::multi_margin) {
        labels = checked_places(y, "y", n, out, "a label");
        targets.labels = labels.data();
    } else {
        targets.values = to_read<T>(y, "y", {n, out});
    }
    return targets;
}
template <class T>
Targets<T> targets_of(const py::array& y, const MaybeArray& weights, const LossSpec& loss, const Plan& plan,
                      index examples, std::vector<std::int64_t>& labels) {
    const index rows = examples * plan.output_shape().positions();
    return targets_of<T>(y, weights, loss, rows, plan.out_features(), labels);
}

}  // namespace fnn::bindings
