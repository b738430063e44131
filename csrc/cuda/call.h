// What the calls of the table have in common: a workspace with the parameters, and chunks of examples on
// their way to the device and back.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "cuda/examples.h"
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

// What every call has: a stream, memory, and examples on their way to it.
template <class T>
class Session {
   public:
    // For at most so many examples at a time.
    Session(const Context& call, index most)
        : context(call), plan(checked(call.plan)), memory(stream), poll(call.interrupt), most_(most) {}

    // Rows of x as the first layer reads them.
    void load_rows(T* to, const Source& x, const std::int64_t* order, index first, index count) {
        constexpr index at_once = 8192;
        const index width = plan.values.front().features();
        if (order == nullptr && lies_ready<T>(plan, x))
            return stream.upload(to, reinterpret_cast<const T*>(x.data) + first * width, count * width);
        const bool raw = can_be_raw(plan, x);
        const index most = exec::min(most_, at_once), bytes = raw_bytes(plan, x);
        if (raw && raw_ == nullptr) {
            raw_ = memory.template take<char>(most * bytes);
            map_ = column_map(memory, context);
        }
        void* const staged =
            context.arena.reserve(std::size_t(most * (raw ? bytes : width * index(sizeof(T)))));
        for (index done = 0; done < count; done += at_once) {
            const index some = exec::min(at_once, count - done);
            if (raw) {
                stream.upload(raw_, raw_rows(static_cast<char*>(staged), plan, x, order, first + done, some),
                              some * bytes);
                convert_rows(stream, to + done * width, raw_, x.dtype, map_, some, width);
            } else {
                read_rows(static_cast<T*>(staged), context, x, order, first + done, some);
                stream.upload(to + done * width, static_cast<const T*>(staged), some * width);
            }
        }
    }

    // Targets and weights of some examples.
    Examples<T> load_targets(const Targets<T>& y, const std::int64_t* order, index first, index count,
                             const Now* now) {
        Examples<T> to;
        to.out = plan.out_features();
        to.now = now;
        to.labels = load(y.labels, labels_, 1, order, first, count);
        to.values = load(y.values, values_, to.out, order, first, count);
        to.weights = load(y.weights, weights_, 1, order, first, count);
        return to;
    }

    const Context& context;
    const Plan& plan;
    Stream stream;
    Memory memory;
    Poll poll;

   private:
    static const Plan& checked(const Plan& plan) {
        need_known_layers(plan);
        return plan;
    }

    template <class U>
    const U* load(const U* from, U*& to, index width, const std::int64_t* order, index first, index count) {
        if (from == nullptr) return nullptr;
        if (to == nullptr) to = memory.template take<U>(most_ * width);
        if (order == nullptr) {
            stream.upload(to, from + first * width, count * width);
            return to;
        }
        std::vector<U> rows(std::size_t(count * width));
        for (index r = 0; r < count; ++r)
            std::copy_n(from + order[first + r] * width, width, rows.data() + r * width);
        stream.upload(to, rows.data(), count * width);
        return to;
    }

    const index most_;
    char* raw_ = nullptr;
    ColumnMapOnDevice map_;
    std::int64_t* labels_ = nullptr;
    T *values_ = nullptr, *weights_ = nullptr;
};

// A call that takes its examples through the network in chunks.
template <class T>
class Call : public Session<T> {
   public:
    using Session<T>::stream, Session<T>::memory, Session<T>::plan;

    Call(const Context& call, index examples, Needs needs, const T* parameters)
        : Session<T>(call, exec::min(chunk_limit(call, examples), exec::max(examples, 1))),
          limit(chunk_limit(call, examples)),
          ws(stream, memory, call, exec::min(limit, exec::max(examples, 1)), needs),
          examples_(examples),
          scores_(memory.template take<double>(2)) {
        stream.upload(ws.parameters, parameters, plan.n_parameters);
        stream.clear(ws.gradient, needs.gradient ? plan.n_parameters : 0);
        stream.clear(scores_, 2);
    }

    // f(workspace of a chunk, its first example, how many)
    template <class F>
    void for_chunks(const F& f) {
        for (index first = 0; first < examples_; first += limit) {
            const index count = exec::min(examples_ - first, limit);
            Workspace<T> chunk = ws.of_batch(first, count);
            f(chunk, first, count);
            this->poll();
        }
    }

    // Rows of x into the first value of a chunk.
    void load(Workspace<T>& chunk, const Source& x, const std::int64_t* order, index first) {
        this->load_rows(chunk.a(0), x, order, first, chunk.rows);
    }
    // Their targets.
    Examples<T> load(const Workspace<T>& chunk, const Targets<T>& y, const std::int64_t* order, index first) {
        return this->load_targets(y, order, first, chunk.rows, chunk.now);
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

    const index limit;  // of a chunk
    Workspace<T> ws;

   private:
    const index examples_;
    double* const scores_;
};

}  // namespace fnn::FNN_ISA::device
