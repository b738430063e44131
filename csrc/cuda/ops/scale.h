// z = w x, with a factor for each feature; and PReLU, where this holds of negative numbers only: see
// net/ops/.
#pragma once

#include "cuda/ops/op.h"

namespace fnn::FNN_ISA::device {

// y (+)= w v; where x is given, only if x is not positive, and elsewhere v, or zero unless it `passes`.
template <class T>
struct Bend {
    T* y;
    const T *v, *x, *w;
    index cols;
    bool passes, add;
    FNN_HD void operator()(index i) const {
        const T bent = x != nullptr && x[i] > 0 ? (passes ? v[i] : T(0)) : w[i % cols] * v[i];
        y[i] = add ? y[i] + bent : bent;
    }
};

// v where x is not positive, or zero
template <class T>
struct NegativePart {
    T* to;
    const T *v, *x;
    FNN_HD void operator()(index i) const { to[i] = x[i] > 0 ? T(0) : v[i]; }
};

template <class T, bool of_negative>
struct Scaling : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        bend(ws, node, ws.z(node.output), ws.a(node.input()), ws.vector(node, 0), true, false);
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            bend(ws, node, ws.da(x), ws.d(node.output), ws.vector(node, 0), true, add);
        });
    }
    // rz = w rx + rw x
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        T* const rz = ws.rz(node.output);
        bend(ws, node, rz, ws.a(node.input()), ws.direction_vector(node, 0), false, false);
        if (const T* const rx = ws.ra(node.input())) bend(ws, node, rz, rx, ws.vector(node, 0), true, true);
    }
    // rdx (+)= w rdz + rw dz
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            bend(ws, node, ws.rd(x), ws.rd(node.output), ws.vector(node, 0), true, add);
            bend(ws, node, ws.rd(x), ws.d(node.output), ws.direction_vector(node, 0), false, true);
        });
    }
    // u = x, or min(x, 0)
    static const T* factor(const Workspace<T>& ws, const Node& node, index) {
        return part(ws, node, ws.a(node.input()));
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index) {
        return part(ws, node, ws.ra(node.input()));
    }

   private:
    static void bend(Workspace<T>& ws, const Node& node, T* y, const T* v, const T* w, bool passes,
                     bool add) {
        const T* const x = of_negative ? ws.a(node.input()) : nullptr;
        elementwise(ws.stream, ws.size(node.output),
                    Bend<T>{y, v, x, w, ws.features(node.output), passes, add});
    }
    static const T* part(const Workspace<T>& ws, const Node& node, const T* v) {
        if (!of_negative || v == nullptr) return v;
        elementwise(ws.stream, ws.size(node.output), NegativePart<T>{ws.scratch, v, ws.a(node.input())});
        return ws.scratch;
    }
};

template <class T>
using Scale = Scaling<T, false>;
template <class T>
using PReLU = Scaling<T, true>;

}  // namespace fnn::FNN_ISA::device
