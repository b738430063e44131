// z = w h + b with h = (x - mean) / sqrt(variance + eps), where mean and variance are those of a row: over
// all features, or over each of some groups of features that follow each other.
//
//   layer_norm   J. L. Ba, J. R. Kiros, G. E. Hinton (2016), "Layer normalization"
//   group_norm   Y. Wu, K. He (2018), "Group normalization", ECCV
//   rms_norm     z = w h with h = x / sqrt(m(x^2) + eps): B. Zhang, R. Sennrich (2019), "Root mean square
//                layer normalization", NeurIPS. An eps of 0 stands for that of the numbers' type.
//
// Derivatives are those of rules/norm.h, with means over the features of a group. Every row goes through the
// same operations, wherever rows are cut.
#pragma once

#include <cmath>
#include <limits>

#include "exec/convert.h"
#include "exec/lanes.h"
#include "net/ops/op.h"
#include "rules/norm.h"

namespace fnn::FNN_ISA::net {

enum class RowNormKind { layer, rms, group };

template <class T, RowNormKind kind>
struct RowNorm : OpBase {
    static constexpr Traits traits{false, false, false, /*piecewise_linear=*/false, /*exact_traces=*/true};
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    // Of each row and group: mean and 1 / deviation.
    static index kept(const Node& node, const Plan&, index rows) { return rows * 2 * groups(node); }

    // The same of its tangent: the mean of rx, and that of h rx.
    static index kept_tangent(const Node& node, const Plan& plan, index rows) {
        return kept(node, plan, rows);
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        const Affine learned(ws, node);
        const T* const bias = learned.vector(1);
        for_groups(ws, node, z, rows, done, [&](const Own& own, Moments& of) {
            of = moments(node, own);
            const Normed h(own, of);
            for_vectors(own, [&](index i, index j, auto, auto lanes) {
                Vector y = h(i) * learned.weight(j);
                if (bias != nullptr) y += load(bias, j);
                put(z.data + i, lanes, false, y);
            });
        });
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> dx = ws.da(node.input()), d = ws.d(node.output);
        const Affine learned(ws, node);
        const bool add = into.adds(0);
        for_groups(ws, node, dx, rows, DoneOf<Into>{into, 0}, [&](const Own& own, const Moments& of) {
            const Normed h(own, of);
            const auto g = [&](index i, index j) { return learned.weight(j) * load(d.data, i); };
            const Means<2> m = means<2>(own, [&](index i, index j, Vector(&terms)[2]) {
                terms[0] = g(i, j);
                terms[1] = h(i) * terms[0];
            });
            for_vectors(own, [&](index i, index j, auto, auto lanes) {
                put(dx.data + i, lanes, add,
                    rules::Norm::product(h.s, h(i), g(i, j), centre(m.of[0]), m.of[1]));
            });
        });
    }

    // rz = w rh + rw h + rb
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> rz = ws.rz(node.output);
        const Affine learned(ws, node);
        const T *const way = learned.direction(0), *const bias = learned.direction(1);
        for_groups(ws, node, rz, rows, done, [&](const Own& own, const Moments& of) {
            const Normed h(own, of);
            keep_movement(ws, node, own, h);
            const Moved rh(ws, node, own, h);
            for_vectors(own, [&](index i, index j, auto, auto lanes) {
                Vector y = rh(i) * learned.weight(j);
                if (way != nullptr) y += h(i) * load(way, j);
                if (bias != nullptr) y += load(bias, j);
                put(rz.data + i, lanes, false, y);
            });
        });
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input()), d = ws.d(node.output), rd = ws.rd(node.output);
        const Affine learned(ws, node);
        const T* const way = learned.direction(0);
        const bool add = into.adds(0);
        for_groups(ws, node, rdx, rows, DoneOf<Into>{into, 0}, [&](const Own& own, const Moments& of) {
            const Normed h(own, of);
            const Moved rh(ws, node, own, h);
            const auto g = [&](index i, index j) { return learned.weight(j) * load(d.data, i); };
            const auto rg = [&](index i, index j) {
                const Vector change = learned.weight(j) * load(rd.data, i);
                return way != nullptr ? load(way, j) * load(d.data, i) + change : change;
            };
            const Means<4> m = means<4>(own, [&](index i, index j, Vector(&terms)[4]) {
                terms[0] = g(i, j);
                terms[1] = h(i) * terms[0];
                terms[2] = rg(i, j);
                terms[3] = rh(i) * terms[0] + h(i) * terms[2];
            });
            for_vectors(own, [&](index i, index j, auto, auto lanes) {
                put(rdx.data + i, lanes, add,
                    rules::Norm::product_tangent(h.s, h(i), rh(i), g(i, j), rg(i, j), centre(m.of[0]),
                                                 m.of[1], rh.along, centre(m.of[2]), m.of[3]));
            });
        });
    }

    // Of the weight: u = h
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index k) { return k == 0; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T* room) {
        return of_panel(ws, node, rows, p, room, [&](const Own&, const Normed& h) { return h; });
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        return of_panel(ws, node, rows, p, room,
                        [&](const Own& own, const Normed& h) { return Moved(ws, node, own, h); });
    }

   private:
    using Vector = exec::Vector<T>;
    static constexpr index full = Panels<T>::full, w = exec::lanes<T>;
    static constexpr bool centred = kind != RowNormKind::rms;

    struct Moments {
        T mean, s;
    };
    struct Movement {
        T mean, along;
    };

    static index groups(const Node& node) { return kind == RowNormKind::group ? index(node.op.groups) : 1; }
    static Moments& moments_of(const Workspace<T>& ws, const Node& node, index r, index group) {
        return reinterpret_cast<Moments*>(ws.kept(node))[r * groups(node) + group];
    }
    static Movement& movement_of(const Workspace<T>& ws, const Node& node, index r, index group) {
        return reinterpret_cast<Movement*>(ws.kept_tangent(node))[r * groups(node) + group];
    }

    // Some columns of a row of the input; in all values that the maps go through, a place is the same.
    struct Own {
        Panels<T> x;
        index r, group;
        Range columns;
    };
    template <class F>
    static void for_vectors(const Own& own, const F& f) {
        exec::for_vectors<T>(own.x, own.r, own.columns, f);
    }

    static Vector load(const T* x, index i) { return exec::load(x + i); }

    template <class Lanes>
    static void put(T* to, const Lanes& lanes, bool add, Vector v) {
        if (add) v += exec::load(to);
        exec::store(to, lanes.replace(to, v));
    }

    // What it learns, and how that moves, null if it does not.
    struct Affine {
        const Workspace<T>& ws;
        const Node& node;
        const T* factors;

        Affine(const Workspace<T>& ws, const Node& node) : ws(ws), node(node), factors(vector(0)) {}
        bool has(index k) const { return node.parameters >= 0 && k < ws.own(node).count(); }
        const T* vector(index k) const { return has(k) ? ws.vector(node, k) : nullptr; }
        const T* direction(index k) const { return has(k) ? ws.direction_vector(node, k) : nullptr; }
        Vector weight(index j) const { return factors != nullptr ? load(factors, j) : exec::broadcast(T(1)); }
    };

    template <int K>
    struct Means {
        Vector of[K];  // in every lane
    };
    // Of terms(place, column, terms) over the columns.
    template <int K, class F>
    static Means<K> means(const Own& own, const F& f) {
        Vector sums[2][K] = {};
        for_vectors(own, [&](index i, index j, auto n, auto lanes) {
            Vector terms[K];
            f(i, j, terms);
            for (int k = 0; k < K; ++k) sums[n][k] += lanes(terms[k]);
        });
        Means<K> result;
        for (int k = 0; k < K; ++k)
            result.of[k] =
                exec::broadcast(exec::sum_of_lanes<T>(sums[0][k] + sums[1][k]) / T(own.columns.size()));
        return result;
    }
    static Vector centre(Vector mean) { return centred ? mean : Vector{}; }

    // In two passes, and from one of the numbers on, so that equal ones have a variance of exactly zero. The
    // mean is a sum of what is divided already: it overflows for no numbers.
    static Moments moments(const Node& node, const Own& own) {
        const T* const x = own.x.data;
        Vector mean{};
        if constexpr (centred) {
            const index j = own.columns.begin;
            const Vector first = exec::broadcast(own.x.row(j / full, own.r)[j % full]);
            const Vector share = exec::broadcast(1 / T(own.columns.size()));
            Vector sums[2] = {};
            for_vectors(own, [&](index i, index, auto n, auto lanes) {
                sums[n] += lanes((load(x, i) - first) * share);
            });
            mean = first + exec::broadcast(exec::sum_of_lanes<T>(sums[0] + sums[1]));
        }
        const Means<1> variance = means<1>(own, [&](index i, index, Vector(&terms)[1]) {
            const Vector deviation = load(x, i) - mean;
            terms[0] = deviation * deviation;
        });
        const double eps = node.op.eps > 0 ? node.op.eps : double(std::numeric_limits<T>::epsilon());
        return {mean[0], T(1 / std::sqrt(double(variance.of[0][0]) + eps))};
    }

    // h, a vector at a time.
    struct Normed {
        const T* x;
        Vector mean, s;

        Normed(const Own& own, const Moments& of)
            : x(own.x.data), mean(exec::broadcast(of.mean)), s(exec::broadcast(of.s)) {}
        Vector operator()(index i) const { return rules::Norm::normalize(load(x, i), mean, s); }
    };

    // How mean and deviation move.
    static void keep_movement(const Workspace<T>& ws, const Node& node, const Own& own, const Normed& h) {
        const T* const rx = ws.ra(node.input()).data;
        if (rx == nullptr) return;
        const Means<2> m = means<2>(own, [&](index i, index, Vector(&terms)[2]) {
            terms[0] = load(rx, i);
            terms[1] = h(i) * terms[0];
        });
        movement_of(ws, node, own.r, own.group) = {centre(m.of[0])[0], m.of[1][0]};
    }

    // rh likewise.
    struct Moved {
        Normed h;
        const T* rx;  // or null
        Vector mean{}, along{};

        Moved(const Workspace<T>& ws, const Node& node, const Own& own, const Normed& h)
            : h(h), rx(ws.ra(node.input()).data) {
            if (rx == nullptr) return;
            const Movement& of = movement_of(ws, node, own.r, own.group);
            mean = exec::broadcast(of.mean);
            along = exec::broadcast(of.along);
        }
        Vector operator()(index i) const {
            if (rx == nullptr) return Vector{};
            return rules::Norm::product(h.s, h(i), load(rx, i), mean, along);
        }
    };

    // f(columns of a group of a row, their moments), and done(first, count) for the stretches of `to`, some
    // rows at a time, with what pads them zero.
    template <class Done, class F>
    static void for_groups(const Workspace<T>& ws, const Node& node, const Panels<T>& to, Range rows,
                           const Done& done, const F& f) {
        const Panels<T> x = ws.a(node.input());
        const index count = groups(node), size = x.cols / count;
        exec::for_pieces(rows, 16, [&](Range some) {
            exec::clear_padding(to, some);
            for (index r = some.begin; r < some.end; ++r)
                for (index group = 0; group < count; ++group)
                    f(Own{x, r, group, {group * size, (group + 1) * size}}, moments_of(ws, node, r, group));
            for_stretches(to, some, [&](Range s) { done(s.begin, s.size()); });
        });
    }

    // room = of(columns of a group of a row, h) in panel p, and zero in what pads it.
    template <class F>
    static const T* of_panel(const Workspace<T>& ws, const Node& node, Range rows, index p, T* room,
                             const F& of) {
        const Panels<T> x = ws.a(node.input());
        const index count = groups(node), size = x.cols / count, width = x.width(p);
        const Range columns{p * full, p * full + x.used(p)};
        const index first = count == 1 ? 0 : columns.begin / size;
        for (index r = rows.begin; r < rows.end; ++r) {
            T* const to = room + (r - rows.begin) * width;
            for (index j = 0; j < width; j += w) exec::store(to + j, Vector{});
            for (index group = first; group * size < columns.end; ++group) {
                const Own own{x, r, group, {group * size, (group + 1) * size}};
                const auto h = of(own, Normed(own, moments_of(ws, node, r, group)));
                for_vectors({x, r, group, exec::intersect(own.columns, columns)},
                            [&](index i, index j, auto, auto lanes) {
                                T* const y = to + (j - columns.begin);
                                exec::store(y, lanes.replace(y, h(i)));
                            });
            }
        }
        return room;
    }
};

template <class T>
using LayerNorm = RowNorm<T, RowNormKind::layer>;
template <class T>
using RMSNorm = RowNorm<T, RowNormKind::rms>;
template <class T>
using GroupNorm = RowNorm<T, RowNormKind::group>;

}  // namespace fnn::FNN_ISA::net
