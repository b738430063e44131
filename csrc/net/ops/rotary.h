// The first columns of x, which are some heads side by side, turned by their position (rules/rotary.h); the
// others as they are. Two turned columns of different positions have a product that depends on how far these
// are apart.
#pragma once

#include "net/ops/op.h"
#include "rules/rotary.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Rotary : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        turn(ws, node, ws.z(node.output), ws.a(node.input()), rows, 1, false, done);
    }
    // Back by as much: a turn's transpose.
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        turn(ws, node, ws.da(node.input()), ws.d(node.output), rows, -1, into.adds(0), DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        turn(ws, node, ws.rz(node.output), ws.ra(node.input()), rows, 1, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        turn(ws, node, ws.rda(node.input()), ws.rd(node.output), rows, -1, into.adds(0),
             DoneOf<Into>{into, 0});
    }

   private:
    static constexpr index planes_limit = 64, full = Panels<T>::full;

    struct Turns {
        T *cosine, *sine;
        double position, first, half, sign;
        void operator()(index i) const {
            const T turns = rules::Rotary<T>::turns(position, first + double(i), half);
            cosine[i] = rules::cos_2pi(turns);
            sine[i] = T(sign) * rules::sin_2pi(turns);
        }
    };
    template <bool add>
    struct Planes {
        T *to_first, *to_second;
        const T *first, *second, *cosine, *sine;
        void operator()(index i) const {
            const rules::Rotary<T> by{cosine[i], sine[i]};
            const T x = first[i], y = second[i];
            to_first[i] = by.first(x, y) + (add ? to_first[i] : T(0));
            to_second[i] = by.second(x, y) + (add ? to_second[i] : T(0));
        }
    };

    // to (+)= from (without data: zeros), turned
    template <class Done>
    static void turn(const Workspace<T>& ws, const Node& node, const Panels<T>& to, const Panels<T>& from,
                     Range rows, double sign, bool add, const Done& done) {
        const index heads = index(node.op.heads), turned = index(node.op.count), half = turned / heads / 2;
        const index positions = ws.plan.values[std::size_t(node.output)].positions();
        if (from.data == nullptr) {
            for_stretches(to, rows, [&](Range r) {
                if (!add) exec::elementwise(r, Clear<T>{to.data});
            });
        } else {
            alignas(exec::vector_bytes) T cosine[planes_limit], sine[planes_limit];
            exec::for_pieces({0, half}, planes_limit, [&](Range planes) {
                for (index r = rows.begin; r < rows.end; ++r) {
                    exec::elementwise({0, planes.size()}, Turns{cosine, sine, double(r % positions),
                                                                double(planes.begin), double(half), sign});
                    for (index h = 0; h < heads; ++h)
                        turn_planes(to, from, r, h * 2 * half + planes.begin, half, planes.size(), cosine,
                                    sine, add);
                }
            });
            copy_others(to, from, turned, rows, add);
        }
        for_stretches(to, rows, [&](Range r) { done(r.begin, r.size()); });
    }

    // Of the planes whose first column is `column`, or follows it.
    static void turn_planes(const Panels<T>& to, const Panels<T>& from, index r, index column, index half,
                            index planes, const T* cosine, const T* sine, bool add) {
        for (index k = 0, count; k < planes; k += count) {
            const index i = column + k, j = i + half;
            count = exec::min(planes - k, full - exec::max(i % full, j % full));
            T *const to_first = to.row(i / full, r) + i % full, *const to_second =
                                                                    to.row(j / full, r) + j % full;
            const T* const first = from.data + (to_first - to.data);
            const T* const second = from.data + (to_second - to.data);
            if (add)
                exec::elementwise({0, count},
                                  Planes<true>{to_first, to_second, first, second, cosine + k, sine + k});
            else
                exec::elementwise({0, count},
                                  Planes<false>{to_first, to_second, first, second, cosine + k, sine + k});
        }
    }

    // From a column on, and what pads them.
    static void copy_others(const Panels<T>& to, const Panels<T>& from, index column, Range rows, bool add) {
        for (index p = column / full; p < to.count(); ++p) {
            const Range others{exec::max(column - p * full, 0), to.width(p)};
            for (index r = rows.begin; r < rows.end; ++r) {
                T* const y = to.row(p, r);
                const T* const x = from.row(p, r);
                if (add)
                    exec::elementwise(others, AddTo<T>{y, x});
                else
                    exec::elementwise(others, Copy<T>{y, x});
            }
        }
    }
};

}  // namespace fnn::FNN_ISA::net
