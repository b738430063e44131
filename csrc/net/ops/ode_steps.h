// Steps of a Runge-Kutta method for y' = f(t, y), where f is a block of the network; on the way back also for
// the adjoint a' = -J' a of y, with the Jacobian J of f in y. Where the sizes of steps adapt, each example
// has its own, as in M. Lienen, S. Guennemann (2022), "torchode: a parallel ODE solver for PyTorch",
// https://arxiv.org/abs/2210.12375: what comes out for one does not depend on the others.
//
// A step is an attempt: a step that is rejected becomes one of size 0, and so are those of an example that
// has arrived before others that are computed with it. With S stages, attempt m consists of evaluations m S
// to m S + S - 1 of the block, and begins with the y that evaluation m S reads. Where steps are not kept,
// odd and even ones take turns.
#pragma once

#include <cmath>
#include <limits>

#include "net/ops/block.h"
#include "net/ops/ode_states.h"

namespace fnn::FNN_ISA::net {

template <class T>
class Steps {
   public:
    using Method = rules::RungeKutta;

    static const Method& method_of(const Node& node) { return rules::runge_kutta[index(node.op.method)]; }

    // Numbers for each example: where it is in time, the step that it would make next, by what its adjoint is
    // measured; whether its last step was undone, and the attempts.
    static index kept(index examples) { return (3 * per_double + 2) * examples; }
    static T* attempts_of(const Workspace<T>& ws, const Node& node) {
        return ws.kept(node) + 3 * per_double * ws.rows;
    }
    // The adjoint at the start of each step that is kept.
    static index kept_adjoint(const Node& node, const Plan& plan, index examples) {
        const Value& y = plan.values[std::size_t(node.output)];
        return Panels<T>{nullptr, (index(node.op.adjoint) + 1) * examples * y.positions(), y.features()}
            .size();
    }

    // There, or with memory for the adjoint back; of attempts, so many have been made before the first.
    Steps(Workspace<T>& ws, const Node& node, bool keeps, T* adjoint = nullptr, index before = 0)
        : method(method_of(node)),
          ws_(ws),
          node_(node),
          block_(ws, node),
          states_(ws, node),
          most_(index(node.op.steps)),
          before_(before),
          from_(adjoint == nullptr ? node.op.start : node.op.stop),
          to_(adjoint == nullptr ? node.op.stop : node.op.start),
          keeps_(keeps) {
        time_ = reinterpret_cast<double*>(ws.kept(node));
        size_ = time_ + ws.rows;
        unit_ = size_ + ws.rows;
        was_undone_ = attempts_of(ws, node) + ws.rows;
        steps_ = ws.kept(ws.plan.nodes[std::size_t(node.block)]);
        const Panels<T> y = ws.a(block_.reads), k = ws.a(block_.puts_out);
        parts_[n_parts_++] = {y, method.stages, y, k, 1};
        if (adjoint != nullptr)
            parts_[n_parts_++] = {states_.at(adjoint, index(node.op.adjoint) + 1), 1, ws.da(block_.puts_out),
                                  ws.d(block_.reads), -1};
    }

    const Method& method;

    index first(index m) const { return slot(m) * method.stages; }
    T* steps(index m) const { return steps_ + first(m) * ws_.rows; }
    bool has_arrived(index e) const { return time_[e] == to_; }
    bool walks(index e) const { return size_[e] > 0; }
    bool goes_on(index m, Range some) const {
        if (before_ + m >= most_) return false;
        for (index e = some.begin; e < some.end; ++e)
            if (walks(e)) return true;
        return false;
    }

    // From y, and where the way leads back from the adjoint.
    void begin(const Panels<T>& y, const Panels<T>& adjoint, Range some) const {
        const Panels<T> from[] = {y, adjoint};
        for (int i = 0; i < n_parts_; ++i) states_.copy(parts_[i].starts, 0, from[i], 0, some);
        for (index e = some.begin; e < some.end; ++e) begin_example(e);
        put_time(0, some, 0, 0);
        if (method.adapts) find_first_sizes(some);
    }

    // From where the last of the steps that are kept has led, `m` attempts after the first.
    void resume(index m, Range some) const {
        for (int i = 0; i < n_parts_; ++i)
            states_.copy(parts_[i].starts, 0, parts_[i].starts, parts_[i].place(slot(m)), some);
        put_time(0, some, 0, 0);
        if (method.adapts) evaluate_start(0, some);
    }

    void attempt(index m, Range some) const {
        for (index e = some.begin; e < some.end; ++e) steps(m)[e] = walks(e) ? T(next_step(e)) : T(0);
        if (!method.adapts) evaluate_start(m, some);
        evaluate_stages(m, some);
        for (int i = 0; i < n_parts_; ++i)
            states_.combine(parts_[i].starts, parts_[i].place(slot(m + 1)), parts_[i].starts,
                            parts_[i].place(slot(m)), of_stages(parts_[i], m, method.stages, method.b), some);
        put_time(first(m + 1), some, m, 1);
        if (method.adapts) return judge(m, some);
        for (index e = some.begin; e < some.end; ++e) advance(e, before_ + m + 1 == most_, size_[e]);
    }

    // What evaluation i reads as the time: that of each example, and a part of step m.
    void put_time(index i, Range some, index m, double part) const {
        const Panels<T>& y = parts_[0].states;
        if (!states_.has_time(y)) return;
        for (index e = some.begin; e < some.end; ++e)
            states_.put_time(y, i, e, T(time_[e] + (part != 0 ? part * double(steps(m)[e]) : 0)));
    }

    // Where y and the adjoint are at the start of attempt m.
    void take(int which, const Panels<T>& to, index m, Range some) const {
        states_.copy(to, 0, parts_[which].starts, parts_[which].place(slot(m)), some);
        show_who_has_not_arrived(to, some);
    }
    // In the first evaluation of what belongs to examples.
    void show_who_has_not_arrived(const Panels<T>& of, Range some) const {
        for (index e = some.begin; e < some.end; ++e)
            if (!has_arrived(e)) states_.fill(of, 0, e, std::numeric_limits<T>::quiet_NaN());
    }

   private:
    // What moves with time: what it is at the start of each step, and in each evaluation, where it has a
    // slope, which counts with a sign.
    struct Part {
        Panels<T> starts;
        index apart;  // from the start of one step to that of the next
        Panels<T> states, slopes;
        double sign;

        index place(index slot) const { return slot * apart; }
    };

    static constexpr index per_double = index(sizeof(double) / sizeof(T));

    index slot(index m) const { return keeps_ ? m : m % 2; }
    double direction() const { return to_ < from_ ? -1 : 1; }

    // The step that an example makes next, at most as far as the end.
    double next_step(index e) const {
        const double rest = to_ - time_[e], wanted = direction() * size_[e];
        return std::fabs(wanted) < std::fabs(rest) ? wanted : rest;
    }
    // The smallest step that gets on.
    double smallest(index e) const { return 10 * std::fabs(std::nextafter(time_[e], to_) - time_[e]); }

    // What is tolerated of the error of a number of part i.
    double tolerance(int i, index e, double number) const {
        return node_.op.atol * (i == 0 ? 1 : unit_[e]) + node_.op.rtol * std::fabs(number);
    }

    // The root of the mean of the squares of f(part, q, p, column of the panel), over the numbers of an
    // example.
    template <class F>
    double norm(const F& f) const {
        double sum = 0;
        for (int i = 0; i < n_parts_; ++i) sum += sum_of_squares(i, f);
        return std::sqrt(sum / double(n_parts_ * states_.size()));
    }
    template <class F>
    double sum_of_squares(int i, const F& f) const {
        double sum = 0;
        states_.for_columns([&](index q, index p, index used) {
            for (index j = 0; j < used; ++j) {
                const double number = f(i, q, p, j);
                sum += number * number;
            }
        });
        return sum;
    }

    Terms<T> of_stages(const Part& part, index m, int count, const double* weights) const {
        Terms<T> terms;
        terms.steps = steps(m);
        for (int i = 0; i < count; ++i) terms.add(part.slopes, first(m) + i, part.sign * weights[i]);
        return terms;
    }

    void evaluate(index k, Range some) const {
        block_.forward(k, some);
        if (n_parts_ > 1) block_.backward(k, some);
    }
    void evaluate_start(index m, Range some) const {
        for (int i = 0; i < n_parts_; ++i)
            if (parts_[i].starts.data != parts_[i].states.data)
                states_.copy(parts_[i].states, first(m), parts_[i].starts, parts_[i].place(slot(m)), some);
        evaluate(first(m), some);
    }
    // All but the first.
    void evaluate_stages(index m, Range some) const {
        for (int stage = 1; stage < method.stages; ++stage) {
            for (int i = 0; i < n_parts_; ++i)
                states_.combine(parts_[i].states, first(m) + stage, parts_[i].starts,
                                parts_[i].place(slot(m)), of_stages(parts_[i], m, stage, method.a[stage]),
                                some);
            put_time(first(m) + stage, some, m, method.c[stage]);
            evaluate(first(m) + stage, some);
        }
    }

    // An adjoint of zero stays so; others are measured by what they are at the end of time, so that the steps
    // do not depend on how large the loss is.
    void begin_example(index e) const {
        time_[e] = from_;
        size_[e] = std::fabs(to_ - from_) / double(most_);
        was_undone_[e] = 0;
        if (n_parts_ == 1) return;
        const double sum = sum_of_squares(1, [&](int, index q, index p, index j) {
            return states_.number(parts_[1].starts, 0, e, q, p, j);
        });
        unit_[e] = std::sqrt(sum / double(states_.size()));
        if (unit_[e] == 0) time_[e] = to_, size_[e] = 0;
    }

    // How far a trial step goes tells how the first one should.
    void find_first_sizes(Range some) const {
        const double interval = std::fabs(to_ - from_);
        evaluate_start(0, some);
        const auto in_units = [&](index e, int i, index q, index p, index j, double number) {
            return number / tolerance(i, e, states_.number(parts_[i].starts, 0, e, q, p, j));
        };
        const auto norm_of_slopes = [&](index e) {
            return norm([&](int i, index q, index p, index j) {
                return in_units(e, i, q, p, j, states_.number(parts_[i].slopes, 0, e, q, p, j));
            });
        };
        for (index e = some.begin; e < some.end; ++e) {
            steps(0)[e] = 0;
            if (!walks(e)) continue;
            const double distance = norm([&](int i, index q, index p, index j) {
                return in_units(e, i, q, p, j, states_.number(parts_[i].starts, 0, e, q, p, j));
            });
            size_[e] = std::fmin(rules::StepSize::trial(distance, norm_of_slopes(e)), interval);
            steps(0)[e] = T(direction() * size_[e]);
        }
        const double whole[] = {1};
        for (int i = 0; i < n_parts_; ++i)
            states_.combine(parts_[i].states, 1, parts_[i].starts, 0, of_stages(parts_[i], 0, 1, whole),
                            some);
        put_time(1, some, 0, 1);
        evaluate(1, some);
        for (index e = some.begin; e < some.end; ++e) {
            if (!walks(e)) continue;
            const double change = norm([&](int i, index q, index p, index j) {
                return in_units(e, i, q, p, j,
                                states_.number(parts_[i].slopes, 1, e, q, p, j) -
                                    states_.number(parts_[i].slopes, 0, e, q, p, j));
            });
            const double size = rules::StepSize::first(size_[e], norm_of_slopes(e), change / size_[e]);
            size_[e] = std::fmin(size, interval);
        }
    }

    // Makes the step that an example has computed; none follows where it ends.
    void advance(index e, bool ends, double next_size) const {
        time_[e] = ends ? to_ : time_[e] + next_step(e);
        size_[e] = ends ? 0 : next_size;
    }

    // Accepts a step or undoes it, by its error.
    void judge(index m, Range some) const {
        evaluate_start(m + 1, some);
        bool undoes = false, repeats = false;
        for (index e = some.begin; e < some.end; ++e) {
            if (!walks(e)) continue;
            const double h = next_step(e), error = error_of(m, e);
            const double factor = rules::StepSize::factor_after(error);
            if (error < 1) {
                const double most = was_undone_[e] != 0 ? 1 : factor;  // after a step that was too large
                advance(e, h == to_ - time_[e],
                        std::fmax(std::fabs(h) * std::fmin(most, factor), smallest(e)));
                was_undone_[e] = 0;
                continue;
            }
            size_[e] = std::fabs(h) * factor;
            if (size_[e] < smallest(e)) size_[e] = 0;
            steps(m)[e] = 0;
            was_undone_[e] = 1;
            for (int i = 0; i < n_parts_; ++i)
                states_.copy(parts_[i].starts, parts_[i].place(slot(m + 1)), parts_[i].starts,
                             parts_[i].place(slot(m)), {e, e + 1});
            put_time(first(m + 1), {e, e + 1}, 0, 0);
            undoes = true;
            repeats |= !std::isfinite(error);
        }
        if (undoes) evaluate_start(m + 1, some);
        // What is not finite would be so times a gradient of zero, too.
        if (repeats) evaluate_stages(m, some);
    }

    double error_of(index m, index e) const {
        const double h = double(steps(m)[e]);
        return norm([&](int i, index q, index p, index j) {
            const Part& part = parts_[i];
            double error = method.e[method.stages] * states_.number(part.slopes, first(m + 1), e, q, p, j);
            for (int stage = 0; stage < method.stages; ++stage)
                error += method.e[stage] * states_.number(part.slopes, first(m) + stage, e, q, p, j);
            const double before = states_.number(part.starts, part.place(slot(m)), e, q, p, j);
            const double after = states_.number(part.starts, part.place(slot(m + 1)), e, q, p, j);
            return h * error / tolerance(i, e, std::fmax(std::fabs(before), std::fabs(after)));
        });
    }

    Workspace<T>& ws_;
    const Node& node_;
    const InnerBlock<T> block_;
    const States<T> states_;
    const index most_, before_;
    const double from_, to_;
    const bool keeps_;
    double *time_, *size_, *unit_;
    T *was_undone_, *steps_;
    Part parts_[2];
    int n_parts_ = 0;
};

}  // namespace fnn::FNN_ISA::net
