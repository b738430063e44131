// z = the sum, or the mean, of all positions of x that there are: of none it is zero.
#pragma once

#include "exec/reduce.h"
#include "net/ops/lengths.h"
#include "net/ops/panel_columns.h"
#include "net/ops/windows.h"

namespace fnn::FNN_ISA::net {

template <class T, bool is_mean>
class TotalOfPositions {
   public:
    TotalOfPositions(const Workspace<T>& ws, const Node& node)
        : ws_(ws), node_(node), positions_(ws.plan.values[std::size_t(node.input())].positions()) {}

    void there(const Panels<T>& z, const Panels<T>& x, index e) const {
        const index count = length_of(ws_, node_, e);
        const exec::Vector<T> share = share_of(count);
        for_panels(x, e * positions_, z, e, [&](const T* from, T* to, auto vectors) {
            constexpr int N = decltype(vectors)::value;
            sum<N>(to, from, count);
            for (int n = 0; n < N; ++n) exec::store(to + n * w, exec::load(to + n * w) * share);
        });
    }
    void back(const Panels<T>& dx, const Panels<T>& dz, index e, bool add) const {
        const index count = length_of(ws_, node_, e);
        const exec::Vector<T> share = share_of(count);
        for_panels(dx, e * positions_, dz, e, [&](T* to, const T* from, auto vectors) {
            constexpr int N = decltype(vectors)::value;
            exec::Vector<T> d[N];
            for (int n = 0; n < N; ++n) d[n] = exec::load(from + n * w) * share;
            for (index r = 0; r < count; ++r)
                for (int n = 0; n < N; ++n) {
                    T* const there = to + (r * N + n) * w;
                    exec::store(there, add ? exec::load(there) + d[n] : d[n]);
                }
            if (!add) exec::elementwise({count * N * w, positions_ * N * w}, Clear<T>{to});
        });
    }

   private:
    static constexpr index w = exec::lanes<T>;

    // Of some rows; of many in parts.
    template <int N>
    static void sum(T* to, const T* from, index rows) {
        if (rows <= exec::rows_summed) return exec::column_sums<T, N>(to, from, rows);
        double totals[N * w] = {};
        exec::for_pieces({0, rows}, exec::rows_summed, [&](Range some) {
            exec::column_sums<T, N>(to, from + some.begin * N * w, some.size());
            exec::elementwise({0, N * w}, exec::AddUp<T>{totals, to, false});
        });
        exec::elementwise({0, N * w}, exec::Round<T>{to, totals});
    }

    static exec::Vector<T> share_of(index count) {
        return exec::broadcast(is_mean && count > 0 ? T(1) / T(count) : T(1));
    }

    const Workspace<T>& ws_;
    const Node& node_;
    index positions_;
};

template <class T>
using SumPositions = LinearByExample<T, TotalOfPositions<T, false>>;
template <class T>
using MeanPositions = LinearByExample<T, TotalOfPositions<T, true>>;

}  // namespace fnn::FNN_ISA::net
