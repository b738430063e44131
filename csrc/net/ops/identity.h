// The linear part of an activation that stands alone: z = x. Its tangents are the same maps.
#pragma once

#include "exec/elementwise.h"
#include "exec/panels.h"

namespace fnn::FNN_ISA::net {

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

// The stretches of memory that hold the given rows, one for each panel.
template <class T, class F>
inline void for_stretches(exec::Panels<T> x, Range rows, const F& f) {
    for (index p = 0; p < x.count(); ++p)
        f(Range{x.row(p, rows.begin) - x.data, x.row(p, rows.end) - x.data});
}

template <class T>
struct Clear {
    T* to;
    void operator()(index i) const { to[i] = 0; }
};

// z = x, dx (+)= dz, and their tangents; without `from` (an input that does not move): zero.
template <class T, class Epilogue>
inline void pass_through(exec::Panels<T> to, exec::Panels<const T> from, Range rows, bool add,
                         const Epilogue& epilogue) {
    for_stretches(to, rows, [&](Range r) {
        if (from.data == nullptr)
            exec::elementwise(r, Clear<T>{to.data});
        else if (add)
            exec::elementwise(r, AddTo<T>{to.data, from.data});
        else
            exec::elementwise(r, Copy<T>{to.data, from.data});
        epilogue(r.begin, r.size());
    });
}

}  // namespace fnn::FNN_ISA::net
