// Gradients of the parameters, a strip at a time: a product over examples, added to those over other
// examples, and handed on while it is in the cache.
#pragma once

#include <algorithm>

#include "exec/reduce.h"
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

// Evaluations of a node within a block, each of which adds to the gradient; of others there is one.
template <class T>
index evaluations_of(const Workspace<T>& ws, const Node& node) {
    return node.is_within_block() ? Maps<T>::evaluations(ws, ws.plan.nodes[std::size_t(node.solver)]) : 1;
}

// The number of the op that evaluates a node and does not keep all evaluations, so that the gradient is added
// up over parts of them; of other nodes -1.
template <class T>
int added_up_by(const Workspace<T>& ws, const Node& node) {
    const bool keeps =
        !node.is_within_block() || ws.keeps_evaluations(ws.plan.nodes[std::size_t(node.solver)]);
    return keeps ? -1 : node.solver;
}

// What a gradient is the sum of, over examples: for_matrix(node, f) calls f(add) for each term of which that
// of a node's matrix is the sum, where add(strips, examples, rows, panels, adds, turn, beside) is
// `weight_gradient` of that term; for_vector(node, k, ...) gives those of vector k.

// Goes through a part of the parameters. When the last examples have been added, sink.take(parameters,
// values, place, count) is called for stretches of the gradient, and sink.finish(parameters, panel, rows of
// the matrix) when those have been taken. Only the terms of nodes that are added up by `solver` are added:
// without one, what those of others have come to is there already.
template <class T, class Terms, class Sink>
void for_strips(const Workspace<T>& ws, Part part, Turn whole_turn, const Terms& terms, const Sink& sink,
                int solver = -1) {
    constexpr index room = 8192, full = Panels<T>::full, pair = exec::panels_limit;
    alignas(exec::vector_bytes) T strip[room];
    double totals[room];  // of a strip that has no other examples before or after it
    index positions = 1;  // of the parameters at hand
    bool has_terms = true;
    Turn turn = whole_turn;  // of them
    const auto at_a_time = [&] { return exec::max(rows_summed / positions, 1); };

    // product(examples) fills the strip; for_stretches(f) calls f(first of them in the strip, in the image,
    // count).
    const auto sum = [&](const Parameters& own, const auto& product, const auto& for_stretches) {
        if (turn.is_all() && ws.rows <= at_a_time()) {
            product(Range{0, ws.rows});
        } else {
            const auto total = [&](index at, index place) {
                return turn.is_all() ? totals + at : ws.totals + place;
            };
            bool first = turn.first;
            const auto add = [&](Range examples) {
                product(examples);
                for_stretches([&](index at, index place, index count) {
                    exec::elementwise({0, count}, AddUp<T>{total(at, place), strip + at, first});
                });
                first = false;
            };
            if (has_terms && ws.rows == 0) add(Range{0, 0});
            if (has_terms) exec::for_pieces({0, ws.rows}, at_a_time(), add);
            if (!turn.last) return;
            for_stretches([&](index at, index place, index count) {
                exec::elementwise({0, count}, Round<T>{strip + at, total(at, place)});
            });
        }
        for_stretches([&](index at, index place, index count) { sink.take(own, strip + at, place, count); });
    };

    const auto for_nodes = [&](const Parameters& own, const auto& f) {
        for (const int n : own.nodes) {
            const Node& node = ws.plan.nodes[std::size_t(n)];
            if (added_up_by(ws, node) == solver) f(node);
        }
    };
    // The first who adds up terms of the parameters; those without one come last.
    const auto first_solver = [&](const Parameters& own) {
        int first = -1;
        for (const int n : own.nodes)
            if (first < 0) first = added_up_by(ws, ws.plan.nodes[std::size_t(n)]);
        return first;
    };
    const auto evaluated = [&](const Node& node, Range examples) {
        const index evaluations = evaluations_of(ws, node);
        return Range{examples.begin * evaluations, examples.end * evaluations};
    };
    ws.layout.for_layers(part, [&](const Parameters& own, Range panels, Range rows, Range vectors) {
        if (!own.trainable) return;
        positions = 1, has_terms = false;
        turn = {whole_turn.first && first_solver(own) == solver, whole_turn.last};
        for_nodes(own, [&](const Node& node) {
            has_terms = true;
            const index evaluations = evaluations_of(ws, node);
            for (const int value : {node.input(), node.output})
                positions =
                    exec::max(positions, evaluations * ws.plan.values[std::size_t(value)].positions());
        });
        if (!has_terms && solver >= 0) return;
        const index inner = exec::min(ws.rows, at_a_time()) * positions;
        const index most_rows = exec::min(room / (pair * full), exec::transposed_rows_limit<T>(inner));
        const Panels<T> w = ws.layout.matrix(ws.parameters, own);
        const exec::Beside<T> beside = sink.beside(w);
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
                    for_nodes(own, [&](const Node& node) {
                        const Range all = evaluated(node, examples);
                        terms.for_matrix(node, [&](const auto& term) {
                            term(strips, all, piece, some, add, of_panels, beside);
                            add = true;
                        });
                    });
                };
                sum(own, product, [&](const auto& f) {
                    const index step = whole ? some.size() : 1;
                    for (index p = some.begin; p < some.end; p += step) {
                        const index last = p + step - 1;
                        f((p - some.begin) * strips.panel_size(), place(w.row(p, piece.begin)),
                          (last - p) * strips.panel_size() + piece.size() * w.width(last));
                    }
                });
                if (!turn.last) return;
                for (index p = some.begin; p < some.end; ++p) sink.finish(own, p, piece);
            });
        });
        for (index k = vectors.begin; k < vectors.end; ++k)
            exec::for_pieces(panels, room / full, [&](Range some) {
                const auto product = [&](Range examples) {
                    for (index p = some.begin; p < some.end; ++p) {
                        bool add = false;
                        for_nodes(own, [&](const Node& node) {
                            add_vector_terms(strip + (p - some.begin) * full, terms, node, k,
                                             evaluated(node, examples), p, w.width(p), add);
                        });
                    }
                };
                const index last = some.end - 1;
                const index count = (last - some.begin) * full + w.width(last);
                sum(own, product, [&](const auto& f) {
                    f(0, place(ws.layout.vector(ws.parameters, own, k) + some.begin * full), count);
                });
            });
    });
}

// out (width) (+)= the terms of panel p of a node's vector k, summed over some examples; `add` afterwards.
template <class T, class Terms>
void add_vector_terms(T* out, const Terms& terms, const Node& node, index k, Range examples, index p,
                      index width, bool& add) {
    constexpr index full = Panels<T>::full, room_rows = Terms::room_rows;
    alignas(exec::vector_bytes) T room[room_rows * full], sums[full];
    const auto add_rows = [&](const T* rows, index count) {
        T* const to = add ? sums : out;
        if (width == full)
            exec::column_sums<T, 2>(to, rows, count);
        else
            exec::column_sums<T, 1>(to, rows, count);
        if (add) exec::elementwise({0, width}, AddTo<T>{out, sums});
        add = true;
    };
    terms.for_vector(node, k, examples, p, room, add_rows);
}

// Keeps the gradient as an image.
template <class T>
struct Kept {
    T* image;
    void take(const Parameters&, T* values, index place, index count) const {
        std::memcpy(image + place, values, std::size_t(count) * sizeof(T));
    }
    void finish(const Parameters&, index, Range) const {}
    exec::Beside<T> beside(const Panels<T>&) const { return {}; }
};

template <class T>
struct Product {
    T* to;
    const T *x, *y;
    void operator()(index i) const { to[i] = x[i] * y[i]; }
};

// A node's weight gradient of a pair, as a term of for_matrix.
template <class T, class F>
void for_pair(const Workspace<T>& ws, const Node& node, Pair pair, const F& f) {
    if (!Maps<T>::has_pair(ws, node, pair)) return;
    f([&](const exec::Strips<T>& strips, Range examples, Range rows, Range panels, bool add, Part turn,
          const exec::Beside<T>& beside) {
        Maps<T>::weight_gradient(ws, node, pair, strips, examples, rows, panels, add, turn, beside);
    });
}

// f(terms, how many rows): u d, where d are rows of panel p, and u(rows, room) is null for ones.
template <class T, class Factor, class F>
void for_products(const Panels<T>& d, Range all, index p, T* room, const Factor& u, const F& f) {
    const index width = d.width(p);
    exec::for_pieces(all, rows_of_terms, [&](Range rows) {
        const T* const factor = u(rows, room);
        exec::elementwise({0, rows.size() * width}, Product<T>{room, factor, d.row(p, rows.begin)});
        f(room, rows.size());
    });
}

template <class T>
struct GradientTerms {
    static constexpr index room_rows = rows_of_terms;
    const Workspace<T>& ws;

    template <class F>
    void for_matrix(const Node& node, const F& f) const {
        for_pair(ws, node, Pair::a_d, f);
    }
    template <class F>
    void for_vector(const Node& node, index k, Range examples, index p, T* room, const F& f) const {
        if (Maps<T>::vector_terms(ws, node, k, Pair::a_d, examples, p, room, f)) return;
        const Panels<T> d = ws.d(node.output);
        const Range all = ws.rows_of(node.output, examples);
        if (!Maps<T>::has_factor(node, k)) return f(d.row(p, all.begin), all.size());
        const auto factor = [&](Range rows, T* to) { return Maps<T>::factor(ws, node, k, rows, p, to); };
        for_products(d, all, p, room, factor, f);
    }
};

// A part of the gradient, after the last examples in ws.gradient.
template <class T>
void parameter_gradient(const Workspace<T>& ws, Part part, Turn turn, int solver = -1) {
    for_strips(ws, part, turn, GradientTerms<T>{ws}, Kept<T>{ws.gradient}, solver);
}

// To be called by all threads when all examples have gone forward and back, before gradients of parameters
// are computed: those of blocks whose evaluations are not all kept are added up here. Ends with a barrier, if
// it does anything.
template <class T>
void settle_blocks(Exec& exec, Workspace<T>& ws, Turn turn) {
    const Node* const nodes = ws.plan.nodes.data();
    const auto learns = [&](const Node& solver) {
        return std::any_of(nodes + solver.block, &solver,
                           [&](const Node& node) { return node.parameters >= 0 && ws.own(node).trainable; });
    };
    bool settles = false;
    for (const Node& node : ws.plan.nodes) {
        if (node.block < 0 || !learns(node)) continue;
        bool goes_on = true;
        for (index part_of_steps = 0; goes_on; ++part_of_steps) {
            exec::for_pieces(exec.share(ws.rows), piece_rows,
                             [&](Range some) { Maps<T>::settle(ws, node, some, part_of_steps); });
            settles = ws.keeps_evaluations(node);
            if (settles) break;
            exec.barrier();
            goes_on = Maps<T>::settles_on(ws, node, part_of_steps);
            parameter_gradient(ws, exec.part(), {turn.first && part_of_steps == 0, false},
                               int(&node - nodes));
            exec.barrier();
        }
    }
    if (settles) exec.barrier();
}

template <class T>
struct TangentTerms {
    static constexpr index room_rows = rows_of_terms;
    const Workspace<T>& ws;

    template <class F>
    void for_matrix(const Node& node, const F& f) const {
        for_pair(ws, node, Pair::a_rd, f);
        for_pair(ws, node, Pair::ra_d, f);
    }
    // u rd + ru d
    template <class F>
    void for_vector(const Node& node, index k, Range examples, index p, T* room, const F& f) const {
        if (Maps<T>::vector_terms(ws, node, k, Pair::a_rd, examples, p, room, f)) {
            Maps<T>::vector_terms(ws, node, k, Pair::ra_d, examples, p, room, f);
            return;
        }
        const Panels<T> d = ws.d(node.output), rd = ws.rd(node.output);
        const Range all = ws.rows_of(node.output, examples);
        if (!Maps<T>::has_factor(node, k)) return f(rd.row(p, all.begin), all.size());
        const auto factor = [&](Range rows, T* to) { return Maps<T>::factor(ws, node, k, rows, p, to); };
        const auto change = [&](Range rows, T* to) {
            return Maps<T>::factor_tangent(ws, node, k, rows, p, to);
        };
        for_products(rd, all, p, room, factor, f);
        for_products(d, all, p, room, change, f);
    }
};

// The same of its tangent.
template <class T>
void parameter_tangent(const Workspace<T>& ws, Part part, Turn turn) {
    for_strips(ws, part, turn, TangentTerms<T>{ws}, Kept<T>{ws.gradient});
}

}  // namespace fnn::FNN_ISA::net
