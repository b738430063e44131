// Windows over the positions of an image, each of which becomes one position of the output.
#pragma once

#include "net/ops/by_example.h"

namespace fnn::FNN_ISA::net {

// Along one axis. Those of size 0 share all positions among them, as torch's adaptive ones do.
struct Windows {
    index length = 1, count = 1;
    index size = 0, stride = 1, padding = 0;

    // What window k is of, some of which may be outside,
    Range whole(index k) const {
        if (size == 0) return {k * length / count, exec::divide_up((k + 1) * length, count)};
        const index begin = k * stride - padding;
        return {begin, exec::min(begin + size, length + padding)};
    }
    // and what there is of it.
    Range inside(index k) const { return exec::intersect(whole(k), {0, length}); }
    // Whether each position is in one of them and no other.
    bool tile() const {
        return size == 0 ? length % count == 0 : stride == size && padding == 0 && count * size == length;
    }
};

// One of them, of an image.
struct Window {
    index to;  // its position in the output
    Range y, x;
    index whole;  // how many positions with those outside
};

struct Grid {
    Windows y, x;

    Grid(const Plan& plan, const Node& node) {
        const Shape& in = plan.values[std::size_t(node.input())].shape;
        const Shape& out = plan.values[std::size_t(node.output)].shape;
        const OpSpec& op = node.op;
        y = {in.height, out.height, index(op.kernel_height), index(op.stride_height),
             index(op.padding_height)};
        x = {in.width, out.width, index(op.kernel_width), index(op.stride_width), index(op.padding_width)};
    }

    bool tile() const { return y.tile() && x.tile(); }

    template <class F>
    void for_windows(const F& f) const {
        index to = 0;
        for (index i = 0; i < y.count; ++i) {
            const Range rows = y.inside(i);
            const index height = y.whole(i).size();
            for (index j = 0; j < x.count; ++j, ++to)
                f(Window{to, rows, x.inside(j), height * x.whole(j).size()});
        }
    }

    // f(position in the image) for those of a window.
    template <class F>
    void for_positions(const Window& window, const F& f) const {
        for (index i = window.y.begin; i < window.y.end; ++i)
            for (index j = window.x.begin; j < window.x.end; ++j) f(i * x.length + j);
    }
};

// An example's rows of a panel in what an op reads and in what it writes, and their number of vectors.
template <class In, class Out, class F>
__attribute__((flatten)) inline void for_panels(const Panels<In>& x, index x_row, const Panels<Out>& z,
                                                index z_row, const F& f) {
    for (index p = 0; p < x.count(); ++p)
        with_vectors<Out>(x.width(p), [&](auto vectors) { f(x.row(p, x_row), z.row(p, z_row), vectors); });
}

}  // namespace fnn::FNN_ISA::net
