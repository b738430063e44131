// Rows of the user's array into the first buffer of a workspace, converted as they are read; and rows back
// out.
#pragma once

#include "exec/convert.h"
#include "net/call.h"

namespace fnn::FNN_ISA::net {

// f(Stored) for how the numbers of a source are stored.
template <class F>
inline void with_stored(const Source& x, const F& f) {
    using exec::Stored;
    const auto in_either_order = [&](auto zero) {
        using S = decltype(zero);
        if (x.swapped)
            f(Stored<S, true>{});
        else
            f(Stored<S>{});
    };
    switch (x.dtype) {
        case DType::float16:
            return in_either_order(exec::Half{});
        case DType::float32:
            return in_either_order(float{});
        case DType::float64:
            return in_either_order(double{});
        case DType::int8:
            return f(Stored<std::int8_t>{});
        case DType::int16:
            return in_either_order(std::int16_t{});
        case DType::int32:
            return in_either_order(std::int32_t{});
        case DType::int64:
            return in_either_order(std::int64_t{});
        case DType::uint8:
            return f(Stored<std::uint8_t>{});
        case DType::uint16:
            return in_either_order(std::uint16_t{});
        case DType::uint32:
            return in_either_order(std::uint32_t{});
        case DType::uint64:
            return in_either_order(std::uint64_t{});
    }
}

// Row r of `to` = row order[first + r] of `from`, or row first + r.
template <class T>
inline void gather(exec::Panels<T> to, const Source& from, const std::int64_t* order, index first,
                   exec::Range rows) {
    with_stored(from, [&](auto stored) {
        for (index r = rows.begin; r < rows.end; ++r) {
            const index example = order ? order[first + r] : first + r;
            exec::row_to_panels<decltype(stored)>(to, r, from.data + example * from.row_stride,
                                                  from.col_stride);
        }
    });
}

}  // namespace fnn::FNN_ISA::net
