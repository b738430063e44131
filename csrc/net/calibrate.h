// Statistics that layers have learned in passing, taken anew of all examples: Y. Wu, J. Johnson (2021),
// "Rethinking 'Batch' in BatchNorm".
#pragma once

#include "net/team.h"

namespace fnn::FNN_ISA::net {

// Layer after layer, each with those before it as they are by then. Writes the state.
template <class T>
void calibrate(const Context& call, const T* parameters, const Source& x) {
    const index most = chunk_size(call.plan, x.rows);
    const int threads = team_size(call.threads, most * call.plan.work_per_row());
    Workspace<T> ws(call, most, Needs{}, threads);
    exec::run(threads, call.interrupt, [&](Exec& exec) {
        pack_parameters(exec, ws, parameters);
        for (const Node& node : ws.plan.nodes) {
            if (!Maps<T>::has_state(node)) continue;
            for_chunks(exec, x.rows, most, [&](index first, index batch) {
                Workspace<T> now = ws.of_batch(first, batch);
                for_own_pieces(exec, batch, piece_rows, [&](Range rows) {
                    gather<T>(now.a(0), x, nullptr, first, rows, now.input_map);
                    for (const Node* before = ws.plan.nodes.data(); before != &node; ++before)
                        if (!before->is_within_block())
                            Maps<T>::forward(now, *before, rows, {0, now.z(before->output).count()});
                    if (Maps<T>::tallies(now, node)) Maps<T>::tally(now, node, Way::forward, rows);
                });
                exec.barrier();
                Maps<T>::calibrate(now, node, first, exec.share(now.z(node.output).count()));
            });
        }
    });
}

}  // namespace fnn::FNN_ISA::net
