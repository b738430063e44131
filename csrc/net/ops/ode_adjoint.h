// The way back of y' = f(t, y) by the adjoint method: R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud
// (2018), "Neural ordinary differential equations", NeurIPS, https://arxiv.org/abs/1806.07366. The derivative
// of the loss in y, the adjoint, is a function of time, a' = -J' a. It is solved for together with y, from
// the end of time to its start: so there need be no more than the evaluations of the last steps. It is the
// gradient of the exact flow, within the error of the solver, and not that of the steps that were made.
//
// The gradient of the block's parameters w is the integral of -(df/dw)' a along the same steps: the weight of
// a stage in its step, times the step, is that of an evaluation in the sum over evaluations which the
// gradient is. So all threads make the steps together, a few at a time, when all examples have gone back, and
// add these few to the gradient.
#pragma once

#include "net/ops/ode_steps.h"

namespace fnn::FNN_ISA::net {

template <class T>
class Adjoint {
   public:
    // `room`: for the adjoint at the start of steps.
    Adjoint(Workspace<T>& ws, const Node& node, T* room)
        : ws_(ws), node_(node), block_(ws, node), states_(ws, node), room_(room) {}

    // What goes on to x, in `back`.
    void go_back(const Panels<T>& back, Range some) const {
        const Steps<T> steps(ws_, node_, false, room_);
        steps.begin(ws_.a(node_.output), ws_.d(node_.output), some);
        index m = 0;
        for (; steps.goes_on(m, some); ++m) {
            exec::poll();
            steps.attempt(m, some);
        }
        steps.take(1, back, m, some);
    }

    // The same again, with the evaluations of a part of the steps and their weights in the gradient.
    void leave(index part, Range some) const {
        const index most = index(node_.op.adjoint);
        const Steps<T> steps(ws_, node_, true, room_, part * most);
        if (part == 0)
            steps.begin(ws_.a(node_.output), ws_.d(node_.output), some);
        else if (steps.goes_on(0, some))
            steps.resume(most, some);
        index m = 0;
        for (; m < most && (steps.goes_on(m, some) || (part == 0 && m == 0)); ++m) steps.attempt(m, some);
        for (index e = some.begin; e < some.end; ++e) Steps<T>::attempts_of(ws_, node_)[e] = T(m);
        const bool is_last = (part + 1) * most >= index(node_.op.steps);
        for (index k = 0; k < m * steps.method.stages; ++k)
            weigh(k, some, [&](index e) {
                const bool fails = !steps.has_arrived(e) && (is_last || !steps.walks(e));
                const double weight = steps.method.b[k % steps.method.stages];
                return fails ? std::numeric_limits<T>::quiet_NaN()
                             : T(-weight * double(steps.steps(k / steps.method.stages)[e]));
            });
        for (index k = m * steps.method.stages; k < most * steps.method.stages; ++k) {
            if (part == 0) {  // later the numbers of parts before it are there
                states_.copy(ws_.a(block_.reads), k, ws_.a(block_.reads), steps.first(m), some);
                steps.put_time(k, some, 0, 0);
                block_.forward(k, some);
            }
            weigh(k, some, [](index) { return T(0); });
        }
    }

    // Whether there is a part after one that all have left.
    static bool goes_on(Workspace<T>& ws, const Node& node, index part, T* room) {
        return Steps<T>(ws, node, true, room, (part + 1) * index(node.op.adjoint)).goes_on(0, {0, ws.rows});
    }

   private:
    // d of what learns in the block, times weight(example); cleared where that is 0.
    template <class F>
    void weigh(index k, Range some, const F& weight) const {
        for (const Node* node = &ws_.plan.nodes[std::size_t(node_.block)] + 1; node != &node_; ++node) {
            const Panels<T> d = ws_.d(node->output);
            if (node->parameters < 0 || d.data == nullptr) continue;
            for (index e = some.begin; e < some.end; ++e) {
                const T factor = weight(e);
                for_stretches(d, ws_.rows_of(node->output, block_.examples(k, {e, e + 1})), [&](Range r) {
                    if (factor != 0)
                        exec::elementwise(r, Multiple<T>{d.data, factor});
                    else
                        exec::elementwise(r, Clear<T>{d.data});
                });
            }
        }
    }

    Workspace<T>& ws_;
    const Node& node_;
    const InnerBlock<T> block_;
    const States<T> states_;
    T* const room_;
};

}  // namespace fnn::FNN_ISA::net
