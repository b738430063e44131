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

    // The images in their halos, and room for the gradient of those that come as rows; on the way of the
    // tangent the images of that.
    static index kept(const Node& node, const Plan& plan, index examples) {
        return images_size(node, plan, examples) +
               (reads_rows(node) ? positions(node, plan, examples).size() : 0);
    }
    static index kept_tangent(const Node& node, const Plan& plan, index examples) {
        return node.input() == 0 ? 0 : images_size(node, plan, examples);
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        for_images(ws, node, examples, [&](const auto& convolution, index e, index at) {
            T* const image = ws.kept(node) + at;
            copy(convolution, node, image, x, e);
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
            copy(convolution, node, image, rx, e);
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
    static exec::Filter filter(const Node& node, const Plan& plan) {
        return filter_of(node.op, read_shape(node, plan), plan.values[std::size_t(node.output)].shape);
    }
    // An example that comes as a row is read in a shape of its own: see Plan.
    static bool reads_rows(const Node& node) { return node.op.height > 0; }
    static Shape read_shape(const Node& node, const Plan& plan) {
        if (reads_rows(node)) return {index(node.op.height), index(node.op.width), index(node.op.channels)};
        return plan.values[std::size_t(node.input())].shape;
    }
    static Panels<T> positions(const Node& node, const Plan& plan, index examples, T* data = nullptr) {
        const Shape shape = read_shape(node, plan);
        return {data, examples * shape.positions(), shape.channels};
    }
    static index images_size(const Node& node, const Plan& plan, index examples) {
        return for_filter(node, plan,
                          [&](const auto& convolution) { return examples * convolution.image_size(); });
    }

    static bool is_depthwise(const exec::Filter& filter) {
        return filter.groups > 1 && filter.groups == filter.in && filter.in == filter.out;
    }
    // f(what computes it)
    template <class F>
    static auto for_filter(const Node& node, const Plan& plan, const F& f) {
        const exec::Filter own = filter(node, plan);
        if (is_depthwise(own)) return f(exec::Depthwise<T>(own));
        return f(exec::Convolution<T>(own));
    }
    // f(what computes it, example, where its image begins)
    template <class F>
    static void for_images(const Workspace<T>& ws, const Node& node, Range examples, const F& f) {
        for_filter(node, ws.plan, [&](const auto& convolution) {
            for (index e = examples.begin; e < examples.end; ++e)
                f(convolution, e, e * convolution.image_size());
        });
    }
    template <class Kind>
    static void copy(const Kind& convolution, const Node& node, T* image, const Panels<T>& x, index example) {
        if (reads_rows(node))
            convolution.copy_row(image, x, example);
        else
            convolution.copy(image, x, example);
    }

    // What gradients are multiplied by: the matrix as it is where each channel is filtered by itself.
    static Panels<const T> back(const Workspace<T>& ws, const Node& node) {
        return is_depthwise(filter(node, ws.plan)) ? ws.matrix(node) : ws.transposed_matrix(node);
    }
    static Panels<const T> tangent_back(const Workspace<T>& ws, const Node& node) {
        return is_depthwise(filter(node, ws.plan)) ? ws.direction_matrix(node)
                                                   : ws.transposed_direction(node);
    }

    // dx (+)= products
    template <int N, class Into>
    static void go_back(const Workspace<T>& ws, const Node& node, const Panels<T>& dx,
                        const exec::FilteredGradient<T> (&products)[N], Range examples, const Into& into) {
        if (!into.wants(0)) return;
        const Shape shape = read_shape(node, ws.plan);
        for_images(ws, node, examples, [&](const auto& convolution, index e, index) {
            const auto clear = [&](const Panels<T>& of, Range rows) {
                for_stretches(of, rows, [&](Range r) { exec::elementwise(r, Clear<T>{of.data}); });
            };
            const Range rows = ws.rows_of(node.input(), {e, e + 1});
            if (!into.adds(0)) clear(dx, rows);
            if (reads_rows(node)) {
                T* const room = ws.kept(node) + ws.rows * convolution.image_size();
                const Panels<T> own = positions(node, ws.plan, ws.rows, room);
                clear(own, {e * shape.positions(), (e + 1) * shape.positions()});
                convolution.backward(own, products, e);
                add_to_row(dx, own, shape, e);
            } else {
                convolution.backward(dx, products, e);
            }
            for_stretches(dx, rows, [&](Range r) { into.done(0, r.begin, r.size()); });
        });
    }
    static void add_to_row(const Panels<T>& to, const Panels<T>& from, const Shape& shape, index example) {
        for (index number = 0; number < shape.size(); ++number) {
            const index row = example * shape.positions() + number / shape.channels;
            const index column = number % shape.channels;
            to.row(number / to.full, example)[number % to.full] +=
                from.row(column / from.full, row)[column % from.full];
        }
    }
};

}  // namespace fnn::FNN_ISA::net
