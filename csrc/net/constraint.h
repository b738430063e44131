// What holds of parameters after every update: the columns of a matrix, the weights of what comes into each
// unit, are scaled to a largest norm (Srivastava et al. 2014, as cited in net/ops/dropout.h, section 5.1).
#pragma once

#include <algorithm>

#include "exec/cpu.h"
#include "net/column_norms.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

inline bool is_constrained(const Plan& plan) {
    return std::any_of(plan.parameters.begin(), plan.parameters.end(),
                       [](const Parameters& own) { return own.is_constrained(); });
}

template <class T>
struct ScaleColumns {
    T* row;
    const T* factors;
    void operator()(index j) const { row[j] *= factors[j]; }
};

// Columns longer than that are shortened; the others keep their bits.
template <class T>
void limit_norms(const Panels<T>& w, index p, double max_norm) {
    const index width = w.width(p);
    double norms[Panels<T>::full];
    T factors[Panels<T>::full];
    column_norms(norms, w, p);
    bool fits = true;
    for (index j = 0; j < width; ++j) {
        factors[j] = norms[j] > max_norm ? T(max_norm / norms[j]) : T(1);
        fits &= !(norms[j] > max_norm);
    }
    if (fits) return;
    for (index r = 0; r < w.rows; ++r) exec::elementwise({0, width}, ScaleColumns<T>{w.row(p, r), factors});
}

// By all threads, when the update of all parameters is done; a thread takes whole panels, and calls
// after(parameters, panel) for each.
template <class T, class After>
void constrain(const exec::Exec& exec, const Workspace<T>& ws, const After& after) {
    for (const Parameters& own : ws.plan.parameters) {
        if (!own.is_constrained()) continue;
        const Panels<T> w = ws.layout.matrix(ws.parameters, own);
        const Range panels = exec.share(w.count());
        for (index p = panels.begin; p < panels.end; ++p) {
            limit_norms(w, p, own.max_norm);
            after(own, p);
        }
    }
}

}  // namespace fnn::FNN_ISA::net
