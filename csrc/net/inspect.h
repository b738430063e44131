// What is asked of inputs before a training: whether they are finite, and what their columns are like.
#pragma once

#include <atomic>
#include <cmath>

#include "net/carver.h"
#include "net/team.h"
#include "rules/norm.h"

namespace fnn::FNN_ISA::net {

template <class T>
inline bool all_finite(Panels<const T> x) {
    exec::Vector<T> sum{};  // of x - x, which is 0 or NaN
    for (index i = 0; i < x.size(); i += exec::lanes<T>) {
        const exec::Vector<T> v = exec::load(x.data + i);
        sum += v - v;
    }
    bool finite = true;
    for (int k = 0; k < exec::lanes<T>; ++k) finite &= sum[k] == 0;
    return finite;
}

// The place in the order of the first row of x with a number that is not finite as T; order.rows if there is
// none.
template <class T>
index first_non_finite_row(const Source& x, const Order& order, index columns, int threads,
                           Interrupt interrupt, Arena& arena) {
    threads = team_size(threads, chunk_size(order.rows) * columns);
    // Rows that are gathered at a time: they stay in the cache.
    const Panels<T> block{nullptr, exec::min(256, 1 + (1 << 14) / columns), columns};
    Carver count(nullptr);
    count.take<T>(threads * block.size());
    T* const memory = static_cast<T*>(arena.reserve(count.used()));

    std::atomic<index> found{order.rows};
    exec::run(threads, interrupt, [&](Exec& exec) {
        exec::for_pieces(exec.share(order.rows), block.rows, [&](Range piece) {
            exec.poll();
            if (piece.begin > found.load(std::memory_order_relaxed)) return;
            const auto is_finite = [&](index first, index rows) {
                const Panels<T> now{memory + exec.rank * block.size(), rows, columns};
                gather<T>(now, x, order.examples, first, {0, rows});
                return all_finite<T>(now);
            };
            if (is_finite(piece.begin, piece.size())) return;
            index row = piece.begin;
            while (is_finite(row, 1)) ++row;
            index before = found.load();
            while (row < before && !found.compare_exchange_weak(before, row)) {
            }
        });
    });
    return found.load();
}

// The mean of each column, and the sum of squared deviations from it.
struct Moments {
    double *mean, *m2;
};

// Adds N vectors of columns of a block x (n, N vectors) to the moments of `before` rows: within the block
// after Welford (1962), which keeps a constant column's deviations at zero.
template <int N>
inline void add_moments(Moments to, index before, const double* x, index n) {
    using Vector = exec::Vector<double>;
    constexpr index w = exec::lanes<double>;
    Vector mean[N] = {}, m2[N] = {};
    for (index r = 0; r < n; ++r) {
        const Vector part = exec::broadcast(1 / double(r + 1));
        for (int k = 0; k < N; ++k) {
            const Vector v = exec::load(x + (r * N + k) * w), d = v - mean[k];
            mean[k] += d * part;
            m2[k] += d * (v - mean[k]);
        }
    }
    for (int k = 0; k < N; ++k) {
        double *const all_mean = to.mean + k * w, *const all_m2 = to.m2 + k * w;
        if (before > 0)
            rules::merge_moments(mean[k], m2[k], double(n), exec::load(all_mean), exec::load(all_m2),
                                 double(before));
        exec::store(all_mean, mean[k]);
        exec::store(all_m2, m2[k]);
    }
}

// mean (columns,) and population standard deviation (columns,) of some rows of x.
inline void column_statistics(const Source& x, const Order& order, index columns, int threads,
                              Interrupt interrupt, Arena& arena, double* mean, double* deviation) {
    Panels<double> block{nullptr, exec::min(chunk_rows, 1 + (1 << 18) / columns), columns};
    threads = team_size(threads, 4 * block.size());
    Moments moments{};
    const auto lay_out = [&](Carver carver) {
        block.data = carver.take<double>(block.size());
        moments.mean = carver.take<double>(block.padded());
        moments.m2 = carver.take<double>(block.padded());
        return carver.used();
    };
    lay_out(Carver(arena.reserve(lay_out(Carver(nullptr)))));
    exec::run(threads, interrupt, [&](Exec& exec) {
        const Range panels = exec.share(block.count());
        for (index first = 0; first < order.rows; first += block.rows) {
            exec.poll();
            const Panels<double> now{block.data, exec::min(block.rows, order.rows - first), columns};
            gather<double>(now, x, order.examples, first, exec.share(now.rows));
            exec.barrier();
            for (index p = panels.begin; p < panels.end; ++p) {
                const Moments to{moments.mean + p * now.full, moments.m2 + p * now.full};
                if (now.width(p) == now.full)
                    add_moments<2>(to, first, now.panel(p), now.rows);
                else
                    add_moments<1>(to, first, now.panel(p), now.rows);
            }
            exec.barrier();
        }
    });
    for (index j = 0; j < columns; ++j) {
        mean[j] = moments.mean[j];
        deviation[j] = std::sqrt(moments.m2[j] / double(order.rows));
    }
}

}  // namespace fnn::FNN_ISA::net
