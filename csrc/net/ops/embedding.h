// z = the row of w that x, one column of codes, names: 0 the first, 1 the second, ... Whatever else x is, NaN
// too, names none: zeros. Nothing flows back to x.
#pragma once

#include "exec/convert.h"
#include "exec/gemm/multiply.h"
#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Embedding : OpBase {
    // Its rows are no products, as exact traces take matrices to be.
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/true, /*exact_traces=*/false};
    static constexpr Cut cut(const Run&) { return Cut::products; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        look_up(ws.z(node.output), ws.a(node.input()), ws.matrix(node), rows, panels, done);
    }
    template <class Done>
    static void forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels,
                            const Done& done) {
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        const Parameters& own = ws.own(node);
        for (index p = panels.begin; p < panels.end; ++p) {
            for (index r = 0; r < z.rows; ++r) {
                const index code = code_at(x, r, own.rows);
                const index used = code < 0 ? 0 : z.used(p);
                const T* const from = parameters + own.offset + exec::max(code, 0) * own.cols + p * z.full;
                T* const to = z.row(p, r);
                for (index j = 0; j < used; ++j) to[j] = from[j];
                for (index j = used; j < z.width(p); ++j) to[j] = 0;
            }
            done(z.row(p, 0) - z.data, z.rows * z.width(p));
        }
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (into.wants(0)) stop(ws.da(node.input()), rows, panels, into);
    }
    // rz = the row of the direction
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        look_up(ws.rz(node.output), ws.a(node.input()), ws.direction_matrix(node), rows, panels, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (into.wants(0)) stop(ws.rda(node.input()), rows, panels, into);
    }

    // Each row of dz, where its code is among the rows that are asked for.
    static constexpr bool has_matrix = true;
    static bool has_pair(const Workspace<T>&, const Node&, Pair pair) { return pair != Pair::ra_d; }
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& dw, Range examples, Range rows, Range panels, bool add,
                                Part, const exec::Beside<T>&) {
        const Panels<const T> x = ws.a(node.input()), dz = backward_of(ws, node, pair);
        const index categories = ws.own(node).rows;
        const Range all = ws.rows_of(node.output, examples);
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = dz.width(p);
            const auto row = [&](index i) { return dw.row(p - panels.begin, i, width); };
            if (!add) exec::elementwise({0, rows.size() * width}, Clear<T>{row(rows.begin)});
            for (index r = all.begin; r < all.end; ++r) {
                const index code = code_at(x, r, categories);
                if (rows.begin <= code && code < rows.end)
                    exec::elementwise({0, width}, AddTo<T>{row(code), dz.row(p, r)});
            }
        }
    }

   private:
    // -1: none
    static index code_at(const Panels<const T>& x, index r, index categories) {
        const T code = *x.row(0, r);
        if (!(code >= 0 && code < T(categories))) return -1;
        return T(index(code)) == code ? index(code) : -1;
    }

    template <class Done>
    static void look_up(const Panels<T>& z, const Panels<T>& x, const Panels<T>& w, Range rows, Range panels,
                        const Done& done) {
        for (index p = panels.begin; p < panels.end; ++p) {
            const Range row{0, z.width(p)};
            for (index r = rows.begin; r < rows.end; ++r) {
                const index code = code_at(x, r, w.rows);
                if (code < 0)
                    exec::elementwise(row, Clear<T>{z.row(p, r)});
                else
                    exec::elementwise(row, Copy<T>{z.row(p, r), w.row(p, code)});
            }
            done(z.row(p, rows.begin) - z.data, rows.size() * z.width(p));
        }
    }

    template <class Into>
    static void stop(const Panels<T>& dx, Range rows, Range panels, const Into& into) {
        for_stretches(dx, rows, panels, [&](Range r) {
            if (!into.adds(0)) exec::elementwise(r, Clear<T>{dx.data});
            into.done(0, r.begin, r.size());
        });
    }
};

}  // namespace fnn::FNN_ISA::net
