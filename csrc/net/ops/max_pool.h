// z = the largest number of each window of x, or of all its positions. Where it stood is kept: derivatives
// come from there and go there.
#pragma once

#include <limits>

#include "net/ops/lengths.h"
#include "net/ops/panel_columns.h"
#include "net/ops/windows.h"

namespace fnn::FNN_ISA::net {

// Of some numbers, lane by lane: the largest, and the place of the first such. NaN is larger than any number,
// and of several it is the last, as in torch.
template <class T>
struct FirstLargest {
    using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Integer Places __attribute__((vector_size(exec::vector_bytes)));

    exec::Vector<T> number;
    Places place;

    static Places all(index place) { return Places{} + Integer(place); }

    void take(exec::Vector<T> x, index where) {
        const auto larger = (x > number) | (x != x);
        number = larger ? x : number;
        place = larger ? all(where) : place;
    }
};

template <class T>
struct MaxPool : OpBase {
    static constexpr Traits traits = linear_traits;
    static constexpr bool mixes_positions = true;
    static constexpr Cut cut(const Run&) { return Cut::rows; }

    // The places, as z lies.
    static index kept(const Node& node, const Plan& plan, index examples) {
        const Shape& out = plan.values[std::size_t(node.output)].shape;
        return Panels<T>{nullptr, examples * out.positions(), out.channels}.size();
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Both both(ws, node);
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        for_examples(ws, node.output, z, examples, done, [&](Range some) {
            for (index e = some.begin; e < some.end; ++e)
                for_panels(x, e * both.in, z, e * both.out, [&](const T* from, T* to, auto vectors) {
                    constexpr int N = decltype(vectors)::value;
                    T* const places = both.places + (to - z.data);
                    both.for_windows(e, [&](const Window& window) {
                        FirstLargest<T> best[N];
                        const bool empty = window.x.empty();
                        const index first = window.y.begin * both.grid.x.length + window.x.begin;
                        for (auto& each : best)
                            each = {exec::broadcast(empty ? T(0) : -std::numeric_limits<T>::infinity()),
                                    FirstLargest<T>::all(empty ? -1 : first)};
                        both.grid.for_positions(window, [&](index i) {
                            for (int n = 0; n < N; ++n) best[n].take(exec::load(from + (i * N + n) * w), i);
                        });
                        for (int n = 0; n < N; ++n) {
                            const index i = (window.to * N + n) * w;
                            exec::store(to + i, best[n].number);
                            exec::store(places + i, exec::Vector<T>(best[n].place));
                        }
                    });
                });
        });
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range examples, Range, const Into& into) {
        put_back(ws, node, ws.da(node.input()), ws.d(node.output), examples, into);
        stop_at_lengths(ws, node, ws.da(node.inputs.back().value), examples, into);
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range examples, Range, const Done& done) {
        const Both both(ws, node);
        const Panels<T> rz = ws.rz(node.output), rx = ws.ra(node.input());
        for_examples(ws, node.output, rz, examples, done, [&](Range some) {
            if (rx.data == nullptr)
                return for_stretches(rz, ws.rows_of(node.output, some),
                                     [&](Range r) { exec::elementwise(r, Clear<T>{rz.data}); });
            for (index e = some.begin; e < some.end; ++e)
                for_panels(rx, e * both.in, rz, e * both.out, [&](const T* from, T* to, auto vectors) {
                    constexpr int N = decltype(vectors)::value;
                    const T* const places = both.places + (to - rz.data);
                    both.for_windows(e, [&](const Window& window) {
                        const index at = window.to * N * w;
                        exec::Vector<T> picked[N] = {};
                        both.grid.for_positions(window, [&](index i) {
                            for (int n = 0; n < N; ++n)
                                picked[n] = is_at(places + at + n * w, i) ? exec::load(from + (i * N + n) * w)
                                                                          : picked[n];
                        });
                        for (int n = 0; n < N; ++n) exec::store(to + at + n * w, picked[n]);
                    });
                });
        });
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range examples, Range,
                                 const Into& into) {
        put_back(ws, node, ws.rda(node.input()), ws.rd(node.output), examples, into);
        stop_at_lengths(ws, node, ws.rda(node.inputs.back().value), examples, into);
    }

   private:
    static constexpr index w = exec::lanes<T>;
    using Places = typename FirstLargest<T>::Places;

    // Sizes of both sides, and the windows of an example.
    struct Both {
        const Workspace<T>& ws;
        const Node& node;
        Grid grid;
        index in, out;  // positions
        T* places;

        Both(const Workspace<T>& ws, const Node& node)
            : ws(ws),
              node(node),
              grid(ws.plan, node),
              in(ws.plan.values[std::size_t(node.input())].positions()),
              out(ws.plan.values[std::size_t(node.output)].positions()),
              places(ws.kept(node)) {
            if (has_lengths(node)) grid.y = {}, grid.x = {in, 1};
        }
        bool tile() const { return grid.tile() && !has_lengths(node); }

        template <class F>
        void for_windows(index e, const F& f) const {
            if (!has_lengths(node)) return grid.for_windows(f);
            const index length = length_of(ws, node, e);
            f(Window{0, {0, 1}, {0, length}, length});
        }
    };

    static auto is_at(const T* places, index i) {
        return Places(exec::load(places)) == FirstLargest<T>::all(i);
    }

    // dx (+)= dz where its place is
    template <class Into>
    static void put_back(const Workspace<T>& ws, const Node& node, const Panels<T>& dx, const Panels<T>& dz,
                         Range examples, const Into& into) {
        if (!into.wants(0)) return;
        const Both both(ws, node);
        const bool add = into.adds(0), fresh = !add && both.tile();
        for_examples(ws, node.input(), dx, examples, DoneOf<Into>{into, 0}, [&](Range some) {
            for (index e = some.begin; e < some.end; ++e)
                for_panels(dx, e * both.in, dz, e * both.out, [&](T* to, const T* from, auto vectors) {
                    constexpr int N = decltype(vectors)::value;
                    const T* const places = both.places + (from - dz.data);
                    if (!add && !fresh) exec::elementwise({0, both.in * N * w}, Clear<T>{to});
                    both.for_windows(e, [&](const Window& window) {
                        const index at = window.to * N * w;
                        both.grid.for_positions(window, [&](index i) {
                            for (int n = 0; n < N; ++n) {
                                T* const there = to + (i * N + n) * w;
                                const exec::Vector<T> d = exec::load(from + at + n * w);
                                const exec::Vector<T> own =
                                    is_at(places + at + n * w, i) ? d : exec::Vector<T>{};
                                exec::store(there, fresh ? own : exec::load(there) + own);
                            }
                        });
                    });
                });
        });
    }
};

}  // namespace fnn::FNN_ISA::net
