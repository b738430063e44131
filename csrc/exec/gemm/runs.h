// Products whose inner dimension is a list of runs, as those of a convolution: a tap of its filter, or a row
// of them, is one run of numbers of the image.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// So many terms of a sum. By rows: row r of the tile reads a[r stride + k], by columns a[r + k stride]; both
// row k of b (length, N vectors).
template <class T>
struct Run {
    const T* a;
    const T* b;
    index length, stride;
};

template <class T>
struct RunTile {
    T* c;           // (H, N vectors), rows c_row apart
    const T* init;  // what the sums start from: c itself, or a row that all rows share
    index c_row, init_row;
    index c_panel, init_panel, b_panel;  // of two panels: elements from those of the first to the second's
    const Run<T>* runs;
    index count;
};

// As TileKernels.
template <class T>
struct RunKernels {
    using Kernel = void (*)(const RunTile<T>&);
    Kernel by_rows[3][tile_rows];
    Kernel by_columns[3][tile_rows];

    static const RunKernels all;
};
extern template const RunKernels<float> RunKernels<float>::all;
extern template const RunKernels<double> RunKernels<double>::all;

}  // namespace fnn::FNN_ISA::exec
