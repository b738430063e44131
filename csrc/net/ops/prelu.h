// z = x where it is positive, else w x, with a slope for each feature; also its derivative at 0. K. He, X.
// Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers", ICCV.
#pragma once

#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct PReLU : OpBase {
    static constexpr Traits traits = linear_traits;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> x = ws.a(node.input());
        bend(ws.z(node.output), x, x, {ws.vector(node, 0), true, false}, rows, panels, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        bend(ws.da(node.input()), ws.d(node.output), ws.a(node.input()),
             {ws.vector(node, 0), true, into.adds(0)}, rows, panels, DoneOf<Into>{into, 0});
    }
    // rz = rx or w rx, and rw x
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        const Panels<T> rz = ws.rz(node.output), x = ws.a(node.input()), rx = ws.ra(node.input());
        bend(rz, x, x, {ws.direction_vector(node, 0), false, false}, rows, panels, NoDone{});
        if (rx.data != nullptr) bend(rz, rx, x, {ws.vector(node, 0), true, true}, rows, panels, NoDone{});
        for_stretches(rz, rows, panels, [&](Range r) { done(r.begin, r.size()); });
    }
    // rdx (+)= rdz or w rdz, and rw dz
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input()), x = ws.a(node.input());
        bend(rdx, ws.rd(node.output), x, {ws.vector(node, 0), true, into.adds(0)}, rows, panels, NoDone{});
        bend(rdx, ws.d(node.output), x, {ws.direction_vector(node, 0), false, true}, rows, panels,
             DoneOf<Into>{into, 0});
    }
    // u = min(x, 0)
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index) { return true; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T* room) {
        const Panels<T> x = ws.a(node.input());
        return negative_part(room, x, x, rows, p);
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        return negative_part(room, ws.ra(node.input()), ws.a(node.input()), rows, p);
    }

   private:
    // What becomes of a number where x is not positive: a slope times it. Elsewhere it passes, or is zero.
    struct Slopes {
        const T* of_features;
        bool passes, add;
    };
    struct Bend {
        T* y;
        const T *v, *x;
        Slopes slopes;
        void operator()(index j) const {
            const T bent = x[j] > 0 ? (slopes.passes ? v[j] : T(0)) : slopes.of_features[j] * v[j];
            y[j] = slopes.add ? y[j] + bent : bent;
        }
    };

    template <class Done>
    static void bend(const Panels<T>& y, const Panels<T>& v, const Panels<T>& x, Slopes slopes, Range rows,
                     Range panels, const Done& done) {
        const T* const of_features = slopes.of_features;
        for (index p = panels.begin; p < panels.end; ++p) {
            slopes.of_features = of_features + p * y.full;
            for (index r = rows.begin; r < rows.end; ++r)
                exec::elementwise({0, y.width(p)}, Bend{y.row(p, r), v.row(p, r), x.row(p, r), slopes});
            done(y.row(p, rows.begin) - y.data, rows.size() * y.width(p));
        }
    }

    struct NegativePart {
        T* to;
        const T *v, *x;
        void operator()(index i) const { to[i] = x[i] > 0 || v == nullptr ? T(0) : v[i]; }
    };

    static const T* negative_part(T* room, const Panels<T>& v, const Panels<T>& x, Range rows, index p) {
        const T* const from = v.data == nullptr ? nullptr : v.row(p, rows.begin);
        exec::elementwise({0, rows.size() * x.width(p)}, NegativePart{room, from, x.row(p, rows.begin)});
        return room;
    }
};

}  // namespace fnn::FNN_ISA::net
