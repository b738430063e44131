// Some columns of an example's rows, as a head of attention reads and writes them: they may begin anywhere in
// a panel. Products read them as panels of their own, some rows and columns at a time.
#pragma once

#include "exec/convert.h"
#include "exec/transpose.h"
#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct HeadColumns {
    Panels<T> of;  // without data: zeros
    index row = 0, column = 0;

    explicit operator bool() const { return of.data != nullptr; }
};

// One row of a run of columns; most are as many as a vector or two have.
template <class T, class F>
inline void for_run(index count, const F& f) {
    constexpr index w = exec::lanes<T>;
    if (count == 2 * w)
        exec::elementwise({0, 2 * w}, f);
    else if (count == w)
        exec::elementwise({0, w}, f);
    else
        exec::elementwise({0, count}, f);
}

// f(there, here, count) for stretches that follow each other in the value as in the block, which holds these
// rows and columns of it.
template <class T, class F>
inline void for_runs(const HeadColumns<T>& x, const Panels<T>& block, Range rows, Range columns, const F& f) {
    constexpr index full = Panels<T>::full;
    for (index done = 0, count; done < columns.size(); done += count) {
        const index i = x.column + columns.begin + done;
        count = exec::min(columns.size() - done, full - exec::max(i % full, done % full));
        T* there = x.of.row(i / full, x.row + rows.begin) + i % full;
        T* here = block.row(done / full, 0) + done % full;
        const index there_step = x.of.width(i / full), here_step = block.width(done / full);
        for (index r = 0; r < rows.size(); ++r, there += there_step, here += here_step) f(there, here, count);
    }
}

template <class T>
inline Panels<T> load_block(T* room, const HeadColumns<T>& x, Range rows, Range columns) {
    const Panels<T> block{room, rows.size(), columns.size()};
    for_runs(x, block, rows, columns,
             [](const T* there, T* here, index n) { for_run<T>(n, Copy<T>{here, there}); });
    exec::clear_padding(block, {0, block.rows});
    return block;
}

template <class T>
inline void add_block(const HeadColumns<T>& x, Range rows, Range columns, const Panels<T>& block) {
    for_runs(x, block, rows, columns,
             [](T* there, const T* here, index n) { for_run<T>(n, AddTo<T>{there, here}); });
}

// room = the block's transpose.
template <class T>
inline Panels<T> transposed_block(T* room, const Panels<T>& block) {
    const Panels<T> to{room, block.cols, block.rows};
    for (index p = 0; p < block.count(); ++p) exec::transpose<T>(to, block, p, {0, block.rows});
    exec::clear_padding(to, {0, to.rows});
    return to;
}

}  // namespace fnn::FNN_ISA::net
