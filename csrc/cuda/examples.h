// Examples on their way to a device: rows of the user's array as the first layer reads them, on the host,
// through the input layers.
#pragma once

#include "net/call.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::device {

// to (count, features of the first value) = rows order[first], ... of x, or rows first, ...
template <class T>
void read_rows(T* to, const Context&, const Source& x, const std::int64_t* order, index first, index count);

// dx (x.rows, in_features) of the gradient d (x.rows, features) of what input layers make of x; without
// x.data input layers are those whose slopes do not depend on it.
template <class T>
void input_gradient(const Context&, const Source& x, const T* d, T* dx);

// Do rows lie in memory as read_rows would put them?
template <class T>
bool lies_ready(const Plan&, const Source& x);

extern template void read_rows(float*, const Context&, const Source&, const std::int64_t*, index, index);
extern template void read_rows(double*, const Context&, const Source&, const std::int64_t*, index, index);
extern template void input_gradient(const Context&, const Source&, const float*, float*);
extern template void input_gradient(const Context&, const Source&, const double*, double*);
extern template bool lies_ready<float>(const Plan&, const Source&);
extern template bool lies_ready<double>(const Plan&, const Source&);

}  // namespace fnn::FNN_ISA::device
