// Examples on their way to a device: rows of the user's array as the first layer reads them, on the host,
// through the input layers.
#pragma once

#include "cuda/runtime.h"
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

// Rows as they are stored, whose numbers a device converts, and maps by one affine map where there are input
// layers; of most arrays they can be.
bool can_be_raw(const Plan&, const Source& x);
index raw_bytes(const Plan&, const Source& x);  // of a row
// Some of them one after the other: where they lie, or in `staged`.
const char* raw_rows(char* staged, const Plan&, const Source& x, const std::int64_t* order, index first,
                     index count);

// The map of each column, in device memory; null where there is none.
struct ColumnMapOnDevice {
    const double *center = nullptr, *scale = nullptr, *shift = nullptr;
};
ColumnMapOnDevice column_map(Memory&, const Context&);

// to (count, in_features) on the device = such rows, which lie there.
template <class T>
void convert_rows(Stream&, T* to, const char* raw, DType, const ColumnMapOnDevice&, index count,
                  index columns);

extern template void read_rows(float*, const Context&, const Source&, const std::int64_t*, index, index);
extern template void read_rows(double*, const Context&, const Source&, const std::int64_t*, index, index);
extern template void input_gradient(const Context&, const Source&, const float*, float*);
extern template void input_gradient(const Context&, const Source&, const double*, double*);
extern template bool lies_ready<float>(const Plan&, const Source&);
extern template bool lies_ready<double>(const Plan&, const Source&);

extern template void convert_rows(Stream&, float*, const char*, DType, const ColumnMapOnDevice&, index,
                                  index);
extern template void convert_rows(Stream&, double*, const char*, DType, const ColumnMapOnDevice&, index,
                                  index);

}  // namespace fnn::FNN_ISA::device
