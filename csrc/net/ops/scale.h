// z = w x, with a factor for each feature.
#pragma once

#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Scale : OpBase {
    static constexpr Traits traits = linear_traits;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        scaled(ws.z(node.output), ws.a(node.input()), ws.vector(node, 0), rows, panels, false, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        scaled(ws.da(node.input()), ws.d(node.output), ws.vector(node, 0), rows, panels, into.adds(0),
               DoneOf<Into>{into, 0});
    }
    // rz = w rx + rw x
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        const Panels<T> rz = ws.rz(node.output), rx = ws.ra(node.input());
        scaled(rz, ws.a(node.input()), ws.direction_vector(node, 0), rows, panels, false, NoDone{});
        if (rx.data != nullptr) scaled(rz, rx, ws.vector(node, 0), rows, panels, true, NoDone{});
        for_stretches(rz, rows, panels, [&](Range r) { done(r.begin, r.size()); });
    }
    // rdx (+)= w rdz + rw dz
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input());
        scaled(rdx, ws.rd(node.output), ws.vector(node, 0), rows, panels, into.adds(0), NoDone{});
        scaled(rdx, ws.d(node.output), ws.direction_vector(node, 0), rows, panels, true,
               DoneOf<Into>{into, 0});
    }
    // u = x
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index) { return true; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T*) {
        return ws.a(node.input()).row(p, rows.begin);
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        const Panels<T> rx = ws.ra(node.input());
        if (rx.data != nullptr) return rx.row(p, rows.begin);
        exec::elementwise({0, rows.size() * rx.width(p)}, Clear<T>{room});
        return room;
    }

   private:
    struct Product {
        T* y;
        const T *x, *w;
        bool add;
        void operator()(index j) const { y[j] = add ? y[j] + w[j] * x[j] : w[j] * x[j]; }
    };

    template <class Done>
    static void scaled(const Panels<T>& y, const Panels<T>& x, const T* w, Range rows, Range panels, bool add,
                       const Done& done) {
        for (index p = panels.begin; p < panels.end; ++p) {
            for (index r = rows.begin; r < rows.end; ++r)
                exec::elementwise({0, y.width(p)}, Product{y.row(p, r), x.row(p, r), w + p * y.full, add});
            done(y.row(p, rows.begin) - y.data, rows.size() * y.width(p));
        }
    }
};

}  // namespace fnn::FNN_ISA::net
