// Ridge (Hoerl and Kennard 1970): half of this many times the squares of all weights, the entries of matrices
// that are trained, as a part of the objective. Where an optimizer's weight decay is a step of its own or
// meets all parameters, this is what is differentiated, and what the loss that is reported has in it.
#pragma once

#include "net/constraint.h"
#include "net/gradient.h"

namespace fnn::FNN_ISA::net {

// f(matrix, place of its first panel in ws.squares)
template <class T, class F>
void for_penalized(const Workspace<T>& ws, const F& f) {
    index before = 0;
    for (const Parameters& own : ws.plan.parameters) {
        if (!own.trainable) continue;
        const Panels<T> w = ws.layout.matrix(ws.parameters, own);
        f(w, before);
        before += w.count();
    }
}

// Sums of squares into ws.squares, one for each panel; each thread takes some of every matrix.
template <class T>
void square_panels(const exec::Exec& exec, const Workspace<T>& ws) {
    for_penalized(ws, [&](const Panels<T>& w, index before) {
        const Range panels = exec.share(w.count());
        for (index p = panels.begin; p < panels.end; ++p) {
            double columns[Panels<T>::full], sum = 0;
            column_squares(columns, w, p);
            for (index j = 0; j < w.width(p); ++j) sum += columns[j];
            ws.squares[before + p] = sum;
        }
    });
}

// The sum of those sums, in one order.
template <class T>
double sum_of_squares(const Workspace<T>& ws) {
    double sum = 0;
    for_penalized(ws, [&](const Panels<T>& w, index before) {
        for (index p = 0; p < w.count(); ++p) sum += ws.squares[before + p];
    });
    return sum;
}

template <class T>
struct AddPenalty {
    T* to;
    const T* x;
    T factor;
    void operator()(index i) const { to[i] += factor * x[i]; }
};

// Adds the penalty's gradient, factor * weights, to what a sink takes.
template <class T, class Sink>
struct WithRidge {
    const Workspace<T>& ws;
    T factor;
    Sink sink;

    void take(const Parameters& own, T* gradient, index place, index count) const {
        if (factor != 0 && ws.parameters + place < ws.layout.vector(ws.parameters, own, 0))
            exec::elementwise({0, count}, AddPenalty<T>{gradient, ws.parameters + place, factor});
        sink.take(own, gradient, place, count);
    }
    void finish(const Parameters& own, index panel, Range rows) const { sink.finish(own, panel, rows); }
    exec::Beside<T> beside(const Panels<T>& matrix) const { return sink.beside(matrix); }
};

}  // namespace fnn::FNN_ISA::net
