// Gradients of the parameters, a strip at a time: a product over examples, added to those over other
// examples, and handed on while it is in the cache.
#pragma once

#include "net/pass.h"

namespace fnn::FNN_ISA::net {

// In a sum over parts of the examples: whether a part is the first, and whether it is the last.
struct Turn {
    bool first = true, last = true;

    bool is_all() const { return first && last; }
};

using exec::AddUp;
using exec::Round;
using exec::rows_summed;

// Goes through a part of the parameters. for_terms(node, f) calls f(x, dz) for each product x' dz of which
// the gradient of a node's weight is the sum, that of its bias being the column sums of the first dz. When
// the last examples have been added, sink.take(values, place, count) is called for stretches of the gradient,
// and sink.finish(node, panel, rows of the weight) when those have been taken.
template <class T, class Terms, class Sink>
void for_strips(const Workspace<T>& ws, Part part, Turn turn, const Terms& for_terms, const Sink& sink) {
    constexpr index room = 8192, full = Panels<T>::full, pair = exec::panels_limit;
    alignas(exec::vector_bytes) T strip[room];
    double totals[room];  // of a strip that has no other examples before or after it
    const bool at_once = turn.is_all() && ws.rows <= rows_summed;

    // product(examples) fills the strip; for_stretches(f) calls f(first of them in the strip, in the image,
    // count).
    const auto sum = [&](const auto& product, const auto& for_stretches) {
        if (at_once) {
            product(Range{0, ws.rows});
        } else {
            const auto total = [&](index at, index place) {
                return turn.is_all() ? totals + at : ws.totals + place;
            };
            bool first = turn.first;
            exec::for_pieces({0, ws.rows}, rows_summed, [&](Range examples) {
                product(examples);
                for_stretches([&](index at, index place, index count) {
                    exec::elementwise({0, count}, AddUp<T>{total(at, place), strip + at, first});
                });
                first = false;
            });
            if (!turn.last) return;
            for_stretches([&](index at, index place, index count) {
                exec::elementwise({0, count}, Round<T>{strip + at, total(at, place)});
            });
        }
        for_stretches([&](index at, index place, index count) { sink.take(strip + at, place, count); });
    };

    const index inner = exec::min(ws.rows, rows_summed);
    const index most_rows = exec::min(room / (pair * full), exec::transposed_rows_limit<T>(inner));
    ws.layout.for_layers(part, [&](const Node& node, Range panels, Range rows, bool with_bias) {
        const Panels<T> w = ws.layout.weight(ws.parameters, node);
        const auto place = [&](const T* p) { return p - ws.parameters; };
        exec::for_pieces(rows, most_rows, full, [&](Range piece) {
            // Whole panels follow each other without a gap: many small ones are one stretch. (No rows come
            // after them, so that `of_panels`, which counts pairs, does not matter then.)
            const bool whole = piece.size() == w.rows;
            const index together = whole ? exec::max(pair, room / (w.rows * full)) : pair;
            exec::for_pieces(panels, together, pair, [&](Range some) {
                const exec::Strips<T> strips{strip, piece.size(), piece.begin};
                const Part of_panels{(some.begin - panels.begin) / pair,
                                     exec::divide_up(panels.size(), pair)};
                const auto product = [&](Range examples) {
                    bool add = false;
                    for_terms(node, [&](const Panels<const T>& x, const Panels<const T>& dz) {
                        Dense<T>::weight_gradient(strips, x, dz, examples, piece, some, add, of_panels);
                        add = true;
                    });
                };
                sum(product, [&](const auto& f) {
                    const index step = whole ? some.size() : 1;
                    for (index p = some.begin; p < some.end; p += step) {
                        const index last = p + step - 1;
                        f((p - some.begin) * strips.panel_size(), place(w.row(p, piece.begin)),
                          (last - p) * strips.panel_size() + piece.size() * w.width(last));
                    }
                });
                if (!turn.last) return;
                for (index p = some.begin; p < some.end; ++p) sink.finish(node, p, piece);
            });
        });
        if (!with_bias) return;
        exec::for_pieces(panels, room / full, [&](Range some) {
            const auto product = [&](Range examples) {
                bool first = true;
                for_terms(node, [&](const Panels<const T>&, const Panels<const T>& dz) {
                    for (index p = some.begin; first && p < some.end; ++p)
                        Dense<T>::bias_gradient(strip + (p - some.begin) * full, dz, examples, p);
                    first = false;
                });
            };
            const index last = some.end - 1;
            const index count = (last - some.begin) * full + w.width(last);
            sum(product, [&](const auto& f) {
                f(0, place(ws.layout.bias(ws.parameters, node) + some.begin * full), count);
            });
        });
    });
}

// Keeps the gradient as an image.
template <class T>
struct Kept {
    T* image;
    void take(const T* values, index place, index count) const {
        std::memcpy(image + place, values, std::size_t(count) * sizeof(T));
    }
    void finish(const Node&, index, Range) const {}
};

template <class T>
struct GradientTerms {
    const Workspace<T>& ws;
    template <class F>
    void operator()(const Node& node, const F& f) const {
        f(ws.a(node.input), ws.d(node.output));
    }
};

// A part of the gradient, after the last examples in ws.gradient.
template <class T>
void parameter_gradient(const Workspace<T>& ws, Part part, Turn turn) {
    for_strips(ws, part, turn, GradientTerms<T>{ws}, Kept<T>{ws.gradient});
}

// The same of its tangent.
template <class T>
void parameter_tangent(const Workspace<T>& ws, Part part, Turn turn) {
    const auto terms = [&](const Node& node, const auto& f) {
        f(ws.a(node.input), ws.rd(node.output));
        const Panels<T> rx = ws.ra(node.input);
        if (rx.data != nullptr) f(rx, ws.d(node.output));
    };
    for_strips(ws, part, turn, terms, Kept<T>{ws.gradient});
}

}  // namespace fnn::FNN_ISA::net
