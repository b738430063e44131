// z = y at the end of y' = f(t, y), where y is x at the start and f is a block of the network: R. T. Q. Chen,
// Y. Rubanova, J. Bettencourt, D. Duvenaud (2018), "Neural ordinary differential equations", NeurIPS,
// https://arxiv.org/abs/1806.07366. Solved by a Runge-Kutta method, see net/ops/ode_steps.h.
//
// What goes back is the gradient of the steps that were made with their sizes as constants, exact to
// rounding; or, if the op says so, the adjoint, see net/ops/ode_adjoint.h. What moves along a direction, and
// how what goes back does, is exact in any case. Of an example that has not arrived all of it is NaN.
#pragma once

#include "net/ops/elementwise.h"
#include "net/ops/ode_adjoint.h"

namespace fnn::FNN_ISA::net {

template <class T>
class Solver {
   public:
    Solver(Workspace<T>& ws, const Node& node)
        : ws_(ws),
          node_(node),
          block_(ws, node),
          states_(ws, node),
          steps_(ws, node, ws.keeps_evaluations(node)),
          method_(steps_.method) {}

    // Evaluations that are terms of the gradient: as many as the last of the examples needs.
    static index evaluations(const Workspace<T>& ws, const Node& node) {
        const T* const attempts = Steps<T>::attempts_of(ws, node);
        T most = 0;
        for (index e = 0; e < ws.rows; ++e) most = std::fmax(most, attempts[e]);
        return index(most) * Steps<T>::method_of(node).stages;
    }

    void forward(Range some) const {
        steps_.begin(ws_.a(node_.input()), {}, some);
        index m = 0;
        for (; steps_.goes_on(m, some); ++m) {
            exec::poll();
            steps_.attempt(m, some);
        }
        for (index e = some.begin; e < some.end; ++e) Steps<T>::attempts_of(ws_, node_)[e] = T(m);
        steps_.take(0, ws_.z(node_.output), m, some);
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
            start(ry, 0, ws_.ra(node_.input()), 0, {}, these);
            for (index m = 0; m < attempts; ++m) {
                exec::poll();
                for (int i = 0; i < method_.stages; ++i) {
                    if (i > 0)
                        start(ry, first(m) + i, ry, first(m), of_stages(rk, m, i, method_.a[i]), these);
                    block_.tangent_forward(first(m) + i, these);
                }
                start(ry, first(m + 1), ry, first(m), of_stages(rk, m, method_.stages, method_.b), these);
            }
            states_.copy(rz, 0, ry, first(attempts), these);
            steps_.show_who_has_not_arrived(rz, these);
        });
    }

    // When all examples have gone forward and back: those that arrived early stay where they are until the
    // last one arrives, without a gradient, so that they are there in sums over evaluations.
    void settle(Range some) const {
        const index all = evaluations(ws_, node_);
        const bool moves = ws_.needs.tangent && ws_.needs.base_gradient;  // and is multiplied by d
        const Panels<T> y = ws_.a(block_.reads);
        for_alike(some, [&](index attempts, Range these) {
            const index arrived = first(attempts);
            for (index k = arrived; k < all; ++k) {
                states_.copy(y, k, y, arrived, these);
                steps_.put_time(k, these, 0, 0);
                block_.forward(k, these);
                if (moves) {
                    start(ws_.ra(block_.reads), k, ws_.ra(block_.reads), arrived, {}, these);
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
    index first(index m) const { return steps_.first(m); }

    Terms<T> of_stages(const Panels<T>& of, index m, int count, const double* weights) const {
        Terms<T> terms;
        terms.steps = steps_.steps(m);
        for (int i = 0; i < count; ++i) terms.add(of, first(m) + i, weights[i]);
        return terms;
    }

    // How what the block reads moves: time does not.
    void start(const Panels<T>& to, index i, const Panels<T>& from, index j, const Terms<T>& terms,
               Range some) const {
        states_.combine(to, i, from, j, terms, some);
        if (!states_.has_time(to)) return;
        for (index e = some.begin; e < some.end; ++e) states_.put_time(to, i, e, T(0));
    }

    // f(how many attempts, examples) for those side by side that have made as many.
    template <class F>
    void for_alike(Range some, const F& f) const {
        const T* const attempts = Steps<T>::attempts_of(ws_, node_);
        for (index e = some.begin; e < some.end;) {
            index end = e + 1;
            while (end < some.end && attempts[end] == attempts[e]) ++end;
            f(index(attempts[e]), Range{e, end});
            e = end;
        }
    }

    // dk: where the gradient of what the block puts out goes, before its activation; dy: where that of what
    // it reads comes from; block(evaluation, examples) leads there.
    template <class F>
    void go_back(Range some, const Panels<T>& d, T* room, const Panels<T>& dk, const Panels<T>& dy,
                 const F& block) const {
        const Panels<T> back = states_.at(room);
        for_alike(some, [&](index attempts, Range these) {
            states_.copy(back, 0, d, 0, these);
            steps_.show_who_has_not_arrived(back, these);
            for (index m = attempts; m-- > 0;) {
                exec::poll();
                Terms<T> all;
                all.steps = steps_.steps(m);
                all.times_step = false;
                for (int i = method_.stages; i-- > 0;) {
                    Terms<T> terms;
                    terms.steps = steps_.steps(m);
                    terms.add(back, 0, method_.b[i]);
                    for (int j = i + 1; j < method_.stages; ++j) terms.add(dy, first(m) + j, method_.a[j][i]);
                    states_.combine(dk, first(m) + i, {}, 0, terms, these);
                    if (m == 0 && i == 0)  // whatever the size of its steps
                        steps_.show_who_has_not_arrived(dk, these);
                    block(first(m) + i, these);
                    all.add(dy, first(m) + i, 1);
                }
                states_.combine(back, 0, back, 0, all, these);
            }
        });
    }

    Workspace<T>& ws_;
    const Node& node_;
    const InnerBlock<T> block_;
    const States<T> states_;
    const Steps<T> steps_;
    const rules::RungeKutta& method_;
};

template <class T>
struct NeuralODE : OpBase {
    static constexpr Traits traits{false,
                                   false,
                                   false,
                                   false,
                                   false,
                                   /*reads_output=*/true,
                                   /*walks_positions=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;
    static constexpr bool has_block = true;

    static index kept(const Node&, const Plan&, index examples) { return Steps<T>::kept(examples); }
    static index kept_back(const Node& node, const Plan& plan, index examples) {
        const index adjoint = node.op.adjoint != 0 ? Steps<T>::kept_adjoint(node, plan, examples) : 0;
        return back(node, plan, examples) + adjoint;
    }
    static index evaluations(const Workspace<T>& ws, const Node& node) {
        return Solver<T>::evaluations(ws, node);
    }
    static void settle(Workspace<T>& ws, const Node& node, Range some, index part) {
        if (ws.keeps_evaluations(node))
            Solver<T>(ws, node).settle(some);
        else
            Adjoint<T>(ws, node, room(ws, node)).leave(part, some);
    }
    static bool settles_on(Workspace<T>& ws, const Node& node, index part) {
        return !ws.keeps_evaluations(node) && Adjoint<T>::goes_on(ws, node, part, room(ws, node));
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        Solver<T>(ws, node).forward(examples);
        finish(ws, node, ws.z(node.output), examples, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        if (ws.keeps_evaluations(node))
            Solver<T>(ws, node).backward(examples);
        else if (into.wants(0))
            Adjoint<T>(ws, node, room(ws, node))
                .go_back(States<T>(ws, node).at(ws.kept_back(node)), examples);
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
    // What goes on to x, and behind it the adjoint at the start of steps.
    static index back(const Node& node, const Plan& plan, index examples) {
        const Value& y = plan.values[std::size_t(node.output)];
        return Panels<T>{nullptr, examples * y.positions(), y.features()}.size();
    }
    static T* room(const Workspace<T>& ws, const Node& node) {
        return ws.kept_back(node) + back(node, ws.plan, ws.rows);
    }

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
