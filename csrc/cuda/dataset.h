// Examples in device memory: some at a time, or those that stay there from call to call.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cuda/examples.h"
#include "cuda/losses.h"
#include "cuda/mirror.h"

namespace fnn::FNN_ISA::device {

// Brings examples to the device, at most so many at a time.
template <class T>
class Loader {
   public:
    Loader(const Context& call, Stream& stream, Memory& memory, index most)
        : context_(call), stream_(stream), memory_(memory), staging_(stream), most_(most) {}

    // Rows of x as the first layer reads them.
    void load_rows(T* to, const Source& x, const std::int64_t* order, index first, index count) {
        constexpr index at_once = 8192;
        const Plan& plan = context_.plan;
        const index width = plan.values.front().features();
        if (order == nullptr && lies_ready<T>(plan, x))
            return stream_.upload(to, reinterpret_cast<const T*>(x.data) + first * width, count * width);
        const bool raw = can_be_raw(plan, x);
        const index most = exec::min(most_, at_once), bytes = raw_bytes(plan, x);
        if (raw && raw_ == nullptr) {
            raw_ = staging_.template take<char>(most * bytes);
            map_ = column_map(staging_, context_);
        }
        void* const staged =
            context_.arena.reserve(std::size_t(most * (raw ? bytes : width * index(sizeof(T)))));
        for (index done = 0; done < count; done += at_once) {
            const index some = exec::min(at_once, count - done);
            if (raw) {
                stream_.upload(raw_, raw_rows(static_cast<char*>(staged), plan, x, order, first + done, some),
                               some * bytes);
                convert_rows(stream_, to + done * width, raw_, x.dtype, map_, some, width);
            } else {
                read_rows(static_cast<T*>(staged), context_, x, order, first + done, some);
                stream_.upload(to + done * width, static_cast<const T*>(staged), some * width);
            }
        }
    }

    // Targets and weights of some examples.
    Examples<T> load_targets(const Targets<T>& y, const std::int64_t* order, index first, index count,
                             const Now* now) {
        Examples<T> to;
        to.out = context_.plan.out_features();
        to.now = now;
        to.labels = load(y.labels, labels_, 1, order, first, count);
        to.values = load(y.values, values_, to.out, order, first, count);
        to.weights = load(y.weights, weights_, 1, order, first, count);
        return to;
    }

   private:
    template <class U>
    const U* load(const U* from, U*& to, index width, const std::int64_t* order, index first, index count) {
        if (from == nullptr) return nullptr;
        if (to == nullptr) to = memory_.template take<U>(most_ * width);
        if (order == nullptr) {
            stream_.upload(to, from + first * width, count * width);
            return to;
        }
        std::vector<U> rows(std::size_t(count * width));
        for (index r = 0; r < count; ++r)
            std::copy_n(from + order[first + r] * width, width, rows.data() + r * width);
        stream_.upload(to, rows.data(), count * width);
        return to;
    }

    const Context& context_;
    Stream& stream_;
    Memory &memory_, staging_;
    const index most_;
    char* raw_ = nullptr;
    ColumnMapOnDevice map_;
    std::int64_t* labels_ = nullptr;
    T *values_ = nullptr, *weights_ = nullptr;
};

// Rows of x with their targets; their weights are those of the call at hand.
template <class T>
class DataSet {
   public:
    DataSet(const Context& call, const Source& x, Targets<T> y, const Order& of)
        : memory_(stream_), of_(of), all_(x.rows), read_as_(state_of_inputs(call)) {
        y.weights = nullptr;
        X_ = memory_.template take<T>(of.rows * call.plan.values.front().features());
        Loader<T> loader(call, stream_, memory_, of.rows);
        loader.load_rows(X_, x, of.examples, 0, of.rows);
        targets_ = loader.load_targets(y, of.examples, 0, of.rows, nullptr);
        stream_.wait();  // that of another thread may read them
    }
    DataSet(const DataSet&) = delete;
    DataSet& operator=(const DataSet&) = delete;

    // Whether the input layers would make the same of x now.
    bool is_read_by(const Context& call) const { return read_as_ == state_of_inputs(call); }

    // Those of x (x.rows,), or null: all are 1.
    void weigh(const T* weights) {
        is_weighted_ = weights != nullptr;
        if (!is_weighted_) return;
        if (!weights_) weights_.emplace(stream_, memory_.template take<T>(of_.rows), of_.rows);
        if (of_.examples == nullptr) return weights_->send(weights, of_.rows);
        std::vector<T> own(std::size_t(of_.rows));
        for (index r = 0; r < of_.rows; ++r) own[std::size_t(r)] = weights[of_.examples[r]];
        weights_->send(own.data(), of_.rows);
    }

    // The places of the rows that an order names, in `to` if need be; null: they lie in that order. Nothing
    // where some of them are not here.
    std::optional<const std::int64_t*> places(const Order& order, std::vector<std::int64_t>& to) {
        if (order.examples == of_.examples && order.rows <= of_.rows) return nullptr;
        if (order.examples != nullptr && of_.examples == nullptr && of_.rows == all_) return order.examples;
        if (places_.empty()) {
            places_.assign(std::size_t(all_), -1);
            for (index r = 0; r < of_.rows; ++r)
                places_[std::size_t(of_.examples != nullptr ? of_.examples[r] : r)] = r;
        }
        to.resize(std::size_t(order.rows));
        for (index r = 0; r < order.rows; ++r) {
            to[std::size_t(r)] = places_[std::size_t(order.examples != nullptr ? order.examples[r] : r)];
            if (to[std::size_t(r)] < 0) return std::nullopt;
        }
        return to.data();
    }

    // (rows, features of the first value)
    T* X() const { return X_; }
    bool is_weighted() const { return is_weighted_; }
    Examples<T> examples(const Now* now) const {
        Examples<T> result = targets_;
        result.weights = is_weighted_ ? weights_->there : nullptr;
        result.now = now;
        return result;
    }

   private:
    static std::vector<double> state_of_inputs(const Context& call) {
        return {call.state,
                call.state + (call.plan.input_layers.empty() ? 0 : call.plan.nodes.front().state)};
    }

    Stream stream_;
    Memory memory_;
    const Order of_;
    const index all_;  // rows of x
    const std::vector<double> read_as_;
    T* X_ = nullptr;
    Examples<T> targets_;
    std::optional<Mirror<T>> weights_;
    bool is_weighted_ = false;
    std::vector<std::int64_t> places_;  // of all rows of x; -1: not here
};

// A data set, and what epochs on it leave for the next.
template <class T>
struct Standing {
    Standing(const Context& call, const Source& x, const Targets<T>& y, const Order& of)
        : set(call, x, y, of) {}

    DataSet<T> set;
    std::shared_ptr<void> epochs;
};

// The examples of a call on the device, those of `order`: for this call, or from the first call on that is
// about the same ones. A call that fails takes them along.
template <class T>
class Stay {
   public:
    Stay(const Context& call, const Source& x, const Targets<T>& y, const Order& order) : kept_(call.kept) {
        if (kept_ != nullptr) {
            own_ = std::static_pointer_cast<Standing<T>>(std::exchange(kept_->there, nullptr));
            if (own_ && !own_->set.is_read_by(call)) own_ = nullptr;  // before there are two
            if (!own_) own_ = std::make_shared<Standing<T>>(call, x, y, kept_->of);
            places_ = own_->set.places(order, mapped_);
            if (!places_) keep(), kept_ = nullptr;
        }
        if (kept_ == nullptr) {
            const bool few = order.examples == nullptr || 2 * order.rows < x.rows;
            own_ = std::make_shared<Standing<T>>(call, x, y, few ? order : Order{nullptr, x.rows});
            places_ = own_->set.places(order, mapped_);
        }
        own_->set.weigh(y.weights);
    }

    const DataSet<T>& set() const { return own_->set; }
    // See DataSet::places.
    const std::int64_t* places() const { return *places_; }
    std::shared_ptr<void>& epochs() { return own_->epochs; }

    // At the end of a call that has not failed.
    void keep() {
        if (kept_ != nullptr) kept_->there = own_;
    }

   private:
    OnDevice* kept_;
    std::shared_ptr<Standing<T>> own_;
    std::vector<std::int64_t> mapped_;
    std::optional<const std::int64_t*> places_;
};

}  // namespace fnn::FNN_ISA::device
