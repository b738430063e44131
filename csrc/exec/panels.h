// The one format of everything that a matrix product reads or writes: panels of two vectors' width.
#pragma once

#include <cstring>
#include <type_traits>

#include "exec/range.h"
#include "exec/simd.h"

namespace fnn::FNN_ISA::exec {

template <class T>
constexpr index panel_width = 2 * lanes<T>;

// A matrix (rows, cols) cut into panels of columns; inside a panel the rows follow each other without
// a gap. A last panel that needs only one vector is one vector wide. So a tile of consecutive rows of
// one panel is one contiguous stretch of memory, elementwise work over it is one flat loop, and the
// three products of a layer all read their operands in the order in which they lie.
template <class T>
struct Panels {
    T* data = nullptr;
    index rows = 0;
    index cols = 0;

    static constexpr index full = panel_width<std::remove_const_t<T>>;
    static constexpr index half = full / 2;

    index count() const { return divide_up(cols, full); }
    index width(index p) const { return cols - p * full <= half ? half : full; }
    index used(index p) const { return min(cols - p * full, full); }
    index padded() const { return cols == 0 ? 0 : (count() - 1) * full + width(count() - 1); }
    index size() const { return rows * padded(); }

    T* panel(index p) const { return data + p * full * rows; }
    T* row(index p, index r) const { return panel(p) + r * width(p); }

    operator Panels<const T>() const { return {data, rows, cols}; }
};

// to = from, n numbers that a row of a panel uses: in most panels all of them, which is a constant.
template <class T>
inline void copy_row(T* to, const T* from, index n) {
    constexpr index full = Panels<T>::full;
    if (n == full)
        std::memcpy(to, from, full * sizeof(T));
    else
        for (index j = 0; j < n; ++j) to[j] = from[j];
}

}  // namespace fnn::FNN_ISA::exec
