// How the rows and the examples of a call are shared by its team.
#pragma once

#include "exec/cpu.h"
#include "net/pass.h"

namespace fnn::FNN_ISA::net {

using exec::Exec;

// Steps too small to share run on one thread: waiting would cost more than the work. Decided by the shapes
// alone.
constexpr index smallest_shared_work = 600 * 1000;  // multiply-adds between two barriers

inline int team_size(int threads, index work) { return work < smallest_shared_work ? 1 : threads; }

// Rows of examples that are computed at a time where nothing else asks for more.
constexpr index chunk_rows = 1024;
inline index chunk_size(index n) { return n < chunk_rows ? n : chunk_rows; }

// Rows that a thread walks through all nodes before it asks whether to go on.
constexpr index piece_rows = 512;

// f(rows) for this thread's rows of a batch.
template <class F>
inline void for_own_pieces(Exec& exec, index batch, const F& f) {
    exec::for_pieces(exec.share(batch), piece_rows, [&](Range rows) {
        exec.poll();
        f(rows);
    });
}

// f(first example, rows of the chunk) for chunks of n examples, on a grid fixed by the shapes; all threads
// wait after each.
template <class F>
inline void for_chunks(Exec& exec, index n, const F& f) {
    for (index first = 0; first < n; first += chunk_rows) {
        exec.poll();
        f(first, chunk_size(n - first));
        exec.barrier();
    }
}

template <class T>
inline void score_outputs(Exec& exec, Workspace<T>& ws, Loss loss, const Batch<T>& batch, Range rows,
                          T factor) {
    const int last = ws.plan.output();
    loss_forward<T>(loss, batch, ws.a(last), ws.da(last), rows, factor, ws.scores, ws.scratch(exec.rank));
}

// In the order of the rows, whoever computed them.
template <class T>
inline Score add_up(const RowScores<T>& scores, index rows) {
    Score sum;
    for (index r = 0; r < rows; ++r) {
        sum.loss += double(scores.loss[r]);
        sum.right += scores.right[r];
    }
    return sum;
}

// Adds the scores of a chunk to `score` when all its rows are done.
template <class T>
inline void collect(Exec& exec, const RowScores<T>& scores, index rows, Score* score) {
    exec.barrier();
    if (exec.rank != 0) return;
    const Score sum = add_up(scores, rows);
    score->loss += sum.loss;
    score->right += sum.right;
}

}  // namespace fnn::FNN_ISA::net
