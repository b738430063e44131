// What the walks through a network ask of a node, whatever its op: the functions of net/ops/op.h, with what
// they call when a stretch is done. Compiled in one unit of each instruction set, isa/ops.cpp.
#pragma once

#include "net/workspace.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Maps {
    static index kept(const Node& node, const Plan& plan, index rows);
    static index kept_tangent(const Node& node, const Plan& plan, index rows);
    static Cut cut(const Node& node, const Run& run);

    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels);
    // Of a node with Cut::products, for few rows, from the parameters as they lie.
    static void forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels);
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels);
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels);
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels);
    // The same of a node alone: see IntoScratch.
    static void tangent_backward_alone(Workspace<T>& ws, const Node& node, Range rows, Range panels);

    static bool has_factor(const Node& node, index k);
    static const T* factor(const Workspace<T>& ws, const Node& node, index k, Range rows, index p, T* room);
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index k, Range rows, index p,
                                   T* room);

    static bool has_state(const Node& node);
    static void learn(const Workspace<T>& ws, const Node& node, Range panels);
    static void calibrate(const Workspace<T>& ws, const Node& node, index before, Range panels);
};

}  // namespace fnn::FNN_ISA::net
