// How a team goes through a network and back: each thread with rows of its own, or with columns of each
// layer.
#pragma once

#include "net/gradient.h"
#include "net/team.h"

namespace fnn::FNN_ISA::net {

// With rows of its own a thread waits for nobody on its way, but reads the weights of all layers, which the
// others have just updated. With columns of its own it keeps to the weights that it updates itself, and what
// goes from thread to thread is what the layers put out. Whatever is less; where both take the same time has
// been measured.
inline bool goes_by_columns(const Plan& plan, index rows) {
    if (plan.positions() > 1 || plan.traits.walks_positions) return false;
    index features = 0, weights = plan.n_parameters;
    for (const Node& node : plan.nodes) features += plan.values[std::size_t(node.output)].features();
    for (const Parameters& own : plan.parameters)
        if (own.is_table) weights -= own.size();  // of which a step reads some rows
    return rows * features < 2 * weights;
}

template <class T>
inline void differentiate_columns(Exec& exec, Workspace<T>& ws, const Source& x, const LossSpec& loss,
                                  const Batch<T>& batch, T factor) {
    // Columns of a product that is more than a panel wide, or where a row depends on others, and what follows
    // on the same numbers; of anything else all columns of some rows. What goes on with its own numbers need
    // not wait.
    const Range own = exec.share(ws.rows);
    bool by_rows = true;
    const auto go_on = [&](bool next_by_rows, bool reads_all) {
        if (by_rows != next_by_rows || (!by_rows && reads_all)) exec.barrier();
        by_rows = next_by_rows;
    };
    const auto for_own = [&](const Node& node, Way way, Panels<T> to, const auto& f) {
        exec.poll();
        const Cut cut = Maps<T>::cut(node, ws.run);
        const bool wide = cut == Cut::products && to.count() > 1;
        go_on(cut == Cut::elements ? by_rows : cut != Cut::columns && !wide, wide);
        if (by_rows)
            f(own, Range{0, to.count()});
        else if (!ws.couples_rows())
            to.for_part(exec.part(), [&](Range panels, Range rows) { f(rows, panels); });
        else if (const Range panels = exec.share(to.count()); !panels.empty()) {
            if (rows_meet(ws, node)) Maps<T>::meet(ws, node, way, panels);
            f(Range{0, ws.rows}, panels);
        }
    };
    gather_examples(ws, x, batch, own);
    for (const Node& node : ws.plan.nodes)
        for_own(node, Way::forward, ws.z(node.output),
                [&](Range rows, Range panels) { Maps<T>::forward(ws, node, rows, panels); });
    go_on(true, false);
    score_outputs(exec, ws, loss, batch, own, factor);
    complete_output_gradient(ws, own);
    for_nodes_backward(ws, [&](const Node& node) {
        for_own(node, Way::backward, ws.da(node.input()),
                [&](Range rows, Range panels) { Maps<T>::backward(ws, node, rows, panels); });
    });
}

// For a whole batch, by all threads: from the examples to the derivatives of the factor times the loss. Ends
// without a barrier.
template <class T>
inline void differentiate(Exec& exec, Workspace<T>& ws, const Source& x, const LossSpec& loss,
                          const Batch<T>& batch, T factor) {
    if (exec.size > 1 && goes_by_columns(ws.plan, ws.rows))
        differentiate_columns(exec, ws, x, loss, batch, factor);
    else
        for_own_examples(exec, ws, [&](Range examples) {
            differentiate_examples(exec, ws, x, loss, batch, examples, factor);
        });
}

}  // namespace fnn::FNN_ISA::net
