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

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> z = ws.z(node.output);
        const Affine own(ws, node);
        const T* const bias = own.vector(1);
        for_groups(ws, node, z, rows, done, [&](index r, Range columns, Moments& of) {
            of = moments(node, ws.a(node.input()), r, columns);
            const Normed h(ws, node, r, of);
            exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
                Vector y = h(p, n) * own.weight(p, n);
                if (bias != nullptr) y += load(bias, p, n);
                put(z, r, p, n, lanes, false, y);
            });
        });
    }

    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> dx = ws.da(node.input()), d = ws.d(node.output);
        const Affine own(ws, node);
        const bool add = into.adds(0);
        for_groups(ws, node, dx, rows, DoneOf<Into>{into, 0}, [&](index r, Range columns, const Moments& of) {
            const Normed h(ws, node, r, of);
            const auto g = [&](index p, auto n) { return own.weight(p, n) * load(d, r, p, n); };
            const Means<2> m = means<2>(columns, [&](index p, auto n, Vector(&terms)[2]) {
                terms[0] = g(p, n);
                terms[1] = h(p, n) * terms[0];
            });
            exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
                put(dx, r, p, n, lanes, add,
                    rules::Norm::product(h.s, h(p, n), g(p, n), centre(m.of[0]), m.of[1]));
            });
        });
    }

    // rz = w rh + rw h + rb
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range, const Done& done) {
        const Panels<T> rz = ws.rz(node.output);
        const Affine own(ws, node);
        const T *const way = own.direction(0), *const bias = own.direction(1);
        for_groups(ws, node, rz, rows, done, [&](index r, Range columns, const Moments& of) {
            const Normed h(ws, node, r, of);
            const Moved rh(ws, node, r, columns, h);
            exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
                Vector y = rh(p, n) * own.weight(p, n);
                if (way != nullptr) y += h(p, n) * load(way, p, n);
                if (bias != nullptr) y += load(bias, p, n);
                put(rz, r, p, n, lanes, false, y);
            });
        });
    }

    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range, const Into& into) {
        if (!into.wants(0)) return;
        const Panels<T> rdx = ws.rda(node.input()), d = ws.d(node.output), rd = ws.rd(node.output);
        const Affine own(ws, node);
        const T* const way = own.direction(0);
        const bool add = into.adds(0);
        for_groups(ws, node, rdx, rows, DoneOf<Into>{into, 0},
                   [&](index r, Range columns, const Moments& of) {
                       const Normed h(ws, node, r, of);
                       const Moved rh(ws, node, r, columns, h);
                       const auto g = [&](index p, auto n) { return own.weight(p, n) * load(d, r, p, n); };
                       const auto rg = [&](index p, auto n) {
                           const Vector change = own.weight(p, n) * load(rd, r, p, n);
                           return way != nullptr ? load(way, p, n) * load(d, r, p, n) + change : change;
                       };
                       const Means<4> m = means<4>(columns, [&](index p, auto n, Vector(&terms)[4]) {
                           terms[0] = g(p, n);
                           terms[1] = h(p, n) * terms[0];
                           terms[2] = rg(p, n);
                           terms[3] = rh(p, n) * terms[0] + h(p, n) * terms[2];
                       });
                       exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
                           put(rdx, r, p, n, lanes, add,
                               rules::Norm::product_tangent(h.s, h(p, n), rh(p, n), g(p, n), rg(p, n),
                                                            centre(m.of[0]), m.of[1], rh.along,
                                                            centre(m.of[2]), m.of[3]));
                       });
                   });
    }

    // Of the weight: u = h
    static constexpr bool has_factors = true;
    static constexpr bool has_factor(index k) { return k == 0; }
    static const T* factor(const Workspace<T>& ws, const Node& node, index, Range rows, index p, T* room) {
        return of_panel(ws, node, rows, p, room, [&](index, Range, const Normed& h) { return h; });
    }
    static const T* factor_tangent(const Workspace<T>& ws, const Node& node, index, Range rows, index p,
                                   T* room) {
        return of_panel(ws, node, rows, p, room, [&](index r, Range columns, const Normed& h) {
            return Moved(ws, node, r, columns, h);
        });
    }

   private:
    using Vector = exec::Vector<T>;
    static constexpr index full = Panels<T>::full, w = exec::lanes<T>;
    static constexpr bool centred = kind != RowNormKind::rms;

    struct Moments {
        T mean, s;
    };

    static index groups(const Node& node) { return kind == RowNormKind::group ? index(node.op.groups) : 1; }
    static Moments& moments_of(const Workspace<T>& ws, const Node& node, index r, index group) {
        return reinterpret_cast<Moments*>(ws.kept(node))[r * groups(node) + group];
    }

    static Vector load(const Panels<T>& x, index r, index p, int n) {
        return exec::load(x.row(p, r) + n * w);
    }
    static Vector load(const T* row, index p, int n) { return exec::load(row + p * full + n * w); }

    template <class Lanes>
    static void put(const Panels<T>& y, index r, index p, int n, const Lanes& lanes, bool add, Vector v) {
        T* const to = y.row(p, r) + n * w;
        const Vector old = exec::load(to);
        exec::store(to, lanes.replace(old, add ? old + v : v));
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
        Vector weight(index p, int n) const {
            return factors != nullptr ? load(factors, p, n) : exec::broadcast(T(1));
        }
    };

    template <int K>
    struct Means {
        Vector of[K];  // in every lane
    };
    // Of terms(panel, n, terms) over some columns of a row.
    template <int K, class F>
    static Means<K> means(Range columns, const F& f) {
        Vector sums[2][K] = {};
        exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
            Vector terms[K];
            f(p, n, terms);
            for (int k = 0; k < K; ++k) sums[n][k] += lanes(terms[k]);
        });
        Means<K> result;
        for (int k = 0; k < K; ++k)
            result.of[k] =
                exec::broadcast(exec::sum_of_lanes<T>(sums[0][k] + sums[1][k]) / T(columns.size()));
        return result;
    }
    static Vector centre(Vector mean) { return centred ? mean : Vector{}; }

    // In two passes, and from one of the numbers on, so that equal ones have a variance of exactly zero. The
    // mean is a sum of what is divided already: it overflows for no numbers.
    static Moments moments(const Node& node, const Panels<T>& x, index r, Range columns) {
        Vector mean{};
        if constexpr (centred) {
            const Vector first = exec::broadcast(x.row(columns.begin / full, r)[columns.begin % full]);
            const Vector share = exec::broadcast(1 / T(columns.size()));
            Vector sums[2] = {};
            exec::for_vectors<T>(columns, [&](index p, auto n, auto lanes) {
                sums[n] += lanes((load(x, r, p, n) - first) * share);
            });
            mean = first + exec::broadcast(exec::sum_of_lanes<T>(sums[0] + sums[1]));
        }
        const Means<1> variance = means<1>(columns, [&](index p, auto n, Vector(&terms)[1]) {
            const Vector deviation = load(x, r, p, n) - mean;
            terms[0] = deviation * deviation;
        });
        const double eps = node.op.eps > 0 ? node.op.eps : double(std::numeric_limits<T>::epsilon());
        return {mean[0], T(1 / std::sqrt(double(variance.of[0][0]) + eps))};
    }

    // h of a row and group.
    struct Normed {
        Panels<T> x;
        index r;
        Vector mean, s;

        Normed(const Workspace<T>& ws, const Node& node, index r, const Moments& of)
            : x(ws.a(node.input())), r(r), mean(exec::broadcast(of.mean)), s(exec::broadcast(of.s)) {}
        Vector operator()(index p, int n) const { return rules::Norm::normalize(load(x, r, p, n), mean, s); }
    };

    // rh likewise.
    struct Moved {
        Normed h;
        Panels<T> rx;
        Vector mean{}, along{};

        Moved(const Workspace<T>& ws, const Node& node, index r, Range columns, const Normed& h)
            : h(h), rx(ws.ra(node.input())) {
            if (rx.data == nullptr) return;
            const Means<2> m = means<2>(columns, [&](index p, auto n, Vector(&terms)[2]) {
                terms[0] = load(rx, r, p, n);
                terms[1] = h(p, n) * terms[0];
            });
            mean = centre(m.of[0]);
            along = m.of[1];
        }
        Vector operator()(index p, int n) const {
            if (rx.data == nullptr) return Vector{};
            return rules::Norm::product(h.s, h(p, n), load(rx, h.r, p, n), mean, along);
        }
    };

    // f(row, columns of a group, its moments), and done(first, count) for the stretches of `to`, some rows at
    // a time, with what pads them zero.
    template <class Done, class F>
    static void for_groups(const Workspace<T>& ws, const Node& node, const Panels<T>& to, Range rows,
                           const Done& done, const F& f) {
        const index count = groups(node), size = to.cols / count;
        exec::for_pieces(rows, 16, [&](Range some) {
            exec::clear_padding(to, some);
            for (index r = some.begin; r < some.end; ++r)
                for (index group = 0; group < count; ++group)
                    f(r, Range{group * size, (group + 1) * size}, moments_of(ws, node, r, group));
            for_stretches(to, some, [&](Range s) { done(s.begin, s.size()); });
        });
    }

    // room = of(row, columns of a group, h) in panel p, and zero in what pads it.
    template <class F>
    static const T* of_panel(const Workspace<T>& ws, const Node& node, Range rows, index p, T* room,
                             const F& of) {
        const Panels<T> z = ws.z(node.output);
        const index size = z.cols / groups(node), width = z.width(p);
        const Range columns{p * full, p * full + z.used(p)};
        for (index r = rows.begin; r < rows.end; ++r, room += width) {
            for (index j = 0; j < width; j += w) exec::store(room + j, Vector{});
            for (index group = columns.begin / size; group * size < columns.end; ++group) {
                const Range own{group * size, (group + 1) * size};
                const auto h = of(r, own, Normed(ws, node, r, moments_of(ws, node, r, group)));
                exec::for_vectors<T>(exec::intersect(own, columns), [&](index q, auto n, auto lanes) {
                    T* const y = room + n * w;
                    exec::store(y, lanes.replace(exec::load(y), h(q, n)));
                });
            }
        }
        return room - rows.size() * width;
    }
};

template <class T>
using LayerNorm = RowNorm<T, RowNormKind::layer>;
template <class T>
using RMSNorm = RowNorm<T, RowNormKind::rms>;
template <class T>
using GroupNorm = RowNorm<T, RowNormKind::group>;

}  // namespace fnn::FNN_ISA::net
