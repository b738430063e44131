// What is asked of inputs before a training: whether they are finite.
#pragma once

#include <atomic>

#include "net/carver.h"
#include "net/team.h"

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

// The first row of x with a number that is not finite as T; x.rows if there is none.
template <class T>
index first_non_finite_row(const Source& x, index columns, int threads, Interrupt interrupt, Arena& arena) {
    threads = team_size(threads, chunk_size(x.rows) * columns);
    // Rows that are gathered at a time: they stay in the cache.
    const Panels<T> block{nullptr, exec::min(256, 1 + (1 << 14) / columns), columns};
    Carver count(nullptr);
    count.take<T>(threads * block.size());
    T* const memory = static_cast<T*>(arena.reserve(count.used()));

    std::atomic<index> found{x.rows};
    exec::run(threads, interrupt, [&](Exec& exec) {
        exec::for_pieces(exec.share(x.rows), block.rows, [&](Range piece) {
            exec.poll();
            if (piece.begin > found.load(std::memory_order_relaxed)) return;
            const auto is_finite = [&](index first, index rows) {
                const Panels<T> now{memory + exec.rank * block.size(), rows, columns};
                gather<T>(now, x, nullptr, first, {0, rows});
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

}  // namespace fnn::FNN_ISA::net
