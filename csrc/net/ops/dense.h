// The linear part of a dense layer, z = x w + b, its four maps, and those of its parameters.
#pragma once

#include "exec/gemm/few.h"
#include "exec/gemm/multiply.h"
#include "exec/reduce.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::net {

using exec::Initial;
using exec::Panels;
using exec::Part;
using exec::Range;

// x (batch, in), w (in, out), b (out,), z (batch, out); wt is w'. Products are computed for some rows of some
// panels; an epilogue runs over each finished tile.
template <class T>
struct Dense {
    static constexpr Traits traits{};

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
                                bool add, Part turn = {}) {
        exec::multiply_transposed<T>(dw, add ? dw : exec::Strips<T>{}, x, dz, examples, rows, panels, turn);
    }

    // panel p of db = column sums of dz over some examples
    static void bias_gradient(T* db, In dz, Range examples, index p) {
        const T* const from = dz.row(p, examples.begin);
        if (dz.width(p) == Panels<T>::full)
            exec::column_sums<T, 2>(db, from, examples.size());
        else
            exec::column_sums<T, 1>(db, from, examples.size());
    }
};

}  // namespace fnn::FNN_ISA::net
