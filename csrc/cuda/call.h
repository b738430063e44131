// What the calls of the table have in common: a workspace with the parameters, and chunks of examples on
// their way to the device and back.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "cuda/dataset.h"
#include "cuda/kernels/totals.h"
#include "cuda/losses.h"
#include "cuda/walk.h"
#include "net/carver.h"
#include "net/ops/loss.h"

namespace fnn::FNN_ISA::device {

// Looks for Ctrl-C when it is told that the device has been waited for.
class Poll {
   public:
    explicit Poll(Interrupt interrupt) : interrupt_(interrupt) {}

    void operator()() {
        using std::chrono::milliseconds;
        const auto now = std::chrono::steady_clock::now();
        if (interrupt_ == nullptr || now - last_ < milliseconds(20)) return;
        last_ = now;
        interrupt_();
    }

   private:
    Interrupt interrupt_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Examples that go through the network together; where rows are coupled, all of them. On a grid that the
// shapes alone decide.
inline index chunk_limit(const Context& call, index n) {
    constexpr index most = 8192, fewest = 64, numbers = index{1} << 25;
    if (call.run.training && call.plan.traits.couples_rows) return exec::max(n, 1);
    index features = 0;
    for (const Value& value : call.plan.values) features += value.features();
    return exec::max(exec::min(most, numbers / features), fewest);
}

// Sums of what the rows of a batch have, to (loss, right).
template <class T>
struct AddScores {
    const T *losses, *right;
    double* to;
    bool add;
    FNN_HD void operator()(index i, double (&terms)[2]) const {
        terms[0] = double(losses[i]);
        terms[1] = double(right[i]);
    }
    FNN_HD void put(const double (&sums)[2]) const {
        for (int k = 0; k < 2; ++k) to[k] = add ? to[k] + sums[k] : sums[k];
    }
};

// A call that takes its examples through the network in chunks. When it ends, however it ends, the device has
// done all of its work.
template <class T>
class Call {
   public:
    // set: where the examples are, if they stay on the device. `parameters` may be null if it needs no memory
    // for them.
    Call(const Context& call, index examples, Needs needs, const T* parameters,
         const DataSet<T>* set = nullptr)
        : plan(checked(call.plan)),
          memory(stream),
          limit(chunk_limit(call, examples)),
          ws(stream, memory, call, exec::min(limit, exec::max(examples, 1)), without_input(needs, set)),
          examples_(examples),
          scores_(memory.template take<double>(2)),
          set_(set),
          loader_(call, stream, memory, ws.rows),
          poll_(call.interrupt) {
        stream.upload(ws.parameters, parameters, needs.parameters ? plan.n_parameters : 0);
        stream.clear(ws.gradient, needs.gradient ? plan.n_parameters : 0);
        stream.clear(scores_, 2);
    }
    ~Call() { stream.drain(); }

    // f(workspace of a chunk, its first example, how many)
    template <class F>
    void for_chunks(const F& f) {
        for (index first = 0; first < examples_; first += limit) {
            const index count = exec::min(examples_ - first, limit);
            Workspace<T> chunk = ws.of_batch(first, count);
            f(chunk, first, count);
            poll_();
        }
    }

    // Rows of x become the first value of a chunk.
    void load(Workspace<T>& chunk, const Source& x, const std::int64_t* order, index first) {
        if (set_ != nullptr) return chunk.read(set_->X() + first * chunk.features(0));
        loader_.load_rows(chunk.a(0), x, order, first, chunk.rows);
    }
    // Their targets.
    Examples<T> load(const Workspace<T>& chunk, const Targets<T>& y, const std::int64_t* order, index first) {
        if (set_ == nullptr) return loader_.load_targets(y, order, first, chunk.rows, chunk.now);
        Examples<T> result = set_->examples(chunk.now);
        result.first = first;
        return result;
    }

    // Adds what the rows of a chunk have to the scores of the call.
    void collect(const Workspace<T>& chunk) {
        total<2>(stream, chunk.rows, AddScores<T>{chunk.losses, chunk.right, scores_, true});
    }
    void finish(Score* score) {
        double sums[2];
        stream.download(sums, scores_, 2);
        stream.wait();
        score->loss += sums[0];
        score->right += sums[1];
    }

    // A direction (n_parameters,) to the device: what is not trained does not move.
    void load_direction(T* to, const T* v) {
        stream.upload(to, v, plan.n_parameters);
        for (const Parameters& own : plan.parameters)
            if (!own.trainable) stream.clear(to + own.offset, own.size());
    }

    const Plan& plan;
    Stream stream;
    Memory memory;
    const index limit;  // of a chunk
    Workspace<T> ws;

   private:
    static Needs without_input(Needs needs, const DataSet<T>* set) {
        needs.input = set == nullptr;
        return needs;
    }
    static const Plan& checked(const Plan& plan) {
        need_known_layers(plan);
        return plan;
    }

    const index examples_;
    double* const scores_;
    const DataSet<T>* const set_;
    Loader<T> loader_;
    Poll poll_;
};

}  // namespace fnn::FNN_ISA::device
