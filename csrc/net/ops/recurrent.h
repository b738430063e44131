// z = what a recurrent layer puts out: at each position, or at the last one. The input x holds the part of
// the gates' arguments that comes from there, x w_ih + b_ih; the part of the step before, h w_hh + b_hh, is
// added here. Cells are those of rules/recurrent.h.
//
// Positions are walked one after the other, from the last one if the op is reversed: steps. What is kept lies
// by steps, row s n + e of step s and example e of n, so that a step has consecutive rows. Of h and c there
// is one step more: row s n + e is that before step s. A thread takes some examples through all steps without
// waiting for others; values, whose rows are by examples, are turned for some steps at a time.
//
// With lengths as the last input, positions from the length of an example on do not exist: what is kept goes
// past them unchanged, z and the derivatives there are zero.
#pragma once

#include "exec/cpu.h"
#include "exec/gemm/multiply.h"
#include "net/ops/op.h"
#include "net/ops/recurrent_cells.h"

namespace fnn::FNN_ISA::net {

// The columns of the units' gates: those of gate k begin at k times the number of units.
template <class T>
class GateColumns {
   public:
    static constexpr index full = Panels<T>::full;

    explicit GateColumns(index units) : units_(units) {}

    // Where the columns of panel p of the units lie in row r of x; if they are not together, in the room,
    // with zeros behind them.
    T* find(const Panels<T>& x, index r, index k, index p, T* room) const {
        if (are_together()) return x.row(column(k, p) / full, r);
        exec::elementwise({0, full}, Clear<T>{room});
        for_parts(x, r, k, p, [&](T* there, index first, index count) {
            for (index j = 0; j < count; ++j) room[first + j] = there[j];
        });
        return room;
    }
    // The same where they are only written, before `put`.
    T* place(const Panels<T>& x, index r, index k, index p, T* room) const {
        return are_together() ? x.row(column(k, p) / full, r) : room;
    }
    // To their places from wherever they are.
    void put(const Panels<T>& x, index r, index k, index p, const T* from, bool add) const {
        if (are_together()) {
            T* const to = x.row(column(k, p) / full, r);
            if (add)
                exec::elementwise({0, full}, AddTo<T>{to, from});
            else if (to != from)
                exec::elementwise({0, full}, Copy<T>{to, from});
            return;
        }
        for_parts(x, r, k, p, [&](T* there, index first, index count) {
            for (index j = 0; j < count; ++j) there[j] = add ? there[j] + from[first + j] : from[first + j];
        });
    }
    // What pads row r.
    void clear_padding(const Panels<T>& x, index r) const {
        const index p = x.count() - 1;
        for (index j = x.used(p); j < x.width(p); ++j) x.row(p, r)[j] = 0;
    }

    bool are_together() const { return units_ % full == 0; }

   private:
    index column(index k, index p) const { return k * units_ + p * full; }

    // f(there, which of the columns are there) for each panel of x that has some.
    template <class F>
    void for_parts(const Panels<T>& x, index r, index k, index p, const F& f) const {
        const index begin = column(k, p), used = exec::min(units_ - p * full, full);
        for (index first = 0; first < used;) {
            const index q = (begin + first) / full, at = (begin + first) % full;
            const index count = exec::min(used - first, full - at);
            f(x.row(q, r) + at, first, count);
            first += count;
        }
    }

    const index units_;
};

template <class T, class Cell>
struct Recurrent : OpBase {
    static constexpr Traits traits{false,
                                   false,
                                   false,
                                   false,
                                   false,
                                   false,
                                   /*walks_positions=*/true,
                                   /*learns_going_back=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }
    static constexpr bool mixes_positions = true;
    static constexpr bool has_matrix = true;
    static constexpr bool has_vector_terms = true;
    static constexpr int gates = Cell::gates;
    static constexpr index full = Panels<T>::full;

    static index kept(const Node& node, const Plan& plan, index rows) {
        return Kept(Steps(node, plan, rows), nullptr).size;
    }
    static index kept_tangent(const Node& node, const Plan& plan, index rows) {
        return kept(node, plan, rows);
    }
    static index kept_back(const Node& node, const Plan& plan, index rows) {
        return Back(Steps(node, plan, rows), nullptr).size;
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node));
        const Panels<T> x = ws.a(node.input()), z = ws.z(node.output), w = ws.matrix(node);
        at.begin(steps, examples);
        for_pieces(examples, steps, [&](Range some, Range block) {
            at.take(x, ws.vector(node, 0), steps, block, some);
            for (index s = block.begin; s < block.end; ++s) {
                exec::multiply<T>(at.gates, at.h, w, Initial::add(), steps.rows(s, some),
                                  {0, at.gates.count()});
                const auto compute = [&](const Place& here, index rows) {
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepForward<T, gates> step;
                        alignas(exec::vector_bytes) T room[gates][full];
                        at.point(step.at, steps.columns, here, p, room);
                        compute_step(step, rows * at.h.width(p));
                        at.put(step.at, steps.columns, here, p);
                    }
                };
                steps.for_rows(s, some, compute, [&](const Place& here) { at.go_past(here); });
            }
            if (!steps.last) give(z, at.h, steps, block, some);
        });
        finish(z, at.h, steps, examples, done);
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node));
        const Back to(steps, ws.kept_back(node));
        const Panels<T> dx = ws.da(node.input()), d = ws.d(node.output), wt = ws.transposed_matrix(node);
        to.begin(d, steps, examples);
        for_pieces_back(examples, steps, [&](Range some, Range block) {
            to.take(d, steps, block, some);
            for (index s = block.end; s-- > block.begin;) {
                const auto compute = [&](const Place& here, index rows) {
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepBackward<T, gates> step;
                        alignas(exec::vector_bytes) T room[2][gates][full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        to.point(step.to, steps.columns, here, p, room[1]);
                        compute_step(step, rows * at.h.width(p));
                        to.put(step.to, steps.columns, here, p);
                    }
                };
                steps.for_rows(s, some, compute, [&](const Place& here) { to.go_past(here); });
                if (s == 0) continue;
                exec::multiply<T>(to.h, to.gates, wt, initial(steps), steps.rows(s, some), {0, to.h.count()});
            }
            if (into.wants(0)) to.give(dx, steps, block, some, into.adds(0));
        });
        finish(ws, node, examples, dx, ws.da(node.inputs.back().value), into);
    }

    // The part of the step before moves by rh w + h v + c along the direction (v, c).
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node)), moving(steps, ws.kept_tangent(node));
        const Panels<T> rx = ws.ra(node.input()), rz = ws.rz(node.output);
        const Panels<T> w = ws.matrix(node), v = ws.direction_matrix(node);
        moving.begin(steps, examples);
        for_pieces(examples, steps, [&](Range some, Range block) {
            moving.take(rx, ws.direction_vector(node, 0), steps, block, some);
            for (index s = block.begin; s < block.end; ++s) {
                const Range rows = steps.rows(s, some), all{0, at.gates.count()};
                exec::multiply<T>(moving.gates, at.h, v, Initial::add(), rows, all);
                exec::multiply<T>(moving.gates, moving.h, w, Initial::add(), rows, all);
                const auto compute = [&](const Place& here, index rows) {
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepTangentForward<T, gates> step;
                        alignas(exec::vector_bytes) T room[2][gates][full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        moving.point(step.moving, steps.columns, here, p, room[1]);
                        compute_step(step, rows * at.h.width(p));
                        moving.put(step.moving, steps.columns, here, p);
                    }
                };
                steps.for_rows(s, some, compute, [&](const Place& here) { moving.go_past(here); });
            }
            if (!steps.last) give(rz, moving.h, steps, block, some);
        });
        finish(rz, moving.h, steps, examples, done);
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node)), moving(steps, ws.kept_tangent(node));
        const Back to(steps, ws.kept_back(node)), tangent(steps, ws.kept_back_tangent(node));
        const Panels<T> rdx = ws.rda(node.input()), rd = ws.rd(node.output);
        const Panels<T> wt = ws.transposed_matrix(node), vt = ws.transposed_direction(node);
        to.begin_cells(examples);
        tangent.begin(rd, steps, examples);
        for_pieces_back(examples, steps, [&](Range some, Range block) {
            tangent.take(rd, steps, block, some);
            for (index s = block.end; s-- > block.begin;) {
                const auto compute = [&](const Place& here, index rows) {
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepTangentBackward<T, gates> step;
                        alignas(exec::vector_bytes) T room[3][gates][full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        moving.point(step.moving, steps.columns, here, p, room[1]);
                        to.point(step.to, steps.columns, here, p, room[2]);
                        tangent.point(step.tangent, steps.columns, here, p, room[2]);
                        compute_step(step, rows * at.h.width(p));
                        tangent.put(step.tangent, steps.columns, here, p);
                    }
                };
                steps.for_rows(s, some, compute, [&](const Place& here) { tangent.go_past(here); });
                if (s == 0) continue;
                const Range rows = steps.rows(s, some), all{0, to.h.count()};
                exec::multiply<T>(tangent.h, tangent.gates, wt, initial(steps), rows, all);
                exec::multiply<T>(tangent.h, to.gates, vt, Initial::add(), rows, all);
            }
            if (into.wants(0)) tangent.give(rdx, steps, block, some, into.adds(0));
        });
        finish(ws, node, examples, rdx, ws.rda(node.inputs.back().value), into);
    }

    // Sums over as many rows, of those by steps, as the examples have: over all examples, of all rows.
    static bool has_pair(const Workspace<T>&, const Node&, Pair) { return true; }
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& strips, Range examples, Range rows, Range panels,
                                bool add, Part turn, const exec::Beside<T>& beside) {
        const Steps steps(ws, node);
        const Kept at(steps, pair == Pair::ra_d ? ws.kept_tangent(node) : ws.kept(node));
        exec::multiply_transposed<T>(strips, add ? strips : exec::Strips<T>{}, at.h,
                                     gradients(ws, node, pair, steps), steps.sums(examples), rows, panels,
                                     turn, beside);
    }
    static void vector_terms(const Workspace<T>& ws, const Node& node, index, Pair pair, Range examples,
                             index p, T*, const TakeRows<T>& take) {
        if (pair == Pair::ra_d) return;
        const Steps steps(ws, node);
        const Range rows = steps.sums(examples);
        take(gradients(ws, node, pair, steps).row(p, rows.begin), rows.size());
    }

   private:
    using Initial = exec::Initial<T>;

    // The rows of an example at a step and at the next one.
    struct Place {
        index row, next, example;
    };

    // How the positions of the examples are walked.
    struct Steps {
        index examples, count, units;
        bool reversed, last;
        GateColumns<T> columns;
        Panels<T> lengths;  // no data: all positions exist

        Steps(const Node& node, const Plan& plan, index examples)
            : examples(examples),
              count(plan.values[std::size_t(node.input())].positions()),
              units(plan.values[std::size_t(node.output)].features()),
              reversed(node.op.reversed != 0),
              last(node.op.last != 0),
              columns(units) {}
        Steps(const Workspace<T>& ws, const Node& node) : Steps(node, ws.plan, ws.rows) {
            if (node.inputs.size() > 1) lengths = ws.a(node.inputs.back().value);
        }

        bool have_lengths() const { return lengths.data != nullptr; }
        index position(index s) const { return reversed ? count - 1 - s : s; }
        bool exists(index s, index e) const { return !have_lengths() || T(position(s)) < *lengths.row(0, e); }
        // Some examples' rows of a step.
        Range rows(index s, Range some) const { return {s * examples + some.begin, s * examples + some.end}; }
        Range sums(Range some) const { return {some.begin * count, some.end * count}; }
        Place place(index s, index e) const { return {s * examples + e, (s + 1) * examples + e, e}; }

        // f(place, rows from there on that are computed together) for the examples that have a position at a
        // step, and others(place).
        template <class F, class G>
        void for_rows(index s, Range some, const F& f, const G& others) const {
            for (index e = some.begin; e < some.end;) {
                index end = have_lengths() ? e : some.end;
                while (end < some.end && exists(s, end)) ++end;
                if (columns.are_together() && e < end) f(place(s, e), end - e);
                for (; e < end && !columns.are_together(); ++e) f(place(s, e), 1);
                for (e = end; e < some.end && !exists(s, e); ++e) others(place(s, e));
            }
        }
        // f(row, row of the value) for some examples at some steps.
        template <class F>
        void for_turned(Range block, Range some, const F& f) const {
            for (index e = some.begin; e < some.end; ++e)
                for (index s = block.begin; s < block.end; ++s) f(s * examples + e, e * count + position(s));
        }
    };

    // Matrices one after the other in what a node keeps.
    struct Carved {
        T* data;
        index size = 0;

        Panels<T> carve(index rows, index cols) {
            // Where panels are a power of two apart, the same rows of all compete for one part of a cache.
            const Panels<T> matrix{data, rows + (48 - rows % 32) % 32, cols};
            if (data != nullptr) data += matrix.size();
            size += matrix.size();
            return matrix;
        }
    };

    // What goes forward, or its tangent.
    struct Kept : Carved {
        Panels<T> gates, m, h, c;

        Kept(const Steps& steps, T* data) : Carved{data} {
            const index rows = steps.count * steps.examples;
            gates = this->carve(rows, Cell::gates * steps.units);
            h = this->carve(rows + steps.examples, steps.units);
            if (Cell::has_product) m = this->carve(rows, steps.units);
            if (Cell::has_cell) c = this->carve(rows + steps.examples, steps.units);
        }

        void begin(const Steps& steps, Range some) const {
            for (const Panels<T>& state : {h, c}) clear(state, steps.rows(0, some));
        }
        void go_past(const Place& here) const {
            for (const Panels<T>& state : {h, c})
                for (index p = 0; p < state.count(); ++p)
                    copy(state.row(p, here.next), state.row(p, here.row), state.width(p));
        }
        // What the gates' arguments are before products: x, where there is any, and the bias.
        void take(const Panels<T>& x, T* bias, const Steps& steps, Range block, Range some) const {
            for (index p = 0; p < gates.count(); ++p)
                steps.for_turned(block, some, [&](index row, index place) {
                    const T* const from = x.data != nullptr ? x.row(p, place) : exec::zeros<T>;
                    over(gates.width(p), SumOf{gates.row(p, row), from, bias + p * full});
                });
            if (!Cell::has_product) return;
            const Panels<T> of_bias{bias, 1, gates.cols};
            const index k = Cell::gates - 1;
            for (index p = 0; p < m.count(); ++p)
                steps.for_turned(block, some, [&](index row, index place) {
                    alignas(exec::vector_bytes) T room[full];
                    const T* const from =
                        x.data != nullptr ? steps.columns.find(x, place, k, p, room) : exec::zeros<T>;
                    copy(m.row(p, row), from, m.width(p));
                    steps.columns.put(gates, row, k, p, steps.columns.find(of_bias, 0, k, p, room), false);
                });
        }
        void point(CellRows<T, Cell::gates>& rows, const GateColumns<T>& columns, const Place& here, index p,
                   T (&room)[Cell::gates][full]) const {
            for (int k = 0; k < Cell::gates; ++k) rows.gate[k] = columns.find(gates, here.row, k, p, room[k]);
            rows.h_before = h.row(p, here.row), rows.h = h.row(p, here.next);
            if (Cell::has_product) rows.m = m.row(p, here.row);
            if (Cell::has_cell) rows.c_before = c.row(p, here.row), rows.c = c.row(p, here.next);
        }
        void put(const CellRows<T, Cell::gates>& rows, const GateColumns<T>& columns, const Place& here,
                 index p) const {
            for (int k = 0; k < Cell::gates; ++k) columns.put(gates, here.row, k, p, rows.gate[k], false);
        }
    };

    // What comes back, or its tangent: in the gates' arguments, of the last one also in that part which comes
    // from the input where it is another; in h; and in c, of one step at a time.
    struct Back : Carved {
        Panels<T> gates, n, h, c;

        Back(const Steps& steps, T* data) : Carved{data} {
            const index rows = steps.count * steps.examples;
            gates = this->carve(rows, Cell::gates * steps.units);
            h = this->carve(rows + steps.examples, steps.units);
            if (Cell::has_product) n = this->carve(rows, steps.units);
            if (Cell::has_cell) c = this->carve(steps.examples, steps.units);
        }

        void begin(const Panels<T>& d, const Steps& steps, Range some) const {
            if (steps.last) {
                const Range end = steps.rows(steps.count, some);
                for (index p = 0; p < h.count(); ++p)
                    copy(h.row(p, end.begin), d.row(p, some.begin), some.size() * h.width(p));
            } else {
                take_outputs(d, steps, {steps.count - 1, steps.count}, some);
            }
            begin_cells(some);
        }
        void begin_cells(Range some) const { clear(c, some); }
        // What h has before products: derivatives in what is put out.
        void take(const Panels<T>& d, const Steps& steps, Range block, Range some) const {
            if (steps.last && !carries(steps)) return;
            if (steps.last || block.begin == 0) {
                const index end = steps.last ? block.end : 1;
                for (index s = block.begin; s < end; ++s) clear(h, steps.rows(s, some));
            }
            if (!steps.last) take_outputs(d, steps, {exec::max(block.begin, 1) - 1, block.end - 1}, some);
        }
        void take_outputs(const Panels<T>& d, const Steps& steps, Range block, Range some) const {
            for (index p = 0; p < h.count(); ++p)
                steps.for_turned(block, some, [&](index row, index place) {
                    const bool exists = steps.exists(row / steps.examples, row % steps.examples);
                    const T* const from = exists ? d.row(p, place) : exec::zeros<T>;
                    over(h.width(p), Copy<T>{h.row(p, row + steps.examples), from});
                });
        }
        void go_past(const Place& here) const {
            for (const Panels<T>& gone : {gates, n}) clear(gone, {here.row, here.row + 1});
            for (index p = 0; p < h.count(); ++p)
                over(h.width(p), AddTo<T>{h.row(p, here.row), h.row(p, here.next)});
        }
        void point(CellGradients<T, Cell::gates>& rows, const GateColumns<T>& columns, const Place& here,
                   index p, T (&room)[Cell::gates][full]) const {
            rows.dh = h.row(p, here.next), rows.dh_before = h.row(p, here.row);
            for (int k = 0; k < Cell::gates; ++k) rows.d[k] = columns.place(gates, here.row, k, p, room[k]);
            if (Cell::has_product) rows.dn = n.row(p, here.row);
            if (Cell::has_cell) rows.dc = c.row(p, here.example);
        }
        void put(const CellGradients<T, Cell::gates>& rows, const GateColumns<T>& columns, const Place& here,
                 index p) const {
            for (int k = 0; k < Cell::gates; ++k) columns.put(gates, here.row, k, p, rows.d[k], false);
            columns.clear_padding(gates, here.row);
        }
        // To the input.
        void give(const Panels<T>& dx, const Steps& steps, Range block, Range some, bool add) const {
            if (Cell::has_product) return give_by_gates(dx, steps, block, some, add);
            for (index p = 0; p < dx.count(); ++p)
                steps.for_turned(block, some, [&](index row, index place) {
                    give_row(dx.row(p, place), gates.row(p, row), dx.width(p), add);
                });
        }
        void give_by_gates(const Panels<T>& dx, const Steps& steps, Range block, Range some, bool add) const {
            alignas(exec::vector_bytes) T room[full];
            for (index k = 0; k < Cell::gates; ++k)
                for (index p = 0; p < n.count(); ++p)
                    steps.for_turned(block, some, [&](index row, index place) {
                        const bool is_last = k == Cell::gates - 1;
                        const T* const from =
                            is_last ? n.row(p, row) : steps.columns.find(gates, row, k, p, room);
                        steps.columns.put(dx, place, k, p, from, add);
                    });
            if (!add)
                steps.for_turned(block, some,
                                 [&](index, index place) { steps.columns.clear_padding(dx, place); });
        }
        static void give_row(T* to, const T* from, index width, bool add) {
            if (add)
                over(width, AddTo<T>{to, from});
            else
                over(width, Copy<T>{to, from});
        }
    };

    struct SumOf {
        T* to;
        const T *x, *y;
        void operator()(index i) const { to[i] = x[i] + y[i]; }
    };

    static bool carries(const Steps& steps) { return Cell::carries || steps.have_lengths(); }
    // Of the product that h's derivatives at the step before get.
    static Initial initial(const Steps& steps) {
        return steps.last && !carries(steps) ? Initial::zero() : Initial::add();
    }

    static Panels<T> gradients(const Workspace<T>& ws, const Node& node, Pair pair, const Steps& steps) {
        return Back(steps, pair == Pair::a_rd ? ws.kept_back_tangent(node) : ws.kept_back(node)).gates;
    }

    // So many examples and steps that what is computed of them stays near.
    static constexpr index examples_together = 32, steps_together = 8;

    // f(some of the examples, some of the steps)
    template <class F>
    static void for_pieces(Range examples, const Steps& steps, const F& f) {
        exec::for_pieces(examples, examples_together, [&](Range some) {
            exec::for_pieces({0, steps.count}, steps_together, [&](Range block) {
                exec::poll();
                f(some, block);
            });
        });
    }
    // The same from the last step on.
    template <class F>
    static void for_pieces_back(Range examples, const Steps& steps, const F& f) {
        exec::for_pieces(examples, examples_together, [&](Range some) {
            const index parts = exec::divide_up(steps.count, steps_together);
            for (index i = parts; i-- > 0;) {
                exec::poll();
                f(some, exec::cut({0, steps.count}, parts, i));
            }
        });
    }

    template <class Step>
    static void compute_step(const Step& step, index count) {
        exec::elementwise({0, count}, StepOf<Cell, Step>{step});
    }

    // f(j) for a row of a panel of that width.
    template <class F>
    static void over(index width, const F& f) {
        if (width == full)
            exec::elementwise({0, full}, f);
        else
            exec::elementwise({0, Panels<T>::half}, f);
    }
    static void copy(T* to, const T* from, index count) { exec::elementwise({0, count}, Copy<T>{to, from}); }
    static void clear(const Panels<T>& x, Range rows) {
        for_stretches(x, rows, [&](Range r) { exec::elementwise(r, Clear<T>{x.data}); });
    }

    // What h is after some steps, at their positions.
    static void give(const Panels<T>& z, const Panels<T>& h, const Steps& steps, Range block, Range some) {
        for (index p = 0; p < z.count(); ++p)
            steps.for_turned(block, some, [&](index row, index place) {
                const bool exists = steps.exists(row / steps.examples, row % steps.examples);
                const T* const from = exists ? h.row(p, row + steps.examples) : exec::zeros<T>;
                over(z.width(p), Copy<T>{z.row(p, place), from});
            });
    }

    template <class Done>
    static void finish(const Panels<T>& z, const Panels<T>& h, const Steps& steps, Range examples,
                       const Done& done) {
        const Range last = steps.rows(steps.count, examples);
        const index positions = z.rows / steps.examples;
        for (index p = 0; p < z.count(); ++p) {
            T* const to = z.row(p, examples.begin * positions);
            const index count = examples.size() * positions * z.width(p);
            if (steps.last) copy(to, h.row(p, last.begin), count);
            done(to - z.data, count);
        }
    }
    template <class Into>
    static void finish(const Workspace<T>& ws, const Node& node, Range examples, const Panels<T>& dx,
                       const Panels<T>& dlengths, const Into& into) {
        if (into.wants(0))
            for_stretches(dx, ws.rows_of(node.input(), examples),
                          [&](Range r) { into.done(0, r.begin, r.size()); });
        if (node.inputs.size() > 1 && into.wants(1)) no_gradient(dlengths, examples, 1, into);
    }
};

template <class T>
using LSTM = Recurrent<T, LSTMCell<T>>;
template <class T>
using GRU = Recurrent<T, GRUCell<T>>;
template <class T, bool rectifies>
using RNN = Recurrent<T, RNNCell<T, rectifies>>;

}  // namespace fnn::FNN_ISA::net
