// z = w x + b, where each feature of x stands for `copies` columns of z that follow each other, with a factor
// and a shift for each.
#pragma once

#include "exec/convert.h"
#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Spread : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        spread(z, node, ws.a(node.input()), ws.vector(node, 0), ws.vector(node, 1), rows);
        finish(z, rows, done);
    }
    // dx (+)= the sum of w dz over the columns of each feature
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> dx = ws.da(node.input());
        begin(dx, rows, into.adds(0));
        gather(dx, node, ws.vector(node, 0), ws.d(node.output), rows);
        finish(dx, rows, DoneOf<Into>{into, 0});
    }
    // rz = rw x + rb + w rx
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> rz = ws.rz(node.output), rx = ws.ra(node.input());
        spread(rz, node, ws.a(node.input()), ws.direction_vector(node, 0), ws.direction_vector(node, 1),
               rows);
        if (rx.data != nullptr) add_spread(rz, node, rx, ws.vector(node, 0), rows);
        finish(rz, rows, done);
    }
    // rdx (+)= the sum of w rdz + rw dz
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input());
        begin(rdx, rows, into.adds(0));
        gather(rdx, node, ws.vector(node, 0), ws.rd(node.output), rows);
        gather(rdx, node, ws.direction_vector(node, 0), ws.d(node.output), rows);
        finish(rdx, rows, DoneOf<Into>{into, 0});
    }
    // u of w is x, u of b ones
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index k) { return k == 0; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T* room) {
        return copies(room, ws, node, ws.a(node.input()), rows, p);
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        return copies(room, ws, node, ws.ra(node.input()), rows, p);
    }

   private:
    struct Shifted {
        T* z;
        const T *w, *b;
        T x;
        void operator()(index j) const { z[j] = rules::mul_add(w[j], x, b[j]); }
    };
    struct Fill {
        T* z;
        T x;
        void operator()(index j) const { z[j] = x; }
    };

    // f(feature, the first of its columns within panel p, how many)
    template <class F>
    static void for_features(const Panels<T>& z, const Node& node, index p, const F& f) {
        const index each = index(node.op.copies);
        const Range all{p * z.full, p * z.full + z.used(p)};
        for (index i = all.begin / each; i * each < all.end; ++i) {
            const Range own = exec::intersect(all, {i * each, (i + 1) * each});
            f(i, own.begin - all.begin, own.size());
        }
    }

    // Feature i of row r.
    static T& at(const Panels<T>& x, index r, index i) { return x.row(i / x.full, r)[i % x.full]; }

    static void spread(const Panels<T>& z, const Node& node, const Panels<T>& x, const T* w, const T* b,
                       Range rows) {
        for (index p = 0; p < z.count(); ++p)
            for_features(z, node, p, [&](index i, index first, index n) {
                const index place = p * z.full + first;
                for (index r = rows.begin; r < rows.end; ++r)
                    exec::elementwise({0, n},
                                      Shifted{z.row(p, r) + first, w + place, b + place, at(x, r, i)});
            });
    }
    static void add_spread(const Panels<T>& z, const Node& node, const Panels<T>& x, const T* w, Range rows) {
        for (index p = 0; p < z.count(); ++p)
            for_features(z, node, p, [&](index i, index first, index n) {
                for (index r = rows.begin; r < rows.end; ++r) {
                    T* const row = z.row(p, r) + first;
                    exec::elementwise({0, n}, Shifted{row, w + p * z.full + first, row, at(x, r, i)});
                }
            });
    }
    // x += the sum of w z over the columns of each feature
    static void gather(const Panels<T>& x, const Node& node, const T* w, const Panels<T>& z, Range rows) {
        for (index p = 0; p < z.count(); ++p)
            for_features(z, node, p, [&](index i, index first, index n) {
                const T* const factors = w + p * z.full + first;
                for (index r = rows.begin; r < rows.end; ++r) {
                    const T* const from = z.row(p, r) + first;
                    T sum = at(x, r, i);
                    for (index j = 0; j < n; ++j) sum = rules::mul_add(factors[j], from[j], sum);
                    at(x, r, i) = sum;
                }
            });
    }
    static const T* copies(T* room, const Workspace<T>& ws, const Node& node, const Panels<T>& x, Range rows,
                           index p) {
        const Panels<T> z = ws.z(node.output);
        const index width = z.width(p);
        exec::elementwise({0, rows.size() * width}, Clear<T>{room});
        if (x.data == nullptr) return room;
        for_features(z, node, p, [&](index i, index first, index n) {
            for (index r = rows.begin; r < rows.end; ++r)
                exec::elementwise({0, n}, Fill{room + (r - rows.begin) * width + first, at(x, r, i)});
        });
        return room;
    }

    static void begin(const Panels<T>& x, Range rows, bool add) {
        if (add) return;
        for_stretches(x, rows, [&](Range r) { exec::elementwise(r, Clear<T>{x.data}); });
    }
    template <class Done>
    static void finish(const Panels<T>& z, Range rows, const Done& done) {
        exec::clear_padding(z, rows);
        for_stretches(z, rows, [&](Range r) { done(r.begin, r.size()); });
    }
};

}  // namespace fnn::FNN_ISA::net
