// What a micro-kernel is given, one tile of C, and the table of the kernels.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// What later tiles read, fetched into the second-level cache while this one is computed, a little at a time:
// with depth d of the inner dimension, counted in panels, so many vectors from `from + d * step` on.
template <class T>
struct Ahead {
    const T* from = nullptr;
    index vectors = 0;
    index step = 0;

    // A part of so many vectors, spread over the depths.
    static Ahead spread(const T* from, index vectors, index depths, Part part) {
        const index each = divide_up(vectors, part.size * depths), begin = part.rank * depths * each;
        return {from + begin * lanes<T>, begin < vectors ? each : 0, each * lanes<T>};
    }

    // With each depth a part of other vectors, `step` elements on.
    static Ahead strided(const T* from, index vectors, index step, Part part) {
        const index each = divide_up(vectors, part.size), begin = part.rank * each;
        return {from + begin * lanes<T>, begin < vectors ? each : 0, step};
    }

    void fetch(index depth) const {
        for (index i = 0; i < vectors; ++i) __builtin_prefetch(from + depth * step + i * lanes<T>, 0, 2);
    }
};

// Matrices of the shape of a product, of which each tile fetches its own part while it is computed: what is
// done with the product next reads them.
template <class T>
struct Beside {
    Panels<const T> first;
    index offsets[4] = {};  // from the first to each
    int count = 0;

    const T* row(int i, index p, index r) const { return first.row(p, r) + offsets[i]; }
};

template <class T>
struct Tile {
    T* c;           // (H, N vectors), contiguous
    const T* init;  // what the sums start from: c itself, a row that all rows share, or zeros
    const T* b;     // (k, N vectors), contiguous
    index c_panel, init_panel, b_panel;  // of two panels: elements from those of the first to the second's
    bool shared_init;                    // one row for all
    const T* a;                          // see the two kernels
    index a_panel;                       // by rows: elements from one panel of a to the next
    const T* a_rest;                     // by rows: the last panel of a, from this tile's first row
    index full;                          // by rows: panels of full width before that
    index rest;                          // by rows: columns used in the last panel
    bool narrow;  // the last panel of a (by rows), or the panel that is read (by columns), is one vector wide
    index k;      // by columns: rows of a
    Ahead<T> ahead[9];
    int aheads;  // of them used

    void fetch(index depth) const {
        for (int i = 0; i < aheads; ++i) ahead[i].fetch(depth);
    }
};

// Every form of a tile, compiled: all.by_rows[form][height - 1], where the forms are one panel of one
// vector, one of two, and two such.
template <class T>
struct TileKernels {
    using Kernel = void (*)(const Tile<T>&);
    Kernel by_rows[3][tile_rows];
    Kernel by_columns[3][tile_rows];

    static const TileKernels all;

    static constexpr index form(index panels, index width) { return panels - 1 + width / lanes<T> - 1; }
};
extern template const TileKernels<float> TileKernels<float>::all;
extern template const TileKernels<double> TileKernels<double>::all;

}  // namespace fnn::FNN_ISA::exec
