// z = f(z, x), where f is a block of the network that reads z and x side by side: S. Bai, J. Z. Kolter, V.
// Koltun (2019), "Deep equilibrium models", NeurIPS, https://arxiv.org/abs/1909.01377.
//
// The way back is an equation of the same kind, u = d + J' u with the Jacobian J of f in z, and so are the
// tangents of both ways. Each is solved by evaluations of the block's own maps, for each example by itself:
// an example that has arrived stays there until the others have. What the last evaluation leaves in the
// block's values is what gradients of its parameters are made of.
#pragma once

#include "net/ops/block.h"
#include "net/ops/copy_columns.h"
#include "net/ops/fixed_point.h"

namespace fnn::FNN_ISA::net {

template <class T>
class EquilibriumSolver {
   public:
    EquilibriumSolver(Workspace<T>& ws, const Node& node)
        : ws_(ws),
          node_(node),
          block_(ws, node),
          positions_(ws.plan.values[std::size_t(node.output)].positions()),
          width_(ws.plan.values[std::size_t(node.output)].features()),
          beside_(ws.plan.values[std::size_t(node.input())].features()) {}

    static index kept(const Node& node, const Plan& plan, index examples) {
        return numbers(node, plan.values[std::size_t(node.output)].shape.size()) * examples;
    }

    void forward(Range some) const {
        const Panels<T> reads = ws_.a(block_.reads), z = ws_.z(node_.output);
        put_beside(reads, ws_.a(node_.input()), some);
        solve(ws_.kept(node_), some, reads, ws_.a(block_.puts_out), {}, [&] { block_.forward(0, some); });
        take(z, ws_.a(block_.puts_out), some);
    }
    void tangent_forward(Range some) const {
        const Panels<T> reads = ws_.ra(block_.reads), rz = ws_.rz(node_.output);
        put_beside(reads, ws_.ra(node_.input()), some);
        solve(ws_.kept_tangent(node_), some, reads, ws_.ra(block_.puts_out), {},
              [&] { block_.tangent_forward(0, some); });
        take(rz, ws_.ra(block_.puts_out), some);
    }
    void backward(Range some) const {
        solve(ws_.kept_back(node_), some, ws_.da(block_.puts_out), ws_.d(block_.reads), ws_.d(node_.output),
              [&] { block_.backward(0, some); });
    }
    void tangent_backward(Range some) const {
        solve(ws_.kept_back_tangent(node_), some, ws_.rda(block_.puts_out), ws_.rd(block_.reads),
              ws_.rd(node_.output), [&] { block_.tangent_backward(0, some); });
    }

    // What has come back to x, of what comes back to all that the block reads.
    template <class Into>
    void give(const Panels<T>& dx, const Panels<T>& back, Range some, const Into& into) const {
        if (!into.wants(0)) return;
        const Range rows = rows_of(some);
        copy_columns(dx, 0, back, width_, beside_, rows, into.adds(0));
        if (!into.adds(0)) exec::clear_padding(dx, rows);
        for_stretches(dx, rows, [&](Range r) { into.done(0, r.begin, r.size()); });
    }

   private:
    static bool is_broyden(const Node& node) { return node.op.method != 0; }

    // For each example, of z: what the solver remembers, and one number more.
    static index numbers(const Node& node, index size) {
        return FixedPoint<T>::numbers(is_broyden(node), size) + 1;
    }

    Range rows_of(Range some) const { return {some.begin * positions_, some.end * positions_}; }

    void put_beside(const Panels<T>& reads, const Panels<T>& x, Range some) const {
        copy_columns(reads, width_, x, 0, beside_, rows_of(some), false);
        exec::clear_padding(reads, rows_of(some));
    }
    void take(const Panels<T>& z, const Panels<T>& from, Range some) const {
        copy_columns(z, 0, from, 0, width_, rows_of(some), false);
        exec::clear_padding(z, rows_of(some));
    }

    // f(numbers there, first of them in the vector, count) for the columns of z in the rows of an example.
    template <class F>
    void for_columns(const Panels<T>& of, index e, const F& f) const {
        for (index q = 0; q < positions_; ++q)
            for (index first = 0; first < width_; first += Panels<T>::full)
                f(of.row(first / Panels<T>::full, e * positions_ + q), q * width_ + first,
                  exec::min(width_ - first, Panels<T>::full));
    }

    // z = plus + g(z), where evaluate() computes `g` of what lies in `z`.
    template <class Evaluate>
    void solve(T* memory, Range some, const Panels<T>& z, const Panels<T>& g, const Panels<T>& plus,
               const Evaluate& evaluate) const {
        const index size = positions_ * width_, each = numbers(node_, size);
        const auto of = [&](index e) { return FixedPoint<T>(is_broyden(node_), size, memory + e * each); };
        const auto is_there = [&](index e) -> T& { return memory[(e + 1) * each - 1]; };
        for (index e = some.begin; e < some.end; ++e) {
            of(e).begin();
            is_there(e) = 0;
        }
        const index most = index(node_.op.steps);
        for (index moves = 0;; ++moves) {
            exec::poll();
            for (index e = some.begin; e < some.end; ++e)
                for_columns(z, e, [&](T* to, index first, index count) {
                    exec::elementwise({0, count}, Copy<T>{to, of(e).z() + first});
                });
            if (z.cols == width_) exec::clear_padding(z, rows_of(some));
            evaluate();
            bool all = true;
            for (index e = some.begin; e < some.end; ++e) {
                if (is_there(e) != 0) continue;
                const FixedPoint<T> point = of(e);
                for_columns(g, e, [&](T* from, index first, index count) {
                    exec::elementwise({0, count}, Copy<T>{point.g() + first, from});
                });
                if (plus.data != nullptr)
                    for_columns(plus, e, [&](T* from, index first, index count) {
                        exec::elementwise({0, count}, AddTo<T>{point.g() + first, from});
                    });
                is_there(e) = T(point.distance() <= node_.op.rtol);
                if (is_there(e) == 0 && moves + 1 < most) point.move(moves);
                all &= is_there(e) != 0;
            }
            if (all || moves + 1 == most) return;
        }
    }

    Workspace<T>& ws_;
    const Node& node_;
    const InnerBlock<T> block_;
    const index positions_, width_, beside_;
};

template <class T>
struct Equilibrium : OpBase {
    static constexpr Traits traits{false, false, false, false, false, false, /*walks_positions=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;
    static constexpr bool has_block = true;

    static index kept(const Node& node, const Plan& plan, index examples) {
        return EquilibriumSolver<T>::kept(node, plan, examples);
    }
    static index kept_tangent(const Node& node, const Plan& plan, index examples) {
        return kept(node, plan, examples);
    }
    static index kept_back(const Node& node, const Plan& plan, index examples) {
        return kept(node, plan, examples);
    }
    static index evaluations(const Workspace<T>&, const Node&) { return 1; }
    static void settle(Workspace<T>&, const Node&, Range, index) {}
    static bool settles_on(Workspace<T>&, const Node&, index) { return false; }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        EquilibriumSolver<T>(ws, node).forward(examples);
        finish(ws, node, ws.z(node.output), examples, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        const EquilibriumSolver<T> solver(ws, node);
        solver.backward(examples);
        solver.give(ws.da(node.input()), ws.d(reads(ws, node)), examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        EquilibriumSolver<T>(ws, node).tangent_forward(examples);
        finish(ws, node, ws.rz(node.output), examples, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        const EquilibriumSolver<T> solver(ws, node);
        solver.tangent_backward(examples);
        solver.give(ws.rda(node.input()), ws.rd(reads(ws, node)), examples, into);
    }

   private:
    static int reads(const Workspace<T>& ws, const Node& node) {
        return ws.plan.nodes[std::size_t(node.block)].output;
    }
    template <class Done>
    static void finish(const Workspace<T>& ws, const Node& node, const Panels<T>& z, Range examples,
                       const Done& done) {
        for_stretches(z, ws.rows_of(node.output, examples), [&](Range r) { done(r.begin, r.size()); });
    }
};

}  // namespace fnn::FNN_ISA::net
