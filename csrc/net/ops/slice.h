// z = some columns of x, which follow one another.
#pragma once

#include "net/ops/copy_columns.h"
#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Slice : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        take(ws.z(node.output), ws.a(node.input()), node, rows, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        put_back(ws.da(node.input()), ws.d(node.output), node, rows, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        take(ws.rz(node.output), ws.ra(node.input()), node, rows, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        put_back(ws.rda(node.input()), ws.rd(node.output), node, rows, into);
    }

   private:
    template <class Done>
    static void take(const Panels<T>& z, const Panels<T>& x, const Node& node, Range rows, const Done& done) {
        copy_columns(z, 0, x, index(node.op.first), z.cols, rows, false);
        exec::clear_padding(z, rows);
        for_stretches(z, rows, [&](Range r) { done(r.begin, r.size()); });
    }

    template <class Into>
    static void put_back(const Panels<T>& dx, const Panels<T>& dz, const Node& node, Range rows,
                         const Into& into) {
        if (!into.wants(0)) return;
        if (!into.adds(0)) for_stretches(dx, rows, [&](Range r) { exec::elementwise(r, Clear<T>{dx.data}); });
        copy_columns(dx, index(node.op.first), dz, 0, dz.cols, rows, true);
        for_stretches(dx, rows, [&](Range r) { into.done(0, r.begin, r.size()); });
    }
};

}  // namespace fnn::FNN_ISA::net
