// z = what a recurrent layer puts out: at each position, or at the last one. The input x holds the part of
// the gates' arguments that comes from there, x w_ih + b_ih; the part of the step before, h w_hh + b_hh, is
// added here. Cells are those of rules/recurrent.h.
//
// Positions are walked one after the other, from the last one if the op is reversed: steps. What is kept lies
// by steps, row s n + e of step s and example e of n, so that a step's product has consecutive rows. Of h and
// c there is one step more: row s n + e is that before step s. A thread takes some examples through all steps
// without waiting for others.
//
// With lengths as the last input, positions from the length of an example on do not exist: what is kept goes
// past them unchanged, z and the derivatives there are zero.
#pragma once

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

   private:
    bool are_together() const { return units_ % full == 0; }
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
        const T* const bias = ws.vector(node, 0);
        at.begin(steps, examples);
        for_pieces(examples, [&](Range some) {
            for (index s = 0; s < steps.count; ++s) {
                exec::multiply<T>(at.gates, at.h, w, Initial::bias(bias), steps.rows(s, some),
                                  {0, at.gates.count()});
                for (index e = some.begin; e < some.end; ++e) {
                    const Place here(steps, s, e);
                    if (!here.exists) {
                        at.go_past(here);
                        if (!steps.last) clear(z, here.position);
                        continue;
                    }
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepForward<T, gates> step;
                        alignas(exec::vector_bytes) T room[2][gates][full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        point(step.x, steps.columns, x, here.position, p, room[1]);
                        compute(step, at.h.width(p));
                        at.put(step.at, steps.columns, here, p);
                        if (!steps.last) copy(z.row(p, here.position), step.at.h, z.width(p));
                    }
                }
            }
        });
        put_out(z, at.h, steps, examples, done);
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node));
        const Back to(steps, ws.kept_back(node));
        const Panels<T> dx = ws.da(node.input()), d = ws.d(node.output), wt = ws.transposed_matrix(node);
        const bool wants = into.wants(0), adds = wants && into.adds(0);
        const bool carries = Cell::carries || steps.have_lengths();
        to.begin(steps, examples, d);
        for_pieces(examples, [&](Range some) {
            for (index s = steps.count; s-- > 0;) {
                for (index e = some.begin; e < some.end; ++e) {
                    const Place here(steps, s, e);
                    if (!here.exists) {
                        to.go_past(here);
                        if (wants && !adds) clear(dx, here.position);
                        continue;
                    }
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepBackward<T, gates> step;
                        alignas(exec::vector_bytes) T room[2][gates][full], dn[full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        to.point(step.to, steps, here, p, d, room[1], dn);
                        compute(step, at.h.width(p));
                        to.put(step.to, steps.columns, here, p);
                        if (wants) put_input(step.to, steps.columns, dx, here.position, p, adds);
                    }
                    to.finish(steps.columns, here, carries);
                    if (wants && !adds) steps.columns.clear_padding(dx, here.position);
                }
                if (s > 0)
                    exec::multiply<T>(to.h, to.gates, wt, carries ? Initial::add() : Initial::zero(),
                                      steps.rows(s, some), {0, to.h.count()});
            }
        });
        end(ws, node, examples, dx, ws.da(node.inputs.back().value), into);
    }

    // The part of the step before moves by rh w + h v + c along the direction (v, c).
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node)), moving(steps, ws.kept_tangent(node));
        const Panels<T> rx = ws.ra(node.input()), rz = ws.rz(node.output);
        const Panels<T> w = ws.matrix(node), v = ws.direction_matrix(node);
        const T* const c = ws.direction_vector(node, 0);
        moving.begin(steps, examples);
        for_pieces(examples, [&](Range some) {
            for (index s = 0; s < steps.count; ++s) {
                const Range rows = steps.rows(s, some), all{0, at.gates.count()};
                exec::multiply<T>(moving.gates, at.h, v, Initial::bias(c), rows, all);
                exec::multiply<T>(moving.gates, moving.h, w, Initial::add(), rows, all);
                for (index e = some.begin; e < some.end; ++e) {
                    const Place here(steps, s, e);
                    if (!here.exists) {
                        moving.go_past(here);
                        if (!steps.last) clear(rz, here.position);
                        continue;
                    }
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepTangentForward<T, gates> step;
                        alignas(exec::vector_bytes) T room[3][gates][full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        moving.point(step.moving, steps.columns, here, p, room[1]);
                        point(step.rx, steps.columns, rx, here.position, p, room[2]);
                        compute(step, at.h.width(p));
                        moving.put(step.moving, steps.columns, here, p);
                        if (!steps.last) copy(rz.row(p, here.position), step.moving.h, rz.width(p));
                    }
                }
            }
        });
        put_out(rz, moving.h, steps, examples, done);
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        const Steps steps(ws, node);
        const Kept at(steps, ws.kept(node)), moving(steps, ws.kept_tangent(node));
        const Back to(steps, ws.kept_back(node)), tangent(steps, ws.kept_back_tangent(node));
        const Panels<T> rdx = ws.rda(node.input()), d = ws.d(node.output), rd = ws.rd(node.output);
        const Panels<T> wt = ws.transposed_matrix(node), vt = ws.transposed_direction(node);
        const bool wants = into.wants(0), adds = wants && into.adds(0);
        const bool carries = Cell::carries || steps.have_lengths();
        to.begin_cells(examples);
        tangent.begin(steps, examples, rd);
        for_pieces(examples, [&](Range some) {
            for (index s = steps.count; s-- > 0;) {
                for (index e = some.begin; e < some.end; ++e) {
                    const Place here(steps, s, e);
                    if (!here.exists) {
                        tangent.go_past(here);
                        if (wants && !adds) clear(rdx, here.position);
                        continue;
                    }
                    for (index p = 0; p < at.h.count(); ++p) {
                        StepTangentBackward<T, gates> step;
                        alignas(exec::vector_bytes) T room[3][gates][full], dn[full];
                        at.point(step.at, steps.columns, here, p, room[0]);
                        moving.point(step.moving, steps.columns, here, p, room[1]);
                        to.point(step.to, steps, here, p, d, room[2], dn);
                        tangent.point(step.tangent, steps, here, p, rd, room[2], dn);
                        compute(step, at.h.width(p));
                        tangent.put(step.tangent, steps.columns, here, p);
                        if (wants) put_input(step.tangent, steps.columns, rdx, here.position, p, adds);
                    }
                    tangent.finish(steps.columns, here, carries);
                    if (wants && !adds) steps.columns.clear_padding(rdx, here.position);
                }
                if (s == 0) continue;
                const Range rows = steps.rows(s, some), all{0, to.h.count()};
                exec::multiply<T>(tangent.h, tangent.gates, wt, carries ? Initial::add() : Initial::zero(),
                                  rows, all);
                exec::multiply<T>(tangent.h, to.gates, vt, Initial::add(), rows, all);
            }
        });
        end(ws, node, examples, rdx, ws.rda(node.inputs.back().value), into);
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
        bool exists(index position, index e) const {
            return !have_lengths() || T(position) < *lengths.row(0, e);
        }
        // Some examples' rows of a step.
        Range rows(index s, Range some) const { return {s * examples + some.begin, s * examples + some.end}; }
        Range sums(Range some) const { return {some.begin * count, some.end * count}; }
    };

    // An example at a step: its row there and in the next step, and that of its position in a value.
    struct Place {
        index row, next, example, position;
        bool exists;

        Place(const Steps& steps, index s, index e)
            : row(s * steps.examples + e), next(row + steps.examples), example(e) {
            const index t = steps.reversed ? steps.count - 1 - s : s;
            position = e * steps.count + t;
            exists = steps.exists(t, e);
        }
    };

    // Matrices one after the other in what a node keeps.
    struct Carved {
        T* data;
        index size = 0;

        Panels<T> take(index rows, index cols) {
            const Panels<T> matrix{data, rows, cols};
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
            gates = this->take(rows, Cell::gates * steps.units);
            h = this->take(rows + steps.examples, steps.units);
            if (Cell::has_product) m = this->take(rows, steps.units);
            if (Cell::has_cell) c = this->take(rows + steps.examples, steps.units);
        }

        void begin(const Steps& steps, Range some) const {
            for (const Panels<T>& state : {h, c}) clear_rows(state, steps.rows(0, some));
        }
        void go_past(const Place& here) const {
            for (const Panels<T>& state : {h, c})
                for (index p = 0; p < state.count(); ++p)
                    copy(state.row(p, here.next), state.row(p, here.row), state.width(p));
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

    // What comes back, or its tangent: in the gates' arguments, in h, and in c, of one step at a time.
    struct Back : Carved {
        Panels<T> gates, h, c;

        Back(const Steps& steps, T* data) : Carved{data} {
            const index rows = steps.count * steps.examples;
            gates = this->take(rows, Cell::gates * steps.units);
            h = this->take(rows + steps.examples, steps.units);
            if (Cell::has_cell) c = this->take(steps.examples, steps.units);
        }

        void begin(const Steps& steps, Range some, const Panels<T>& d) const {
            const Range end = steps.rows(steps.count, some);
            if (!steps.last) clear_rows(h, end);
            for (index p = 0; steps.last && p < h.count(); ++p)
                copy(h.row(p, end.begin), d.row(p, some.begin), some.size() * h.width(p));
            begin_cells(some);
        }
        void begin_cells(Range some) const { clear_rows(c, some); }
        void go_past(const Place& here) const {
            clear(gates, here.row);
            for (index p = 0; p < h.count(); ++p) copy(h.row(p, here.row), h.row(p, here.next), h.width(p));
        }
        void point(CellGradients<T, Cell::gates>& rows, const Steps& steps, const Place& here, index p,
                   const Panels<T>& d, T (&room)[Cell::gates][full], T* dn) const {
            rows.dh = h.row(p, here.next);
            rows.dout = steps.last ? exec::zeros<T> : d.row(p, here.position);
            if (Cell::has_cell) rows.dc = c.row(p, here.example);
            for (int k = 0; k < Cell::gates; ++k)
                rows.d[k] = steps.columns.place(gates, here.row, k, p, room[k]);
            rows.dn = dn;
            rows.carry = h.row(p, here.row);
        }
        void put(const CellGradients<T, Cell::gates>& rows, const GateColumns<T>& columns, const Place& here,
                 index p) const {
            for (int k = 0; k < Cell::gates; ++k) columns.put(gates, here.row, k, p, rows.d[k], false);
        }
        void finish(const GateColumns<T>& columns, const Place& here, bool carries) const {
            columns.clear_padding(gates, here.row);
            if (carries && !Cell::carries) clear(h, here.row);
        }
    };

    static Panels<T> gradients(const Workspace<T>& ws, const Node& node, Pair pair, const Steps& steps) {
        return Back(steps, pair == Pair::a_rd ? ws.kept_back_tangent(node) : ws.kept_back(node)).gates;
    }

    // f(some of the examples): so many that what they compute at a step stays near.
    template <class F>
    static void for_pieces(Range examples, const F& f) {
        constexpr index together = 16;
        exec::for_pieces(examples, together, f);
    }

    template <class Step>
    static void compute(const Step& step, index width) {
        if (width == full)
            exec::elementwise({0, full}, StepOf<Cell, Step>{step});
        else
            exec::elementwise({0, Panels<T>::half}, StepOf<Cell, Step>{step});
    }

    static void copy(T* to, const T* from, index count) { exec::elementwise({0, count}, Copy<T>{to, from}); }
    static void clear(const Panels<T>& x, index r) { clear_rows(x, {r, r + 1}); }
    static void clear_rows(const Panels<T>& x, Range rows) {
        for_stretches(x, rows, [&](Range r) { exec::elementwise(r, Clear<T>{x.data}); });
    }

    // The input's part of the gates' arguments; no data: zeros.
    static void point(const T* (&rows)[gates], const GateColumns<T>& columns, const Panels<T>& x, index r,
                      index p, T (&room)[gates][full]) {
        for (int k = 0; k < gates; ++k)
            rows[k] = x.data == nullptr ? exec::zeros<T> : columns.find(x, r, k, p, room[k]);
    }
    static void put_input(const CellGradients<T, gates>& from, const GateColumns<T>& columns,
                          const Panels<T>& dx, index r, index p, bool add) {
        for (int k = 0; k < gates; ++k) {
            const bool differs = Cell::has_product && k == gates - 1;
            columns.put(dx, r, k, p, differs ? from.dn : from.d[k], add);
        }
    }

    template <class Done>
    static void put_out(const Panels<T>& z, const Panels<T>& h, const Steps& steps, Range examples,
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
    static void end(const Workspace<T>& ws, const Node& node, Range examples, const Panels<T>& dx,
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
