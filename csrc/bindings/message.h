// The grammar of every message to a caller: `name: expected this, got that`. Python's sources write the same.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace fnn::bindings {

inline std::string expected(const std::string& name, const std::string& what, const std::string& came) {
    return name + ": expected " + what + ", got " + came;
}

inline std::string text_of(pybind11::handle x) { return pybind11::cast<std::string>(pybind11::str(x)); }
inline std::string repr_of(pybind11::handle x) { return pybind11::cast<std::string>(pybind11::repr(x)); }
inline std::string type_of(pybind11::handle x) { return text_of(pybind11::type::of(x).attr("__name__")); }

}  // namespace fnn::bindings
