// One step of a recurrent layer for some units of an example, forward, backward, and the tangent of each:
// the formulas of rules/recurrent.h on rows of numbers.
#pragma once

#include "exec/elementwise.h"
#include "rules/recurrent.h"

namespace fnn::FNN_ISA::net {

// Where the numbers of the units lie. `before`: of the step before.
template <class T, int gates>
struct CellRows {
    T* gate[gates];
    T* m;  // of GRU, the product that the reset gate multiplies
    T *h_before, *h, *c_before, *c;
};

// Forward: the gates' arguments lie where the gates come, but that of GRU's last gate: there lies the
// product, and in m what comes from the input.
template <class T, int gates>
struct StepForward {
    CellRows<T, gates> at;
};

template <class T, int gates>
struct StepTangentForward {
    CellRows<T, gates> at, moving;
};

// Backward: from dh, and from dc, which becomes that of the step before.
template <class T, int gates>
struct CellGradients {
    const T* dh;
    T* dc;
    T* d[gates];   // in the gates' arguments, where the product adds to them
    T* dn;         // of GRU: where the input adds to the last of them
    T* dh_before;  // but for what products add
};

template <class T, int gates>
struct StepBackward {
    CellRows<T, gates> at;
    CellGradients<T, gates> to;
};

template <class T, int gates>
struct StepTangentBackward {
    CellRows<T, gates> at, moving;
    CellGradients<T, gates> to, tangent;
};

template <class T>
FNN_RULE rules::Moving<T> moving(const T* value, const T* tangent, index j) {
    return {value[j], tangent[j]};
}

// Number j of a step, as a function of j.
template <class Cell, class Step>
struct StepOf {
    Step step;
    FNN_HD void operator()(index j) const { Cell::compute(step, j); }
};

template <class T, bool rectifies>
struct RNNCell {
    static constexpr int gates = 1;
    static constexpr bool has_cell = false, has_product = false, carries = false;

    FNN_RULE static void compute(const StepForward<T, 1>& s, index j) {
        const T p = s.at.gate[0][j];
        s.at.gate[0][j] = s.at.h[j] = rectifies ? rules::ReLU<T>{}.value(p) : rules::tanh(p);
    }
    FNN_RULE static void compute(const StepTangentForward<T, 1>& s, index j) {
        const T rp = s.moving.gate[0][j], a = s.at.gate[0][j];
        s.moving.gate[0][j] = s.moving.h[j] =
            (rectifies ? rules::moving_relu(a, rp) : rules::moving_tanh(a, rp)).tangent;
    }
    FNN_RULE static void compute(const StepBackward<T, 1>& s, index j) {
        s.to.d[0][j] = s.to.dh[j] * slope(s.at.gate[0][j]);
    }
    FNN_RULE static void compute(const StepTangentBackward<T, 1>& s, index j) {
        const auto dh = moving(s.to.dh, s.tangent.dh, j);
        s.tangent.d[0][j] = (dh * slope(moving(s.at.gate[0], s.moving.gate[0], j))).tangent;
    }

   private:
    template <class N>
    FNN_RULE static N slope(N a) {
        if constexpr (rectifies)
            return rules::slope_of_relu(a);
        else
            return rules::slope_of_tanh(a);
    }
};

template <class T>
struct LSTMCell {
    static constexpr int gates = 4;  // i, f, g, o
    static constexpr bool has_cell = true, has_product = false, carries = false;

    FNN_RULE static void compute(const StepForward<T, 4>& s, index j) {
        const rules::Sigmoid<T> sigmoid;
        const auto p = [&](int k) { return s.at.gate[k][j]; };
        const rules::LSTM<T> cell{sigmoid.value(p(0)), sigmoid.value(p(1)), rules::tanh(p(2)),
                                  sigmoid.value(p(3))};
        const T c = cell.cell(s.at.c_before[j]);
        put(s.at, cell, j);
        s.at.c[j] = c;
        s.at.h[j] = cell.output(c);
    }
    FNN_RULE static void compute(const StepTangentForward<T, 4>& s, index j) {
        const auto sigmoid = [&](int k) {
            return rules::moving_sigmoid(s.at.gate[k][j], s.moving.gate[k][j]);
        };
        const rules::LSTM<rules::Moving<T>> cell{
            sigmoid(0), sigmoid(1), rules::moving_tanh(s.at.gate[2][j], s.moving.gate[2][j]), sigmoid(3)};
        const auto c = cell.cell(moving(s.at.c_before, s.moving.c_before, j));
        put(s.moving, rules::LSTM<T>{cell.i.tangent, cell.f.tangent, cell.g.tangent, cell.o.tangent}, j);
        s.moving.c[j] = c.tangent;
        s.moving.h[j] = cell.output(c).tangent;
    }
    FNN_RULE static void compute(const StepBackward<T, 4>& s, index j) {
        const rules::LSTM<T> cell{s.at.gate[0][j], s.at.gate[1][j], s.at.gate[2][j], s.at.gate[3][j]};
        const auto back = cell.back(s.at.c_before[j], s.at.c[j], s.to.dh[j], s.to.dc[j]);
        s.to.d[0][j] = back.i, s.to.d[1][j] = back.f, s.to.d[2][j] = back.g, s.to.d[3][j] = back.o;
        s.to.dc[j] = back.before;
    }
    FNN_RULE static void compute(const StepTangentBackward<T, 4>& s, index j) {
        const auto gate = [&](int k) { return moving(s.at.gate[k], s.moving.gate[k], j); };
        const rules::LSTM<rules::Moving<T>> cell{gate(0), gate(1), gate(2), gate(3)};
        const auto dh = moving(s.to.dh, s.tangent.dh, j);
        const auto back = cell.back(moving(s.at.c_before, s.moving.c_before, j),
                                    moving(s.at.c, s.moving.c, j), dh, moving(s.to.dc, s.tangent.dc, j));
        s.tangent.d[0][j] = back.i.tangent, s.tangent.d[1][j] = back.f.tangent;
        s.tangent.d[2][j] = back.g.tangent, s.tangent.d[3][j] = back.o.tangent;
        s.to.dc[j] = back.before.value, s.tangent.dc[j] = back.before.tangent;
    }

   private:
    FNN_RULE static void put(const CellRows<T, 4>& to, const rules::LSTM<T>& cell, index j) {
        to.gate[0][j] = cell.i, to.gate[1][j] = cell.f, to.gate[2][j] = cell.g, to.gate[3][j] = cell.o;
    }
};

template <class T>
struct GRUCell {
    static constexpr int gates = 3;  // r, z, n
    static constexpr bool has_cell = false, has_product = true, carries = true;

    FNN_RULE static void compute(const StepForward<T, 3>& s, index j) {
        const rules::Sigmoid<T> sigmoid;
        const T r = sigmoid.value(s.at.gate[0][j]), z = sigmoid.value(s.at.gate[1][j]);
        const T m = s.at.gate[2][j], n = rules::tanh(s.at.m[j] + r * m);
        s.at.gate[0][j] = r, s.at.gate[1][j] = z, s.at.gate[2][j] = n, s.at.m[j] = m;
        s.at.h[j] = rules::GRU<T>{r, z, n}.output(s.at.h_before[j]);
    }
    FNN_RULE static void compute(const StepTangentForward<T, 3>& s, index j) {
        const auto sigmoid = [&](int k) {
            return rules::moving_sigmoid(s.at.gate[k][j], s.moving.gate[k][j]);
        };
        const rules::Moving<T> r = sigmoid(0), z = sigmoid(1), m{s.at.m[j], s.moving.gate[2][j]};
        const auto n = rules::moving_tanh(s.at.gate[2][j], s.moving.m[j] + (r * m).tangent);
        s.moving.gate[0][j] = r.tangent, s.moving.gate[1][j] = z.tangent, s.moving.gate[2][j] = n.tangent;
        s.moving.m[j] = m.tangent;
        const rules::GRU<rules::Moving<T>> cell{r, z, n};
        s.moving.h[j] = cell.output(moving(s.at.h_before, s.moving.h_before, j)).tangent;
    }
    FNN_RULE static void compute(const StepBackward<T, 3>& s, index j) {
        const rules::GRU<T> cell{s.at.gate[0][j], s.at.gate[1][j], s.at.gate[2][j]};
        const auto back = cell.back(s.at.h_before[j], s.at.m[j], s.to.dh[j]);
        s.to.d[0][j] = back.r, s.to.d[1][j] = back.z, s.to.d[2][j] = back.m;
        s.to.dn[j] = back.n, s.to.dh_before[j] += back.before;
    }
    FNN_RULE static void compute(const StepTangentBackward<T, 3>& s, index j) {
        const auto gate = [&](int k) { return moving(s.at.gate[k], s.moving.gate[k], j); };
        const rules::GRU<rules::Moving<T>> cell{gate(0), gate(1), gate(2)};
        const auto dh = moving(s.to.dh, s.tangent.dh, j);
        const auto back =
            cell.back(moving(s.at.h_before, s.moving.h_before, j), moving(s.at.m, s.moving.m, j), dh);
        s.tangent.d[0][j] = back.r.tangent, s.tangent.d[1][j] = back.z.tangent;
        s.tangent.d[2][j] = back.m.tangent;
        s.tangent.dn[j] = back.n.tangent, s.tangent.dh_before[j] += back.before.tangent;
    }
};

}  // namespace fnn::FNN_ISA::net
