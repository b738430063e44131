// Everything that a call computes with, in one arena: parameters in panels, and a buffer for each quantity of
// each node. Layers hold no memory; they are handed views of this.
#pragma once

#include <cstddef>

#include "exec/memory.h"
#include "net/carver.h"
#include "net/layout.h"
#include "net/ops/activation.h"
#include "net/ops/loss.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// What a call is going to compute.
struct Needs {
    bool packed = true;  // parameters in panels; without, only a few rows go forward
    bool gradient = false;
    bool input_gradient = false;
    bool tangent = false;  // along a direction of the parameters; with gradient: Hessian products
    bool loss = false;
    int states = 0;  // of an update
};

template <class T>
class Workspace {
   public:
    // Takes what it needs from the arena. The same arguments lay it out in the same way, and without a loss
    // the number of threads does not matter.
    Workspace(const Context& call, index rows, Needs needs, int threads)
        : plan(call.plan), state(call.state), rows(rows), needs(needs), layout(plan), threads_(threads) {
        Carver count(nullptr);
        lay_out(count);
        Carver carver(call.arena.reserve(count.used()));
        lay_out(carver);
    }

    // The same memory with fewer rows in every buffer.
    Workspace of_rows(index fewer) const {
        Workspace result = *this;
        result.rows = fewer;
        return result;
    }

    const Plan& plan;
    const double* const state;
    index rows;
    const Needs needs;

    exec::ColumnMap input_map;  // of all input layers together, (in_features,)

    // Images; those that a call does not need are null.
    Layout<T> layout;
    T* parameters;
    const T* flat = nullptr;  // without panels: the parameters as they came
    T* gradient;
    T* states[max_states];
    T* direction;
    T* transposed;  // the weights' transposes, for going backward
    T* direction_transposed;

    // By buffer, (rows, features). z is an output before its activation, a after it; d is the derivative of
    // the loss with respect to z, da with respect to a; r... are derivatives along the direction. Those that
    // a call does not need are null, and where there is nothing in between, both names mean one memory. So do
    // z and a, unless the activation's derivatives are functions of z.
    Panels<T> z(int b) const { return view(z_, b); }
    Panels<T> a(int b) const { return view(a_, b); }
    Panels<T> d(int b) const { return view(d_, b); }
    Panels<T> da(int b) const { return view(da_, b); }
    Panels<T> rz(int b) const { return view(rz_, b); }
    Panels<T> ra(int b) const { return view(ra_, b); }
    Panels<T> rd(int b) const { return view(rd_, b); }
    Panels<T> rda(int b) const { return rd(b); }

    RowScores<T> scores;

    // A thread's own block of rows for the loss.
    T* scratch(int rank) const {
        return scratch_ + rank * Block<T>::size(plan.out_features(), needs.tangent);
    }

    ActivationSpec activation_of(int buffer) const {
        const int producer = plan.buffers[buffer].producer;
        return producer < 0 ? ActivationSpec{} : plan.nodes[producer].activation;
    }

    // Does the backward pass compute the derivative with respect to this buffer?
    bool wants_gradient(int buffer) const { return needs.gradient && (buffer != 0 || needs.input_gradient); }

    // The transposes that the backward pass reads, of a share of the weights.
    void transpose(T* image_transposed, T* image, Range share) const {
        layout.for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            if (wants_gradient(node.input))
                layout.transpose(image_transposed, image, node, p, rows, with_bias);
        });
    }

   private:
    Panels<T> view(T* const* pointers, int b) const { return {pointers[b], rows, plan.buffers[b].features}; }

    void lay_out(Carver& carver) {
        layout.place(carver);
        for (double** numbers : {&input_map.center, &input_map.scale, &input_map.shift})
            *numbers = plan.input_layers.empty() ? nullptr : carver.take<double>(plan.in_features());
        const auto take = [&](bool wanted, index n) { return wanted ? carver.take<T>(n) : nullptr; };
        parameters = take(needs.packed, layout.size());
        gradient = take(needs.gradient, layout.size());
        for (int k = 0; k < max_states; ++k) states[k] = take(k < needs.states, layout.size());
        direction = take(needs.tangent, layout.size());
        transposed = take(needs.gradient, layout.size_transposed());
        direction_transposed = take(needs.gradient && needs.tangent, layout.size_transposed());

        const index n = index(plan.buffers.size());
        for (T*** const pointers : {&z_, &a_, &d_, &da_, &rz_, &ra_, &rd_}) *pointers = carver.take<T*>(n);
        for (int b = 0; b < n; ++b) {
            const index size = Panels<T>{nullptr, rows, plan.buffers[b].features}.size();
            const ActivationSpec activation = activation_of(b);
            const bool bent = activation.kind != Activation::identity;
            const bool keeps_z = (needs.gradient || needs.tangent) && reads_z<T>(activation);
            const bool back = wants_gradient(b) || b == plan.output();
            const bool moves = needs.tangent && b != 0;
            T* const a = take(true, size);
            T* const z = keeps_z ? take(true, size) : a;
            T* const d = take(back, size);
            T* const da = bent && needs.tangent ? take(back, size) : d;
            T* const rz = take(moves, size);
            T* const ra = bent && needs.gradient ? take(moves, size) : rz;
            T* const rd = take(needs.tangent && back, size);
            if (a_ == nullptr) continue;  // counting
            z_[b] = z, a_[b] = a, d_[b] = d, da_[b] = da, rz_[b] = rz, ra_[b] = ra, rd_[b] = rd;
        }
        if (!needs.loss) return;
        scores = {carver.take<T>(rows), carver.take<T>(rows)};
        scratch_ = carver.take<T>(threads_ * Block<T>::size(plan.out_features(), needs.tangent));
    }

    T* scratch_;
    int threads_;
    T **z_, **a_, **d_, **da_, **rz_, **ra_, **rd_;
};

}  // namespace fnn::FNN_ISA::net
