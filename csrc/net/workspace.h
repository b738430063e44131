// Everything that a call computes with, in one arena: parameters in panels, and a buffer for each quantity of
// each node. Layers hold no memory; they are handed views of this.
#pragma once

#include <cstddef>

#include "exec/convert.h"
#include "exec/memory.h"
#include "exec/transpose.h"
#include "net/ops/loss.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// Hands out stretches of a block of memory; without a block it only counts.
class Carver {
   public:
    explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

    template <class U>
    U* take(index n) {
        const std::size_t at = used_;
        used_ += (std::size_t(n) * sizeof(U) + 63) / 64 * 64;
        return base_ ? reinterpret_cast<U*>(base_ + at) : nullptr;
    }
    std::size_t used() const { return used_; }

   private:
    char* base_;
    std::size_t used_ = 0;
};

// What a call is going to compute.
struct Needs {
    bool gradient = false;
    bool input_gradient = false;
    bool tangent = false;  // along a direction of the parameters; with gradient: Hessian products
    int states = 0;        // of an update
};

template <class T>
class Workspace {
   public:
    // Takes what it needs from the arena. The same arguments lay it out in the same way.
    Workspace(const Plan& plan, index rows, Needs needs, int threads, Arena& arena)
        : plan(plan), rows(rows), needs(needs), threads_(threads) {
        Carver count(nullptr);
        lay_out(count);
        Carver carver(arena.reserve(count.used()));
        lay_out(carver);
        place_parameters();
    }

    // The same memory with fewer rows in every buffer.
    Workspace of_rows(index fewer) const {
        Workspace result = *this;
        result.rows = fewer;
        return result;
    }

    const Plan& plan;
    index rows;
    const Needs needs;

    // An image is the parameters, or anything with one number for each, with every weight in panels.
    T* parameters;
    T* gradient;
    T* states[2];
    T* direction;
    T* transposed;  // the weights' transposes, for going backward
    T* direction_transposed;

    // By buffer, (rows, features). z is an output before its activation, a after it; d is the derivative of
    // the loss with respect to z, da with respect to a; r... are derivatives along the direction. Those that
    // a call does not need are null, and where there is nothing in between, both names mean one memory.
    Panels<T> a(int b) const { return view(a_, b); }
    Panels<T> d(int b) const { return view(d_, b); }
    Panels<T> da(int b) const { return view(da_, b); }
    Panels<T> rz(int b) const { return view(rz_, b); }
    Panels<T> ra(int b) const { return view(ra_, b); }
    Panels<T> rd(int b) const { return view(rd_, b); }
    Panels<T> rda(int b) const { return rd(b); }

    RowScores<T> scores;

    // A thread's own block of rows for the loss.
    T* scratch(int rank) const { return scratch_ + rank * Block<T>::size(plan.out_features()); }

    Panels<T> weight(T* image, const Node& node) const {
        return {image + slots_[&node - plan.nodes.data()].weight, in(node), out(node)};
    }
    T* bias(T* image, const Node& node) const { return image + slots_[&node - plan.nodes.data()].bias; }
    // (out, in), in an image of transposes
    Panels<T> weight_transposed(T* image, const Node& node) const {
        return {image + slots_[&node - plan.nodes.data()].transposed, out(node), in(node)};
    }

    index in(const Node& node) const { return plan.buffers[node.input].features; }
    index out(const Node& node) const { return plan.buffers[node.output].features; }

    Activation activation_of(int buffer) const {
        const int producer = plan.buffers[buffer].producer;
        return producer < 0 ? Activation::identity : plan.nodes[producer].activation;
    }

    // Does the backward pass compute the derivative with respect to this buffer?
    bool wants_gradient(int buffer) const { return needs.gradient && (buffer != 0 || needs.input_gradient); }

    // The parameters are shared among threads in units of one row of one panel of a weight; a bias counts as
    // one more row.
    index units() const {
        index n = 0;
        for (const Node& node : plan.nodes)
            if (node.linear == Linear::dense) n += weight(nullptr, node).count() * (in(node) + 1);
        return n;
    }

    // f(node, panel, rows of the weight, whether the bias belongs to them) for the units of a share.
    template <class F>
    void for_units(Range share, const F& f) const {
        index first = 0;
        for (const Node& node : plan.nodes) {
            if (node.linear != Linear::dense) continue;
            const index length = in(node) + 1;
            for (index p = 0; p < weight(nullptr, node).count(); ++p, first += length) {
                Range mine = exec::intersect(share, {first, first + length});
                if (mine.empty()) continue;
                mine = {mine.begin - first, mine.end - first};
                const bool bias = mine.end == length;
                f(node, p, Range{mine.begin, bias ? length - 1 : mine.end}, bias);
            }
        }
    }

    // The numbers of an image that a unit covers: f(first, count).
    template <class F>
    void for_stretches_of_units(Range share, const F& f) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            const Panels<T> w = weight(nullptr, node);
            const index at = slots_[&node - plan.nodes.data()].weight + p * Panels<T>::full * w.rows;
            f(at + rows.begin * w.width(p), rows.size() * w.width(p));
            if (with_bias) f(slots_[&node - plan.nodes.data()].bias + p * Panels<T>::full, w.width(p));
        });
    }

    // image = flat, row-major (the padding becomes zero), for a share of the units; and back.
    void pack(T* image, const T* flat, Range share) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            const Panels<T> w = weight(image, node);
            for (index i = rows.begin; i < rows.end; ++i)
                copy_in(w.row(p, i), flat + node.weight + i * w.cols + p * Panels<T>::full, w.used(p),
                        w.width(p));
            if (with_bias)
                copy_in(bias(image, node) + p * Panels<T>::full, flat + node.bias + p * Panels<T>::full,
                        w.used(p), w.width(p));
        });
    }
    void unpack(T* flat, T* image, Range share) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            const Panels<T> w = weight(image, node);
            for (index i = rows.begin; i < rows.end; ++i)
                copy_out(flat + node.weight + i * w.cols + p * Panels<T>::full, w.row(p, i), w.used(p));
            if (with_bias)
                copy_out(flat + node.bias + p * Panels<T>::full, bias(image, node) + p * Panels<T>::full,
                         w.used(p));
        });
    }

    // The transposes of a share of the weights.
    void transpose(T* image_transposed, T* image, Range share) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            if (!wants_gradient(node.input)) return;
            const Panels<T> wt = weight_transposed(image_transposed, node);
            exec::transpose<T>(wt, weight(image, node), p, rows);
            if (with_bias)
                exec::clear_padding(
                    wt, exec::intersect({0, wt.rows}, {p * Panels<T>::full, (p + 1) * Panels<T>::full}));
        });
    }

   private:
    struct Slot {
        index weight, bias, transposed;
    };

    Panels<T> view(T* const* pointers, int b) const { return {pointers[b], rows, plan.buffers[b].features}; }

    static void copy_in(T* to, const T* from, index used, index width) {
        for (index j = 0; j < used; ++j) to[j] = from[j];
        for (index j = used; j < width; ++j) to[j] = 0;
    }
    static void copy_out(T* to, const T* from, index used) {
        for (index j = 0; j < used; ++j) to[j] = from[j];
    }

    void lay_out(Carver& carver) {
        index image = 0, transposes = 0;
        for (const Node& node : plan.nodes) {
            if (node.linear != Linear::dense) continue;
            image += (in(node) + 1) * Panels<T>{nullptr, 1, out(node)}.size();
            transposes += Panels<T>{nullptr, out(node), in(node)}.size();
        }
        slots_ = carver.take<Slot>(index(plan.nodes.size()));
        const auto take = [&](bool wanted, index n) { return wanted ? carver.take<T>(n) : nullptr; };
        parameters = take(true, image);
        gradient = take(needs.gradient, image);
        for (int k = 0; k < 2; ++k) states[k] = take(k < needs.states, image);
        direction = take(needs.tangent, image);
        transposed = take(needs.gradient, transposes);
        direction_transposed = take(needs.gradient && needs.tangent, transposes);

        const index n = index(plan.buffers.size());
        for (T*** const pointers : {&a_, &d_, &da_, &rz_, &ra_, &rd_}) *pointers = carver.take<T*>(n);
        for (int b = 0; b < n; ++b) {
            const index size = Panels<T>{nullptr, rows, plan.buffers[b].features}.size();
            const bool bent = activation_of(b) != Activation::identity;
            const bool back = wants_gradient(b) || b == plan.output();
            const bool moves = needs.tangent && b != 0;
            T* const a = take(true, size);
            T* const d = take(back, size);
            T* const da = bent && needs.tangent ? take(back, size) : d;
            T* const rz = take(moves, size);
            T* const ra = bent && needs.gradient ? take(moves, size) : rz;
            T* const rd = take(needs.tangent && back, size);
            if (a_ == nullptr) continue;  // counting
            a_[b] = a, d_[b] = d, da_[b] = da, rz_[b] = rz, ra_[b] = ra, rd_[b] = rd;
        }
        scores = {carver.take<T>(rows), carver.take<std::uint8_t>(rows)};
        scratch_ = carver.take<T>(threads_ * Block<T>::size(plan.out_features()));
    }

    void place_parameters() {
        index at = 0, at_transposed = 0;
        for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
            const Node& node = plan.nodes[n];
            if (node.linear != Linear::dense) continue;
            const index padded = Panels<T>{nullptr, 1, out(node)}.size();
            slots_[n] = {at, at + in(node)*padded, at_transposed};
            at += (in(node) + 1) * padded;
            at_transposed += Panels<T>{nullptr, out(node), in(node)}.size();
        }
    }

    Slot* slots_;  // by node
    T* scratch_;
    int threads_;
    T **a_, **d_, **da_, **rz_, **ra_, **rd_;
};

}  // namespace fnn::FNN_ISA::net
