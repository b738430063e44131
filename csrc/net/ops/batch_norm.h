// z = w h + b with h = (x - mean) / sqrt(variance + eps) for each feature: in training with the mean and the
// variance of the batch, otherwise with the running ones, which are constants. S. Ioffe, C. Szegedy (2015),
// "Batch normalization: accelerating deep network training by reducing internal covariate shift", ICML.
//
// The derivatives are those of rules/norm.h, with means over the rows. Where an example is one row, threads
// share the columns, each with all rows. Where it has many, what they add up to is tallied by example, while
// they are in a cache, and merged in the order of the examples.
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

    // In training, of each column: mean, 1 / deviation, variance; and the moments of each example.
    static index kept(const Node& node, const Plan& plan, index rows) {
        return 3 * padded(node, plan) + tallied(node, plan, rows) * moments_size(node, plan);
    }
    // The sums of rx and h rx.
    static index kept_tangent(const Node& node, const Plan& plan, index rows) {
        return kept_back(node, plan, rows);
    }
    // Those of d and h d.
    static index kept_back(const Node& node, const Plan& plan, index rows) {
        return 2 * padded(node, plan) * (1 + tallied(node, plan, rows));
    }

    static bool tallies(const Workspace<T>& ws, const Node& node) { return tallies(node, ws.plan); }

    static void tally(const Workspace<T>& ws, const Node& node, Way way, Range examples) {
        const Panels<T> x = ws.a(node.input());
        for (index p = 0; p < x.count(); ++p) {
            const index width = x.width(p);
            if (way == Way::forward) {
                for (index e = examples.begin; e < examples.end; ++e) {
                    ColumnMoments<T> own;
                    own.add(x.panel(p), width, rows_of(ws, node, e));
                    std::memcpy(moments_of(ws, node, e, p), own.mean, sizeof(own.mean));
                    std::memcpy(moments_of(ws, node, e, p) + x.full, own.m2, sizeof(own.m2));
                }
                continue;
            }
            with_terms(ws, node, way, p, [&](const auto& terms) {
                const Sums own = sums_of(ws, node, way);
                for (index e = examples.begin; e < examples.end; ++e) {
                    double totals[2][Panels<T>::full];
                    total_rows<T>(totals, width, rows_of(ws, node, e), terms);
                    for (index k = 0; k < 2; ++k)
                        exec::elementwise({0, width},
                                          exec::Round<T>{own.of_examples(k).row(p, e), totals[k]});
                }
            });
        }
    }

    static void meet(const Workspace<T>& ws, const Node& node, Way way, Range panels) {
        const Panels<T> x = ws.a(node.input());
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = x.width(p), first = p * x.full;
            if (way == Way::forward) {
                const ColumnMoments<T> all = moments(ws, node, p, {});
                for (index k = 0, j = first; k < width; ++k, ++j) {
                    kept_of(ws, node, 0)[j] = T(all.mean[k]);
                    kept_of(ws, node, 1)[j] = one_over_deviation(node, all.variance(k));
                    kept_of(ws, node, 2)[j] = T(all.variance(k));
                }
                continue;
            }
            with_terms(ws, node, way, p, [&](const auto& terms) {
                const Sums own = sums_of(ws, node, way);
                double totals[2][Panels<T>::full];
                if (!tallies(ws, node)) total_rows<T>(totals, width, {0, x.rows}, terms);
                for (index k = 0; k < 2; ++k) {
                    for (index e = 0; tallies(ws, node) && e < ws.rows; ++e)
                        exec::elementwise({0, width},
                                          exec::AddUp<T>{totals[k], own.of_examples(k).row(p, e), e == 0});
                    for (index j = 0; j < width; ++j)
                        own.means(k)[first + j] = T(totals[k][j] / double(x.rows));
                }
            });
        }
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        for (index p = panels.begin; p < panels.end; ++p) {
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
            const MeansOfGradient g(ws, node, p, weight);
            const T* const from = d.panel(p);
            T* const to = dx.panel(p);
            for_vectors<T>(d.width(p), rows, [&](index i, int n) {
                put(to + i, add,
                    rules::Norm::product(h.s.vector(n), h(i, n), weight.vector(n) * exec::load(from + i),
                                         g.mean.vector(n), g.along.vector(n)));
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
            const MeansOfGradient g(ws, node, p, weight), rg(ws, node, p, weight, way);
            const T *const from = d.panel(p), *const change = rd.panel(p);
            T* const to = rdx.panel(p);
            for_vectors<T>(d.width(p), rows, [&](index i, int n) {
                const exec::Vector<T> dz = exec::load(from + i), w = weight.vector(n);
                put(to + i, add,
                    rules::Norm::product_tangent(h.s.vector(n), h(i, n), rh(i, n), w * dz,
                                                 way.vector(n) * dz + w * exec::load(change + i),
                                                 g.mean.vector(n), g.along.vector(n), rh.along.vector(n),
                                                 rg.mean.vector(n), rg.along.vector(n)));
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

    // What has been tallied, of the weight and of the bias.
    static constexpr bool has_vector_terms = true;
    static bool gives_vector_terms(const Workspace<T>& ws, const Node& node) {
        return ws.run.training && tallies(ws, node) && ws.goes_back(node);
    }
    static void vector_terms(const Workspace<T>& ws, const Node& node, index k, Pair pair, Range examples,
                             index p, T*, const TakeRows<T>& take) {
        if (pair == Pair::ra_d) return;  // with those of a_rd
        const Sums own = sums_of(ws, node, pair == Pair::a_d ? Way::backward : Way::tangent_backward);
        take(own.of_examples(1 - k).row(p, examples.begin), examples.size());
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
        for (index p = panels.begin; p < panels.end; ++p) {
            ColumnMoments<T> all;
            all.rows = double(before * positions(node, ws.plan));
            for (index k = 0, j = p * x.full; before > 0 && k < x.used(p); ++k, ++j) {
                all.mean[k] = running.mean[j];
                all.m2[k] = all.rows * running.variance[j];
            }
            all = moments(ws, node, p, all);
            for (index k = 0, j = p * x.full; k < x.used(p); ++k, ++j) {
                running.mean[j] = all.mean[k];
                running.variance[j] = all.variance(k);
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
    static index positions(const Node& node, const Plan& plan) {
        return plan.values[std::size_t(node.output)].positions();
    }
    static bool tallies(const Node& node, const Plan& plan) { return positions(node, plan) > 1; }
    // Examples of so many rows, if they are tallied.
    static index tallied(const Node& node, const Plan& plan, index rows) {
        return tallies(node, plan) ? rows / positions(node, plan) : 0;
    }
    static Range rows_of(const Workspace<T>& ws, const Node& node, index e) {
        const index each = positions(node, ws.plan);
        return {e * each, (e + 1) * each};
    }

    static T* kept_of(const Workspace<T>& ws, const Node& node, index k) {
        return ws.kept(node) + k * padded(node, ws.plan);
    }
    // Of an example, means and sums of squared deviations: two times (count, full) in float64.
    static index moments_size(const Node& node, const Plan& plan) {
        const index full = Panels<T>::full, count = exec::divide_up(padded(node, plan), full);
        return 2 * count * full * index(sizeof(double) / sizeof(T));
    }
    static double* moments_of(const Workspace<T>& ws, const Node& node, index e, index p) {
        T* const of_example = kept_of(ws, node, 3) + e * moments_size(node, ws.plan);
        return reinterpret_cast<double*>(of_example) + 2 * p * Panels<T>::full;
    }
    // Those of all rows and of others that are there before.
    static ColumnMoments<T> moments(const Workspace<T>& ws, const Node& node, index p, ColumnMoments<T> all) {
        const Panels<T> x = ws.a(node.input());
        if (!tallies(ws, node)) {
            all.add(x.panel(p), x.width(p), {0, x.rows});
            return all;
        }
        for (index e = 0; e < ws.rows; ++e) {
            const double* const own = moments_of(ws, node, e, p);
            all.merge(own, own + x.full, double(positions(node, ws.plan)), x.width(p));
        }
        return all;
    }

    // Of two terms: their means over all rows, by column, and their sums over each example.
    struct Sums {
        T* numbers;
        index examples, cols;
        index padded() const { return Panels<T>{nullptr, 1, cols}.padded(); }
        T* means(index k) const { return numbers + k * padded(); }
        Panels<T> of_examples(index k) const { return {means(2) + k * examples * padded(), examples, cols}; }
    };
    static Sums sums_of(const Workspace<T>& ws, const Node& node, Way way) {
        T* const numbers = way == Way::backward          ? ws.kept_back(node)
                           : way == Way::tangent_forward ? ws.kept_tangent(node)
                                                         : ws.kept_back_tangent(node);
        return {numbers, ws.rows, ws.z(node.output).cols};
    }
    // f(terms): those of panel p; none where nothing moves.
    template <class F>
    static void with_terms(const Workspace<T>& ws, const Node& node, Way way, index p, const F& f) {
        const Normed h(ws, node, p);
        const T* const from = way == Way::backward          ? ws.d(node.output).panel(p)
                              : way == Way::tangent_forward ? moved(ws, node, p)
                                                            : ws.rd(node.output).panel(p);
        if (way != Way::tangent_backward) {
            if (from != nullptr)
                f([&](index i, int n, auto& terms) {
                    terms[0] = exec::load(from + i);
                    terms[1] = h(i, n) * terms[0];
                });
            return;
        }
        const Moved rh(ws, node, p, h);
        const T* const d = ws.d(node.output).panel(p);
        f([&](index i, int n, auto& terms) {
            terms[0] = exec::load(from + i);
            terms[1] = rh(i, n) * exec::load(d + i) + h(i, n) * terms[0];
        });
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
        index width;
        Columns<T> mean, s;

        Normed(const Workspace<T>& ws, const Node& node, index p)
            : x(ws.a(node.input()).panel(p)), width(ws.a(node.input()).width(p)) {
            const Panels<T> of = ws.a(node.input());
            if (ws.run.training) {
                mean = columns(kept_of(ws, node, 0), p, width);
                s = columns(kept_of(ws, node, 1), p, width);
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
            if (!ws.run.training || rx == nullptr) return;
            const Sums own = sums_of(ws, node, Way::tangent_forward);
            mean = columns(own.means(0), p, h.width);
            along = columns(own.means(1), p, h.width);
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

    // m(g) and m(h g), and of its tangent m(rg) and m(rh g + h rg); nothing where mean and variance are
    // constants.
    struct MeansOfGradient {
        Columns<T> mean, along;

        MeansOfGradient(const Workspace<T>& ws, const Node& node, index p, const Columns<T>& weight) {
            if (ws.run.training) add(ws, node, Way::backward, p, weight);
        }
        MeansOfGradient(const Workspace<T>& ws, const Node& node, index p, const Columns<T>& weight,
                        const Columns<T>& way) {
            if (!ws.run.training) return;
            add(ws, node, Way::backward, p, way);
            add(ws, node, Way::tangent_backward, p, weight);
        }
        void add(const Workspace<T>& ws, const Node& node, Way from, index p, const Columns<T>& factor) {
            const Sums own = sums_of(ws, node, from);
            for (index j = 0; j < ws.z(node.output).width(p); ++j) {
                mean.of[j] += factor.of[j] * own.means(0)[p * Panels<T>::full + j];
                along.of[j] += factor.of[j] * own.means(1)[p * Panels<T>::full + j];
            }
        }
    };

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
