// z = w h + b with h = (x - mean) / sqrt(variance + eps) for each feature: in training with the mean and the
// variance of the batch, otherwise with the running ones, which are constants. S. Ioffe, C. Szegedy (2015),
// "Batch normalization: accelerating deep network training by reducing internal covariate shift", ICML.
//
// The derivatives are those of rules/norm.h, with means over the rows.
#pragma once

#include <cmath>

#include "net/ops/op.h"
#include "net/ops/panel_columns.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct BatchNorm : OpBase {
    // Not in training: but what depends on these refuses coupled rows then.
    static constexpr Traits traits{/*couples_rows=*/true, false, /*has_state=*/true,
                                   /*piecewise_linear=*/true, /*exact_traces=*/true};

    static constexpr Cut cut(const Run& run) { return run.training ? Cut::columns : Cut::elements; }

    // In training, of each column: mean, 1 / deviation, variance.
    static index kept(const Node& node, const Plan& plan, index) { return 3 * padded(node, plan); }
    // Of each column: the mean of rx, and that of h rx.
    static index kept_tangent(const Node& node, const Plan& plan, index) { return 2 * padded(node, plan); }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        for (index p = panels.begin; p < panels.end; ++p) {
            if (ws.run.training) keep_moments(ws, node, p);
            const Normed h(ws, node, p);
            const Columns<T> weight = weight_of(ws, node, p), bias = bias_of(ws, node, p);
            T* const to = z.panel(p);
            for_vectors<T>(z.width(p), rows, [&](index i, int n) {
                exec::store(to + i, h(i, n) * weight.vector(n) + bias.vector(n));
            });
            done(z.row(p, rows.begin) - z.data, rows.size() * z.width(p));
        }
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> dx = ws.da(node.input()), d = ws.d(node.output);
        const bool add = into.adds(0);
        for (index p = panels.begin; p < panels.end; ++p) {
            const Normed h(ws, node, p);
            const Columns<T> weight = weight_of(ws, node, p);
            const T* const from = d.panel(p);
            const auto g = [&](index i, int n) { return weight.vector(n) * exec::load(from + i); };
            Columns<T> means[2];
            mean_if_training(ws, means, d, p, [&](index i, int n, auto& terms) {
                terms[0] = g(i, n);
                terms[1] = h(i, n) * terms[0];
            });
            T* const to = dx.panel(p);
            for_vectors<T>(d.width(p), rows, [&](index i, int n) {
                put(to + i, add,
                    rules::Norm::product(h.s.vector(n), h(i, n), g(i, n), means[0].vector(n),
                                         means[1].vector(n)));
            });
            into.done(0, dx.row(p, rows.begin) - dx.data, rows.size() * dx.width(p));
        }
    }

    // rz = w rh + rw h + rb
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        const Panels<T> rz = ws.rz(node.output);
        for (index p = panels.begin; p < panels.end; ++p) {
            if (ws.run.training) keep_means(ws, node, p);
            const Normed h(ws, node, p);
            const Moved rh(ws, node, p, h);
            const Columns<T> weight = weight_of(ws, node, p), way = way_of(ws, node, 0, p),
                             bias = way_of(ws, node, 1, p);
            T* const to = rz.panel(p);
            for_vectors<T>(rz.width(p), rows, [&](index i, int n) {
                exec::store(to + i, rh(i, n) * weight.vector(n) + h(i, n) * way.vector(n) + bias.vector(n));
            });
            done(rz.row(p, rows.begin) - rz.data, rows.size() * rz.width(p));
        }
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input()), d = ws.d(node.output), rd = ws.rd(node.output);
        const bool add = into.adds(0);
        for (index p = panels.begin; p < panels.end; ++p) {
            const Normed h(ws, node, p);
            const Moved rh(ws, node, p, h);
            const Columns<T> weight = weight_of(ws, node, p), way = way_of(ws, node, 0, p);
            const T *const from = d.panel(p), *const change = rd.panel(p);
            const auto g = [&](index i, int n) { return weight.vector(n) * exec::load(from + i); };
            const auto rg = [&](index i, int n) {
                return way.vector(n) * exec::load(from + i) + weight.vector(n) * exec::load(change + i);
            };
            Columns<T> means[4];
            mean_if_training(ws, means, d, p, [&](index i, int n, auto& terms) {
                terms[0] = g(i, n);
                terms[1] = h(i, n) * terms[0];
                terms[2] = rg(i, n);
                terms[3] = rh(i, n) * terms[0] + h(i, n) * terms[2];
            });
            T* const to = rdx.panel(p);
            for_vectors<T>(d.width(p), rows, [&](index i, int n) {
                put(to + i, add,
                    rules::Norm::product_tangent(h.s.vector(n), h(i, n), rh(i, n), g(i, n), rg(i, n),
                                                 means[0].vector(n), means[1].vector(n), rh.along.vector(n),
                                                 means[2].vector(n), means[3].vector(n)));
            });
            into.done(0, rdx.row(p, rows.begin) - rdx.data, rows.size() * rdx.width(p));
        }
    }

    // Of the weight: u = h
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index k) { return k == 0; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T* room) {
        const Normed h(ws, node, p);
        return rows_of(room, ws, node, rows, p, h);
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        const Normed h(ws, node, p);
        const Moved rh(ws, node, p, h);
        return rows_of(room, ws, node, rows, p, rh);
    }

    // The running variance is an estimate of that of all examples: n / (n - 1) times that of the n rows.
    static void learn(const Workspace<T>& ws, const Node& node, Range panels) {
        const Panels<T> z = ws.z(node.output);
        const double unbiased = double(z.rows) / double(z.rows - 1);
        const State running = state_of(ws, node);
        const auto follow = [momentum = node.op.momentum](double& value, double batch) {
            value = (1 - momentum) * value + momentum * batch;
        };
        for (index j = panels.begin * z.full; j < exec::min(panels.end * z.full, z.cols); ++j) {
            follow(running.mean[j], double(kept_of(ws, node, 0)[j]));
            follow(running.variance[j], unbiased * double(kept_of(ws, node, 2)[j]));
        }
    }

    // Mean and variance of all these rows.
    static void calibrate(const Workspace<T>& ws, const Node& node, index before, Range panels) {
        const Panels<T> x = ws.a(node.input());
        const State running = state_of(ws, node);
        const double n = double(x.rows), others = double(before) * n / double(ws.rows);
        for (index p = panels.begin; p < panels.end; ++p) {
            const ColumnMoments<T> own(x.panel(p), x.width(p), x.rows);
            for (index k = 0, j = p * x.full; k < x.used(p); ++k, ++j) {
                double mean = own.mean[k], m2 = n * own.variance[k];
                if (before > 0)
                    rules::merge_moments(mean, m2, n, running.mean[j], others * running.variance[j], others);
                running.mean[j] = mean;
                running.variance[j] = m2 / (others + n);
            }
        }
    }

   private:
    struct State {
        double *mean, *variance;  // (features,)
    };
    static State state_of(const Workspace<T>& ws, const Node& node) {
        double* const mean = ws.state + node.state;
        return {mean, mean + ws.z(node.output).cols};
    }

    static index padded(const Node& node, const Plan& plan) {
        return Panels<T>{nullptr, 1, plan.values[std::size_t(node.output)].features()}.padded();
    }
    static T* kept_of(const Workspace<T>& ws, const Node& node, index k) {
        return ws.kept(node) + k * padded(node, ws.plan);
    }
    static T* kept_tangent_of(const Workspace<T>& ws, const Node& node, index k) {
        return ws.kept_tangent(node) + k * padded(node, ws.plan);
    }

    static T one_over_deviation(const Node& node, double variance) {
        return T(1 / std::sqrt(variance + node.op.eps));
    }

    // The part of a vector of all columns that belongs to a panel.
    static Columns<T> columns(const T* all, index p, index width) {
        Columns<T> of_panel;
        std::memcpy(of_panel.of, all + p * Panels<T>::full, std::size_t(width) * sizeof(T));
        return of_panel;
    }
    static Columns<T> weight_of(const Workspace<T>& ws, const Node& node, index p) {
        if (node.parameters >= 0) return columns(ws.vector(node, 0), p, ws.z(node.output).width(p));
        Columns<T> ones;
        for (T& one : ones.of) one = 1;
        return ones;
    }
    static Columns<T> bias_of(const Workspace<T>& ws, const Node& node, index p) {
        if (node.parameters < 0) return {};
        return columns(ws.vector(node, 1), p, ws.z(node.output).width(p));
    }
    // How one of them moves.
    static Columns<T> way_of(const Workspace<T>& ws, const Node& node, index k, index p) {
        if (node.parameters < 0) return {};
        return columns(ws.direction_vector(node, k), p, ws.z(node.output).width(p));
    }

    // h, a vector of a panel at a time.
    struct Normed {
        const T* x;
        Columns<T> mean, s;

        Normed(const Workspace<T>& ws, const Node& node, index p) : x(ws.a(node.input()).panel(p)) {
            const Panels<T> of = ws.a(node.input());
            if (ws.run.training) {
                mean = columns(kept_of(ws, node, 0), p, of.width(p));
                s = columns(kept_of(ws, node, 1), p, of.width(p));
                return;
            }
            const State running = state_of(ws, node);
            for (index k = 0, j = p * of.full; k < of.used(p); ++k, ++j) {
                mean.of[k] = T(running.mean[j]);
                s.of[k] = one_over_deviation(node, running.variance[j]);
            }
        }
        exec::Vector<T> operator()(index i, int n) const {
            return rules::Norm::normalize(exec::load(x + i), mean.vector(n), s.vector(n));
        }
    };

    // rh likewise.
    struct Moved {
        const Normed& h;
        const T* rx;  // or null
        Columns<T> mean, along;

        Moved(const Workspace<T>& ws, const Node& node, index p, const Normed& h)
            : h(h), rx(moved(ws, node, p)) {
            if (!ws.run.training) return;
            const index width = ws.z(node.output).width(p);
            mean = columns(kept_tangent_of(ws, node, 0), p, width);
            along = columns(kept_tangent_of(ws, node, 1), p, width);
        }
        exec::Vector<T> operator()(index i, int n) const {
            const exec::Vector<T> r = rx != nullptr ? exec::load(rx + i) : exec::Vector<T>{};
            return rules::Norm::product(h.s.vector(n), h(i, n), r, mean.vector(n), along.vector(n));
        }
    };
    static const T* moved(const Workspace<T>& ws, const Node& node, index p) {
        const Panels<T> rx = ws.ra(node.input());
        return rx.data != nullptr ? rx.panel(p) : nullptr;
    }

    static void keep_moments(const Workspace<T>& ws, const Node& node, index p) {
        const Panels<T> x = ws.a(node.input());
        const ColumnMoments<T> own(x.panel(p), x.width(p), x.rows);
        for (index k = 0, j = p * x.full; k < x.width(p); ++k, ++j) {
            kept_of(ws, node, 0)[j] = T(own.mean[k]);
            kept_of(ws, node, 1)[j] = one_over_deviation(node, own.variance[k]);
            kept_of(ws, node, 2)[j] = T(own.variance[k]);
        }
    }
    static void keep_means(const Workspace<T>& ws, const Node& node, index p) {
        const index width = ws.z(node.output).width(p), first = p * Panels<T>::full;
        const T* const rx = moved(ws, node, p);
        Columns<T> means[2];
        const Normed h(ws, node, p);
        if (rx != nullptr)
            mean_rows<T>(means, width, ws.z(node.output).rows, [&](index i, int n, auto& terms) {
                terms[0] = exec::load(rx + i);
                terms[1] = h(i, n) * terms[0];
            });
        for (index k = 0; k < 2; ++k)
            std::memcpy(kept_tangent_of(ws, node, k) + first, means[k].of, std::size_t(width) * sizeof(T));
    }

    // What rows have to do with each other; nothing where mean and variance are constants.
    template <int K, class F>
    static void mean_if_training(const Workspace<T>& ws, Columns<T> (&means)[K], const Panels<T>& d, index p,
                                 const F& f) {
        if (ws.run.training) mean_rows<T>(means, d.width(p), d.rows, f);
    }

    static void put(T* to, bool add, exec::Vector<T> v) { exec::store(to, add ? exec::load(to) + v : v); }

    template <class F>
    static const T* rows_of(T* room, const Workspace<T>& ws, const Node& node, Range rows, index p,
                            const F& f) {
        const Panels<T> z = ws.z(node.output);
        const index width = z.width(p), first = rows.begin * width;
        for_vectors<T>(width, rows, [&](index i, int n) { exec::store(room + i - first, f(i, n)); });
        return room;
    }
};

}  // namespace fnn::FNN_ISA::net
