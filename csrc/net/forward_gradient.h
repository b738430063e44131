// Estimates of gradients without a way back: from directional derivatives along random directions. A. G.
// Baydin, B. A. Pearlmutter, D. Syme, F. Wood, P. Torr (2022), "Gradients without backpropagation".
//
// Along a direction of the parameters the derivative of the loss times that direction is one. With as many
// parameters as there are, noise in what a layer puts out before its activation is better: M. Ren, S.
// Kornblith, R. Liao, G. Hinton (2023), "Scaling forward gradient with local losses". Let s be the derivative
// of an example's loss along the noise of all layers. Then s times a layer's own noise is an estimate of d,
// of which the gradient is made as it is on the way back.
#pragma once

#include "expected.h"
#include "net/evaluate.h"
#include "net/ops/row_sums.h"

namespace fnn::FNN_ISA::net {

// Throws std::invalid_argument, about an argument that expects another value, for a network whose examples or
// gradients are not that simple.
inline void need_perturbable(const Plan& plan, const Run& run, const char* argument, const char* other,
                             const char* given) {
    const auto refuse = [&](const Node& node, const char* why) {
        throw std::invalid_argument(
            expected(argument, other + (" for layers[" + node.layer + "], ") + why, given));
    };
    for (const Node& node : plan.nodes) {
        if (node.learns_going_back || node.block >= 0)
            refuse(node, "whose own steps would have to be perturbed");
        if (run.training && plan.traits.couples_rows && Maps<float>::cut(node, run) == Cut::columns)
            refuse(node, "in which examples depend on each other");
    }
}

inline Needs needs_of_perturbation(const Plan& plan, Needs needs = {}) {
    needs.tangent = true;
    needs.row_sums = plan.output_shape().positions();
    return needs;
}

// So that nothing but noise moves; before `pack_parameters`, where all wait.
template <class T>
void clear_direction(const Exec& exec, const Workspace<T>& ws) {
    exec::elementwise(exec.share(ws.layout.size()), Clear<T>{ws.direction});
}

// noise = numbers of a normal law; to = to + noise
template <class T>
struct AddNoise {
    std::uint64_t seed, stream, first;
    T *noise, *to;
    FNN_HD void operator()(index i) const {
        noise[i] = rules::normal<T>(seed, stream, first + std::uint64_t(i));
        to[i] += noise[i];
    }
};

template <class T>
struct ScaledNoise {
    T* to;
    const T* noise;
    T factor;
    FNN_HD void operator()(index i) const { to[i] = factor * noise[i]; }
};

template <class T>
bool is_perturbed(const Workspace<T>& ws, const Node& node) {
    return node.parameters >= 0 && ws.own(node).trainable;
}

// The tangent of `forward` along noise in what each layer with parameters puts out before its activation. The
// noise stays in rd, which nothing else goes to here.
template <class T>
void perturb(Exec& exec, Workspace<T>& ws, Range examples) {
    const std::uint64_t seed = ws.run.seed, stream = ws.run.noise_stream();
    walk_forward(exec, ws, Way::tangent_forward, examples, [&](const Node& node, Range r, Range panels) {
        Maps<T>::tangent_forward(ws, node, r, panels);
        if (!is_perturbed(ws, node)) return;
        const Panels<T> rz = ws.rz(node.output), ra = ws.ra(node.output), noise = ws.rd(node.output);
        const Range rows = ws.rows_of(node.output, r);
        const std::uint64_t of_node = std::uint64_t(&node - ws.plan.nodes.data()) << 48;
        for (index p = 0; p < rz.count(); ++p)
            for (index row = rows.begin; row < rows.end; ++row) {
                const index place = (ws.first_row(node.output) + row) * rz.cols + p * rz.full;
                exec::elementwise({0, rz.used(p)}, AddNoise<T>{seed, stream, of_node + std::uint64_t(place),
                                                               noise.row(p, row), rz.row(p, row)});
            }
        for_stretches(rz, rows, [&](Range stretch) {
            activation_tangent_forward<T>(node.activation, ra.data, rz.data, ws.z(node.output).data, stretch);
        });
    });
}

// The derivatives of the losses along what moves, for the rows of the output.
template <class T>
void row_slopes(const Workspace<T>& ws, Range examples) {
    const int last = ws.plan.output();
    add_row_products<T>(ws.row_sums(0), ws.da(last), ws.ra(last), T(1), ws.rows_of(last, examples), false);
}

// For some examples of a batch: from X to estimates of the derivatives of the factor times the loss.
template <class T>
void estimate_derivatives(Exec& exec, Workspace<T>& ws, const Source& x, const LossSpec& loss,
                          const Batch<T>& batch, Range examples, T factor) {
    gather_examples(ws, x, batch, examples);
    forward(exec, ws, examples);
    score_outputs(exec, ws, loss, batch, examples, factor);
    perturb(exec, ws, examples);
    row_slopes(ws, examples);
    for (index e = examples.begin; e < examples.end; ++e) {
        T slope = 0;
        const Range rows = ws.rows_of(ws.plan.output(), {e, e + 1});
        for (index r = rows.begin; r < rows.end; ++r) slope += ws.row_sums(0)[r];
        for (const Node& node : ws.plan.nodes) {
            if (!is_perturbed(ws, node)) continue;
            const Panels<T> d = ws.d(node.output), noise = ws.rd(node.output);
            const Range these = ws.rows_of(node.output, {e, e + 1});
            for (index p = 0; p < d.count(); ++p)
                for (index r = these.begin; r < these.end; ++r) {
                    T* const to = d.row(p, r);
                    exec::elementwise({0, d.used(p)}, ScaledNoise<T>{to, noise.row(p, r), slope});
                    std::fill(to + d.used(p), to + d.width(p), T(0));
                }
        }
    }
}

template <class T>
void estimate_all(Exec& exec, Workspace<T>& ws, const Source& x, const LossSpec& loss, const Batch<T>& batch,
                  T factor) {
    for_own_examples(
        exec, ws, [&](Range examples) { estimate_derivatives(exec, ws, x, loss, batch, examples, factor); });
}

// An estimate of the gradient (n_parameters,) of the weighted mean of the losses, and their weighted sum.
template <class T>
void activity_gradient(const Context& call, const T* parameters, const Source& x, const Targets<T>& y,
                       const Order& order, const LossSpec& loss, T* gradient, Score* score) {
    need_perturbable(call.plan, call.run, "kind", "'weight'", "'activity'");
    add_up_gradients(
        call, parameters, y, order, loss, needs_of_perturbation(call.plan), gradient, score,
        [&](Exec& exec, Workspace<T>& now, const Batch<T>& batch, T factor) {
            estimate_all(exec, now, x, loss, batch, factor);
        },
        [](Exec& exec, const Workspace<T>& ws) { clear_direction(exec, ws); });
}

// The weighted sum of the losses, and the derivative of their mean along a direction (n_parameters,).
template <class T>
void loss_and_slope(const Context& call, const T* parameters, const T* direction, const Source& x,
                    const Targets<T>& y, const Order& order, const LossSpec& loss, Score* score,
                    double* slope) {
    const Plan& plan = call.plan;
    const index limit = chunk_limit(call, order.rows), most = chunk_size(call, order.rows);
    const int threads = team_size(call.threads, 3 * most * plan.work_per_row());
    Needs needs = needs_of_perturbation(plan);
    needs.add(loss);
    Workspace<T> ws(call, most, needs, threads);
    score->weight = total_weight(batch_of(plan, y, order.examples, 0), order.rows);
    const T factor = mean_factor<T>(score->weight);
    *slope = 0;
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters, direction);
        for_chunks(exec, order.rows, limit, [&](index first, index batch) {
            Workspace<T> now = ws.of_batch(first, batch);
            const Batch<T> examples = batch_of(plan, y, order.examples, first);
            const auto derive = [&](Range rows) {
                gather_examples(now, x, examples, rows);
                forward(exec, now, rows);
                score_outputs(exec, now, loss, examples, rows, factor);
                tangent_forward(exec, now, rows);
                row_slopes(now, rows);
            };
            for_own_examples(exec, now, derive);
            collect(exec, now, score);
            if (exec.rank != 0) return;
            const index rows = now.rows_of(plan.output(), {0, batch}).end;
            for (index r = 0; r < rows; ++r) *slope += double(now.row_sums(0)[r]);
        });
    });
}

}  // namespace fnn::FNN_ISA::net
