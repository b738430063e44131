// Derivatives along a direction of the parameters: of the outputs, and of the gradient (Pearlmutter 1994).
#pragma once

#include "net/evaluate.h"

namespace fnn::FNN_ISA::net {

// The Jacobian-vector product: out and dout (n, out_features), along direction (n_parameters,).
template <class T>
void push_forward(const Context& call, const T* parameters, const T* direction, const Source& x, T* out,
                  T* dout) {
    const Plan& plan = call.plan;
    Needs needs;
    needs.tangent = true;
    const int threads = team_size(call.threads, 3 * chunk_size(x.rows) * plan.work_per_row());
    Workspace<T> ws(call, chunk_size(x.rows), needs, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters, direction);
        for_chunks(exec, x.rows, [&](index first, index batch) {
            Workspace<T> now = ws.of_rows(batch);
            for_own_pieces(exec, batch, [&](Range rows) {
                gather<T>(now.a(0), x, nullptr, first, rows, now.input_map);
                forward(now, rows);
                tangent_forward(now, rows);
                put_rows<T>(out, now.a(plan.output()), first, rows);
                put_rows<T>(dout, now.ra(plan.output()), first, rows);
            });
        });
    });
}

// product (n_parameters,) = Hessian of the weighted mean of the losses times direction.
template <class T>
void hessian_product(const Context& call, const T* parameters, const T* direction, const Source& x,
                     const Targets<T>& y, const LossSpec& loss, T* product) {
    const Plan& plan = call.plan;
    const int last = plan.output();
    Needs needs;
    needs.gradient = needs.tangent = needs.loss = true;
    const int threads = team_size(call.threads, 9 * chunk_size(x.rows) * plan.work_per_row());
    Workspace<T> ws(call, chunk_size(x.rows), needs, threads);
    const T factor = mean_factor<T>(total_weight<T>({y}, x.rows));
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        const Range units = exec.share(ws.layout.units());
        pack_parameters(exec, ws, parameters, direction);
        for_chunks(exec, x.rows, [&](index first, index batch) {
            Workspace<T> now = ws.of_rows(batch);
            const Batch<T> examples{y, nullptr, first, plan.out_features()};
            for_own_pieces(exec, batch, [&](Range rows) {
                differentiate(exec, now, x, loss, examples, rows, factor);
                tangent_forward(now, rows);
                loss_tangent<T>(loss, examples, now.a(last), now.ra(last), now.rda(last), rows, factor,
                                ws.scratch(exec.rank));
                tangent_backward(now, rows);
            });
            exec.barrier();
            parameter_tangent(now, units, first > 0);
        });
        ws.layout.unpack(product, ws.gradient, units);
    });
}

}  // namespace fnn::FNN_ISA::net
