// z = x with its axes, height, width and channels, in another order: axis k of z is axis[k] of x.
#pragma once

#include "exec/transpose.h"
#include "net/ops/by_example.h"

namespace fnn::FNN_ISA::net {

template <class T>
class OtherOrder {
   public:
    OtherOrder(const Workspace<T>& ws, const Node& node)
        : z_(ws.plan.values[std::size_t(node.output)].shape),
          x_(ws.plan.values[std::size_t(node.input())].shape),
          axes_{{int(node.op.height), int(node.op.width), int(node.op.channels)}} {}

    void there(const Panels<T>& z, const Panels<T>& x, index e) const {
        move({z, z_, e}, {x, x_, e}, axes_, false);
    }
    void back(const Panels<T>& dx, const Panels<T>& dz, index e, bool add) const {
        Axes back;
        for (int k = 0; k < 3; ++k) back.of[axes_.of[k]] = k;
        move({dx, x_, e}, {dz, z_, e}, back, add);
    }

   private:
    static constexpr index w = exec::lanes<T>;

    struct Axes {
        int of[3];
    };
    struct Image {
        Panels<T> numbers;
        Shape shape;
        index example;

        index size(int axis) const {
            return axis == 0 ? shape.height : axis == 1 ? shape.width : shape.channels;
        }
        // Between the rows of neighbours along an axis.
        index step(int axis) const { return axis == 0 ? shape.width : 1; }
        index first() const { return example * shape.positions(); }
    };

    // to (+)= from, whose axis `axes.of[k]` becomes axis k
    static void move(const Image& to, const Image& from, const Axes& axes, bool add) {
        if (axes.of[2] == 2)
            move_rows(to, from, axes, add);
        else
            transpose(to, from, axes, add);
    }

    static void move_rows(const Image& to, const Image& from, const Axes& axes, bool add) {
        for (index p = 0; p < to.numbers.count(); ++p) {
            const Range row{0, to.numbers.width(p)};
            for (index i = 0; i < to.shape.height; ++i)
                for (index j = 0; j < to.shape.width; ++j) {
                    T* const z = to.numbers.row(p, to.first() + i * to.shape.width + j);
                    const T* const x = from.numbers.row(
                        p, from.first() + i * from.step(axes.of[0]) + j * from.step(axes.of[1]));
                    if (add)
                        exec::elementwise(row, AddTo<T>{z, x});
                    else
                        exec::elementwise(row, Copy<T>{z, x});
                }
        }
    }

    // Squares of some channels of `from` by some of `to`, which are positions of `from`.
    static void transpose(const Image& to, const Image& from, const Axes& axes, bool add) {
        const int channels = axes.of[0] == 2 ? 0 : 1;  // the axis of `to` that was the channels of `from`
        const int other = 1 - channels;
        const index positions = to.shape.channels, along = from.step(axes.of[2]);
        for (index i = 0; i < to.size(other); ++i)
            for (index c = 0; c < from.shape.channels; c += w)
                for (index k = 0; k < positions; k += w) {
                    const index p = c / Panels<T>::full, q = k / Panels<T>::full;
                    const index row = from.first() + i * from.step(axes.of[other]) + k * along;
                    exec::Vector<T> v[w];
                    exec::load_transposed<T>(v, from.numbers.row(p, row) + c % Panels<T>::full,
                                             along * from.numbers.width(p), exec::min(positions - k, w));
                    for (index n = 0; n < exec::min(from.shape.channels - c, w); ++n) {
                        T* const z =
                            to.numbers.row(q, to.first() + i * to.step(other) + (c + n) * to.step(channels)) +
                            k % Panels<T>::full;
                        exec::store(z, add ? exec::load(z) + v[n] : v[n]);
                    }
                }
    }

    Shape z_, x_;
    Axes axes_;
};

template <class T>
using Permute = LinearByExample<T, OtherOrder<T>>;

}  // namespace fnn::FNN_ISA::net
