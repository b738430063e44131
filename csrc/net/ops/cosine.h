// z = cos(2 pi x)
#pragma once

#include "net/ops/op.h"
#include "rules/turns.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Cosine : OpBase {
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/false, /*exact_traces=*/true};

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        for_stretches(z, rows, panels, [&](Range r) {
            exec::elementwise(r, Forward{z.data, ws.a(node.input()).data});
            done(r.begin, r.size());
        });
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        sloped(ws.da(node.input()), ws.d(node.output), ws.a(node.input()), rows, panels, into.adds(0),
               DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        sloped(ws.rz(node.output), ws.ra(node.input()), ws.a(node.input()), rows, panels, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input());
        sloped(rdx, ws.rd(node.output), ws.a(node.input()), rows, panels, into.adds(0), NoDone{});
        const T *const x = ws.a(node.input()).data, *const rx = ws.ra(node.input()).data;
        for_stretches(rdx, rows, panels, [&](Range r) {
            if (rx != nullptr) exec::elementwise(r, Bend{rdx.data, ws.d(node.output).data, x, rx});
            into.done(0, r.begin, r.size());
        });
    }

   private:
    struct Forward {
        T* z;
        const T* x;
        void operator()(index i) const { z[i] = rules::Cosine<T>::value(x[i]); }
    };
    template <bool add>
    struct Slope {
        T* to;
        const T *from, *x;
        void operator()(index i) const {
            const T product = from[i] * rules::Cosine<T>::derivative(x[i]);
            to[i] = add ? to[i] + product : product;
        }
    };
    struct Bend {
        T* to;
        const T *d, *x, *rx;
        void operator()(index i) const { to[i] += d[i] * rules::Cosine<T>::second_derivative(x[i]) * rx[i]; }
    };

    // to (+)= the derivative at x times `from`, which may not move
    template <class Done>
    static void sloped(const Panels<T>& to, const Panels<T>& from, const Panels<T>& x, Range rows,
                       Range panels, bool add, const Done& done) {
        for_stretches(to, rows, panels, [&](Range r) {
            if (from.data == nullptr) {
                if (!add) exec::elementwise(r, Clear<T>{to.data});
            } else if (add) {
                exec::elementwise(r, Slope<true>{to.data, from.data, x.data});
            } else {
                exec::elementwise(r, Slope<false>{to.data, from.data, x.data});
            }
            done(r.begin, r.size());
        });
    }
};

}  // namespace fnn::FNN_ISA::net
