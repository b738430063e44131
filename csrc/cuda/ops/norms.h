// z = w h + b with h = (x - mean) s, s = 1 / sqrt(variance + eps). Mean and variance are those of a row, or
// of each of some groups of its features (net/ops/row_norms.h), or of a column (net/ops/batch_norm.h): what
// is taken one mean of is a place. All derivatives are those of rules/norm.h.
#pragma once

#include <cmath>
#include <limits>

#include "cuda/kernels/columns.h"
#include "cuda/kernels/rows.h"
#include "cuda/ops/op.h"
#include "rules/norm.h"

namespace fnn::FNN_ISA::device {

// Which numbers are of one place.
struct Places {
    index cols, groups, size;  // size: of a group of features
    bool by_column;
    FNN_HD index operator()(index i) const {
        const index j = i % cols;
        return by_column ? j : i / cols * groups + j / size;
    }
};

// h of each number.
template <class T>
struct Normed {
    const T *x, *mean, *s;
    Places place;
    FNN_HD T operator()(index i) const {
        const index p = place(i);
        return rules::Norm::normalize(x[i], mean[p], s[p]);
    }
};

// Two means of each place: zeros where mean and variance are constants.
template <class T>
struct TwoMeans {
    const T *first, *second;
    FNN_HD T mean(index p) const { return first != nullptr ? first[p] : T(0); }
    FNN_HD T along(index p) const { return second != nullptr ? second[p] : T(0); }
};

// rh likewise.
template <class T>
struct Moved {
    Normed<T> h;
    const T* rx;  // null: zero
    TwoMeans<T> m;
    FNN_HD T operator()(index i) const {
        if (rx == nullptr) return T(0);
        const index p = h.place(i);
        return rules::Norm::product(h.s[p], h(i), rx[i], m.mean(p), m.along(p));
    }
};

// g = w d, and rg = w rd + rw d; without w: d and rd.
template <class T>
struct Weighted {
    const T *w, *rw, *d, *rd;
    index cols;
    FNN_HD T g(index i) const { return w != nullptr ? w[i % cols] * d[i] : d[i]; }
    FNN_HD T rg(index i) const {
        if (w == nullptr) return rd[i];
        return w[i % cols] * rd[i] + rw[i % cols] * d[i];
    }
};

template <class T>
struct NormForward {
    Normed<T> h;
    T* z;
    const T *w, *b;
    FNN_HD void operator()(index i) const {
        const index j = i % h.place.cols;
        T y = w != nullptr ? h(i) * w[j] : h(i);
        if (b != nullptr) y += b[j];
        z[i] = y;
    }
};

template <class T>
struct NormBackward {
    Normed<T> h;
    Weighted<T> of;
    TwoMeans<T> m;
    T* dx;
    bool add;
    FNN_HD void operator()(index i) const {
        const index p = h.place(i);
        const T product = rules::Norm::product(h.s[p], h(i), of.g(i), m.mean(p), m.along(p));
        dx[i] = add ? dx[i] + product : product;
    }
};

// rz = w rh + rw h + rb
template <class T>
struct NormTangentForward {
    Moved<T> rh;
    T* rz;
    const T *w, *rw, *rb;
    FNN_HD void operator()(index i) const {
        const index j = i % rh.h.place.cols;
        T y = w != nullptr ? rh(i) * w[j] : rh(i);
        if (rw != nullptr) y += rh.h(i) * rw[j];
        if (rb != nullptr) y += rb[j];
        rz[i] = y;
    }
};

template <class T>
struct NormTangentBackward {
    Moved<T> rh;
    Weighted<T> of;
    TwoMeans<T> m, change;
    T* rdx;
    bool add;
    FNN_HD void operator()(index i) const {
        const Normed<T>& h = rh.h;
        const index p = h.place(i);
        const T c = rh.rx != nullptr ? rh.m.along(p) : T(0);
        const T tangent = rules::Norm::product_tangent(h.s[p], h(i), rh(i), of.g(i), of.rg(i), m.mean(p),
                                                       m.along(p), c, change.mean(p), change.along(p));
        rdx[i] = add ? rdx[i] + tangent : tangent;
    }
};

// The terms that means are taken of: of r itself, and along h.
template <class T>
struct MovementTerms {
    Normed<T> h;
    const T* r;
    FNN_HD void operator()(index i, T (&terms)[2]) const {
        terms[0] = r[i];
        terms[1] = h(i) * terms[0];
    }
};
template <class T>
struct GradientTerms {
    Normed<T> h;
    Weighted<T> of;
    FNN_HD void operator()(index i, T (&terms)[2]) const {
        terms[0] = of.g(i);
        terms[1] = h(i) * terms[0];
    }
};
template <class T>
struct TangentTerms {
    Moved<T> rh;
    Weighted<T> of;
    FNN_HD void operator()(index i, T (&terms)[2]) const {
        terms[0] = of.rg(i);
        terms[1] = rh(i) * of.g(i) + rh.h(i) * terms[0];
    }
};

// Means of two terms, of each place.
template <class T, class Terms>
struct MeansOfColumns {
    Terms terms;
    T *first, *second;
    index rows;
    FNN_HD void operator()(index i, T (&of)[2]) const { terms(i, of); }
    FNN_HD void put(index j, const T (&sums)[2]) const {
        first[j] = sums[0] / T(rows);
        second[j] = sums[1] / T(rows);
    }
};
template <class T, class Terms>
struct MeansOfRows {
    Terms terms;
    T *first, *second;
    index size;
    __device__ void operator()(index p, const Warp& warp) const {
        T sums[2] = {};
        warp.each(size, [&](index j) {
            T of[2];
            terms(p * size + j, of);
            sums[0] += of[0];
            sums[1] += of[1];
        });
        const T mean = warp.sum(sums[0]) / T(size), along = warp.sum(sums[1]) / T(size);
        if (warp.lane > 0) return;
        first[p] = mean;
        second[p] = along;
    }
};

// In two passes, and from one of the numbers on, so that equal ones have a variance of exactly zero.
template <class T>
struct MomentsOfRows {
    const T* x;
    T *mean, *s;
    index size;
    double eps;
    bool centred;
    __device__ void operator()(index p, const Warp& warp) const {
        const T* const own = x + p * size;
        T centre = 0;
        if (centred) {
            const T share = 1 / T(size);
            T sum = 0;
            warp.each(size, [&](index j) { sum += (own[j] - own[0]) * share; });
            centre = own[0] + warp.sum(sum);
        }
        T squares = 0;
        warp.each(size, [&](index j) { squares += (own[j] - centre) * (own[j] - centre); });
        const T variance = warp.sum(squares) / T(size);
        if (warp.lane > 0) return;
        mean[p] = centre;
        s[p] = T(1 / rules::square_root(double(variance) + eps));
    }
};

// Of all rows, in float64.
template <class T>
struct MeanOfColumns {
    const T* x;
    double* mean;
    index rows;
    FNN_HD void operator()(index i, double (&terms)[1]) const { terms[0] = double(x[i]); }
    FNN_HD void put(index j, const double (&sums)[1]) const { mean[j] = sums[0] / double(rows); }
};
template <class T>
struct VarianceOfColumns {
    const T* x;
    const double* centre;
    T *mean, *s, *variance;
    index rows, cols;
    double eps;
    FNN_HD void operator()(index i, double (&terms)[1]) const {
        const double deviation = double(x[i]) - centre[i % cols];
        terms[0] = deviation * deviation;
    }
    FNN_HD void put(index j, const double (&sums)[1]) const {
        const double own = sums[0] / double(rows);
        mean[j] = T(centre[j]);
        s[j] = T(1 / rules::square_root(own + eps));
        variance[j] = T(own);
    }
};

// Mean and variance of `rows` rows, and of others before them.
template <class T>
struct MergeMoments {
    const T* x;
    const double* centre;
    double *running_mean, *running_variance;
    index rows, cols, before;
    FNN_HD void operator()(index i, double (&terms)[1]) const {
        const double deviation = double(x[i]) - centre[i % cols];
        terms[0] = deviation * deviation;
    }
    FNN_HD void put(index j, const double (&sums)[1]) const {
        double mean = centre[j], m2 = sums[0];
        if (before > 0)
            rules::merge_moments(mean, m2, double(rows), running_mean[j],
                                 double(before) * running_variance[j], double(before));
        running_mean[j] = mean;
        running_variance[j] = m2 / double(before + rows);
    }
};

// What has been learned in training, as constants.
template <class T>
struct RunningMoments {
    const double *mean, *variance;
    T *to, *s;
    double eps;
    FNN_HD void operator()(index j) const {
        to[j] = T(mean[j]);
        s[j] = T(1 / rules::square_root(variance[j] + eps));
    }
};
template <class T>
struct FollowMoments {
    double *running_mean, *running_variance;
    const T *mean, *variance;
    double momentum, unbiased;
    const Now* now;
    FNN_HD void operator()(index j) const {
        if (now->stopped) return;
        running_mean[j] = (1 - momentum) * running_mean[j] + momentum * double(mean[j]);
        running_variance[j] =
            (1 - momentum) * running_variance[j] + momentum * (unbiased * double(variance[j]));
    }
};

template <class T>
struct KeepFactor {
    Normed<T> h;
    T* u;
    FNN_HD void operator()(index i) const { u[i] = h(i); }
};
template <class T>
struct KeepFactorTangent {
    Moved<T> rh;
    T* u;
    FNN_HD void operator()(index i) const { u[i] = rh(i); }
};

inline Places places_of(const Node& node, const Plan& plan) {
    const index cols = plan.values[std::size_t(node.output)].features();
    const bool by_column = node.op.kind == OpKind::batch_norm;
    const index groups = node.op.kind == OpKind::group_norm ? index(node.op.groups) : 1;
    return {cols, groups, cols / groups, by_column};
}

template <class T, OpKind kind>
struct Norm : OpBase {
    static constexpr bool by_column = kind == OpKind::batch_norm, has_state = by_column;

    static void forward(Workspace<T>& ws, const Node& node) {
        find_moments(ws, node);
        elementwise(
            ws.stream, ws.size(node.output),
            NormForward<T>{normed(ws, node), ws.z(node.output), ws.vector(node, 0), ws.vector(node, 1)});
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        const Normed<T> h = normed(ws, node);
        const Weighted<T> of = weighted(ws, node);
        for_wanted(ws, node, [&](int, int x, bool add) {
            find_means(ws, node, ws.kept_back(node), GradientTerms<T>{h, of});
            elementwise(ws.stream, ws.size(x),
                        NormBackward<T>{h, of, two(ws, node, ws.kept_back(node)), ws.da(x), add});
        });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        const Normed<T> h = normed(ws, node);
        if (const T* const rx = ws.ra(node.input()))
            find_means(ws, node, ws.kept_tangent(node), MovementTerms<T>{h, rx});
        elementwise(ws.stream, ws.size(node.output),
                    NormTangentForward<T>{moved(ws, node), ws.rz(node.output), ws.vector(node, 0),
                                          ws.direction_vector(node, 0), ws.direction_vector(node, 1)});
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        const Moved<T> rh = moved(ws, node);
        const Weighted<T> of = weighted(ws, node);
        for_wanted(ws, node, [&](int, int x, bool add) {
            find_means(ws, node, ws.kept_back_tangent(node), TangentTerms<T>{rh, of});
            elementwise(ws.stream, ws.size(x),
                        NormTangentBackward<T>{rh, of, two(ws, node, ws.kept_back(node)),
                                               two(ws, node, ws.kept_back_tangent(node)), ws.rd(x), add});
        });
    }
    // Of the weight: u = h
    static const T* factor(const Workspace<T>& ws, const Node& node, index k) {
        if (k > 0) return nullptr;
        elementwise(ws.stream, ws.size(node.output), KeepFactor<T>{normed(ws, node), ws.scratch});
        return ws.scratch;
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index k) {
        if (k > 0 || ws.ra(node.input()) == nullptr) return nullptr;
        elementwise(ws.stream, ws.size(node.output), KeepFactorTangent<T>{moved(ws, node), ws.scratch});
        return ws.scratch;
    }
    // The running variance is an estimate of that of all examples: n / (n - 1) times that of the n rows.
    static void learn(const Workspace<T>& ws, const Node& node) {
        const index cols = ws.features(node.output);
        double* const running = ws.state + node.state;
        const T *const mean = ws.kept(node), *const variance = mean + 2 * places(ws, node);
        elementwise(ws.stream, cols,
                    FollowMoments<T>{running, running + cols, mean, variance, node.op.momentum,
                                     double(ws.rows) / double(ws.rows - 1), ws.now});
    }
    static void calibrate(const Workspace<T>& ws, const Node& node, index before) {
        const T* const x = ws.a(node.input());
        const index cols = ws.features(node.output);
        double* const running = ws.state + node.state;
        for_columns<double, 1>(ws.stream, ws.rows, cols, MeanOfColumns<T>{x, ws.moments, ws.rows});
        for_columns<double, 1>(
            ws.stream, ws.rows, cols,
            MergeMoments<T>{x, ws.moments, running, running + cols, ws.rows, cols, before});
    }

   private:
    // Are mean and variance functions of x?
    static bool varies(const Workspace<T>& ws) { return !by_column || ws.run.training; }
    static index places(const Workspace<T>& ws, const Node& node) {
        return kept_places(node, ws.plan, ws.rows);
    }

    static Normed<T> normed(const Workspace<T>& ws, const Node& node) {
        const T* const kept = ws.kept(node);
        return {ws.a(node.input()), kept, kept + places(ws, node), places_of(node, ws.plan)};
    }
    static Moved<T> moved(const Workspace<T>& ws, const Node& node) {
        return {normed(ws, node), ws.ra(node.input()), two(ws, node, ws.kept_tangent(node))};
    }
    static Weighted<T> weighted(const Workspace<T>& ws, const Node& node) {
        const T* const rw = ws.needs.tangent ? ws.direction_vector(node, 0) : nullptr;
        return {ws.vector(node, 0), rw, ws.d(node.output), ws.rd(node.output), ws.features(node.output)};
    }
    static TwoMeans<T> two(const Workspace<T>& ws, const Node& node, const T* means) {
        if (!varies(ws)) return {nullptr, nullptr};
        return {kind == OpKind::rms_norm ? nullptr : means, means + places(ws, node)};
    }

    static void find_moments(Workspace<T>& ws, const Node& node) {
        const T* const x = ws.a(node.input());
        const index n = places(ws, node), cols = ws.features(node.output);
        T *const mean = ws.kept(node), *const s = mean + n, *const variance = s + n;
        const double eps =
            by_column || node.op.eps > 0 ? node.op.eps : double(std::numeric_limits<T>::epsilon());
        if constexpr (!by_column) {
            const index size = places_of(node, ws.plan).size;
            for_rows(ws.stream, n, MomentsOfRows<T>{x, mean, s, size, eps, kind != OpKind::rms_norm});
        } else if (ws.run.training) {
            for_columns<double, 1>(ws.stream, ws.rows, cols, MeanOfColumns<T>{x, ws.moments, ws.rows});
            for_columns<double, 1>(
                ws.stream, ws.rows, cols,
                VarianceOfColumns<T>{x, ws.moments, mean, s, variance, ws.rows, cols, eps});
        } else {
            const double* const running = ws.state + node.state;
            elementwise(ws.stream, cols, RunningMoments<T>{running, running + cols, mean, s, eps});
        }
    }
    template <class Terms>
    static void find_means(const Workspace<T>& ws, const Node& node, T* to, const Terms& terms) {
        if (!varies(ws)) return;
        const index n = places(ws, node);
        if constexpr (by_column)
            for_columns<T, 2>(ws.stream, ws.rows, ws.features(node.output),
                              MeansOfColumns<T, Terms>{terms, to, to + n, ws.rows});
        else
            for_rows(ws.stream, n, MeansOfRows<T, Terms>{terms, to, to + n, places_of(node, ws.plan).size});
    }
};

}  // namespace fnn::FNN_ISA::device
