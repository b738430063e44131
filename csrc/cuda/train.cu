// An epoch on a device: what net/train.h does. The examples and everything that is learned stay there; a step
// is captured once as a graph, which reads in device memory what changes from step to step.
#include <chrono>
#include <map>
#include <memory>

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

template <class T>
class Training : public Session<T> {
   public:
    using Session<T>::stream, Session<T>::memory, Session<T>::plan, Session<T>::context;

    Training(const Context& call, const Source& x, const Targets<T>& y, const LossSpec& loss,
             const Epoch<T>& epoch)
        : Session<T>(call, exec::max(uploads_all(x, epoch) ? x.rows : epoch.order.rows, 1)),
          ws(stream, memory, call, exec::max(exec::min(epoch.batch_size, epoch.order.rows), 1), needs()),
          epoch_(epoch),
          loss_(loss),
          capacity_(ws.rows),
          per_step_(capacity_ * epoch.batches_per_step),
          progress_(memory.template take<Progress>(1)),
          column_factors_(memory.template take<T>(widest_constraint())) {
        ws.run.first = 0;
        stream.clear(progress_, 1);
        load_examples(x, y);
        load_ridge();
        load_mixtures();
    }

    index rows_of_step(index step) const {
        return exec::min(per_step_, epoch_.order.rows - step * per_step_);
    }

    // From the examples of a step to its gradient.
    void queue_gradient(index rows_of_step, bool learns_state) {
        const T factor = net::mean_factor<T>(double(rows_of_step));
        if (ridges_ != nullptr) queue_squares();
        for (index first = 0; first < rows_of_step; first += capacity_) {
            Workspace<T> batch = ws.of_batch(first, exec::min(capacity_, rows_of_step - first));
            Examples<T> examples = examples_;
            examples.first = first;
            elementwise(stream, batch.size(0), Gather<T>{batch.a(0), X_, examples, batch.features(0)});
            Walks<T>::forward(batch);
            Losses<T>::forward(batch, loss_, examples, factor);
            total<2>(stream, batch.rows,
                     AddBatch<T>{batch.losses, batch.right, progress_, ws.now, ridges_, first == 0});
            if (learns_state) Walks<T>::learn_state(batch);
            Walks<T>::backward(batch);
            Walks<T>::gradient(batch, first > 0);
        }
        if (ridges_ == nullptr) return;
        for_matrices([&](const Parameters& own) {
            elementwise(stream, own.rows * own.cols,
                        AddPenalty<T>{ws.gradient + own.offset, ws.parameters + own.offset, ridges_, ws.now,
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
    // For a network whose steps one kernel makes.
    StepsOf<T> steps_of(const RuleNumbers<T>* rules, const Tensors<T>& tensors) const {
        return {X_, examples_, epoch_.order.rows, capacity_, loss_, rules, tensors, progress_, ws.now};
    }
    bool is_plain() const {
        return ridges_ == nullptr && epoch_.batches_per_step == 1 && examples_.mixtures == nullptr;
    }
    void queue_end() { elementwise(stream, 1, EndStep{progress_, ws.now}); }

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
    void finish(Score* score) {
        const Now reached = now();
        const Progress progress = this->progress();
        score->loss += progress.all[0];
        score->right += progress.all[1];
        score->penalty += progress.all[2];
        score->steps = reached.step;
        score->finite = reached.stopped == 0;
        if (context.run.learns_state) stream.download(context.state, ws.state, plan.n_state);
        stream.wait();
    }

    Workspace<T> ws;

   private:
    static Needs needs() {
        Needs needs;
        needs.gradient = needs.loss = true;
        return needs;
    }

    // Those of the epoch alone where they are few.
    static bool uploads_all(const Source& x, const Epoch<T>& epoch) {
        return epoch.order.examples != nullptr && 2 * epoch.order.rows >= x.rows;
    }
    void load_examples(const Source& x, const Targets<T>& y) {
        const bool all = uploads_all(x, epoch_);
        const index n = all ? x.rows : epoch_.order.rows;
        const std::int64_t* const picked = all ? nullptr : epoch_.order.examples;
        X_ = memory.template take<T>(n * plan.values.front().features());
        this->load_rows(X_, x, picked, 0, n);
        examples_ = this->load_targets(y, picked, 0, n, ws.now);
        examples_.per_step = per_step_;
        if (all) examples_.order = memory.copy_of(epoch_.order.examples, epoch_.order.rows);
    }
    void load_ridge() {
        if (epoch_.ridges == nullptr && epoch_.ridge == 0) return;
        const std::vector<double> same(std::size_t(epoch_.steps), epoch_.ridge);
        ridges_ = memory.copy_of(epoch_.ridges != nullptr ? epoch_.ridges : same.data(), epoch_.steps);
    }
    void load_mixtures() {
        if (!(epoch_.mixup > 0)) return;
        std::vector<Mixture> all;
        Run run = context.run;
        for (index step = 0; step < epoch_.steps; ++step) {
            run.step = epoch_.first_step + std::uint64_t(step);
            const index begin = step * per_step_;
            const net::Mixing mixing(epoch_.mixup, run, {begin, begin + rows_of_step(step)});
            all.push_back({mixing.share, mixing.shift});
        }
        examples_.mixtures = memory.copy_of(all.data(), epoch_.steps);
        examples_.rows = epoch_.order.rows;
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

    const Epoch<T>& epoch_;
    const LossSpec& loss_;
    const index capacity_, per_step_;  // rows of a batch and of a step
    Progress* const progress_;
    T* const column_factors_;
    T* X_ = nullptr;
    Examples<T> examples_;
    const double* ridges_ = nullptr;
};

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
void train(const Context& context, const Source& x, const Targets<T>& y, const LossSpec& loss,
           const Epoch<T>& epoch, Score* score) {
    Training<T> training(context, x, y, loss, epoch);
    Stream& stream = training.stream;
    Workspace<T>& ws = training.ws;
    const Plan& plan = training.plan;
    Memory& memory = training.memory;

    std::vector<RuleNumbers<T>> numbers;
    std::vector<ApplyRule<T>> rules;  // by step
    UpdateSpec update = epoch.update;
    for (index step = 0; step < epoch.steps; ++step) {
        epoch.set_schedules(update, step);
        const Rule<T> rule = rule_of<T>(update, epoch.steps_before + step);
        numbers.push_back(rule.of_step);
        rules.push_back(rule.apply);
    }
    const RuleNumbers<T>* const device_numbers = memory.copy_of(numbers.data(), epoch.steps);
    stream.upload(ws.parameters, epoch.parameters, plan.n_parameters);
    T* states[max_states] = {};
    for (int k = 0; k < epoch.update.states; ++k)
        states[k] = memory.copy_of(epoch.states[k], plan.n_trainable);

    const std::vector<Stretch> stretches = trained(plan);
    const auto queue = [&](index step) {
        training.queue_gradient(training.rows_of_step(step), context.run.learns_state);
        for (const Stretch& s : stretches) {
            Tensors<T> all{ws.parameters + s.begin, ws.gradient + s.begin, {}};
            for (int k = 0; k < epoch.update.states; ++k) all.states[k] = states[k] + s.states;
            rules[std::size_t(step)](stream, device_numbers, ws.now, all, s.end - s.begin);
        }
        training.queue_constraints();
        training.queue_end();
    };

    // One for each kind of step: the last may have fewer rows, and the rule may change its type.
    std::map<std::pair<index, ApplyRule<T>>, std::unique_ptr<Graph>> graphs;
    const auto graph_of = [&](index step) -> Graph& {
        auto& graph = graphs[{training.rows_of_step(step), rules[std::size_t(step)]}];
        if (!graph) graph = std::make_unique<Graph>(stream, [&] { queue(step); });
        return *graph;
    };
    const RunSteps<T> run_steps =
        training.is_plain() ? narrow_steps<T>(plan, loss, epoch.update, ws.rows) : nullptr;
    const StepsOf<T> of_narrow =
        training.steps_of(device_numbers, {ws.parameters, nullptr, {states[0], states[1], states[2]}});
    const auto queue_steps = [&](index step, index end) {
        if (run_steps != nullptr) return run_steps(stream, plan, of_narrow, end - step);
        for (; step < end; ++step) graph_of(step).launch();
    };

    // Steps are queued some at a time, so that Ctrl-C is seen soon.
    const auto finish = [&] {
        stream.download(epoch.parameters, ws.parameters, plan.n_parameters);
        for (int k = 0; k < epoch.update.states; ++k)
            stream.download(epoch.states[k], states[k], plan.n_trainable);
        training.finish(score);
    };
    index at_once = 1;
    try {
        for (index step = 0; step < epoch.steps;) {
            const auto begin = std::chrono::steady_clock::now();
            const index end = exec::min(step + at_once, epoch.steps);
            queue_steps(step, end);
            step = end;
            if (training.now().stopped) break;
            const auto took = std::chrono::steady_clock::now() - begin;
            if (took < std::chrono::milliseconds(10)) at_once *= 2;
            if (took > std::chrono::milliseconds(20)) at_once = exec::max(at_once / 2, 1);
            training.poll();
        }
    } catch (...) {
        finish();
        throw;
    }
    finish();
}

template <class T>
void train_stepwise(const Context& context, const Source& x, const Targets<T>& y, const LossSpec& loss,
                    const Epoch<T>& epoch, Score* score) {
    Training<T> training(context, x, y, loss, epoch);
    Stream& stream = training.stream;
    Workspace<T>& ws = training.ws;
    const Plan& plan = training.plan;
    stream.clear(ws.gradient, plan.n_parameters);  // and so it stays for what is not trained
    for (Now now; now.step < epoch.steps; ++now.step) {
        Progress first{};
        bool is_first = true, again = true;
        while (again) {
            stream.upload(ws.now, &now, 1);
            stream.upload(ws.parameters, epoch.parameters, plan.n_parameters);
            training.queue_gradient(training.rows_of_step(now.step), context.run.learns_state && is_first);
            const bool finite = training.now().stopped == 0;
            if (finite) stream.download(epoch.gradient, ws.gradient, plan.n_parameters);
            const Progress progress = training.progress();
            if (is_first) first = progress;  // at the parameters that the step starts from
            if (is_first && context.run.learns_state) {
                stream.download(context.state, ws.state, plan.n_state);
                stream.wait();
            }
            is_first = false;
            again = epoch.take_step(epoch.caller, finite);
            training.poll();
        }
        stream.upload(ws.now, &now, 1);
        stream.upload(ws.parameters, epoch.parameters, plan.n_parameters);
        training.queue_constraints();
        stream.download(epoch.parameters, ws.parameters, plan.n_parameters);
        stream.wait();
        score->loss += first.step[0];
        score->right += first.step[1];
        score->penalty += first.step[2];
        score->steps = now.step + 1;
    }
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
