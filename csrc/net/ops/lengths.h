// Examples of different lengths: the last input of an op that knows of them has one number for each example,
// and positions from there on do not exist.
#pragma once

#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

inline bool has_lengths(const Node& node) { return node.inputs.size() > 1; }

// How many of so many positions an example has by one of the inputs.
template <class T>
index length_of(const Workspace<T>& ws, const Input& lengths, index e, index most) {
    const T length = *ws.a(lengths.value).row(0, e);
    return length < T(most) ? (length > 0 ? index(length) : 0) : most;
}

// How many positions an example has.
template <class T>
index length_of(const Workspace<T>& ws, const Node& node, index e) {
    const index most = ws.plan.values[std::size_t(node.input())].positions();
    return has_lengths(node) ? length_of(ws, node.inputs.back(), e, most) : most;
}

// Nothing flows back to lengths.
template <class T, class Into>
void stop_at_lengths(const Workspace<T>& ws, const Node& node, const Panels<T>& d_lengths, Range examples,
                     const Into& into) {
    const int last = int(node.inputs.size()) - 1;
    if (last > 0 && into.wants(last))
        no_gradient(d_lengths, ws.rows_of(node.inputs.back().value, examples), last, into);
}

}  // namespace fnn::FNN_ISA::net
