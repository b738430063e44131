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

    // f(panels, rows of each) for a part of the matrix, by columns: the rows of one panel after those of
    // another. The work is counted in units of one vector; a row of a full panel is two, and goes to whom its
    // first belongs.
    template <class F>
    void for_part(Part part, const F& f) const {
        if (rows == 0 || cols == 0) return;
        struct Place {
            index panel, row;
        };
        const auto place = [&](index unit) {
            const index p = min(unit / (2 * rows), count() - 1);
            const index row = divide_up(unit - p * 2 * rows, width(p) / half);
            return row == rows ? Place{p + 1, 0} : Place{p, row};
        };
        const Range units = part.of(rows * (padded() / half));
        Place from = place(units.begin);
        const Place to = place(units.end);
        if (from.panel == to.panel) {
            if (from.row < to.row) f(Range{to.panel, to.panel + 1}, Range{from.row, to.row});
            return;
        }
        if (from.row > 0) f(Range{from.panel, from.panel + 1}, Range{from.row, rows}), ++from.panel;
        if (from.panel < to.panel) f(Range{from.panel, to.panel}, Range{0, rows});
        if (to.row > 0) f(Range{to.panel, to.panel + 1}, Range{0, to.row});
    }

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
