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

using NamedArray = std::pair<std::string, py::array>;

// Throws ValueError unless all that will be written lie apart.
void check_apart(std::vector<NamedArray> arrays);

}  // namespace fnn::bindings
