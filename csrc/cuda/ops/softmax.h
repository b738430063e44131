// y = softmax(x) as a layer: a warp for each row.
#pragma once

#include "cuda/kernels/rows.h"
#include "cuda/ops/op.h"
#include "rules/softmax.h"

namespace fnn::FNN_ISA::device {

// y may be x.
template <class T>
struct SoftmaxForward {
    using Rule = rules::Softmax<T>;
    T* y;
    const T* x;
    index cols;
    __device__ void operator()(index row, const Warp& warp) const {
        const T* const from = x + row * cols;
        T* const to = y + row * cols;
        const T max = warp.largest<T>(cols, [&](index j) { return from[j]; }).value;
        T sum = 0;
        warp.each(cols, [&](index j) {
            to[j] = Rule::exponential(from[j], max);
            sum += to[j];
        });
        sum = Rule::decided(warp.sum(sum), T(1), max);
        warp.each(cols, [&](index j) { to[j] *= 1 / sum; });
    }
};

// dx (+)= J dy, where the Jacobian J is symmetric.
template <class T>
struct SoftmaxBackward {
    using Rule = rules::Softmax<T>;
    T* dx;
    const T *y, *dy;
    index cols;
    bool add;
    __device__ void operator()(index row, const Warp& warp) const {
        const T *const p = y + row * cols, *const q = dy + row * cols;
        T* const to = dx + row * cols;
        T mean = 0;
        warp.each(cols, [&](index j) { mean += p[j] * q[j]; });
        mean = warp.sum(mean);
        warp.each(cols, [&](index j) {
            const T product = Rule::product(p[j], q[j], mean);
            to[j] = add ? to[j] + product : product;
        });
    }
};

// rdx (+)= J rdy + (the tangent of J) dy
template <class T>
struct SoftmaxTangentBackward {
    using Rule = rules::Softmax<T>;
    T* rdx;
    const T *y, *ry, *dy, *rdy;
    index cols;
    bool add;
    __device__ void operator()(index row, const Warp& warp) const {
        const index first = row * cols;
        const T *const p = y + first, *const rp = ry + first, *const q = dy + first, *const rq = rdy + first;
        T* const to = rdx + first;
        T mean = 0, change = 0;
        warp.each(cols, [&](index j) {
            mean += p[j] * q[j];
            change += rp[j] * q[j] + p[j] * rq[j];
        });
        mean = warp.sum(mean), change = warp.sum(change);
        warp.each(cols, [&](index j) {
            const T tangent = Rule::product_tangent(p[j], rp[j], q[j], rq[j], mean, change);
            to[j] = add ? to[j] + tangent : tangent;
        });
    }
};

template <class T>
struct Softmax : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        for_rows(ws.stream, ws.rows,
                 SoftmaxForward<T>{ws.a(node.output), ws.a(node.input()), cols(ws, node)});
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            for_rows(ws.stream, ws.rows,
                     SoftmaxBackward<T>{ws.da(x), ws.a(node.output), ws.d(node.output), cols(ws, node), add});
        });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        T* const rz = ws.rz(node.output);
        const T* const rx = ws.ra(node.input());
        if (rx == nullptr) return pass_on(ws.stream, rz, rx, ws.size(node.output), false);
        for_rows(ws.stream, ws.rows, SoftmaxBackward<T>{rz, ws.a(node.output), rx, cols(ws, node), false});
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) {
            for_rows(ws.stream, ws.rows,
                     SoftmaxTangentBackward<T>{ws.rd(x), ws.a(node.output), ws.rz(node.output),
                                               ws.d(node.output), ws.rd(node.output), cols(ws, node), add});
        });
    }

   private:
    static index cols(const Workspace<T>& ws, const Node& node) { return ws.features(node.output); }
};

}  // namespace fnn::FNN_ISA::device
