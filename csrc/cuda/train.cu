// An epoch on a device: what net/train.h does. A step is captured once as a graph, which reads in device
// memory what changes from step to step, and from epoch to epoch of a fit. The host has all that is learned
// at the end of each epoch, and sends of it what it has changed by the next.
#include <chrono>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/call.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/narrow.h"
#include "cuda/units.h"
#include "cuda/updates.h"

namespace fnn::FNN_ISA::device {

// Row r of `to` = an example of X (all, cols).
template <class T>
struct Gather {
    T* to;
    const T* X;
    Examples<T> examples;
    index cols;
    FNN_HD void operator()(index i) const { to[i] = examples.input(X, cols, i / cols, i % cols); }
};

// Adds the scores of a batch to those of its step. A step whose loss is not finite stops the training.
template <class T>
struct AddBatch {
    const T *losses, *right;
    Progress* progress;
    Now* now;
    const double* ridges;  // by step, or null
    bool first;
    FNN_HD void operator()(index i, double (&terms)[2]) const {
        terms[0] = double(losses[i]);
        terms[1] = double(right[i]);
    }
    FNN_HD void put(const double (&sums)[2]) const {
        double* const step = progress->step;
        if (first) {
            step[2] = ridges != nullptr ? ridges[now->step] / 2 * progress->squares : 0.0;
            step[0] = step[2];
            step[1] = 0;
        }
        step[0] += sums[0];
        step[1] += sums[1];
        if (!(step[0] - step[0] == 0)) now->stopped = 1;
    }
};

template <class T>
struct AddSquares {
    const T* w;
    double* to;
    bool add;
    FNN_HD void operator()(index i, double (&terms)[1]) const { terms[0] = double(w[i]) * double(w[i]); }
    FNN_HD void put(const double (&sums)[1]) const { *to = add ? *to + sums[0] : sums[0]; }
};

template <class T>
struct AddPenalty {
    T* gradient;
    const T* w;
    const double* ridges;
    const Now* now;
    double rows;  // of the step
    FNN_HD void operator()(index i) const { gradient[i] += T(ridges[now->step] / rows) * w[i]; }
};

// Columns longer than that are shortened: see net/constraint.h.
template <class T>
struct ColumnFactors {
    const T* w;
    T* factors;
    double max_norm;
    const Now* now;
    FNN_HD void operator()(index i, double (&terms)[1]) const { terms[0] = double(w[i]) * double(w[i]); }
    FNN_HD void put(index j, const double (&sums)[1]) const {
        const double norm = rules::square_root(sums[0]);
        factors[j] = norm > max_norm && !now->stopped ? T(max_norm / norm) : T(1);
    }
};
template <class T>
struct ScaleColumns {
    T* w;
    const T* factors;
    index cols;
    FNN_HD void operator()(index i) const { w[i] *= factors[i % cols]; }
};

// A step is complete.
struct EndStep {
    Progress* progress;
    Now* now;
    FNN_HD void operator()(index) const {
        if (now->stopped) return;
        for (int k = 0; k < 3; ++k) progress->all[k] += progress->step[k];
        ++now->step;
    }
};

namespace {

// Stretches of the flat parameters that are trained, and where their states begin.
struct Stretch {
    index begin, end, states;
};
std::vector<Stretch> trained(const Plan& plan) {
    std::vector<Stretch> all;
    for (const Parameters& own : plan.parameters) {
        if (!own.trainable) continue;
        if (!all.empty() && all.back().end == own.offset)
            all.back().end += own.size();
        else
            all.push_back({own.offset, own.offset + own.size(), own.trained_before});
    }
    return all;
}

template <class T>
bool has_ridge(const Epoch<T>& epoch) {
    return epoch.ridges != nullptr || epoch.ridge != 0;
}

// What a step does not read in device memory once it is captured: where all of this is the same, the steps of
// one epoch are those of another.
template <class T>
auto captured(const Context& call, const LossSpec& loss, const Epoch<T>& epoch, const Stay<T>& stay) {
    static_assert(sizeof(LossSpec) == 8 * sizeof(double), "all of it is named here");
    return std::make_tuple(
        std::make_tuple(loss.kind, loss.label_smoothing, loss.confidence_penalty, loss.margin, loss.delta,
                        loss.q, loss.temperature, loss.normalize, loss.mining),
        std::make_tuple(call.run.training, call.run.random, call.run.learns_state, call.run.seed),
        std::make_tuple(epoch.batch_size, epoch.batches_per_step, epoch.update.states, has_ridge(epoch),
                        epoch.mixup > 0 ? epoch.order.rows : 0),
        stay.places() != nullptr, stay.set().is_weighted());
}

// Memory for epochs, one after the other, and their steps.
template <class T>
class Training {
   public:
    Training(const Context& call, const LossSpec& loss, const Epoch<T>& epoch, const Stay<T>& stay)
        : plan(call.plan),
          memory(stream),
          ws(stream, memory, call, exec::max(exec::min(epoch.batch_size, epoch.order.rows), 1), needs()),
          captured_(captured(call, loss, epoch, stay)),
          loss_(loss),
          most_rows_(epoch.order.rows),
          most_steps_(epoch.steps),
          capacity_(ws.rows),
          per_step_(capacity_ * epoch.batches_per_step),
          stretches_(trained(plan)),
          parameters_(stream, ws.parameters, plan.n_parameters),
          state_(stream, ws.state, plan.n_state),
          order_(room_for<std::int64_t>(stay.places() != nullptr ? most_rows_ : 0)),
          rules_(room_for<RuleNumbers<T>>(most_steps_)),
          ridges_(room_for<double>(has_ridge(epoch) ? most_steps_ : 0)),
          mixtures_(room_for<Mixture>(epoch.mixup > 0 ? most_steps_ : 0)),
          progress_(memory.template take<Progress>(1)),
          column_factors_(memory.template take<T>(widest_constraint())),
          X_(stay.set().X()),
          examples_(stay.set().examples(ws.now)) {
        ws.run.first = 0;
        states_.reserve(max_states);
        for (int k = 0; k < epoch.update.states; ++k) states_.push_back(room_for<T>(plan.n_trainable));
        examples_.per_step = per_step_;
        examples_.order = order_.there;
        examples_.mixtures = mixtures_.there;
        examples_.rows = epoch.order.rows;
    }
    ~Training() { stream.drain(); }
    Training(const Training&) = delete;
    Training& operator=(const Training&) = delete;

    // Whether another epoch can go on with what is there.
    bool fits(const Context& call, const LossSpec& loss, const Epoch<T>& epoch, const Stay<T>& stay) const {
        return epoch.order.rows <= most_rows_ && epoch.steps <= most_steps_ &&
               captured(call, loss, epoch, stay) == captured_;
    }

    // Sends what the device does not have yet.
    void begin(const Context& call, const Epoch<T>& epoch, const Stay<T>& stay) {
        rows_ = epoch.order.rows;
        parameters_.send(epoch.parameters, plan.n_parameters);
        for (std::size_t k = 0; k < states_.size(); ++k) states_[k].send(epoch.states[k], plan.n_trainable);
        state_.send(call.state, plan.n_state);
        if (stay.places() != nullptr) order_.send(stay.places(), rows_);
        send_ridge(epoch);
        send_mixtures(call.run, epoch);
        Now first;
        first.stream = call.run.stream();
        stream.upload(ws.now, &first, 1);
        stream.clear(progress_, 1);
    }
    // The rules of all steps.
    void send_rules(const std::vector<RuleNumbers<T>>& numbers) {
        rules_.send(numbers.data(), index(numbers.size()));
    }
    // Those of the host, which may have changed, at another step.
    void go_on(const Epoch<T>& epoch, const Now& now) {
        stream.upload(ws.now, &now, 1);
        parameters_.send(epoch.parameters, plan.n_parameters);
    }

    index rows_of_step(index step) const { return exec::min(per_step_, rows_ - step * per_step_); }

    // From the examples of a step to its gradient.
    void queue_gradient(index rows_of_step, bool learns_state) {
        const T factor = net::mean_factor<T>(double(rows_of_step));
        const double* const ridges = ridges_.there;
        if (ridges != nullptr) queue_squares();
        for (index first = 0; first < rows_of_step; first += capacity_) {
            Workspace<T> batch = ws.of_batch(first, exec::min(capacity_, rows_of_step - first));
            Examples<T> examples = examples_;
            examples.first = first;
            elementwise(stream, batch.size(0), Gather<T>{batch.a(0), X_, examples, batch.features(0)});
            Walks<T>::forward(batch);
            Losses<T>::forward(batch, loss_, examples, factor);
            total<2>(stream, batch.rows,
                     AddBatch<T>{batch.losses, batch.right, progress_, ws.now, ridges, first == 0});
            if (learns_state) Walks<T>::learn_state(batch);
            Walks<T>::backward(batch);
            Walks<T>::gradient(batch, first > 0);
        }
        if (ridges == nullptr) return;
        for_matrices([&](const Parameters& own) {
            elementwise(stream, own.rows * own.cols,
                        AddPenalty<T>{ws.gradient + own.offset, ws.parameters + own.offset, ridges, ws.now,
                                      double(rows_of_step)});
        });
    }
    void queue_constraints() {
        for (const Parameters& own : plan.parameters) {
            if (!own.is_constrained()) continue;
            T* const w = ws.parameters + own.offset;
            for_columns<double, 1>(stream, own.rows, own.cols,
                                   ColumnFactors<T>{w, column_factors_, own.max_norm, ws.now});
            elementwise(stream, own.rows * own.cols, ScaleColumns<T>{w, column_factors_, own.cols});
        }
    }

    // Queues a whole step of so many rows, by a graph: one for each kind, as the last may have fewer rows,
    // and the rule may change its type.
    void queue_step(index rows, ApplyRule<T> rule) {
        auto& graph = graphs_[{rows, rule}];
        if (!graph)
            graph = std::make_unique<Graph>(stream, [&] {
                queue_gradient(rows, ws.run.learns_state);
                for (const Stretch& s : stretches_)
                    rule(stream, rules_.there, ws.now, tensors(s), s.end - s.begin);
                queue_constraints();
                elementwise(stream, 1, EndStep{progress_, ws.now});
            });
        graph->launch();
    }

    // For a network whose steps one kernel makes.
    RunSteps<T> narrow(const UpdateSpec& update) const {
        const bool plain = ridges_.there == nullptr && mixtures_.there == nullptr && per_step_ == capacity_ &&
                           ws.rounding.to == ComputeType::same;
        return plain ? narrow_steps<T>(plan, loss_, update, ws.rows) : nullptr;
    }
    StepsOf<T> steps() const {
        return {X_, examples_, rows_, capacity_, loss_, rules_.there, tensors({}), progress_, ws.now};
    }

    Now now() {
        Now now;
        stream.download(&now, ws.now, 1);
        stream.wait();
        return now;
    }
    Progress progress() {
        Progress progress;
        stream.download(&progress, progress_, 1);
        stream.wait();
        return progress;
    }
    // What has been learned, to the host: all of it, or nothing.
    void finish(const Context& call, const Epoch<T>& epoch, Score* score) {
        Now reached;
        Progress progress;
        stream.download(&reached, ws.now, 1);
        stream.download(&progress, progress_, 1);
        parameters_.fetch();
        state_.fetch();
        for (Mirror<T>& state : states_) state.fetch();
        stream.wait();
        parameters_.give(epoch.parameters);
        if (call.run.learns_state) state_.give(call.state);
        for (std::size_t k = 0; k < states_.size(); ++k) states_[k].give(epoch.states[k]);
        score->loss += progress.all[0];
        score->right += progress.all[1];
        score->penalty += progress.all[2];
        score->steps = reached.step;
        score->finite = reached.stopped == 0;
    }
    void finish_step(const Epoch<T>& epoch) {
        parameters_.fetch();
        stream.wait();
        parameters_.give(epoch.parameters);
    }
    void finish_state(const Context& call) {
        state_.fetch();
        stream.wait();
        state_.give(call.state);
    }
    bool is_constrained() const { return column_factors_ != nullptr; }

    const Plan& plan;
    Stream stream;
    Memory memory;
    Workspace<T> ws;
    index at_once = 1;  // steps that are queued before they are waited for, so that Ctrl-C is seen soon

   private:
    using Captured = decltype(captured(std::declval<const Context&>(), std::declval<const LossSpec&>(),
                                       std::declval<const Epoch<T>&>(), std::declval<const Stay<T>&>()));

    static Needs needs() {
        Needs needs;
        needs.gradient = needs.loss = true;
        return needs;
    }
    template <class U>
    Mirror<U> room_for(index n) {
        return {stream, memory.template take<U>(n), n};
    }
    Tensors<T> tensors(const Stretch& s) const {
        Tensors<T> all{ws.parameters + s.begin, ws.gradient + s.begin, {}};
        for (std::size_t k = 0; k < states_.size(); ++k) all.states[k] = states_[k].there + s.states;
        return all;
    }

    void send_ridge(const Epoch<T>& epoch) {
        if (!has_ridge(epoch)) return;
        const std::vector<double> same(std::size_t(epoch.steps), epoch.ridge);
        ridges_.send(epoch.ridges != nullptr ? epoch.ridges : same.data(), epoch.steps);
    }
    void send_mixtures(Run run, const Epoch<T>& epoch) {
        if (!(epoch.mixup > 0)) return;
        std::vector<Mixture> all;
        for (index step = 0; step < epoch.steps; ++step) {
            run.step = epoch.first_step + std::uint64_t(step);
            const index begin = step * per_step_;
            const net::Mixing mixing(epoch.mixup, run, {begin, begin + rows_of_step(step)});
            all.push_back({mixing.share, mixing.shift});
        }
        mixtures_.send(all.data(), epoch.steps);
    }
    index widest_constraint() const {
        index most = 0;
        for (const Parameters& own : plan.parameters)
            if (own.is_constrained()) most = exec::max(most, own.cols);
        return most;
    }
    template <class F>
    void for_matrices(const F& f) const {
        for (const Parameters& own : plan.parameters)
            if (own.trainable && own.rows > 0) f(own);
    }
    void queue_squares() {
        stream.clear(&progress_->squares, 1);
        for_matrices([&](const Parameters& own) {
            total<1>(stream, own.rows * own.cols,
                     AddSquares<T>{ws.parameters + own.offset, &progress_->squares, true});
        });
    }

    const Captured captured_;
    const LossSpec loss_;
    const index most_rows_, most_steps_;  // of an epoch
    const index capacity_, per_step_;     // rows of a batch and of a step
    const std::vector<Stretch> stretches_;
    index rows_ = 0;  // of the epoch at hand
    Mirror<T> parameters_;
    Mirror<double> state_;
    std::vector<Mirror<T>> states_;  // of the optimizer
    Mirror<std::int64_t> order_;
    Mirror<RuleNumbers<T>> rules_;  // by step, as are those that follow
    Mirror<double> ridges_;
    Mirror<Mixture> mixtures_;
    Progress* const progress_;
    T* const column_factors_;
    const T* const X_;
    Examples<T> examples_;
    std::map<std::pair<index, ApplyRule<T>>, std::unique_ptr<Graph>> graphs_;
};

// That of the epoch before, where it fits, or a new one.
template <class T>
Training<T>& training_of(const Context& call, const LossSpec& loss, const Epoch<T>& epoch, Stay<T>& stay) {
    auto training = std::static_pointer_cast<Training<T>>(std::exchange(stay.epochs(), nullptr));
    if (training && !training->fits(call, loss, epoch, stay)) training = nullptr;  // before there are two
    if (!training) training = std::make_shared<Training<T>>(call, loss, epoch, stay);
    training->begin(call, epoch, stay);
    stay.epochs() = training;
    return *training;
}

template <class T>
void train(const Context& context, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    need_known_layers(context.plan);
    std::vector<RuleNumbers<T>> numbers;
    std::vector<ApplyRule<T>> rules;  // by step
    UpdateSpec update = epoch.update;
    for (index step = 0; step < epoch.steps; ++step) {
        epoch.set_schedules(update, step);
        const Rule<T> rule = rule_of<T>(update, epoch.steps_before + step);
        numbers.push_back(rule.of_step);
        rules.push_back(rule.apply);
    }
    Stay<T> stay(context, x, y, epoch.order);
    Training<T>& training = training_of(context, loss, epoch, stay);
    training.send_rules(numbers);
    Poll poll(context.interrupt);
    const RunSteps<T> run_steps = training.narrow(epoch.update);
    const auto queue_steps = [&](index step, index end) {
        if (run_steps != nullptr)
            return run_steps(training.stream, training.plan, training.steps(), end - step);
        for (; step < end; ++step) training.queue_step(training.rows_of_step(step), rules[std::size_t(step)]);
    };
    try {
        for (index step = 0; step < epoch.steps;) {
            const auto begin = std::chrono::steady_clock::now();
            const index end = exec::min(step + training.at_once, epoch.steps);
            queue_steps(step, end);
            step = end;
            if (training.now().stopped) break;
            const auto took = std::chrono::steady_clock::now() - begin;
            if (took < std::chrono::milliseconds(10)) training.at_once *= 2;
            if (took > std::chrono::milliseconds(20)) training.at_once = exec::max(training.at_once / 2, 1);
            poll();
        }
    } catch (...) {
        training.finish(context, epoch, score);
        throw;
    }
    training.finish(context, epoch, score);
    stay.keep();
}

template <class T>
void train_stepwise(const Context& context, const Source& x, const Targets<T>& y, const LossSpec& loss,
                    const Epoch<T>& epoch, Score* score) {
    need_known_layers(context.plan);
    Stay<T> stay(context, x, y, epoch.order);
    Training<T>& training = training_of(context, loss, epoch, stay);
    Stream& stream = training.stream;
    Workspace<T>& ws = training.ws;
    const Plan& plan = training.plan;
    Poll poll(context.interrupt);
    stream.clear(ws.gradient, plan.n_parameters);  // and so it stays for what is not trained
    Now now;
    now.stream = context.run.stream();
    for (; now.step < epoch.steps; ++now.step) {
        Progress first{};
        bool is_first = true, again = true;
        while (again) {
            training.go_on(epoch, now);
            training.queue_gradient(training.rows_of_step(now.step), context.run.learns_state && is_first);
            const bool finite = training.now().stopped == 0;
            if (finite) stream.download(epoch.gradient, ws.gradient, plan.n_parameters);
            const Progress progress = training.progress();
            if (is_first) first = progress;  // at the parameters that the step starts from
            if (is_first && context.run.learns_state) training.finish_state(context);
            is_first = false;
            again = epoch.take_step(epoch.caller, finite);
            poll();
        }
        if (training.is_constrained()) {
            training.go_on(epoch, now);
            training.queue_constraints();
            training.finish_step(epoch);
        }
        score->loss += first.step[0];
        score->right += first.step[1];
        score->penalty += first.step[2];
        score->steps = now.step + 1;
    }
    stay.keep();
}

}  // namespace

template <class T>
void fill_training(Functions<T>& to) {
    to.train = train<T>;
    to.train_stepwise = train_stepwise<T>;
}

template void fill_training(Functions<float>&);
template void fill_training(Functions<double>&);

}  // namespace fnn::FNN_ISA::device
