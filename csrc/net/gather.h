// Rows of the user's array into the first buffer of a workspace, converted as they are read; and rows back
// out.
#pragma once

#include "exec/convert.h"
#include "net/call.h"

namespace fnn::FNN_ISA::net {

template <class S, class T>
inline void gather_as(exec::Panels<T> to, const Source& from, const std::int64_t* order, index first,
                      exec::Range rows) {
    for (index r = rows.begin; r < rows.end; ++r) {
        const index example = order ? order[first + r] : first + r;
        exec::row_to_panels<S>(to, r, from.data + example * from.row_stride, from.col_stride);
    }
}

// Row r of `to` = row order[first + r] of `from`, or row first + r.
template <class T>
inline void gather(exec::Panels<T> to, const Source& from, const std::int64_t* order, index first,
                   exec::Range rows) {
    switch (from.dtype) {
        case DType::float32:
            return gather_as<float>(to, from, order, first, rows);
        case DType::float64:
            return gather_as<double>(to, from, order, first, rows);
        case DType::int8:
            return gather_as<std::int8_t>(to, from, order, first, rows);
        case DType::int16:
            return gather_as<std::int16_t>(to, from, order, first, rows);
        case DType::int32:
            return gather_as<std::int32_t>(to, from, order, first, rows);
        case DType::int64:
            return gather_as<std::int64_t>(to, from, order, first, rows);
        case DType::uint8:
            return gather_as<std::uint8_t>(to, from, order, first, rows);
        case DType::uint16:
            return gather_as<std::uint16_t>(to, from, order, first, rows);
        case DType::uint32:
            return gather_as<std::uint32_t>(to, from, order, first, rows);
        case DType::uint64:
            return gather_as<std::uint64_t>(to, from, order, first, rows);
    }
}

}  // namespace fnn::FNN_ISA::net
