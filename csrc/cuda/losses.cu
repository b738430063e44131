#include "cuda/losses.h"

#include "cuda/loss_rows.h"
#include "net/ops/loss.h"

namespace fnn::FNN_ISA::device {

// What all of the functors below read.
template <class T>
struct LossRows {
    Examples<T> examples;
    const T* z;
    index out;
    T factor;
    rules::LabelSmoothing<T> smoothing{0, 1};
    bool smooths = false;
    T penalty = 0;

    __device__ Row<T> row(index r) const { return {examples, z + r * out, r, out, smoothing, smooths}; }
};

// What a loss hands back for a row without any weight is 0, also where 0 times infinity would be NaN.

template <class T, class Loss>
struct LossForward {
    LossRows<T> rows;
    Loss loss;
    T *dz, *losses, *right;
    __device__ void operator()(index r, const Warp& warp) const {
        const T weight = rows.examples.weight(r);
        T* const to = dz + r * rows.out;
        const Scores<T> own = loss.forward(rows.row(r), rows.factor * weight, to, warp);
        if (weight == 0) warp.each(rows.out, [&](index j) { to[j] = 0; });
        if (warp.lane > 0) return;
        losses[r] = weight != 0 ? weight * own.value : T(0);
        right[r] = own.value == own.value ? weight * own.right : T(0);  // NaN is no answer
    }
};

template <class T, class Loss>
struct LossTangent {
    LossRows<T> rows;
    Loss loss;
    const T* rz;
    T* rdz;
    __device__ void operator()(index r, const Warp& warp) const {
        const T weight = rows.examples.weight(r);
        T* const to = rdz + r * rows.out;
        loss.tangent(rows.row(r), rows.factor * weight, rz + r * rows.out, to, warp);
        if (weight == 0) warp.each(rows.out, [&](index j) { to[j] = 0; });
    }
};

template <class T, class Loss>
struct LossRoot {
    LossRows<T> rows;
    Loss loss;
    const T* u;
    index column;
    T* s;
    __device__ void operator()(index r, const Warp& warp) const {
        const T weight = rows.examples.weight(r);
        T* const to = s + r * rows.out;
        const T* const own = u != nullptr ? u + rows.examples.place(r) * rows.out : nullptr;
        const auto of = [&](index j) { return own != nullptr ? own[j] : T(j == column ? 1 : 0); };
        loss.root(rows.row(r), rows.factor * weight, of, to, warp);
        if (weight == 0) warp.each(rows.out, [&](index j) { to[j] = 0; });
    }
};

template <class T>
struct OuterProduct {
    LossRows<T> rows;
    typename Losses<T>::Of of;
    const T *dz, *rz;
    T* rdz;
    __device__ void operator()(index r, const Warp& warp) const {
        const T weight = rows.factor * rows.examples.weight(r);
        const index first = r * rows.out;
        T scale = 0;
        if (of == Losses<T>::Of::matrix) {
            warp.each(rows.out, [&](index j) { scale += dz[first + j] * rz[first + j]; });
            scale = warp.sum(scale) / weight;
        } else {
            scale = 1 / (of == Losses<T>::Of::root ? rules::square_root(weight) : weight);
        }
        if (weight == 0) scale = 0;
        warp.each(rows.out, [&](index j) { rdz[first + j] = scale * dz[first + j]; });
    }
};

namespace {

template <class T, class F>
void with_loss(const LossSpec& spec, const F& f) {
    if (spec.couples_rows())
        throw std::invalid_argument(expected("device", "'cpu' for losses of pairs of rows",
                                             "another, which does not compare rows yet"));
    if (spec.kind == LossKind::cross_entropy) return f(CrossEntropy<T>{T(spec.confidence_penalty)});
    if (spec.kind == LossKind::multi_margin) return f(MultiMargin<T>{{T(spec.margin)}});
    net::with_elementwise_loss<T>(spec, [&](const auto& rule) {
        using Rule = std::decay_t<decltype(rule)>;
        f(Elementwise<T, Rule>{rule});
    });
}

template <class T>
LossRows<T> rows_of(const Workspace<T>& ws, const LossSpec& spec, const Examples<T>& examples, T factor) {
    const index out = ws.plan.out_features();
    LossRows<T> rows{examples, ws.a(ws.plan.output()), out, factor};
    rows.smooths = spec.kind == LossKind::cross_entropy && spec.label_smoothing != 0;
    if (rows.smooths) rows.smoothing = rules::LabelSmoothing<T>(spec.label_smoothing, out);
    return rows;
}

}  // namespace

template <class T>
void Losses<T>::forward(Workspace<T>& ws, const LossSpec& spec, const Examples<T>& examples, T factor) {
    const LossRows<T> rows = rows_of(ws, spec, examples, factor);
    with_loss<T>(spec, [&](const auto& loss) {
        using Loss = std::decay_t<decltype(loss)>;
        for_rows(ws.stream, ws.rows,
                 LossForward<T, Loss>{rows, loss, ws.da(ws.plan.output()), ws.losses, ws.right});
    });
}

template <class T>
void Losses<T>::tangent(Workspace<T>& ws, const LossSpec& spec, const Examples<T>& examples, T factor) {
    const LossRows<T> rows = rows_of(ws, spec, examples, factor);
    const int last = ws.plan.output();
    with_loss<T>(spec, [&](const auto& loss) {
        using Loss = std::decay_t<decltype(loss)>;
        for_rows(ws.stream, ws.rows, LossTangent<T, Loss>{rows, loss, ws.ra(last), ws.rd(last)});
    });
}

template <class T>
void Losses<T>::root(Workspace<T>& ws, const LossSpec& spec, const Examples<T>& examples, T factor,
                     const T* u, index column) {
    const LossRows<T> rows = rows_of(ws, spec, examples, factor);
    with_loss<T>(spec, [&](const auto& loss) {
        using Loss = std::decay_t<decltype(loss)>;
        for_rows(ws.stream, ws.rows, LossRoot<T, Loss>{rows, loss, u, column, ws.rd(ws.plan.output())});
    });
}

template <class T>
void Losses<T>::outer(Workspace<T>& ws, const Examples<T>& examples, T factor, Of of) {
    const int last = ws.plan.output();
    for_rows(ws.stream, ws.rows,
             OuterProduct<T>{rows_of(ws, LossSpec{}, examples, factor), of, ws.da(last), ws.ra(last),
                             ws.rd(last)});
}

template struct Losses<float>;
template struct Losses<double>;

}  // namespace fnn::FNN_ISA::device
