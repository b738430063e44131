// Loops over the stretches of memory that hold some rows of a value.
#pragma once

#include "exec/elementwise.h"
#include "exec/panels.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

template <class T>
struct Copy {
    T* to;
    const T* from;
    void operator()(index i) const { to[i] = from[i]; }
};

template <class T>
struct AddTo {
    T* to;
    const T* from;
    void operator()(index i) const { to[i] += from[i]; }
};

template <class T>
struct Clear {
    T* to;
    void operator()(index i) const { to[i] = 0; }
};

template <class T>
struct Multiple {
    T* to;
    T factor;
    void operator()(index i) const { to[i] *= factor; }
};

// f(stretch) for the given rows of some panels.
template <class T, class F>
inline void for_stretches(const Panels<T>& x, Range rows, Range panels, const F& f) {
    for (index p = panels.begin; p < panels.end; ++p)
        f(Range{x.row(p, rows.begin) - x.data, x.row(p, rows.end) - x.data});
}

template <class T, class F>
inline void for_stretches(const Panels<T>& x, Range rows, const F& f) {
    for_stretches(x, rows, {0, x.count()}, f);
}

}  // namespace fnn::FNN_ISA::net
