// Whether arrays share memory.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"

namespace fnn::bindings {

// The bytes from the first to the last element of an array.
struct Span {
    const char *begin, *end;
};

Span span_of(const py::array& x);

// Whether elements of both may lie at one place; of interleaved views it may say so wrongly.
bool may_overlap(const py::array& a, const py::array& b);

// Throws ValueError if two elements of an array, which will be written, lie at one place, and of some exotic
// strides where they do not.
void check_own_places(const py::array& x, const std::string& name);

using NamedArray = std::pair<std::string, py::array>;

// Throws ValueError unless all that will be written lie apart.
void check_apart(std::vector<NamedArray> arrays);

}  // namespace fnn::bindings
