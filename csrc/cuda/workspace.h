// Everything that a call computes with on a device: parameters as they lie in the flat vector, and row-major
// memory for each quantity of each value.
#pragma once

#include <vector>

#include "cuda/product.h"
#include "net/call.h"
#include "net/ops/activation.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::device {

// What changes from step to step of a training, in device memory: a graph that has been captured reads it
// there.
struct Now {
    index step = 0;            // of the epoch
    std::uint64_t stream = 0;  // of random numbers, at its first step
    int stopped = 0;           // 1: a loss was not finite, and nothing is updated any more
};

// What a call is going to compute.
struct Needs {
    bool parameters = true, input = true;  // memory for them, and for X
    bool gradient = false;
    bool input_gradient = false;
    bool tangent = false;  // along a direction of the parameters; with gradient: that of the gradient, too
    bool loss = false;
};

// Numbers that an op keeps for each place where it takes means; 0 for most.
index kept_places(const Node&, const Plan&, index rows);

template <class T>
class Workspace {
   public:
    Workspace(Stream& stream, Memory& memory, const Context& call, index rows, Needs needs)
        : stream(stream), plan(call.plan), run(call.run), rows(rows), needs(needs) {
        state = memory.copy_of(call.state, plan.n_state);
        Now first;
        first.stream = run.stream();
        now = memory.copy_of(&first, 1);
        parameters = memory.take<T>(needs.parameters ? plan.n_parameters : 0);
        gradient = memory.take<T>(needs.gradient ? plan.n_parameters : 0);
        direction = memory.take<T>(needs.tangent ? plan.n_parameters : 0);
        index most = 0;
        for (int b = 0; b < int(plan.values.size()); ++b) {
            most = exec::max(most, features(b));
            const ActivationSpec activation = activation_of(b);
            const bool bent = activation.kind != Activation::identity;
            const bool keeps_z = (needs.gradient || needs.tangent) && net::reads_z<T>(activation);
            const bool back = wants_gradient(b) || (b == plan.output() && (needs.gradient || needs.loss));
            const bool moves = needs.tangent && b != 0;
            const auto take = [&](bool wanted) { return memory.take<T>(wanted ? rows * features(b) : 0); };
            a_.push_back(take(b != 0 || needs.input));
            z_.push_back(keeps_z ? take(true) : a_.back());
            d_.push_back(take(back));
            da_.push_back(bent && needs.tangent ? take(back) : d_.back());
            rz_.push_back(take(moves));
            ra_.push_back(bent && needs.gradient ? take(moves) : rz_.back());
            rd_.push_back(take(needs.tangent && (back || b == plan.output())));
        }
        for (const Node& node : plan.nodes) {
            const index places = kept_places(node, plan, rows);
            kept_.push_back(memory.take<T>(3 * places));
            kept_tangent_.push_back(memory.take<T>(needs.tangent ? 2 * places : 0));
            kept_back_.push_back(memory.take<T>(needs.gradient ? 2 * places : 0));
            kept_back_tangent_.push_back(memory.take<T>(needs.gradient && needs.tangent ? 2 * places : 0));
        }
        scratch = memory.take<T>(needs.gradient ? rows * most : 0);
        moments = memory.take<double>(plan.traits.has_state ? most : 0);
        losses = memory.take<T>(needs.loss ? rows : 0);
        right = memory.take<T>(needs.loss ? rows : 0);
        rounding.to = call.compute_type;
        if (rounding.to != ComputeType::bfloat16) return;
        index largest = rows * most;
        for (const Parameters& own : plan.parameters) largest = exec::max(largest, own.rows * own.cols);
        rounding.a = memory.take<BFloat16>(largest);
        rounding.b = memory.take<BFloat16>(largest);
        rounded_parameters = memory.take<BFloat16>(plan.n_parameters);
    }

    // The same of a batch that begins so many rows behind the first.
    Workspace of_batch(index first, index count) const {
        Workspace result = *this;
        result.rows = count;
        result.run.first += first;
        return result;
    }
    // X is there, where nobody writes.
    void read(T* rows) { z_.front() = a_.front() = rows; }
    // The same where d and da mean rd: what goes backward goes there.
    Workspace of_cotangents() const {
        Workspace result = *this;
        result.d_ = result.da_ = rd_;
        result.kept_back_ = kept_back_tangent_;
        return result;
    }

    Stream& stream;
    const Plan& plan;
    Run run;
    index rows;  // examples
    Needs needs;

    double* state;  // (n_state,): a copy
    Now* now;
    T *parameters, *gradient, *direction;  // flat
    T* scratch;                            // (rows, the most features of a value)
    double* moments;                       // (the most features of a value,)
    T *losses, *right;                     // (rows,) of the loss
    Rounding rounding;                     // of what is multiplied
    BFloat16* rounded_parameters = nullptr;

    index features(int b) const { return plan.values[std::size_t(b)].features(); }
    index size(int b) const { return rows * features(b); }

    // By value, (rows, features), with the names of net/workspace.h.
    T* z(int b) const { return z_[std::size_t(b)]; }
    T* a(int b) const { return a_[std::size_t(b)]; }
    T* d(int b) const { return d_[std::size_t(b)]; }
    T* da(int b) const { return da_[std::size_t(b)]; }
    T* rz(int b) const { return rz_[std::size_t(b)]; }
    T* ra(int b) const { return ra_[std::size_t(b)]; }
    T* rd(int b) const { return rd_[std::size_t(b)]; }

    // By node: what norms keep, each of all places.
    T* kept(const Node& node) const { return kept_[place(node)]; }                  // mean, s, variance
    T* kept_tangent(const Node& node) const { return kept_tangent_[place(node)]; }  // m(rx), m(h rx)
    T* kept_back(const Node& node) const { return kept_back_[place(node)]; }        // m(g), m(h g)
    T* kept_back_tangent(const Node& node) const {
        return kept_back_tangent_[place(node)];
    }  // their tangents

    const Parameters& own(const Node& node) const { return plan.parameters[std::size_t(node.parameters)]; }
    Operand<T> matrix(const Node& node, bool transposed = false) const {
        const index at = own(node).offset;
        return {parameters + at, transposed,
                rounded_parameters != nullptr ? rounded_parameters + at : nullptr};
    }
    Operand<T> direction_matrix(const Node& node, bool transposed = false) const {
        return {direction + own(node).offset, transposed};
    }
    // Null where a node has no such vector.
    T* vector(const Node& node, index k) const { return of_vector(parameters, node, k); }
    // Of what is not trained: zeros.
    T* direction_vector(const Node& node, index k) const { return of_vector(direction, node, k); }

    ActivationSpec activation_of(int value) const {
        const int producer = plan.values[std::size_t(value)].producer;
        return producer < 0 ? ActivationSpec{} : plan.nodes[std::size_t(producer)].activation;
    }
    // Does the backward pass compute the derivative with respect to this value?
    bool wants_gradient(int value) const {
        return needs.gradient && (needs.input_gradient || plan.values[std::size_t(value)].learns);
    }
    // Does it go through this node?
    bool goes_back(const Node& node) const {
        for (const Input& input : node.inputs)
            if (wants_gradient(input.value)) return true;
        return false;
    }

   private:
    std::size_t place(const Node& node) const { return std::size_t(&node - plan.nodes.data()); }
    T* of_vector(T* flat, const Node& node, index k) const {
        if (node.parameters < 0 || k >= own(node).count()) return nullptr;
        return flat + own(node).vector_offset(k);
    }

    std::vector<T*> z_, a_, d_, da_, rz_, ra_, rd_, kept_, kept_tangent_, kept_back_, kept_back_tangent_;
};

}  // namespace fnn::FNN_ISA::device
