// z = x w + b: see net/ops/dense.h.
#pragma once

#include "cuda/ops/op.h"
#include "cuda/product.h"

namespace fnn::FNN_ISA::device {

template <class T>
struct AddBias {
    T* z;
    const T* b;
    index cols;
    FNN_HD void operator()(index i) const { z[i] += b[i % cols]; }
};

// z = z + b, a = f(z); a may be z.
template <class T, class Rule>
struct ActivateBiased {
    Rule rule;
    T *a, *z;
    const T* b;
    index cols;
    FNN_HD void operator()(index i) const {
        const T x = z[i] + b[i % cols];
        z[i] = x;
        a[i] = rule.value(x);
    }
};

template <class T>
struct Dense : OpBase {
    static constexpr bool has_matrix = true, activates = true;

    static void forward(Workspace<T>& ws, const Node& node) {
        const int out = node.output;
        times(ws, node, ws.a(node.input()), ws.matrix(node), false, ws.z(out));
        net::with_rule<T>(node.activation, [&](auto rule) {
            elementwise(ws.stream, ws.size(out),
                        ActivateBiased<T, decltype(rule)>{rule, ws.a(out), ws.z(out), ws.vector(node, 0),
                                                          ws.features(out)});
        });
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            times_transposed(ws, node, ws.d(node.output), ws.matrix(node), add, ws.da(x));
        });
    }
    // rz = rx w + x v + c along the direction (v, c)
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        const int out = node.output;
        times(ws, node, ws.a(node.input()), ws.direction_matrix(node), false, ws.rz(out));
        if (const T* const rx = ws.ra(node.input())) times(ws, node, rx, ws.matrix(node), true, ws.rz(out));
        elementwise(ws.stream, ws.size(out),
                    AddBias<T>{ws.rz(out), ws.direction_vector(node, 0), ws.features(out)});
    }
    // rdx (+)= rdz w' + dz v'
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            times_transposed(ws, node, ws.rd(node.output), ws.matrix(node), add, ws.rd(x));
            times_transposed(ws, node, ws.d(node.output), ws.direction_matrix(node), true, ws.rd(x));
        });
    }
    // dw (in, out) (+)= x' d
    static void weight_gradient(const Workspace<T>& ws, const Node& node, const T* x, const T* d, bool add,
                                T* dw) {
        const index in = ws.features(node.input()), out = ws.features(node.output);
        product(ws.stream, Trans::yes, Trans::no, in, out, ws.rows, x, in, d, out, add, dw, out);
    }

   private:
    static void times(const Workspace<T>& ws, const Node& node, const T* x, const T* w, bool add, T* z) {
        const index in = ws.features(node.input()), out = ws.features(node.output);
        product(ws.stream, Trans::no, Trans::no, ws.rows, out, in, x, in, w, out, add, z, out);
    }
    static void times_transposed(const Workspace<T>& ws, const Node& node, const T* d, const T* w, bool add,
                                 T* dx) {
        const index in = ws.features(node.input()), out = ws.features(node.output);
        product(ws.stream, Trans::no, Trans::yes, ws.rows, in, out, d, out, w, out, add, dx, in);
    }
};

}  // namespace fnn::FNN_ISA::device
