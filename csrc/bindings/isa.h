// Which instruction set's table is in use.
#pragma once

#include <string>
#include <vector>

#include "isa/table.h"

namespace fnn::bindings {

// Those that were built and that this processor has, best first.
std::vector<std::string> available_isas();

std::string current_isa();
const Table& current_table();

// Throws std::invalid_argument, naming what there is.
void use_isa(const std::string& name);

template <class T>
const Functions<T>& functions(const Table& table);
template <>
inline const Functions<float>& functions(const Table& table) {
    return table.float32;
}
template <>
inline const Functions<double>& functions(const Table& table) {
    return table.float64;
}

}  // namespace fnn::bindings
