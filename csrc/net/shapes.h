// What ops make of the shapes of what they read, and the shape of what they learn.
#pragma once

#include <vector>

#include "net/plan.h"

namespace fnn {

// The shape of one example of the output. `units`: columns that a layer asks for, 0: none. Throws
// std::invalid_argument where the op cannot read such inputs.
Shape shape_of(const OpSpec& op, index units, const std::vector<Shape>& inputs);

// Of an op that learns a matrix: how many rows it has.
index matrix_rows(const OpSpec& op, const std::vector<Shape>& inputs);

// The length of its vectors, which is the matrix's columns.
index vector_length(const OpSpec& op, const Shape& output);

// The multiply-adds that one example costs going forward; `rows` of the matrix or 0.
double work_of(const OpSpec& op, const std::vector<Shape>& inputs, const Shape& output, index rows);

// Sizes beyond this do not fit into memory anyway, and their products must not wrap around.
constexpr index largest_size = index{1} << 31;

// Throws std::invalid_argument unless a size is one.
void check_size(const std::string& name, index size);

// The same of all numbers of an example.
void check_numbers(const Shape& shape);

}  // namespace fnn
