// z = the means of windows of x.
#pragma once

#include "net/ops/panel_columns.h"
#include "net/ops/windows.h"

namespace fnn::FNN_ISA::net {

template <class T>
class MeansOfWindows {
   public:
    MeansOfWindows(const Workspace<T>& ws, const Node& node)
        : grid_(ws.plan, node),
          z_(ws.plan.values[std::size_t(node.output)].positions()),
          x_(ws.plan.values[std::size_t(node.input())].positions()),
          counts_outside_(node.op.counts_outside != 0) {}

    void there(const Panels<T>& z, const Panels<T>& x, index e) const {
        for_panels(x, e * x_, z, e * z_, [&](const T* from, T* to, auto vectors) {
            constexpr int N = decltype(vectors)::value;
            grid_.for_windows([&](const Window& window) {
                exec::Vector<T> sums[N] = {};
                grid_.for_positions(window, [&](index i) {
                    for (int n = 0; n < N; ++n) sums[n] += exec::load(from + (i * N + n) * w);
                });
                for (int n = 0; n < N; ++n)
                    exec::store(to + (window.to * N + n) * w, sums[n] * share_of(window));
            });
        });
    }
    void back(const Panels<T>& dx, const Panels<T>& dz, index e, bool add) const {
        const bool fresh = !add && grid_.tile();
        for_panels(dx, e * x_, dz, e * z_, [&](T* to, const T* from, auto vectors) {
            constexpr int N = decltype(vectors)::value;
            if (!add && !fresh) exec::elementwise({0, x_ * N * w}, Clear<T>{to});
            grid_.for_windows([&](const Window& window) {
                exec::Vector<T> shares[N];
                for (int n = 0; n < N; ++n)
                    shares[n] = exec::load(from + (window.to * N + n) * w) * share_of(window);
                grid_.for_positions(window, [&](index i) {
                    for (int n = 0; n < N; ++n) {
                        T* const there = to + (i * N + n) * w;
                        exec::store(there, fresh ? shares[n] : exec::load(there) + shares[n]);
                    }
                });
            });
        });
    }

   private:
    static constexpr index w = exec::lanes<T>;

    exec::Vector<T> share_of(const Window& window) const {
        const index count = counts_outside_ ? window.whole : window.y.size() * window.x.size();
        return exec::broadcast(T(1) / T(count));
    }

    Grid grid_;
    index z_, x_;  // positions
    bool counts_outside_;
};

template <class T>
using AvgPool = LinearByExample<T, MeansOfWindows<T>>;

}  // namespace fnn::FNN_ISA::net
