// The linear part of a dense layer, z = x w + b: its products, its four maps, and those of its parameters.
#pragma once

#include "exec/gemm/few.h"
#include "exec/gemm/multiply.h"
#include "exec/reduce.h"
#include "net/ops/op.h"

namespace fnn::FNN_ISA::net {

using exec::Initial;
using exec::Part;

// x (batch, in), w (in, out), b (out,), z (batch, out); wt is w'. Products are computed for some rows of some
// panels; an epilogue runs over each finished tile.
template <class T>
struct Dense : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr Cut cut(const Run&) { return Cut::products; }

    using In = const Panels<const T>&;
    using Out = const Panels<T>&;

    template <class Epilogue>
    static void forward(Out z, In x, In w, const T* b, Range rows, Range panels, const Epilogue& epilogue) {
        exec::multiply(z, x, w, Initial<T>::bias(b), rows, panels, epilogue);
    }

    // For a few rows, some panels of z: w and b as they lie in the flat vector, row-major.
    template <class Epilogue>
    static void forward_few(Out z, In x, const T* w, const T* b, Range panels, const Epilogue& epilogue) {
        exec::multiply_few(z, x, w, b, panels);
        for (index p = panels.begin; p < panels.end; ++p) epilogue(z.row(p, 0) - z.data, z.rows * z.width(p));
    }

    // dx (+)= dz w'
    template <class Epilogue>
    static void backward(Out dx, In dz, In wt, Range rows, Range panels, bool add, const Epilogue& epilogue) {
        exec::multiply(dx, dz, wt, add ? Initial<T>::add() : Initial<T>::zero(), rows, panels, epilogue);
    }

    // rz = rx w + x v + c along the direction (v, c) of the parameters and rx of the input (null: zero)
    template <class Epilogue>
    static void tangent_forward(Out rz, In x, In rx, In w, In v, const T* c, Range rows,
                                const Epilogue& epilogue) {
        const Range all{0, rz.count()};
        if (rx.data == nullptr) return exec::multiply(rz, x, v, Initial<T>::bias(c), rows, all, epilogue);
        exec::multiply(rz, x, v, Initial<T>::bias(c), rows, all);
        exec::multiply(rz, rx, w, Initial<T>::add(), rows, all, epilogue);
    }

    // rdx (+)= rdz w' + dz v'
    template <class Epilogue>
    static void tangent_backward(Out rdx, In dz, In rdz, In wt, In vt, Range rows, bool add,
                                 const Epilogue& epilogue) {
        const Range all{0, rdx.count()};
        exec::multiply(rdx, rdz, wt, add ? Initial<T>::add() : Initial<T>::zero(), rows, all);
        exec::multiply(rdx, dz, vt, Initial<T>::add(), rows, all, epilogue);
    }

    // strips of dw (+)= x' dz, some rows of some panels, summed over some examples
    static void weight_gradient(exec::Strips<T> dw, In x, In dz, Range examples, Range rows, Range panels,
                                bool add, Part turn = {}, const exec::Beside<T>& beside = {}) {
        exec::multiply_transposed<T>(dw, add ? dw : exec::Strips<T>{}, x, dz, examples, rows, panels, turn,
                                     beside);
    }

    // panel p of db = column sums of dz over some examples
    static void bias_gradient(T* db, In dz, Range examples, index p) {
        const T* const from = dz.row(p, examples.begin);
        if (dz.width(p) == Panels<T>::full)
            exec::column_sums<T, 2>(db, from, examples.size());
        else
            exec::column_sums<T, 1>(db, from, examples.size());
    }

    // The same of a node.

    static constexpr bool has_matrix = true;
    static bool has_pair(const Workspace<T>& ws, const Node& node, Pair pair) {
        return pair != Pair::ra_d || ws.ra(node.input()).data != nullptr;
    }
    static void weight_gradient(const Workspace<T>& ws, const Node& node, Pair pair,
                                const exec::Strips<T>& strips, Range examples, Range rows, Range panels,
                                bool add, Part turn, const exec::Beside<T>& beside) {
        weight_gradient(strips, forward_of(ws, node, pair), backward_of(ws, node, pair),
                        ws.rows_of(node.output, examples), rows, panels, add, turn, beside);
    }
    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        forward(ws.z(node.output), ws.a(node.input()), ws.matrix(node), ws.vector(node, 0), rows, panels,
                done);
    }
    template <class Done>
    static void forward_few(Workspace<T>& ws, const Node& node, const T* parameters, Range panels,
                            const Done& done) {
        const Parameters& own = ws.plan.parameters[std::size_t(node.parameters)];
        forward_few(ws.z(node.output), ws.a(node.input()), parameters + own.offset,
                    parameters + own.vector_offset(0), panels, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        backward(ws.da(node.input()), ws.d(node.output), ws.transposed_matrix(node), rows, panels,
                 into.adds(0), DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        tangent_forward(ws.rz(node.output), ws.a(node.input()), ws.ra(node.input()), ws.matrix(node),
                        ws.direction_matrix(node), ws.direction_vector(node, 0), rows, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        tangent_backward(ws.rda(node.input()), ws.d(node.output), ws.rd(node.output),
                         ws.transposed_matrix(node), ws.transposed_direction(node), rows, into.adds(0),
                         DoneOf<Into>{into, 0});
    }
};

}  // namespace fnn::FNN_ISA::net
