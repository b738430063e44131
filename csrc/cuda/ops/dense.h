// z = x w + b: see net/ops/dense.h.
#pragma once

#include "cuda/ops/op.h"
#include "cuda/product.h"

namespace fnn::FNN_ISA::device {

template <class T>
struct Dense : OpBase {
    static constexpr bool has_matrix = true;
    // By the product itself.
    static bool activates(const Node& node) { return node.activation.kind == Activation::relu; }

    static void forward(Workspace<T>& ws, const Node& node) {
        times(ws, node, ws.a(node.input()), ws.matrix(node), false, ws.z(node.output),
              {ws.vector(node, 0), activates(node)});
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            times(ws, node, ws.d(node.output), ws.matrix(node, true), add, ws.da(x));
        });
    }
    // rz = x v + c + rx w along the direction (v, c)
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        T* const rz = ws.rz(node.output);
        times(ws, node, ws.a(node.input()), ws.direction_matrix(node), false, rz,
              {ws.direction_vector(node, 0)});
        if (const T* const rx = ws.ra(node.input())) times(ws, node, rx, ws.matrix(node), true, rz);
    }
    // rdx (+)= rdz w' + dz v'
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            times(ws, node, ws.rd(node.output), ws.matrix(node, true), add, ws.rd(x));
            times(ws, node, ws.d(node.output), ws.direction_matrix(node, true), true, ws.rd(x));
        });
    }
    // dw (in, out) (+)= x' d
    static void weight_gradient(const Workspace<T>& ws, const Node& node, const T* x, const T* d, bool add,
                                T* dw) {
        const index in = ws.features(node.input()), out = ws.features(node.output);
        product(ws.stream, ws.rounding, in, out, ws.rows, {x, true}, {d}, add, dw);
    }

   private:
    // z (+)= x w
    static void times(const Workspace<T>& ws, const Node& node, const T* x, const Operand<T>& w, bool add,
                      T* z, const Epilogue<T>& then = {}) {
        const index in = ws.features(node.input()), out = ws.features(node.output);
        product(ws.stream, ws.rounding, ws.rows, w.transposed ? in : out, w.transposed ? out : in, {x}, w,
                add, z, then);
    }
};

}  // namespace fnn::FNN_ISA::device
