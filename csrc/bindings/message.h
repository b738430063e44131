// What messages to a caller say of Python's objects.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "expected.h"

namespace fnn::bindings {

inline std::string text_of(pybind11::handle x) { return pybind11::cast<std::string>(pybind11::str(x)); }
inline std::string repr_of(pybind11::handle x) { return pybind11::cast<std::string>(pybind11::repr(x)); }
inline std::string type_of(pybind11::handle x) { return text_of(pybind11::type::of(x).attr("__name__")); }

}  // namespace fnn::bindings
