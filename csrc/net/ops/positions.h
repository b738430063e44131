// z = x + w[position]: a row of w for each position, added to it in every example.
#pragma once

#include "net/ops/elementwise.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Positions : OpBase {
    // Its rows are no products, as exact traces take matrices to be.
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/true, /*exact_traces=*/false};
    static constexpr Cut cut(const Run&) { return Cut::products; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        shift(ws.z(node.output), ws.a(node.input()), ws.matrix(node), rows, panels, done);
    }
    // Of one position, then.
    template <class Done>
    static void forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels,
                            const Done& done) {
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        const T* const row = parameters + ws.own(node).offset;
        for (index p = panels.begin; p < panels.end; ++p) {
            for (index r = 0; r < z.rows; ++r)
                for (index j = 0; j < z.width(p); ++j)
                    z.row(p, r)[j] = x.row(p, r)[j] + (j < z.used(p) ? row[p * z.full + j] : T(0));
            done(z.row(p, 0) - z.data, z.rows * z.width(p));
        }
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        Identity<T>::backward(ws, node, rows, panels, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        shift(ws.rz(node.output), ws.ra(node.input()), ws.direction_matrix(node), rows, panels, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        Identity<T>::tangent_backward(ws, node, rows, panels, into);
    }

    // The sum of d over examples.
    static constexpr bool has_matrix = true;
    static bool has_pair(const Workspace<T>&, const Node&, Pair pair) { return pair != Pair::ra_d; }
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& dw, Range examples, Range rows, Range panels, bool add,
                                Part, const exec::Beside<T>&) {
        const Panels<const T> d = backward_of(ws, node, pair);
        const index positions = ws.own(node).rows;
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = d.width(p);
            const Range all{0, rows.size() * width};
            T* const strip = dw.row(p - panels.begin, rows.begin, width);
            if (!add) exec::elementwise(all, Clear<T>{strip});
            for (index e = examples.begin; e < examples.end; ++e)
                exec::elementwise(all, AddTo<T>{strip, d.row(p, e * positions + rows.begin)});
        }
    }

   private:
    // z = x (without data: zero) + w
    template <class Done>
    static void shift(const Panels<T>& z, const Panels<T>& x, const Panels<T>& w, Range rows, Range panels,
                      const Done& done) {
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = z.width(p);
            for (index r = rows.begin, some; r < rows.end; r += some) {  // those of one example
                const index position = r % w.rows;
                some = exec::min(rows.end - r, w.rows - position);
                T* const to = z.row(p, r);
                const T* const own = w.row(p, position);
                if (x.data == nullptr)
                    exec::elementwise({0, some * width}, Copy<T>{to, own});
                else
                    exec::elementwise({0, some * width}, SumOfTwo<T>{to, x.row(p, r), own});
            }
            done(z.row(p, rows.begin) - z.data, rows.size() * width);
        }
    }
};

}  // namespace fnn::FNN_ISA::net
