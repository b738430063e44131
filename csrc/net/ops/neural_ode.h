// z = y at the end of y' = f(t, y), where y is x at the start and f is a block of the network: R. T. Q. Chen,
// Y. Rubanova, J. Bettencourt, D. Duvenaud (2018), "Neural ordinary differential equations", NeurIPS,
// https://arxiv.org/abs/1806.07366. Solved by a Runge-Kutta method. Where the sizes of steps adapt, each
// example has its own, as in M. Lienen, S. Guennemann (2022), "torchode: a parallel ODE solver for PyTorch",
// https://arxiv.org/abs/2210.12375: what comes out for one does not depend on the others.
//
// A step is an attempt: a step that is rejected becomes one of size 0, and so are those of an example that
// has arrived before others that are computed with it. Attempt m consists of evaluations m S to m S + S - 1
// of the block, one for each of S stages, and begins with the y that evaluation m S reads. Where nothing will
// go back, the evaluations of two attempts are enough.
//
// What goes back is the gradient of these steps with their sizes as constants, exact to rounding.
#pragma once

#include <cmath>
#include <limits>

#include "net/ops/block.h"
#include "net/ops/elementwise.h"
#include "rules/runge_kutta.h"

namespace fnn::FNN_ISA::net {

// to = from + the sum of factors times terms; without `from` the sum alone
template <class T>
struct AddTerms {
    T* to;
    const T* from;
    const T* terms[rules::RungeKutta::most];
    T factors[rules::RungeKutta::most];
    int count;
    FNN_HD void operator()(index j) const {
        T sum = from != nullptr ? from[j] : T(0);
        for (int i = 0; i < count; ++i) sum += factors[i] * terms[i][j];
        to[j] = sum;
    }
};

template <class T>
class Solver {
   public:
    using Method = rules::RungeKutta;

    Solver(Workspace<T>& ws, const Node& node)
        : ws_(ws),
          node_(node),
          block_(ws, node),
          method_(method_of(node)),
          positions_(ws.plan.values[std::size_t(node.output)].positions()),
          width_(ws.plan.values[std::size_t(node.output)].features()),
          most_(index(node.op.steps)),
          keeps_(ws.needs.gradient || ws.needs.tangent) {
        time_ = reinterpret_cast<double*>(ws.kept(node));
        size_ = time_ + ws.rows;
        attempts_ = attempts_of(ws, node);
        steps_ = attempts_ + ws.rows;
    }

    static index kept(const Node& node, index examples) {
        return (2 * per_double + 1 + index(node.op.steps)) * examples;
    }
    static index kept_back(const Node& node, const Plan& plan, index examples) {
        const Value& y = plan.values[std::size_t(node.output)];
        return Panels<T>{nullptr, examples * y.positions(), y.features()}.size();
    }

    // Evaluations that are terms of the gradient: as many as the last of the examples needs.
    static index evaluations(const Workspace<T>& ws, const Node& node) {
        const T* const attempts = attempts_of(ws, node);
        T most = 0;
        for (index e = 0; e < ws.rows; ++e) most = std::fmax(most, attempts[e]);
        return index(most) * method_of(node).stages;
    }

    void forward(Range some) const {
        begin(some);
        index m = 0;
        for (; goes_on(m, some); ++m) attempt(m, some);
        for (index e = some.begin; e < some.end; ++e) attempts_[e] = T(m);
        combine(ws_.z(node_.output), 0, y(), first(m), {}, 0, some);
        show_who_has_not_arrived(ws_.z(node_.output), some);
    }

    // Of the block's d, from d of the output, or the tangent of that; what goes on to x is left in `back`.
    void backward(Range some) const {
        go_back(some, ws_.d(node_.output), ws_.kept_back(node_), ws_.da(block_.puts_out), ws_.d(block_.reads),
                [&](index k, Range these) { block_.backward(k, these); });
    }
    void tangent_backward(Range some) const {
        go_back(some, ws_.rd(node_.output), ws_.kept_back_tangent(node_), ws_.rda(block_.puts_out),
                ws_.rd(block_.reads), [&](index k, Range these) { block_.tangent_backward(k, these); });
    }

    void tangent_forward(Range some) const {
        const Panels<T> ry = ws_.ra(block_.reads), rk = ws_.ra(block_.puts_out), rz = ws_.rz(node_.output);
        for_alike(some, [&](index attempts, Range these) {
            start(ry, 0, ws_.ra(node_.input()), 0, {}, 0, these);
            for (index m = 0; m < attempts; ++m) {
                for (int i = 0; i < method_.stages; ++i) {
                    if (i > 0)
                        start(ry, first(m) + i, ry, first(m), of_stages(rk, m, i, method_.a[i]), m, these);
                    block_.tangent_forward(first(m) + i, these);
                }
                start(ry, first(m + 1), ry, first(m), of_stages(rk, m, method_.stages, method_.b), m, these);
            }
            combine(rz, 0, ry, first(attempts), {}, 0, these);
        });
        show_who_has_not_arrived(rz, some);
    }

    // When all examples have gone forward and back: those that arrived early stay where they are until the
    // last one arrives, without a gradient, so that they are there in sums over evaluations.
    void settle(Range some) const {
        const index all = evaluations(ws_, node_);
        const bool moves = ws_.needs.tangent && ws_.needs.base_gradient;  // and is multiplied by d
        for_alike(some, [&](index attempts, Range these) {
            const index arrived = first(attempts);
            for (index k = arrived; k < all; ++k) {
                combine(y(), k, y(), arrived, {}, 0, these);
                put_time(k, these, 0, 0);
                block_.forward(k, these);
                if (moves) {
                    start(ws_.ra(block_.reads), k, ws_.ra(block_.reads), arrived, {}, 0, these);
                    block_.tangent_forward(k, these);
                }
                for (const Node* node = &ws_.plan.nodes[std::size_t(node_.block)]; node != &node_; ++node)
                    for (const Panels<T>& d : {ws_.d(node->output), ws_.rd(node->output)})
                        if (d.data != nullptr)
                            for_stretches(d, ws_.rows_of(node->output, block_.examples(k, these)),
                                          [&](Range r) { exec::elementwise(r, Clear<T>{d.data}); });
            }
        });
    }

   private:
    // What is added up over the stages of a step.
    struct Terms {
        struct Term {
            Panels<T> of;
            index evaluation;
            double weight;
        };
        Term list[Method::most];
        int count = 0;
        bool times_step = true;

        void add(const Panels<T>& of, index evaluation, double weight) {
            if (weight != 0) list[count++] = {of, evaluation, weight};
        }
    };

    static constexpr index per_double = index(sizeof(double) / sizeof(T));
    static const Method& method_of(const Node& node) { return rules::runge_kutta[index(node.op.method)]; }
    static T* attempts_of(const Workspace<T>& ws, const Node& node) {
        return ws.kept(node) + 2 * per_double * ws.rows;
    }

    Panels<T> y() const { return ws_.a(block_.reads); }
    Panels<T> k() const { return ws_.a(block_.puts_out); }
    index first(index m) const { return (keeps_ ? m : m % 2) * method_.stages; }
    T& step(index m, index e) const { return steps_[m * ws_.rows + e]; }
    bool has_arrived(index e) const { return time_[e] == node_.op.stop; }
    bool walks(index e) const { return size_[e] > 0; }
    Range rows(index evaluation, index e) const {
        const index at = evaluation * ws_.rows + e;
        return {at * positions_, (at + 1) * positions_};
    }

    Terms of_stages(const Panels<T>& of, index m, int count, const double* weights) const {
        Terms terms;
        for (int i = 0; i < count; ++i) terms.add(of, first(m) + i, weights[i]);
        return terms;
    }

    // f(p, row of `to`, row of `from`, columns) for the columns of y in evaluations of an example.
    template <class F>
    void for_columns(const F& f) const {
        for (index q = 0; q < positions_; ++q)
            for (index p = 0; p * Panels<T>::full < width_; ++p)
                f(q, p, exec::min(width_ - p * Panels<T>::full, Panels<T>::full));
    }

    // Evaluation i of `to` = evaluation j of `from`, without data zero, and the terms, times the example's
    // step m; none of these where that is 0.
    void combine(const Panels<T>& to, index i, const Panels<T>& from, index j, const Terms& terms, index m,
                 Range some) const {
        for (index e = some.begin; e < some.end; ++e) {
            AddTerms<T> add{};
            const T h = terms.count > 0 ? step(m, e) : T(0);
            add.count = h != 0 ? terms.count : 0;
            for (int n = 0; n < add.count; ++n)
                add.factors[n] = T(terms.list[n].weight * (terms.times_step ? double(h) : 1.0));
            const auto at = [&](const Panels<T>& of, index evaluation, index q, index p) -> T* {
                return of.data != nullptr ? of.row(p, rows(evaluation, e).begin + q) : nullptr;
            };
            for_columns([&](index q, index p, index used) {
                add.to = at(to, i, q, p), add.from = at(from, j, q, p);
                for (int n = 0; n < add.count; ++n)
                    add.terms[n] = at(terms.list[n].of, terms.list[n].evaluation, q, p);
                exec::elementwise({0, used}, add);
            });
            exec::clear_padding(to, rows(i, e));
        }
    }

    // The same of what the block reads, or how that moves: time does not.
    void start(const Panels<T>& to, index i, const Panels<T>& from, index j, const Terms& terms, index m,
               Range some) const {
        combine(to, i, from, j, terms, m, some);
        if (to.cols == width_) return;
        for (index e = some.begin; e < some.end; ++e) put_column(to, rows(i, e), T(0));
    }
    // In evaluation i: the time that is a part of step m behind the start of that.
    void put_time(index i, Range some, index m, double part) const {
        if (y().cols == width_) return;
        for (index e = some.begin; e < some.end; ++e)
            put_column(y(), rows(i, e), T(time_[e] + (part != 0 ? part * double(step(m, e)) : 0)));
    }
    void put_column(const Panels<T>& to, Range these, T value) const {
        for (index r = these.begin; r < these.end; ++r)
            to.row(width_ / Panels<T>::full, r)[width_ % Panels<T>::full] = value;
    }

    // The root of the mean of the squares of f(q, p, column of the panel), over the numbers of an example.
    template <class F>
    double norm(const F& f) const {
        double sum = 0;
        for_columns([&](index q, index p, index used) {
            for (index j = 0; j < used; ++j) {
                const double number = f(q, p, j);
                sum += number * number;
            }
        });
        return std::sqrt(sum / double(positions_ * width_));
    }
    double number(const Panels<T>& of, index evaluation, index e, index q, index p, index j) const {
        return double(of.row(p, rows(evaluation, e).begin + q)[j]);
    }

    void begin(Range some) const {
        const double interval = std::fabs(node_.op.stop - node_.op.start);
        for (index e = some.begin; e < some.end; ++e) {
            time_[e] = node_.op.start;
            size_[e] = interval / double(most_);
        }
        combine(y(), 0, ws_.a(node_.input()), 0, {}, 0, some);
        put_time(0, some, 0, 0);
        if (!method_.adapts) return;
        block_.forward(0, some);
        // How far a trial step goes tells how the first one should.
        const auto units = [&](index e, index q, index p, index j) {
            return node_.op.atol + node_.op.rtol * std::fabs(number(y(), 0, e, q, p, j));
        };
        const auto norm_of = [&](index e, const Panels<T>& of) {
            return norm(
                [&](index q, index p, index j) { return number(of, 0, e, q, p, j) / units(e, q, p, j); });
        };
        for (index e = some.begin; e < some.end; ++e) {
            size_[e] = std::fmin(rules::StepSize::trial(norm_of(e, y()), norm_of(e, k())), interval);
            step(0, e) = T(direction() * size_[e]);
        }
        Terms terms;
        terms.add(k(), 0, 1);
        combine(y(), 1, y(), 0, terms, 0, some);
        put_time(1, some, 0, 1);
        block_.forward(1, some);
        for (index e = some.begin; e < some.end; ++e) {
            const double change = norm([&](index q, index p, index j) {
                return (number(k(), 1, e, q, p, j) - number(k(), 0, e, q, p, j)) / units(e, q, p, j);
            });
            const double size = rules::StepSize::first(size_[e], norm_of(e, k()), change / size_[e]);
            size_[e] = std::fmin(size, interval);
        }
    }

    double direction() const { return node_.op.stop < node_.op.start ? -1 : 1; }

    bool goes_on(index m, Range some) const {
        if (m == most_) return false;
        for (index e = some.begin; e < some.end; ++e)
            if (walks(e)) return true;
        return false;
    }

    // The step that an example makes next, at most as far as the end.
    double next_step(index e) const {
        const double rest = node_.op.stop - time_[e], wanted = direction() * size_[e];
        return std::fabs(wanted) < std::fabs(rest) ? wanted : rest;
    }

    void attempt(index m, Range some) const {
        for (index e = some.begin; e < some.end; ++e) step(m, e) = walks(e) ? T(next_step(e)) : T(0);
        if (!method_.adapts) block_.forward(first(m), some);
        evaluate_stages(m, some);
        combine(y(), first(m + 1), y(), first(m), of_stages(k(), m, method_.stages, method_.b), m, some);
        put_time(first(m + 1), some, m, 1);
        if (method_.adapts) return judge(m, some);
        for (index e = some.begin; e < some.end; ++e) advance(e, m + 1 == most_, size_[e]);
    }

    // All but the first.
    void evaluate_stages(index m, Range some) const {
        for (int i = 1; i < method_.stages; ++i) {
            combine(y(), first(m) + i, y(), first(m), of_stages(k(), m, i, method_.a[i]), m, some);
            put_time(first(m) + i, some, m, method_.c[i]);
            block_.forward(first(m) + i, some);
        }
    }

    // Makes the step that an example has computed; none follows where it ends.
    void advance(index e, bool ends, double next_size) const {
        time_[e] = ends ? node_.op.stop : time_[e] + next_step(e);
        size_[e] = ends ? 0 : next_size;
    }

    // Accepts a step or undoes it, by its error.
    void judge(index m, Range some) const {
        block_.forward(first(m + 1), some);
        bool undoes = false, repeats = false;
        for (index e = some.begin; e < some.end; ++e) {
            if (!walks(e)) continue;
            const double h = next_step(e), error = error_of(m, e);
            const double factor = rules::StepSize::factor_after(error);
            if (error < 1) {
                const bool again = m > 0 && step(m - 1, e) == 0;  // after a step that was too large
                advance(e, h == node_.op.stop - time_[e],
                        std::fmax(std::fabs(h) * (again ? std::fmin(1.0, factor) : factor), smallest(e)));
                continue;
            }
            size_[e] = std::fabs(h) * factor;
            if (size_[e] < smallest(e)) size_[e] = 0;
            step(m, e) = 0;
            combine(y(), first(m + 1), y(), first(m), {}, 0, {e, e + 1});
            put_time(first(m + 1), {e, e + 1}, 0, 0);
            undoes = true;
            repeats |= !std::isfinite(error);
        }
        if (undoes) block_.forward(first(m + 1), some);
        // What is not finite would be so times a gradient of zero, too.
        if (repeats) evaluate_stages(m, some);
    }

    // The smallest step that gets on.
    double smallest(index e) const {
        return 10 * std::fabs(std::nextafter(time_[e], node_.op.stop) - time_[e]);
    }

    double error_of(index m, index e) const {
        const double h = double(step(m, e));
        return norm([&](index q, index p, index j) {
            double error = method_.e[method_.stages] * number(k(), first(m + 1), e, q, p, j);
            for (int i = 0; i < method_.stages; ++i)
                error += method_.e[i] * number(k(), first(m) + i, e, q, p, j);
            const double before = std::fabs(number(y(), first(m), e, q, p, j));
            const double after = std::fabs(number(y(), first(m + 1), e, q, p, j));
            return h * error / (node_.op.atol + node_.op.rtol * std::fmax(before, after));
        });
    }

    // f(how many attempts, examples) for those side by side that have made as many.
    template <class F>
    void for_alike(Range some, const F& f) const {
        for (index e = some.begin; e < some.end;) {
            index end = e + 1;
            while (end < some.end && attempts_[end] == attempts_[e]) ++end;
            f(index(attempts_[e]), Range{e, end});
            e = end;
        }
    }

    // dk: where the gradient of what the block puts out goes, before its activation; dy: where that of what
    // it reads comes from; block(evaluation, examples) leads there.
    template <class F>
    void go_back(Range some, const Panels<T>& d, T* room, const Panels<T>& dk, const Panels<T>& dy,
                 const F& block) const {
        const Panels<T> back = at_node(room);
        for_alike(some, [&](index attempts, Range these) {
            combine(back, 0, d, 0, {}, 0, these);
            for (index m = attempts; m-- > 0;) {
                Terms all;
                all.times_step = false;
                for (int i = method_.stages; i-- > 0;) {
                    Terms terms;
                    terms.add(back, 0, method_.b[i]);
                    for (int j = i + 1; j < method_.stages; ++j) terms.add(dy, first(m) + j, method_.a[j][i]);
                    combine(dk, first(m) + i, {}, 0, terms, m, these);
                    block(first(m) + i, these);
                    all.add(dy, first(m) + i, 1);
                }
                combine(back, 0, back, 0, all, m, these);
            }
        });
    }

    Panels<T> at_node(T* data) const { return {data, ws_.rows * positions_, width_}; }

    void show_who_has_not_arrived(const Panels<T>& z, Range some) const {
        for (index e = some.begin; e < some.end; ++e) {
            if (has_arrived(e)) continue;
            for_columns([&](index q, index p, index used) {
                T* const row = z.row(p, rows(0, e).begin + q);
                for (index j = 0; j < used; ++j) row[j] = std::numeric_limits<T>::quiet_NaN();
            });
        }
    }

    Workspace<T>& ws_;
    const Node& node_;
    const InnerBlock<T> block_;
    const Method& method_;
    const index positions_, width_, most_;
    const bool keeps_;
    double *time_, *size_;  // of each example: where it is, and the step that it would make next
    T *attempts_, *steps_;  // of each example; of each attempt and example
};

template <class T>
struct NeuralODE : OpBase {
    static constexpr Traits traits{false, false, false, false, false, false, /*walks_positions=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;
    static constexpr bool has_block = true;

    static index kept(const Node& node, const Plan&, index examples) {
        return Solver<T>::kept(node, examples);
    }
    static index kept_back(const Node& node, const Plan& plan, index examples) {
        return Solver<T>::kept_back(node, plan, examples);
    }
    static index evaluations(const Workspace<T>& ws, const Node& node) {
        return Solver<T>::evaluations(ws, node);
    }
    static void settle(Workspace<T>& ws, const Node& node, Range some) { Solver<T>(ws, node).settle(some); }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        Solver<T>(ws, node).forward(examples);
        finish(ws, node, ws.z(node.output), examples, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        Solver<T>(ws, node).backward(examples);
        give(ws, node, ws.kept_back(node), ws.da(node.input()), examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        Solver<T>(ws, node).tangent_forward(examples);
        finish(ws, node, ws.rz(node.output), examples, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        Solver<T>(ws, node).tangent_backward(examples);
        give(ws, node, ws.kept_back_tangent(node), ws.rda(node.input()), examples, into);
    }

   private:
    template <class Done>
    static void finish(const Workspace<T>& ws, const Node& node, const Panels<T>& z, Range examples,
                       const Done& done) {
        for_stretches(z, ws.rows_of(node.output, examples), [&](Range r) { done(r.begin, r.size()); });
    }
    // To x, in the place of which there is `back`.
    template <class Into>
    static void give(const Workspace<T>& ws, const Node& node, T* back, const Panels<T>& dx, Range examples,
                     const Into& into) {
        if (!into.wants(0)) return;
        const Range rows = ws.rows_of(node.output, examples);
        pass_on(dx, Panels<T>{back, dx.rows, dx.cols}, rows, {0, dx.count()}, into.adds(0),
                DoneOf<Into>{into, 0});
    }
};

}  // namespace fnn::FNN_ISA::net
