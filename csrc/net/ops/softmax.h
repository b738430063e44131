// y = softmax(x) as a layer.
#pragma once

#include "net/ops/elementwise.h"
#include "net/ops/softmax_rows.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Softmax : OpBase {
    static constexpr Traits traits{false,
                                   false,
                                   false,
                                   /*piecewise_linear=*/false,
                                   /*exact_traces=*/true,
                                   /*reads_output=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done&) {
        RowSoftmax<T>::forward(ws.a(node.output), ws.a(node.input()), rows);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        RowSoftmax<T>::backward(ws.da(node.input()), ws.a(node.output), ws.d(node.output), rows, into.adds(0),
                                DoneOf<Into>{into, 0});
    }
    // The Jacobian is symmetric.
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        const Panels<T> rz = ws.rz(node.output), rx = ws.ra(node.input());
        if (rx.data == nullptr) return pass_on(rz, rx, rows, panels, false, done);
        RowSoftmax<T>::backward(rz, ws.a(node.output), rx, rows, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        RowSoftmax<T>::tangent_backward(ws.rda(node.input()), ws.a(node.output), ws.rz(node.output),
                                        ws.d(node.output), ws.rd(node.output), rows, into.adds(0),
                                        DoneOf<Into>{into, 0});
    }
};

}  // namespace fnn::FNN_ISA::net
