// Ops whose every number comes from the same place of their inputs, with nothing to learn: what an activation
// that stands alone reads, and how branches of a network join.
#pragma once

#include "net/ops/op.h"
#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

// to (+)= from, or zero where `from` does not move; done(first, count) after each stretch.
template <class T, class Done>
inline void pass_on(const Panels<T>& to, const Panels<T>& from, Range rows, Range panels, bool add,
                    const Done& done) {
    for_stretches(to, rows, panels, [&](Range r) {
        if (from.data == nullptr) {
            if (!add) exec::elementwise(r, Clear<T>{to.data});
        } else if (add) {
            exec::elementwise(r, AddTo<T>{to.data, from.data});
        } else if (to.data != from.data) {
            exec::elementwise(r, Copy<T>{to.data, from.data});
        }
        done(r.begin, r.size());
    });
}

// z = x
template <class T>
struct Identity : OpBase {
    static constexpr Traits traits = linear_traits;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        pass_on(ws.z(node.output), ws.a(node.input()), rows, panels, false, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        pass_on(ws.da(node.input()), ws.d(node.output), rows, panels, into.adds(0), DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        pass_on(ws.rz(node.output), ws.ra(node.input()), rows, panels, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        pass_on(ws.rda(node.input()), ws.rd(node.output), rows, panels, into.adds(0), DoneOf<Into>{into, 0});
    }
};

template <class T>
struct SumOfTwo {
    T* to;
    const T *x, *y;
    void operator()(index i) const { to[i] = x[i] + y[i]; }
};

// z = x0 + x1 + ..., in this order
template <class T>
struct Add : OpBase {
    static constexpr Traits traits = linear_traits;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        sum(ws.z(node.output), node, rows, panels, done, [&](int value) { return ws.a(value); });
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        for (int i = 0; i < int(node.inputs.size()); ++i)
            if (into.wants(i))
                pass_on(ws.da(node.inputs[std::size_t(i)].value), ws.d(node.output), rows, panels,
                        into.adds(i), DoneOf<Into>{into, i});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        sum(ws.rz(node.output), node, rows, panels, done, [&](int value) { return ws.ra(value); });
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        for (int i = 0; i < int(node.inputs.size()); ++i)
            if (into.wants(i))
                pass_on(ws.rda(node.inputs[std::size_t(i)].value), ws.rd(node.output), rows, panels,
                        into.adds(i), DoneOf<Into>{into, i});
    }

   private:
    template <class Done, class Of>
    static void sum(const Panels<T>& to, const Node& node, Range rows, Range panels, const Done& done,
                    const Of& of) {
        for_stretches(to, rows, panels, [&](Range r) {
            const T* first = nullptr;  // what there is so far
            for (const Input& input : node.inputs) {
                const T* const x = of(input.value).data;
                if (x == nullptr) continue;
                if (first == nullptr)
                    first = x;
                else
                    exec::elementwise(r, SumOfTwo<T>{to.data, first, x}), first = to.data;
            }
            if (first == nullptr)
                exec::elementwise(r, Clear<T>{to.data});
            else if (first != to.data)
                exec::elementwise(r, Copy<T>{to.data, first});
            done(r.begin, r.size());
        });
    }
};

// to = x y + u v; without u or v, and without x or y, that product is zero; added if `add`.
template <class T>
struct SumOfProducts {
    T* to;
    const T *x, *y, *u, *v;
    bool add;
    void operator()(index i) const {
        T sum = x != nullptr && y != nullptr ? x[i] * y[i] : T(0);
        if (u != nullptr && v != nullptr) sum += u[i] * v[i];
        to[i] = add ? to[i] + sum : sum;
    }
};

// z = x0 x1: a gate
template <class T>
struct Multiply : OpBase {
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/false, /*exact_traces=*/true};

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        products(z, rows, panels, false, ws.a(value(node, 0)), ws.a(value(node, 1)), {}, {}, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        for (int i = 0; i < 2; ++i)
            if (into.wants(i))
                products(ws.da(value(node, i)), rows, panels, into.adds(i), ws.d(node.output),
                         ws.a(value(node, 1 - i)), {}, {}, DoneOf<Into>{into, i});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        const int x = value(node, 0), y = value(node, 1);
        products(ws.rz(node.output), rows, panels, false, ws.ra(x), ws.a(y), ws.a(x), ws.ra(y), done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        for (int i = 0; i < 2; ++i)
            if (into.wants(i))
                products(ws.rda(value(node, i)), rows, panels, into.adds(i), ws.rd(node.output),
                         ws.a(value(node, 1 - i)), ws.d(node.output), ws.ra(value(node, 1 - i)),
                         DoneOf<Into>{into, i});
    }

   private:
    static int value(const Node& node, int i) { return node.inputs[std::size_t(i)].value; }

    template <class Done>
    static void products(const Panels<T>& to, Range rows, Range panels, bool add, const Panels<T>& x,
                         const Panels<T>& y, const Panels<T>& u, const Panels<T>& v, const Done& done) {
        for_stretches(to, rows, panels, [&](Range r) {
            exec::elementwise(r, SumOfProducts<T>{to.data, x.data, y.data, u.data, v.data, add});
            done(r.begin, r.size());
        });
    }
};

}  // namespace fnn::FNN_ISA::net
