// z = w * x + b: each position of the output is a product of what a filter reads around it. The matrix w is
// (tap and channel of a group, channels that come out), taps row by row.
#pragma once

#include "exec/depthwise.h"
#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

inline exec::Filter filter_of(const OpSpec& op, const Shape& from, const Shape& to) {
    const exec::Axis y{from.height,
                       to.height,
                       index(op.kernel_height),
                       index(op.stride_height),
                       index(op.dilation_height),
                       index(op.top),
                       index(op.bottom),
                       index(op.spacing_height)};
    const exec::Axis x{from.width,
                       to.width,
                       index(op.kernel_width),
                       index(op.stride_width),
                       index(op.dilation_width),
                       index(op.left),
                       index(op.right),
                       index(op.spacing_width)};
    return {y, x, from.channels, to.channels, index(op.groups)};
}

template <class T>
struct Convolution : OpBase {
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/true, /*exact_traces=*/false};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;

    // The images in their halos, and on the way of the tangent those of the tangent.
    static index kept(const Node& node, const Plan& plan, index examples) {
        return for_filter(node, plan,
                          [&](const auto& convolution) { return examples * convolution.image_size(); });
    }
    static index kept_tangent(const Node& node, const Plan& plan, index examples) {
        return node.input() == 0 ? 0 : kept(node, plan, examples);
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        for_images(ws, node, examples, [&](const auto& convolution, index e, index at) {
            T* const image = ws.kept(node) + at;
            convolution.copy(image, x, e);
            const exec::FilteredImage<T> products[]{{image, ws.matrix(node)}};
            convolution.forward(z, products, ws.vector(node, 0), e, done);
        });
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        const exec::FilteredGradient<T> products[]{{ws.d(node.output), back(ws, node)}};
        go_back(ws, node, ws.da(node.input()), products, examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Panels<T> rz = ws.rz(node.output), rx = ws.ra(node.input());
        const T* const bias = ws.direction_vector(node, 0);
        for_images(ws, node, examples, [&](const auto& convolution, index e, index at) {
            const exec::FilteredImage<T> still{ws.kept(node) + at, ws.direction_matrix(node)};
            if (rx.data == nullptr) {
                const exec::FilteredImage<T> products[]{still};
                return convolution.forward(rz, products, bias, e, done);
            }
            T* const image = ws.kept_tangent(node) + at;
            convolution.copy(image, rx, e);
            const exec::FilteredImage<T> products[]{still, {image, ws.matrix(node)}};
            convolution.forward(rz, products, bias, e, done);
        });
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        const exec::FilteredGradient<T> products[]{{ws.rd(node.output), back(ws, node)},
                                                   {ws.d(node.output), tangent_back(ws, node)}};
        go_back(ws, node, ws.rda(node.input()), products, examples, into);
    }

    static constexpr bool has_matrix = true;
    static bool has_pair(const Workspace<T>& ws, const Node& node, Pair pair) {
        return pair != Pair::ra_d || ws.ra(node.input()).data != nullptr;
    }
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& strips, Range examples, Range rows, Range panels,
                                bool add, Part, const exec::Beside<T>&) {
        const T* const images = pair == Pair::ra_d ? ws.kept_tangent(node) : ws.kept(node);
        for_filter(node, ws.plan, [&](const auto& convolution) {
            convolution.weight_gradient(strips, images, backward_of(ws, node, pair), examples, rows, panels,
                                        add);
        });
    }

   private:
    // f(what computes it)
    template <class F>
    static auto for_filter(const Node& node, const Plan& plan, const F& f) {
        const exec::Filter filter = filter_of(node.op, plan.values[std::size_t(node.input())].shape,
                                              plan.values[std::size_t(node.output)].shape);
        if (is_depthwise(filter)) return f(exec::Depthwise<T>(filter));
        return f(exec::Convolution<T>(filter));
    }
    static bool is_depthwise(const exec::Filter& filter) {
        return filter.groups > 1 && filter.groups == filter.in && filter.in == filter.out;
    }

    // f(what computes it, example, where its image begins)
    template <class F>
    static void for_images(const Workspace<T>& ws, const Node& node, Range examples, const F& f) {
        for_filter(node, ws.plan, [&](const auto& convolution) {
            for (index e = examples.begin; e < examples.end; ++e)
                f(convolution, e, e * convolution.image_size());
        });
    }

    // What gradients are multiplied by: as it is where each channel is filtered by itself.
    static Panels<const T> back(const Workspace<T>& ws, const Node& node) {
        return by_channel(ws, node) ? ws.matrix(node) : ws.transposed_matrix(node);
    }
    static Panels<const T> tangent_back(const Workspace<T>& ws, const Node& node) {
        return by_channel(ws, node) ? ws.direction_matrix(node) : ws.transposed_direction(node);
    }
    static bool by_channel(const Workspace<T>& ws, const Node& node) {
        return is_depthwise(filter_of(node.op, ws.plan.values[std::size_t(node.input())].shape,
                                      ws.plan.values[std::size_t(node.output)].shape));
    }

    // dx (+)= products
    template <int N, class Into>
    static void go_back(const Workspace<T>& ws, const Node& node, const Panels<T>& dx,
                        const exec::FilteredGradient<T> (&products)[N], Range examples, const Into& into) {
        if (!into.wants(0)) return;
        for_images(ws, node, examples, [&](const auto& convolution, index e, index) {
            const Range rows = ws.rows_of(node.input(), {e, e + 1});
            if (!into.adds(0))
                for_stretches(dx, rows, [&](Range r) { exec::elementwise(r, Clear<T>{dx.data}); });
            convolution.backward(dx, products, e);
            for_stretches(dx, rows, [&](Range r) { into.done(0, r.begin, r.size()); });
        });
    }
};

}  // namespace fnn::FNN_ISA::net
