// Everything that a call computes with, in one arena: parameters in panels, and memory for each quantity of
// each value. Layers hold no memory; they are handed views of this.
#pragma once

#include <cstddef>
#include <limits>

#include "exec/memory.h"
#include "net/carver.h"
#include "net/inputs.h"
#include "net/layout.h"
#include "net/ops/activation.h"
#include "net/ops/loss.h"
#include "net/ops/pairs.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Part;
using exec::Range;

// The walks through a network: there and back, and the tangent of each.
enum class Way { forward, backward, tangent_forward, tangent_backward };

// What a call is going to compute.
struct Needs {
    bool products = true;  // matrices in panels; without, only a few rows go forward
    bool gradient = false;
    bool input_gradient = false;
    bool tangent = false;  // along a direction of the parameters; with gradient: Hessian products
    bool loss = false;
    LossSpec pairs{};            // if it is one of pairs
    int states = 0;              // of an update
    bool whole_gradient = true;  // without, it is used strip by strip
    bool totals = false;         // of a gradient that is added up over parts of the examples
    bool ridge = false;          // sums of the weights' squares
    bool mixes = false;          // examples with others

    // Of operators, which go on from a pass that has been kept:
    bool base = true;            // memory for a pass that has not
    bool base_gradient = true;   // its backward part, too
    index probes = 1;            // directions side by side
    index row_sums = 0;          // numbers for each row
    bool pass_gradient = false;  // that of the pass, besides those along the directions
    bool squares = false;        // memory for a square of each value, in place of its rd

    int first_value = 0;  // those before it are not used, nor those behind the last
    int last_value = std::numeric_limits<int>::max();

    void add(const LossSpec& of) {
        loss = true;
        pairs = of;
    }
};

template <class T>
struct Maps;  // net/ops/maps.h

// Memory that outlives a call; without any, all is the call's own.
struct Shelf {
    void* memory = nullptr;
    index chunks = 0;  // of which it holds the pass
};

template <class T>
class Workspace {
   public:
    // Takes what it needs from the arena, and from the shelf. The same arguments lay it out in the same way,
    // and without a loss the number of threads does not matter.
    Workspace(const Context& call, index rows, Needs needs, int threads, Shelf shelf = {})
        : plan(call.plan),
          state(call.state),
          run(call.run),
          rows(rows),
          needs(needs),
          layout(plan, needs.products),
          threads_(threads) {
        Carver count(nullptr), count_shelf(nullptr);
        lay_out(count, shelf.memory ? count_shelf : count, shelf.chunks);
        Carver own(call.arena.reserve(count.used())), lasting(shelf.memory);
        lay_out(own, shelf.memory ? lasting : own, shelf.chunks);
    }

    // Bytes of a shelf for so many chunks of so many rows.
    static std::size_t shelf_bytes(const Context& call, index rows, Needs needs, index chunks) {
        Workspace ws(call, rows, needs);
        Carver own(nullptr), lasting(nullptr);
        ws.lay_out(own, lasting, chunks);
        return lasting.used();
    }

    // The same memory with fewer rows in every buffer.
    Workspace of_rows(index fewer) const {
        Workspace result = *this;
        result.rows = fewer;
        return result;
    }

    // The same with the pass of a chunk that the shelf holds.
    Workspace of_kept(index chunk) const {
        Workspace result = *this;
        result.base_ = kept_[chunk];
        return result;
    }

    // The same with one of the directions, and what is derived along it.
    Workspace of_probe(index probe) const {
        Workspace result = *this;
        result.moving_ = probes_[probe];
        result.gradient += probe * layout.size();
        if (totals != nullptr) result.totals += probe * layout.size();
        result.direction += probe * layout.size();
        result.direction_transposed += probe * layout.size_transposed();
        return result;
    }

    // The same with the gradient of the pass.
    Workspace of_pass() const {
        Workspace result = *this;
        result.gradient += needs.probes * layout.size();
        if (totals != nullptr) result.totals += needs.probes * layout.size();
        return result;
    }

    // The same where d and da mean rd and rda: what goes backward goes there.
    Workspace of_cotangents() const {
        Workspace result = *this;
        result.base_.d = result.base_.da = moving_.rd;
        result.base_.back = moving_.back;
        return result;
    }

    // The same of a batch that begins so many rows behind the first.
    Workspace of_batch(index first, index count) const {
        Workspace result = of_rows(count);
        result.run.first += first;
        return result;
    }

    const Plan& plan;
    double* const state;
    Run run;
    index rows;  // examples
    const Needs needs;

    InputMap input_map;  // of all input layers together

    // Images; those that a call does not need are null.
    Layout<T> layout;
    T* parameters;
    T* gradient;
    double* totals;
    double* squares;  // of the weights, by panel
    T* states[max_states];
    T* direction;
    T* transposed;  // the weights' transposes, for going backward
    T* direction_transposed;

    // Of the parameters of a node.
    Panels<T> matrix(const Node& node) const { return layout.matrix(parameters, own(node)); }
    Panels<T> transposed_matrix(const Node& node) const { return layout.transposed(transposed, own(node)); }
    Panels<T> direction_matrix(const Node& node) const { return layout.matrix(direction, own(node)); }
    Panels<T> transposed_direction(const Node& node) const {
        return layout.transposed(direction_transposed, own(node));
    }
    T* vector(const Node& node, index k) const { return layout.vector(parameters, own(node), k); }
    T* direction_vector(const Node& node, index k) const { return layout.vector(direction, own(node), k); }
    const Parameters& own(const Node& node) const { return plan.parameters[std::size_t(node.parameters)]; }

    // The rows of a value that some examples have, one for each position.
    Range rows_of(int b, Range examples) const {
        const index positions = plan.values[std::size_t(b)].positions();
        return {examples.begin * positions, examples.end * positions};
    }
    // Of a value's rows in the step, the one that the batch begins with.
    index first_row(int b) const { return run.first * plan.values[std::size_t(b)].positions(); }

    // By value, a row for each position of each example. z is an output before its activation, a after it; d
    // is the derivative of the loss with respect to z, da with respect to a; r... are derivatives along the
    // direction. Those that a call does not need are null, and where there is nothing in between, both names
    // mean one memory. So do z and a, unless the activation's derivatives are functions of z.
    Panels<T> z(int b) const { return view(base_.z, b); }
    Panels<T> a(int b) const { return view(base_.a, b); }
    Panels<T> d(int b) const { return view(base_.d, b); }
    Panels<T> da(int b) const { return view(base_.da, b); }
    Panels<T> rz(int b) const { return view(moving_.rz, b); }
    Panels<T> ra(int b) const { return view(moving_.ra, b); }
    Panels<T> rd(int b) const { return view(moving_.rd, b); }
    Panels<T> rda(int b) const { return rd(b); }
    // Of inputs, with which they are mixed.
    Panels<T> partners() const { return of_size(partners_, 0); }

    // What a node has left for its way back.
    T* kept(const Node& node) const { return base_.kept[&node - plan.nodes.data()]; }
    T* kept_tangent(const Node& node) const { return moving_.kept[&node - plan.nodes.data()]; }
    // What its way back has left for its gradient, and the same of its tangent.
    T* kept_back(const Node& node) const { return base_.back[&node - plan.nodes.data()]; }
    T* kept_back_tangent(const Node& node) const { return moving_.back[&node - plan.nodes.data()]; }

    RowScores<T> scores;
    PairRoom<T> pairs;
    T* row_sums(index i) const { return row_sums_ + i * rows_of_sums_; }  // (rows,)

    // A thread's own block of rows for the loss.
    T* scratch(int rank) const {
        return scratch_ + rank * Block<T>::size(plan.out_features(), needs.tangent);
    }

    ActivationSpec activation_of(int value) const {
        const int producer = plan.values[value].producer;
        return producer < 0 ? ActivationSpec{} : plan.nodes[producer].activation;
    }

    // Does the backward pass compute the derivative with respect to this value?
    bool wants_gradient(int value) const {
        return needs.gradient && (needs.input_gradient || plan.values[value].learns);
    }

    // Does the backward pass go through this node?
    bool goes_back(const Node& node) const {
        if (needs.gradient && node.learns_going_back) return true;
        for (const Input& input : node.inputs)
            if (wants_gradient(input.value)) return true;
        return false;
    }

    // Does a row depend on other rows? Then all rows of a chunk go through the network together.
    bool couples_rows() const { return run.training && plan.traits.couples_rows; }
    // Does a thread go through with all of its rows at once, as it is to meet the others?
    bool goes_together() const { return couples_rows() || needs.pairs.couples_rows(); }

    // Does the op at the end of a block keep all evaluations, for what goes back through them or moves?
    bool keeps_evaluations(const Node& solver) const {
        return needs.tangent || (needs.gradient && solver.op.adjoint == 0);
    }

    // Is the transpose of a matrix read on the way back?
    bool wants_transpose(const Parameters& own) const {
        if (own.rows == 0 || own.is_table) return false;
        for (const int n : own.nodes)
            if (goes_back(plan.nodes[n])) return true;
        return false;
    }

    // The transposes that the backward pass reads, of a part of the matrices.
    void transpose(T* image_transposed, T* image, Part part) const {
        layout.for_panels(part, [&](const Parameters& own, index p, Range rows, Range) {
            if (wants_transpose(own))
                layout.transpose(image_transposed, image, own, p, rows, rows.end == own.rows);
        });
    }

   private:
    // By value; kept by node.
    struct Base {
        T **z, **a, **d, **da, **kept, **back;
    };
    struct Moving {
        T **rz, **ra, **rd, **kept, **back;
    };

    Workspace(const Context& call, index rows, Needs needs)
        : plan(call.plan),
          state(call.state),
          run(call.run),
          rows(rows),
          needs(needs),
          layout(plan, needs.products),
          threads_(1) {}

    Panels<T> of_size(T* data, int b) const {
        const Value& value = plan.values[std::size_t(b)];
        return {data, rows * evaluations(value) * value.positions(), value.features()};
    }
    index evaluations(const Value& value) const {
        const Node* const node = value.producer < 0 ? nullptr : &plan.nodes[std::size_t(value.producer)];
        if (node == nullptr || !node->is_within_block()) return 1;
        return keeps_evaluations(plan.nodes[std::size_t(node->solver)]) ? value.evaluations : value.at_a_time;
    }
    Panels<T> view(T* const* pointers, int b) const { return of_size(pointers[b], b); }
    index size(int b) const { return of_size(nullptr, b).size(); }
    // That a node computes, with all evaluations of each.
    index examples(const Node& node) const {
        return rows * evaluations(plan.values[std::size_t(node.output)]);
    }
    // Is the gradient of a block added up over parts of its evaluations?
    bool adds_up_evaluations() const {
        if (!needs.gradient) return false;
        for (const Node& node : plan.nodes)
            if (node.block >= 0 && !keeps_evaluations(node)) return true;
        return false;
    }
    bool uses(int b) const { return needs.first_value <= b && b <= needs.last_value; }
    bool is_bent(int b) const { return activation_of(b).kind != Activation::identity; }
    static T* take(Carver& carver, bool wanted, index n) { return wanted ? carver.take<T>(n) : nullptr; }

    // Those that do not change while a shelf is used lie there.
    void lay_out(Carver& own, Carver& lasting, index chunks) {
        layout.place(own);
        const bool has_ways = !plan.input_ways.empty(), maps = !plan.input_layers.empty() && !has_ways;
        exec::ColumnMap& columns = input_map.columns;
        for (double** numbers : {&columns.center, &columns.scale, &columns.shift})
            *numbers = maps ? lasting.take<double>(plan.in_features()) : nullptr;
        input_map.plan = has_ways ? &plan : nullptr;
        input_map.state = state;
        parameters = lasting.take<T>(layout.size());
        transposed = take(lasting, needs.gradient, layout.size_transposed());
        const index gradients = needs.probes + index(needs.pass_gradient);
        gradient = take(own, needs.gradient && needs.whole_gradient, gradients * layout.size());
        const bool adds_up = needs.totals || adds_up_evaluations();
        totals = adds_up ? own.take<double>(gradients * layout.size()) : nullptr;
        squares = needs.ridge ? own.take<double>(layout.panels()) : nullptr;
        for (int k = 0; k < max_states; ++k) states[k] = take(own, k < needs.states, layout.size());
        direction = take(own, needs.tangent, needs.probes * layout.size());
        direction_transposed =
            take(own, needs.gradient && needs.tangent, needs.probes * layout.size_transposed());

        kept_ = own.take<Base>(chunks);
        for (index chunk = 0; chunk < chunks; ++chunk) {
            const Base base = lay_out_base(own, lasting);
            if (kept_ != nullptr) kept_[chunk] = base;
        }
        if (needs.base) base_ = lay_out_base(own, own);
        partners_ = take(own, needs.mixes, size(0));
        probes_ = own.take<Moving>(needs.probes);
        for (index probe = 0; probe < needs.probes; ++probe) {
            moving_ = lay_out_moving(own);
            if (probes_ != nullptr) probes_[probe] = moving_;
        }
        row_sums_ = own.take<T>(needs.row_sums * rows);
        rows_of_sums_ = rows;
        if (!needs.loss) return;
        const index scored = rows_of(plan.output(), {0, rows}).end;
        scores = {own.take<T>(scored), own.take<T>(scored)};
        scratch_ = own.take<T>(threads_ * Block<T>::size(plan.out_features(), needs.tangent));
        if (needs.pairs.couples_rows())
            pairs.lay_out(own, needs.pairs, scored, plan.out_features(), threads_, needs.tangent);
    }

    Base lay_out_base(Carver& tables, Carver& memory) const {
        const index n = index(plan.values.size());
        const index nodes = index(plan.nodes.size());
        const Base base{tables.take<T*>(n), tables.take<T*>(n),     tables.take<T*>(n),
                        tables.take<T*>(n), tables.take<T*>(nodes), tables.take<T*>(nodes)};
        T **kept = base.kept, **kept_back = base.back;
        for (const Node& node : plan.nodes) {
            const bool back = uses(node.output) && needs.base_gradient && goes_back(node);
            T* const numbers = take(memory, uses(node.output), Maps<T>::kept(node, plan, examples(node)));
            T* const of_back = take(memory, back, Maps<T>::kept_back(node, plan, examples(node)));
            if (kept != nullptr) *kept++ = numbers, *kept_back++ = of_back;
        }
        for (int b = 0; b < n; ++b) {
            const bool keeps_z = (needs.gradient || needs.tangent) && reads_z<T>(activation_of(b));
            const bool back = uses(b) && ((needs.base_gradient && wants_gradient(b)) || b == plan.output());
            T* const a = take(memory, uses(b), size(b));
            T* const z = keeps_z ? take(memory, uses(b), size(b)) : a;
            T* const d = take(memory, back, size(b));
            T* const da = is_bent(b) && needs.tangent ? take(memory, back, size(b)) : d;
            if (base.z == nullptr) continue;  // counting
            base.z[b] = z, base.a[b] = a, base.d[b] = d, base.da[b] = da;
        }
        return base;
    }

    Moving lay_out_moving(Carver& own) const {
        const index n = index(plan.values.size());
        const index nodes = index(plan.nodes.size());
        const Moving moving{own.take<T*>(n), own.take<T*>(n), own.take<T*>(n), own.take<T*>(nodes),
                            own.take<T*>(nodes)};
        T **kept = moving.kept, **kept_back = moving.back;
        for (const Node& node : plan.nodes) {
            const bool moves = uses(node.output) && needs.tangent;
            T* const numbers = take(own, moves, Maps<T>::kept_tangent(node, plan, examples(node)));
            T* const of_back =
                take(own, moves && goes_back(node), Maps<T>::kept_back(node, plan, examples(node)));
            if (kept != nullptr) *kept++ = numbers, *kept_back++ = of_back;
        }
        for (int b = 0; b < n; ++b) {
            const bool back = uses(b) && (wants_gradient(b) || b == plan.output() || needs.squares);
            const bool moves = uses(b) && needs.tangent && b != 0;
            T* const rz = take(own, moves, size(b));
            T* const ra = is_bent(b) && needs.gradient ? take(own, moves, size(b)) : rz;
            T* const rd = take(own, needs.tangent && back, size(b));
            if (moving.rz == nullptr) continue;  // counting
            moving.rz[b] = rz, moving.ra[b] = ra, moving.rd[b] = rd;
        }
        return moving;
    }

    T *scratch_, *row_sums_, *partners_;
    index rows_of_sums_;
    int threads_;
    Base base_{};
    Base* kept_;
    Moving moving_{};
    Moving* probes_;
};

}  // namespace fnn::FNN_ISA::net
