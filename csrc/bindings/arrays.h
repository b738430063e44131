// NumPy arrays as the core sees them: checks that name the argument, what came and what was expected.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "net/call.h"

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

enum class Access { read, write };

// Throws TypeError for a wrong dtype, ValueError for a wrong shape or layout, or if it cannot be written.
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

// Inputs (n, columns) of any strides and of any type that the gather converts.
Source source_of(const py::array& x, const char* name, index columns);

Loss loss_of(const std::string& name);

// int64 labels (n,) within [0, out), or T (n, out).
template <class T>
Targets<T> targets_of(const py::array& y, Loss loss, index n, index out) {
    Targets<T> targets;
    if (loss == Loss::cross_entropy && y.ndim() == 1) {
        targets.labels = to_read<std::int64_t>(y, "y", {n});
        for (index i = 0; i < n; ++i)
            if (targets.labels[i] < 0 || targets.labels[i] >= out)
                throw py::value_error("y[" + std::to_string(i) + "] is " + std::to_string(targets.labels[i]) +
                                      ", expected a label in [0, " + std::to_string(out) + ")");
    } else {
        targets.values = to_read<T>(y, "y", {n, out});
    }
    return targets;
}

}  // namespace fnn::bindings
