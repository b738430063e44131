// The same numbers in another shape, in row-major order of positions and channels.
#pragma once

#include "net/ops/elementwise.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Reshape : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        copy(ws, node.output, ws.z(node.output), node.input(), ws.a(node.input()), examples, false, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        if (!into.wants(0)) return;
        copy(ws, node.input(), ws.da(node.input()), node.output, ws.d(node.output), examples, into.adds(0),
             DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        copy(ws, node.output, ws.rz(node.output), node.input(), ws.ra(node.input()), examples, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        if (!into.wants(0)) return;
        copy(ws, node.input(), ws.rda(node.input()), node.output, ws.rd(node.output), examples, into.adds(0),
             DoneOf<Into>{into, 0});
    }

   private:
    // A number of an example, counted through, and how many follow it without a gap.
    struct Place {
        index row, column, panel, count;

        Place(const Panels<const T>& x, index first_row, index number)
            : row(first_row + number / x.cols),
              column(number % x.cols),
              panel(column / x.full),
              count(exec::min(x.cols - column, (panel + 1) * x.full - column)) {}
        T* in(const Panels<T>& x) const { return x.row(panel, row) + (column - panel * x.full); }
    };

    // to (+)= from (without data: zeros), of some examples.
    template <class Done>
    static void copy(const Workspace<T>& ws, int to_value, const Panels<T>& to, int from_value,
                     const Panels<T>& from, Range examples, bool add, const Done& done) {
        const index size = ws.plan.values[std::size_t(to_value)].shape.size();
        for (index e = examples.begin; e < examples.end; ++e) {
            const index to_first = ws.rows_of(to_value, {e, e}).begin;
            const index from_first = ws.rows_of(from_value, {e, e}).begin;
            for (index number = 0, some; number < size; number += some) {
                const Place there(to, to_first, number);
                some = there.count;
                T* const y = there.in(to);
                if (from.data == nullptr) {
                    if (!add) exec::elementwise({0, some}, Clear<T>{y});
                } else {
                    const Place here(from, from_first, number);
                    some = exec::min(some, here.count);
                    const T* const x = here.in(from);
                    if (add)
                        exec::elementwise({0, some}, AddTo<T>{y, x});
                    else
                        exec::elementwise({0, some}, Copy<T>{y, x});
                }
            }
        }
        const Range rows = ws.rows_of(to_value, examples);
        for (index p = 0; p < to.count(); ++p) {
            const index used = to.used(p), width = to.width(p);
            if (used < width && !add)
                for (index r = rows.begin; r < rows.end; ++r)
                    exec::elementwise({used, width}, Clear<T>{to.row(p, r)});
            done(to.row(p, rows.begin) - to.data, rows.size() * width);
        }
    }
};

}  // namespace fnn::FNN_ISA::net
