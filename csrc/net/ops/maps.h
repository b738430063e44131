// What the walks through a network ask of a node, whatever its op: the functions of net/ops/op.h, with what
// they call when a stretch is done. Compiled in one unit of each instruction set, isa/ops.cpp.
#pragma once

#include "exec/gemm/multiply.h"
#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

// Of which two a gradient is made: what went forward and what comes back, or the tangent of one of them.
enum class Pair { a_d, a_rd, ra_d };

// Takes rows that are added up: f(rows, count). Refers to f.
template <class T>
class TakeRows {
   public:
    template <class F>
    TakeRows(const F& f)
        : f_(&f),
          call_([](const void* f, const T* rows, index count) { (*static_cast<const F*>(f))(rows, count); }) {
    }

    void operator()(const T* rows, index count) const { call_(f_, rows, count); }

   private:
    const void* f_;
    void (*call_)(const void*, const T*, index);
};

// Terms are computed for some rows at a time, unless they lie somewhere.
constexpr index rows_of_terms = 64;

// The maps are asked for some examples, but where all have one position and panels are shared: then the rows
// of those examples are meant.
template <class T>
struct Maps {
    static index kept(const Node& node, const Plan& plan, index examples);
    static index kept_tangent(const Node& node, const Plan& plan, index examples);
    static index kept_back(const Node& node, const Plan& plan, index examples);
    static Cut cut(const Node& node, const Run& run);

    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range panels);
    // Of a node with Cut::products, for few rows, from the parameters as they lie.
    static void forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels);
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range panels);
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range panels);
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range panels);
    // The same of a node alone: see IntoScratch.
    static void tangent_backward_alone(Workspace<T>& ws, const Node& node, Range examples, Range panels);

    static bool has_pair(const Workspace<T>& ws, const Node& node, Pair pair);
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& strips, Range examples, Range rows, Range panels,
                                bool add, Part turn, const exec::Beside<T>& beside);
    // Whether it gave the terms; otherwise they are those of factors.
    static bool vector_terms(const Workspace<T>& ws, const Node& node, index k, Pair pair, Range examples,
                             index p, T* room, const TakeRows<T>& take);

    static bool tallies(const Workspace<T>& ws, const Node& node);
    static void tally(const Workspace<T>& ws, const Node& node, Way way, Range examples);
    static void meet(const Workspace<T>& ws, const Node& node, Way way, Range panels);

    static bool has_factor(const Node& node, index k);
    static const T* factor(const Workspace<T>& ws, const Node& node, index k, Range rows, index p, T* room);
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index k, Range rows, index p,
                                   T* room);

    static index evaluations(const Workspace<T>& ws, const Node& node);
    static void settle(Workspace<T>& ws, const Node& node, Range examples, index part);
    static bool settles_on(Workspace<T>& ws, const Node& node, index part);

    static bool has_state(const Node& node);
    static void learn(const Workspace<T>& ws, const Node& node, Range panels);
    static void calibrate(const Workspace<T>& ws, const Node& node, index before, Range panels);
};

}  // namespace fnn::FNN_ISA::net
