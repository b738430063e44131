// Ops without anything to learn, whose every number comes from one place of each input.
#pragma once

#include "cuda/ops/op.h"

namespace fnn::FNN_ISA::device {

// z = x
template <class T>
struct Identity : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        pass_on(ws.stream, ws.z(node.output), ws.a(node.input()), ws.size(node.output), false);
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            pass_on(ws.stream, ws.da(x), ws.d(node.output), ws.size(x), add);
        });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        pass_on(ws.stream, ws.rz(node.output), ws.ra(node.input()), ws.size(node.output), false);
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            pass_on(ws.stream, ws.rd(x), ws.rd(node.output), ws.size(x), add);
        });
    }
};

// z = x0 + x1 + ..., in this order
template <class T>
struct Add : Identity<T> {  // but for the ways forward
    static void forward(Workspace<T>& ws, const Node& node) {
        sum(ws, node, ws.z(node.output), [&](int value) { return ws.a(value); });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        sum(ws, node, ws.rz(node.output), [&](int value) { return ws.ra(value); });
    }

   private:
    template <class Of>
    static void sum(Workspace<T>& ws, const Node& node, T* to, const Of& of) {
        bool add = false;
        for (const Input& input : node.inputs) {
            pass_on<T>(ws.stream, to, of(input.value), ws.size(node.output), add);
            add = true;
        }
    }
};

// to (+)= x y + u v; a product with a null is zero.
template <class T>
struct SumOfProducts {
    T* to;
    const T *x, *y, *u, *v;
    bool add;
    FNN_HD void operator()(index i) const {
        T sum = x != nullptr && y != nullptr ? x[i] * y[i] : T(0);
        if (u != nullptr && v != nullptr) sum += u[i] * v[i];
        to[i] = add ? to[i] + sum : sum;
    }
};

// z = x0 x1
template <class T>
struct Multiply : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        products(ws, node, ws.z(node.output), false, ws.a(value(node, 0)), ws.a(value(node, 1)), nullptr,
                 nullptr);
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int i, int x, bool add) {
            products(ws, node, ws.da(x), add, ws.d(node.output), ws.a(value(node, 1 - i)), nullptr, nullptr);
        });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        const int x = value(node, 0), y = value(node, 1);
        products(ws, node, ws.rz(node.output), false, ws.ra(x), ws.a(y), ws.a(x), ws.ra(y));
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int i, int x, bool add) {
            const int other = value(node, 1 - i);
            products(ws, node, ws.rd(x), add, ws.rd(node.output), ws.a(other), ws.d(node.output),
                     ws.ra(other));
        });
    }

   private:
    static int value(const Node& node, int i) { return node.inputs[std::size_t(i)].value; }
    static void products(Workspace<T>& ws, const Node& node, T* to, bool add, const T* x, const T* y,
                         const T* u, const T* v) {
        elementwise(ws.stream, ws.size(node.output), SumOfProducts<T>{to, x, y, u, v, add});
    }
};

// Columns of `to` from a first one on (+)= so many of `from` (null: zero).
template <class T>
struct CopyColumns {
    T* to;
    index to_cols, to_first;
    const T* from;
    index from_cols, from_first, count;
    bool add;
    FNN_HD void operator()(index i) const {
        const index r = i / count, j = i % count;
        const T x = from != nullptr ? from[r * from_cols + from_first + j] : T(0);
        T& y = to[r * to_cols + to_first + j];
        y = add ? y + x : x;
    }
};

// z = (x0, x1, ...): the features of all inputs side by side.
template <class T>
struct Concatenate : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        join(ws, node, ws.z(node.output), [&](int value) { return ws.a(value); });
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        split(ws, node, ws.d(node.output), [&](int value) { return ws.da(value); });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        join(ws, node, ws.rz(node.output), [&](int value) { return ws.ra(value); });
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        split(ws, node, ws.rd(node.output), [&](int value) { return ws.rd(value); });
    }

   private:
    template <class Of>
    static void join(Workspace<T>& ws, const Node& node, T* to, const Of& of) {
        index at = 0;
        for (const Input& input : node.inputs) {
            const index cols = ws.features(input.value);
            elementwise(
                ws.stream, ws.rows * cols,
                CopyColumns<T>{to, ws.features(node.output), at, of(input.value), cols, 0, cols, false});
            at += cols;
        }
    }
    template <class Of>
    static void split(Workspace<T>& ws, const Node& node, const T* from, const Of& of) {
        index at = 0;
        for (const Input& input : node.inputs) {
            const index cols = ws.features(input.value);
            if (ws.wants_gradient(input.value))
                elementwise(ws.stream, ws.rows * cols,
                            CopyColumns<T>{of(input.value), cols, 0, from, ws.features(node.output), at, cols,
                                           input.adds_gradient});
            at += cols;
        }
    }
};

// z = some columns of x, which follow one another.
template <class T>
struct Slice : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        take(ws, node, ws.z(node.output), ws.a(node.input()));
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node,
                   [&](int, int x, bool add) { put_back(ws, node, ws.da(x), ws.d(node.output), add); });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        take(ws, node, ws.rz(node.output), ws.ra(node.input()));
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node,
                   [&](int, int x, bool add) { put_back(ws, node, ws.rd(x), ws.rd(node.output), add); });
    }

   private:
    static void take(Workspace<T>& ws, const Node& node, T* z, const T* x) {
        const index cols = ws.features(node.output);
        elementwise(
            ws.stream, ws.rows * cols,
            CopyColumns<T>{z, cols, 0, x, ws.features(node.input()), index(node.op.first), cols, false});
    }
    static void put_back(Workspace<T>& ws, const Node& node, T* dx, const T* dz, bool add) {
        const index cols = ws.features(node.output), all = ws.features(node.input());
        if (!add) pass_on<T>(ws.stream, dx, nullptr, ws.rows * all, false);
        elementwise(ws.stream, ws.rows * cols,
                    CopyColumns<T>{dx, all, index(node.op.first), dz, cols, 0, cols, true});
    }
};

}  // namespace fnn::FNN_ISA::device
