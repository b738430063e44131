// Matrices that are not learned themselves: w = g v/|v| of each column (rules/weight_norm.h). When v and g
// are there w is computed of them, and when its whole gradient is there, theirs. A panel is one thread's.
#pragma once

#include <algorithm>

#include "exec/cpu.h"
#include "net/column_norms.h"
#include "net/workspace.h"
#include "rules/weight_norm.h"

namespace fnn::FNN_ISA::net {

using exec::Exec;

inline bool is_normalized(const Plan& plan) {
    return std::any_of(plan.parameters.begin(), plan.parameters.end(),
                       [](const Parameters& own) { return own.is_normalized; });
}

// to = a x + b y + ..., with factors for each column
template <class T>
struct SumOfTwoScaled {
    T* to;
    const double *a, *b;
    const T *x, *y;
    void operator()(index j) const { to[j] = T(a[j] * double(x[j]) + b[j] * double(y[j])); }
};
template <class T>
struct SumOfFourScaled {
    T* to;
    const double *a, *b, *c, *d;
    const T *x, *y, *u, *v;
    void operator()(index j) const {
        const double first = a[j] * double(x[j]) + b[j] * double(y[j]);
        to[j] = T(first + (c[j] * double(u[j]) + d[j] * double(v[j])));
    }
};

// A panel of what such a layer learns. Images are those of parameters, directions and gradients.
template <class T>
class NormalizedPanel {
   public:
    NormalizedPanel(const Workspace<T>& ws, const Parameters& own, index p)
        : layout_(ws.layout), own_(own), p_(p), v_(layout_.learned(ws.parameters, own)) {
        Numbers norms;
        column_norms(norms, v_, p);
        const T* const g = lengths(ws.parameters);
        for_columns([&](index j) { columns_[j] = rules::WeightNorm::of(double(g[j]), norms[j]); });
    }

    // w
    void compute(T* parameters) const {
        Numbers scale = {}, none = {};
        for_columns([&](index j) { scale[j] = columns_[j].scale; });
        add(layout_.matrix(parameters, own_), scale, v_, none, v_);
    }

    // rw, along (rv, rg)
    void compute_tangent(T* direction) const {
        const Panels<T> rv = layout_.learned(direction, own_);
        Numbers scale = {}, rscale = {};
        for_tangents(direction, [&](index j, double, double scale_change) {
            scale[j] = columns_[j].scale;
            rscale[j] = scale_change;
        });
        add(layout_.matrix(direction, own_), scale, rv, rscale, v_);
    }

    // dv and dg from the gradient of w
    void pull_back(T* gradient) const {
        const Panels<T> d = layout_.matrix(gradient, own_);
        Numbers products = {}, scale = {}, back = {};
        add_column_products(products, d, v_, p_);
        T* const dg = lengths(gradient);
        for_columns([&](index j) {
            const double along = columns_[j].along(products[j]);
            dg[j] = T(along);
            scale[j] = columns_[j].scale;
            back[j] = -columns_[j].back(along);
        });
        add(layout_.learned(gradient, own_), scale, d, back, v_);
    }

    // The tangent of that along a direction: rdv and rdg from the gradient of w and its tangent.
    void pull_back_tangent(T* rgradient, T* gradient, T* direction) const {
        const Panels<T> d = layout_.matrix(gradient, own_), rd = layout_.matrix(rgradient, own_),
                        rv = layout_.learned(direction, own_);
        Numbers products = {}, rproducts = {}, scale = {}, rscale = {}, back = {}, rback = {};
        add_column_products(products, d, v_, p_);
        add_column_products(rproducts, rd, v_, p_);
        add_column_products(rproducts, d, rv, p_);
        T* const rdg = lengths(rgradient);
        for_tangents(direction, [&](index j, double rnorm, double scale_change) {
            const rules::WeightNorm& column = columns_[j];
            const double along = column.along(products[j]);
            const double ralong = column.along_tangent(along, rproducts[j], rnorm);
            rdg[j] = T(ralong);
            scale[j] = column.scale;
            rscale[j] = scale_change;
            back[j] = -column.back(along);
            rback[j] = -column.back_tangent(along, ralong, scale_change, rnorm);
        });
        const Panels<T> to = layout_.learned(rgradient, own_);
        for_rows(to, [&](index r) {
            return SumOfFourScaled<T>{to.row(p_, r), scale,        rscale,        back,         rback,
                                      rd.row(p_, r), d.row(p_, r), rv.row(p_, r), v_.row(p_, r)};
        });
    }

   private:
    using Numbers = double[Panels<T>::full];  // one for each column; what pads is zero

    // The last of the vectors.
    T* lengths(T* image) const { return layout_.vector(image, own_, own_.count() - 1) + p_ * v_.full; }

    template <class F>
    void for_columns(const F& f) const {
        for (index j = 0; j < v_.used(p_); ++j) f(j);
    }
    // f(column, the tangent of its norm, that of its scale)
    template <class F>
    void for_tangents(T* direction, const F& f) const {
        Numbers products = {};
        add_column_products(products, layout_.learned(direction, own_), v_, p_);
        const T* const rg = lengths(direction);
        for_columns([&](index j) {
            const double rnorm = columns_[j].along(products[j]);
            f(j, rnorm, columns_[j].scale_tangent(double(rg[j]), rnorm));
        });
    }
    template <class F>
    void for_rows(const Panels<T>& to, const F& f) const {
        for (index r = 0; r < to.rows; ++r) exec::elementwise({0, to.width(p_)}, f(r));
    }
    void add(const Panels<T>& to, const Numbers& a, const Panels<T>& x, const Numbers& b,
             const Panels<T>& y) const {
        for_rows(to,
                 [&](index r) { return SumOfTwoScaled<T>{to.row(p_, r), a, b, x.row(p_, r), y.row(p_, r)}; });
    }

    const Layout<T>& layout_;
    const Parameters& own_;
    const index p_;
    const Panels<T> v_;
    rules::WeightNorm columns_[Panels<T>::full];
};

// f(parameters, panel) for a part of the panels of those layers.
template <class T, class F>
void for_normalized(const Workspace<T>& ws, Part part, const F& f) {
    for (const Parameters& own : ws.plan.parameters) {
        if (!own.is_normalized) continue;
        const Range panels = part.of(ws.layout.matrix(ws.parameters, own).count());
        for (index p = panels.begin; p < panels.end; ++p) f(own, p);
    }
}

// The matrices, of parameters that have been packed.
template <class T>
void compute_matrices(const Workspace<T>& ws, Part part) {
    for_normalized(ws, part, [&](const Parameters& own, index p) {
        NormalizedPanel<T>(ws, own, p).compute(ws.parameters);
    });
}

// The same of the workspace's direction.
template <class T>
void compute_directions(const Workspace<T>& ws, Part part) {
    for_normalized(ws, part, [&](const Parameters& own, index p) {
        NormalizedPanel<T>(ws, own, p).compute_tangent(ws.direction);
    });
}

// This thread's part of ws.gradient, when all of it is there, into the flat vector of the caller.
// pull_back(panel) for those panels of whose matrices it is the gradient.
template <class T, class PullBack>
void unpack_gradient(Exec& exec, const Workspace<T>& ws, T* flat, const PullBack& pull_back) {
    if (is_normalized(ws.plan)) {
        exec.barrier();
        for_normalized(ws, exec.part(), [&](const Parameters& own, index p) {
            if (own.trainable) pull_back(NormalizedPanel<T>(ws, own, p));
        });
        exec.barrier();
    }
    ws.layout.unpack_gradient(flat, ws.gradient, exec.part());
}
template <class T>
void unpack_gradient(Exec& exec, const Workspace<T>& ws, T* flat) {
    unpack_gradient(exec, ws, flat, [&](const NormalizedPanel<T>& panel) { panel.pull_back(ws.gradient); });
}

}  // namespace fnn::FNN_ISA::net
