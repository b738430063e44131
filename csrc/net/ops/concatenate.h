// z = (x0, x1, ...): the features of all inputs side by side.
#pragma once

#include "net/ops/copy_columns.h"
#include "net/ops/op.h"
#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Concatenate : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        join(ws.z(node.output), node, rows, done, [&](int value) { return ws.a(value); });
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        split(ws.d(node.output), node, rows, into, [&](int value) { return ws.da(value); });
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        join(ws.rz(node.output), node, rows, done, [&](int value) { return ws.ra(value); });
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        split(ws.rd(node.output), node, rows, into, [&](int value) { return ws.rda(value); });
    }

   private:
    template <class Done, class Of>
    static void join(const Panels<T>& z, const Node& node, Range rows, const Done& done, const Of& of) {
        index at = 0;
        for (const Input& input : node.inputs) {
            const Panels<T> x = of(input.value);
            copy_columns(z, at, x, 0, x.cols, rows, false);
            at += x.cols;
        }
        exec::clear_padding(z, rows);
        for_stretches(z, rows, [&](Range r) { done(r.begin, r.size()); });
    }

    template <class Into, class Of>
    static void split(const Panels<T>& dz, const Node& node, Range rows, const Into& into, const Of& of) {
        index at = 0;
        for (int i = 0; i < int(node.inputs.size()); ++i) {
            const Panels<T> dx = of(node.inputs[std::size_t(i)].value);
            if (into.wants(i)) {
                copy_columns(dx, 0, dz, at, dx.cols, rows, into.adds(i));
                if (!into.adds(i)) exec::clear_padding(dx, rows);
                for_stretches(dx, rows, [&](Range r) { into.done(i, r.begin, r.size()); });
            }
            at += dx.cols;
        }
    }
};

}  // namespace fnn::FNN_ISA::net
