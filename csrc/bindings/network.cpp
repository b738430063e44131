#include "bindings/network.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

namespace fnn::bindings {

namespace {

constexpr std::size_t large = std::size_t{64} << 20;  // bytes of an arena

thread_local const Gate::Pass* innermost = nullptr;

}  // namespace

Gate::Pass::Pass(Gate& gate, As as, Interrupt interrupt) : gate_(gate), as_(as), outer_(innermost) {
    std::unique_lock<std::mutex> lock(gate_.mutex_);
    if (gate_.forks_ != forks()) {
        gate_.forks_ = forks();
        gate_.readers_ = 0;
        gate_.training_ = false;
    }
    if (gate_.training_)
        throw std::runtime_error(
            "the network is being trained by another call; wait until its epoch has ended");
    if (as_ == As::reader) {
        ++gate_.readers_;
    } else {
        for (const Pass* pass = outer_; pass != nullptr; pass = pass->outer_)
            if (&pass->gate_ == &gate_)
                throw std::runtime_error("the network cannot be trained from within another call on it");
        gate_.training_ = true;  // nobody else comes in
        while (gate_.readers_ > 0) {
            gate_.left_.wait_for(lock, std::chrono::milliseconds(50));
            lock.unlock();
            try {
                if (interrupt != nullptr) interrupt();
            } catch (...) {
                lock.lock();
                gate_.training_ = false;
                throw;
            }
            lock.lock();
        }
    }
    innermost = this;
}

Gate::Pass::~Pass() {
    innermost = outer_;
    const std::lock_guard<std::mutex> lock(gate_.mutex_);
    if (as_ == As::trainer)
        gate_.training_ = false;
    else if (--gate_.readers_ == 0)
        gate_.left_.notify_all();
}

Arena Pool::take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return waiting_ == 0 ? Arena() : std::move(free_[--waiting_]);
}

void Pool::give(Arena arena) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_ < free_.size() && (keeps_large_ || arena.capacity() <= large))
        free_[waiting_++] = std::move(arena);
}

void Pool::keep_large(bool keeps) {
    const std::lock_guard<std::mutex> lock(mutex_);
    keeps_large_ = keeps;
    for (std::size_t i = 0; !keeps && i < waiting_; ++i)
        if (free_[i].capacity() > large) free_[i] = Arena();
}

namespace {

ComputeType compute_type_of(const std::string& name, const std::string& dtype, bool on_device) {
    if (name == dtype) return ComputeType::same;
    if (on_device && dtype == "float32") {
        if (name == "tfloat32") return ComputeType::tfloat32;
        if (name == "bfloat16") return ComputeType::bfloat16;
    }
    throw py::value_error(expected("compute_dtype",
                                   "'" + dtype + "', or of float32 on a GPU 'tfloat32' or 'bfloat16'",
                                   "'" + name + "'"));
}

}  // namespace

Network::Network(const std::string& dtype, index in_features, const std::vector<LayerSpec>& layers,
                 bool fused, const std::string& device_name, const std::optional<std::string>& compute_dtype,
                 std::string missing)
    : is_float64(dtype == "float64"),
      plan(in_features, layers, fused),
      missing(std::move(missing)),
      device(this->missing.empty() ? device_named(device_name) : nullptr),
      compute_type(compute_type_of(compute_dtype.value_or(dtype), dtype, device_name != "cpu")) {
    if (dtype != "float32" && dtype != "float64")
        throw py::value_error(expected("dtype", "'float32' or 'float64'", "'" + dtype + "'"));
}

void Network::keep_memory(bool keeps, const py::list& examples) {
    Standing now;
    if (keeps && device != nullptr)
        for (const py::handle item : examples) {
            const py::tuple parts = py::cast<py::tuple>(item);
            auto own = std::make_shared<StandingExamples>(device);
            own->X = parts[0], own->y = parts[1], own->rows = parts[2];
            const Inputs x = inputs_of(own->X, "X", plan.in_features());
            own->kept.of = order_of(py::cast<MaybeArray>(own->rows), x, own->places);
            now.push_back(std::move(own));
        }
    pool.keep_large(keeps);
    standing = std::move(now);
}

std::shared_ptr<StandingExamples> Network::standing_of(const py::object& X, const py::object& y,
                                                       const py::object* rows) const {
    for (const auto& each : standing)
        if (each->X.is(X) && each->y.is(y) && (rows == nullptr || each->rows.is(*rows))) return each;
    return nullptr;
}

double* state_of(const Network& net, const py::object& model_state, const Run& run) {
    if (model_state.is_none() && net.plan.n_state == 0) return nullptr;
    if (!py::isinstance<py::array>(model_state))
        throw py::type_error(expected("model_state", "an array of shape " + shape_text({net.plan.n_state}),
                                      type_of(model_state)));
    py::array array = py::reinterpret_borrow<py::array>(model_state);
    if (run.learns_state) return to_write<double>(array, "model_state", {net.plan.n_state});
    return const_cast<double*>(to_read<double>(array, "model_state", {net.plan.n_state}));
}

void need_rows(index n) {
    if (n == 0) throw py::value_error(expected("X", "at least one row, as the mean is taken", "none"));
}

void need_batch(const Network& net, const Run& run, index n, const char* argument) {
    if (n == 1 && run.training && net.plan.traits.couples_rows)
        throw py::value_error(
            expected(argument, "batches of two rows or more, as layers take statistics of them", "one row"));
}

namespace {

// Runs f(context) without the GIL, with an arena and the number of threads of this call; and with what a
// device has of its examples, unless another call has that.
template <class F>
void call(Network& net, Gate::As as, double* state, const Run& run, const F& f,
          const std::shared_ptr<StandingExamples>& examples = nullptr) {
    const Interrupt interrupt = interrupt_of_thread();
    const Standing standing = net.standing;
    const WithoutGil released;
    const Gate::Pass pass(net.gate, as, interrupt);
    Borrowed borrowed(net.pool);
    const bool trains = as == Gate::As::trainer;
    const int threads = trains ? get_num_threads() : net.crew.advice(get_num_threads());
    const On on(net.device);
    const auto compute = [&](bool keeps) {
        std::unique_lock<std::mutex> lock;
        if (keeps && examples) lock = std::unique_lock<std::mutex>(examples->mutex, std::try_to_lock);
        f(Context{net.plan, borrowed.arena, threads, interrupt, state, run, trains ? &net.crew : nullptr,
                  lock ? &examples->kept : nullptr, net.compute_type});
    };
    if (trains) return compute(true);  // not twice, as it changes what it starts from
    make_room(standing, compute);
}

using As = Gate::As;
Link link_of(const std::string& name) {
    if (name == "identity") return Link::identity;
    if (name == "softmax") return Link::softmax;
    if (name == "sigmoid") return Link::sigmoid;
    if (name == "exp") return Link::exp;
    throw py::value_error(expected("link", "'identity', 'softmax', 'sigmoid' or 'exp'", "'" + name + "'"));
}

void forward(Network& net, const py::array& parameters, const py::object& X, py::array out,
             const std::string& link_name, const py::object& model_state, const MaybeArray& order,
             const SharedRun& run) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const Link link = link_of(link_name);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        std::vector<std::int64_t> places;
        const Order rows = order_of(order, x, places);
        need_batch(net, run, rows.rows);
        T* o = to_write<T>(out, "out", shape_of_outputs(net.plan, rows.rows));
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, run,
             [&](const Context& context) { table.outputs(context, p, x, rows, link, o); });
    });
}

// What comes out of an input layer: columns of number `input`, from `first` on; 0 are those of X.
void input_columns(Network& net, const py::object& X, int input, index first, py::array out,
                   const py::object& model_state, const MaybeArray& order) {
    const Inputs x = inputs_of(X, "X", net.plan.in_features());
    double* s = state_of(net, model_state);
    std::vector<std::int64_t> places;
    const Order rows = order_of(order, x, places);
    if (input < 0 || input > int(net.plan.input_layers.size()))
        throw py::value_error(expected("input", "that of an input layer", std::to_string(input)));
    const index count = out.ndim() == 2 ? out.shape(1) : 0, width = net.plan.width_of_input(input);
    if (first < 0 || count < 1 || first > width - count)
        throw py::value_error(expected("out", "some of " + std::to_string(width) + " columns",
                                       std::to_string(count) + " from " + std::to_string(first) + " on"));
    double* o = to_write<double>(out, "out", {rows.rows, count});
    // By the processor, as data lies there and is looked into before anything else is done with it.
    call(net, As::reader, s, {}, [&, function = current_table().input_columns](const Context& context) {
        function(context, x, rows, input, first, count, o);
    });
}

// The gradient of what input layers make of X becomes that of X.
void input_gradient(Network& net, const py::object& X, const py::array& d, py::array dX,
                    const py::object& model_state) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state);
        const T* from = to_read<T>(d, "d", {x.rows, net.plan.values.front().features()});
        T* to = to_write<T>(dX, "dX", {x.rows, net.plan.in_features()});
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, {},
             [&](const Context& context) { table.input_gradient(context, x, from, to); });
    });
}

// What each layer puts out, of a network that is not fused; None: not wanted.
void values(Network& net, const py::array& parameters, const py::object& X, const py::list& outs,
            const py::object& model_state) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        if (outs.size() != net.plan.outputs.size())
            throw py::value_error(
                expected("outs", "an array for each layer", std::to_string(outs.size()) + " arrays"));
        std::vector<T*> pointers;
        for (std::size_t i = 0; i < outs.size(); ++i) {
            if (outs[i].is_none()) {
                pointers.push_back(nullptr);
                continue;
            }
            const Value& value = net.plan.values[std::size_t(net.plan.outputs[i])];
            py::array out = py::cast<py::array>(outs[i]);
            pointers.push_back(to_write<T>(out, "outs", {x.rows * value.positions(), value.features()}));
        }
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, {},
             [&](const Context& context) { table.values(context, p, x, pointers.data()); });
    });
}

std::pair<double, double> evaluate(Network& net, const py::array& parameters, const py::object& X,
                                   const py::array& y, const py::tuple& loss_spec, const MaybeArray& weights,
                                   const py::object& model_state, const MaybeArray& order,
                                   const SharedRun& run, MaybeArray out, const std::string& link_name) {
    return with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const Link link = link_of(link_name);
        const LossSpec loss = loss_of(loss_spec);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        std::vector<std::int64_t> places;
        const Order rows = order_of(order, x, places);
        need_rows(rows.rows);
        need_batch(net, run, rows.rows);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        std::vector<std::int64_t> labels;
        const Targets<T> targets = targets_of<T>(y, weights, loss, net.plan, x.rows, labels);
        T* o = out ? to_write<T>(*out, "out", shape_of_outputs(net.plan, rows.rows)) : nullptr;
        const py::object named = order ? py::object(*order) : py::none();
        Score score;
        const auto& table = functions<T>(net.table());
        call(
            net, As::reader, s, run,
            [&](const Context& context) {
                table.evaluate(context, p, x, targets, rows, loss, &score, link, o);
            },
            net.standing_of(X, y, &named));
        return std::pair(score.loss / score.weight, score.right / score.weight);
    });
}

void losses_along(Network& net, const py::array& parameters, const py::array& directions,
                  const py::array& steps, const py::object& X, const py::array& y, const py::tuple& loss_spec,
                  py::array losses, const MaybeArray& weights, const py::object& model_state,
                  const MaybeArray& order) {
    const Run run;
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        if (net.plan.n_parameters == 0)
            throw py::value_error(expected("model", "parameters along which to go", "a network without any"));
        const LossSpec loss = loss_of(loss_spec);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        std::vector<std::int64_t> places;
        const Order rows = order_of(order, x, places);
        need_rows(rows.rows);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        const index k = rows_of(directions, "directions"), m = rows_of(steps, "steps");
        const T* v = to_read<T>(directions, "directions", {k, net.plan.n_parameters});
        const double* to = to_read<double>(steps, "steps", {m, k});
        std::vector<std::int64_t> labels;
        const Targets<T> targets = targets_of<T>(y, weights, loss, net.plan, x.rows, labels);
        double* l = to_write<double>(losses, "losses", {m});
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, run, [&](const Context& context) {
            table.losses_along(context, p, v, k, to, m, x, targets, rows, loss, l);
        });
    });
}

// The mean loss, where f(zero) is the function of the table, which leaves something besides.
template <class F>
double loss_and(Network& net, const py::array& parameters, const py::object& X, const py::array& y,
                const py::tuple& loss_spec, const MaybeArray& weights, const py::object& model_state,
                const MaybeArray& order, const SharedRun& run, const F& f) {
    return with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const LossSpec loss = loss_of(loss_spec);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        std::vector<std::int64_t> places;
        const Order rows = order_of(order, x, places);
        need_rows(rows.rows);
        need_batch(net, run, rows.rows);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        std::vector<std::int64_t> labels;
        const Targets<T> targets = targets_of<T>(y, weights, loss, net.plan, x.rows, labels);
        Score score;
        f(zero, functions<T>(net.table()), [&](const auto& compute) {
            call(net, As::reader, s, run,
                 [&](const Context& context) { compute(context, p, x, targets, rows, loss, &score); });
        });
        return score.loss / score.weight;
    });
}

double loss_and_grad(Network& net, const py::array& parameters, const py::object& X, const py::array& y,
                     const py::tuple& loss, py::array grad, const MaybeArray& weights,
                     const py::object& model_state, const MaybeArray& order, const SharedRun& run,
                     bool forward) {
    const auto with = [&](auto zero, const auto& table, const auto& call) {
        using T = decltype(zero);
        T* g = to_write<T>(grad, "grad", {net.plan.n_parameters});
        const auto gradient = forward ? table.activity_gradient : table.loss_and_gradient;
        call([&](const Context& context, const T* p, const Source& x, const Targets<T>& y, const Order& rows,
                 const LossSpec& loss, Score* score) { gradient(context, p, x, y, rows, loss, g, score); });
    };
    return loss_and(net, parameters, X, y, loss, weights, model_state, order, run, with);
}

// And the derivative along v (n_parameters,).
std::pair<double, double> loss_and_slope(Network& net, const py::array& parameters, const py::array& v,
                                         const py::object& X, const py::array& y, const py::tuple& loss,
                                         const MaybeArray& weights, const py::object& model_state,
                                         const MaybeArray& order, const SharedRun& run) {
    double slope = 0;
    const auto with = [&](auto zero, const auto& table, const auto& call) {
        using T = decltype(zero);
        const T* direction = to_read<T>(v, "v", {net.plan.n_parameters});
        call([&](const Context& context, const T* p, const Source& x, const Targets<T>& y, const Order& rows,
                 const LossSpec& loss, Score* score) {
            table.loss_and_slope(context, p, direction, x, y, rows, loss, score, &slope);
        });
    };
    const double mean = loss_and(net, parameters, X, y, loss, weights, model_state, order, run, with);
    return {mean, slope};
}

void jvp(Network& net, const py::array& parameters, const py::array& v, const py::object& X, py::array out,
         py::array dout, const py::object& model_state, const SharedRun& run) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        const T* direction = to_read<T>(v, "v", {net.plan.n_parameters});
        T* o = to_write<T>(out, "out", shape_of_outputs(net.plan, x.rows));
        T* d = to_write<T>(dout, "dout", shape_of_outputs(net.plan, x.rows));
        need_batch(net, run, x.rows);
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, run,
             [&](const Context& context) { table.push_forward(context, p, direction, x, o, d); });
    });
}

// Statistics that layers have learned in passing, anew of these examples, into `model_state`.
void calibrate(Network& net, const py::array& parameters, const py::object& X,
               const py::object& model_state) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        Run run;
        run.learns_state = true;
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        const T* p = to_read<T>(parameters, "parameters", {net.plan.n_parameters});
        need_rows(x.rows);
        const auto& table = functions<T>(net.table());
        call(net, As::reader, s, run, [&](const Context& context) { table.calibrate(context, p, x); });
    });
}

// A number, or an array (steps,) that the caller holds.
template <class T>
void read_ridge(const py::object& ridge, Epoch<T>& epoch) {
    const auto possible = [](double x) { return x >= 0 && x <= std::numeric_limits<double>::max(); };
    const double* first = &epoch.ridge;
    index count = 1;
    if (py::isinstance<py::array>(ridge)) {
        epoch.ridges = first = to_read<double>(ridge, "ridge", {epoch.steps});
        count = epoch.steps;
    } else {
        epoch.ridge = py::cast<double>(ridge);
    }
    const double* wrong = std::find_if_not(first, first + count, possible);
    if (wrong != first + count)
        throw py::value_error(expected("ridge", "finite numbers, at least 0", std::to_string(*wrong)));
}

// What `train` and `train_stepwise` have in common: the examples, their order, and the report of the epoch.
// f(zero, epoch, run), which is to end with run(train function of the table).
template <class F>
void train_epoch(Network& net, py::array& parameters, const py::object& X, const py::array& y,
                 const py::tuple& loss_spec, const py::array& order, index batch_size, py::array& report,
                 const MaybeArray& weights, const py::object& model_state, index batches_per_step,
                 const py::object& ridge, double mixup, bool forward, const Run& run, const F& f) {
    with_type(net, [&](auto zero) {
        using T = decltype(zero);
        const LossSpec loss = loss_of(loss_spec);
        const Inputs x = inputs_of(X, "X", net.plan.in_features());
        double* s = state_of(net, model_state, run);
        std::vector<std::int64_t> labels;
        const Targets<T> targets = targets_of<T>(y, weights, loss, net.plan, x.rows, labels);
        Epoch<T> epoch{};
        epoch.parameters = to_write<T>(parameters, "parameters", {net.plan.n_parameters});
        std::vector<std::int64_t> places;
        epoch.order = order_of(order, x, places);
        need_at_least(1, batch_size, "batch_size");
        need_at_least(1, batches_per_step, "batches_per_step");
        if (epoch.order.rows > 0) need_batch(net, run, (epoch.order.rows - 1) % batch_size + 1, "batch_size");
        const auto divide_up = [](index n, index by) { return n / by + (n % by != 0); };
        const index batches = divide_up(epoch.order.rows, batch_size);
        epoch.batch_size = batch_size;
        epoch.first_step = run.step;
        epoch.batches_per_step = std::min(batches_per_step, batches);
        epoch.steps = batches == 0 ? 0 : divide_up(batches, epoch.batches_per_step);
        read_ridge(ridge, epoch);
        if (!(mixup >= 0 && mixup <= std::numeric_limits<double>::max()))
            throw py::value_error(expected("mixup", "a finite number, at least 0", std::to_string(mixup)));
        epoch.mixup = mixup;
        epoch.forward = forward;
        const bool apart = report.ndim() == 1 && report.shape(0) == 4;
        double* numbers = to_write<double>(report, "report", {apart ? 4 : 3});

        Score score;
        const auto report_score = [&] {
            numbers[0] = score.loss;
            numbers[1] = score.right;
            numbers[2] = double(score.steps);
            if (apart) numbers[3] = score.penalty;
        };
        try {
            f(zero, epoch, [&](auto train) {
                call(
                    net, As::trainer, s, run,
                    [&](const Context& context) { train(context, x, targets, loss, epoch, &score); },
                    net.standing_of(X, y, nullptr));
            });
        } catch (...) {
            report_score();
            throw;
        }
        report_score();
        if (!score.finite) {
            PyErr_SetString(PyExc_FloatingPointError, ("step " + std::to_string(score.steps)).c_str());
            throw py::error_already_set();
        }
    });
}

void train(Network& net, py::array parameters, const py::object& X, const py::array& y, const py::tuple& loss,
           const py::array& order, index batch_size, const py::object& lr, const py::tuple& update,
           const py::list& state, index step, py::array report, const MaybeArray& weights,
           const py::object& model_state, index batches_per_step, const py::object& ridge, double mixup,
           bool forward, const SharedRun& run) {
    const auto with = [&](auto zero, auto& epoch, const auto& run) {
        using T = decltype(zero);
        need_at_least(0, step, "step");
        Schedules schedules{epoch.steps, {}, {}};
        epoch.update = update_of(update, &schedules);
        set_rate(epoch.update, lr, schedules);
        epoch.schedules = schedules.list.data();
        epoch.n_schedules = int(schedules.list.size());
        epoch.steps_before = step;
        const auto held = states_of<T>(epoch.update, state, net.plan.n_trainable, epoch.states);
        run(functions<T>(net.table()).train);
    };
    train_epoch(net, parameters, X, y, loss, order, batch_size, report, weights, model_state,
                batches_per_step, ridge, mixup, forward, run, with);
}

// The updates are made by `take_step(finite)`: when it is called, `gradient` holds the gradient of the step's
// examples at `parameters`. True asks for that of the same examples again.
void train_stepwise(Network& net, py::array parameters, const py::object& X, const py::array& y,
                    const py::tuple& loss, const py::array& order, index batch_size, py::array gradient,
                    const py::object& take_step, py::array report, const MaybeArray& weights,
                    const py::object& model_state, index batches_per_step, const py::object& ridge,
                    double mixup, bool forward, const SharedRun& run) {
    const auto with = [&](auto zero, auto& epoch, const auto& run) {
        using T = decltype(zero);
        epoch.gradient = to_write<T>(gradient, "gradient", {net.plan.n_parameters});
        epoch.caller = take_step.ptr();
        epoch.take_step = [](void* caller, bool finite) {
            const py::gil_scoped_acquire gil;
            const py::object again = py::handle(static_cast<PyObject*>(caller))(finite);
            return PyObject_IsTrue(again.ptr()) == 1;
        };
        run(functions<T>(net.table()).train_stepwise);
    };
    train_epoch(net, parameters, X, y, loss, order, batch_size, report, weights, model_state,
                batches_per_step, ridge, mixup, forward, run, with);
}

// out, pullback = model.vjp(X): the activations of one forward pass, with their own copy of the parameters.
class Pullback : public Shared {
   public:
    Pullback(std::shared_ptr<Network> net, const double* state, index rows, const Run& run)
        : net_(std::move(net)), rows_(rows), run_(run), table_(&net_->table()) {
        if (state != nullptr) state_.assign(state, state + net_->plan.n_state);
    }

    template <class T>
    void run_forward(const T* parameters, const Source& x, T* out) {
        const Interrupt interrupt = interrupt_of_thread();
        const WithoutGil released;
        const Gate::Pass pass(net_->gate, As::reader, interrupt);
        const On on(net_->device);
        functions<T>(*table_).outputs_for_pullback(context(interrupt), parameters, x, out);
    }

    void operator()(const py::array& dout, py::array dparameters, py::array dX) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const T* d = to_read<T>(dout, "dout", shape_of_outputs(net_->plan, rows_));
            T* g = to_write<T>(dparameters, "dparameters", {net_->plan.n_parameters});
            T* dx = to_write<T>(dX, "dX", {rows_, net_->plan.values.front().features()});
            const Interrupt interrupt = interrupt_of_thread();
            const WithoutGil released;
            const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
            if (!lock) throw std::runtime_error("this pullback is in use by another call");
            const On on(net_->device);
            functions<T>(*table_).pull_back(context(interrupt), rows_, d, g, dx);
        });
    }

   private:
    Context context(Interrupt interrupt) {
        return {net_->plan, arena_,  get_num_threads(), interrupt,         state_.data(),
                run_,       nullptr, nullptr,           net_->compute_type};
    }

    std::shared_ptr<Network> net_;
    index rows_;
    Run run_;
    std::vector<double> state_;
    const Table* table_;
    Arena arena_;
    std::mutex mutex_;
};

std::shared_ptr<Pullback> vjp(const std::shared_ptr<Network>& net, const py::array& parameters,
                              const py::object& X, py::array out, const py::object& model_state,
                              const SharedRun& run) {
    return with_type(*net, [&](auto zero) {
        using T = decltype(zero);
        const Inputs x = inputs_of(X, "X", net->plan.in_features());
        const double* s = state_of(*net, model_state);
        const T* p = to_read<T>(parameters, "parameters", {net->plan.n_parameters});
        T* o = to_write<T>(out, "out", shape_of_outputs(net->plan, x.rows));
        need_batch(*net, run, x.rows);
        auto pullback = std::make_shared<Pullback>(net, s, x.rows, run);
        pullback->run_forward(p, x, o);
        return pullback;
    });
}

py::list parameter_layout(const Network& net) {
    py::list layout;
    for (const Parameters& own : net.plan.parameters) {
        if (own.rows > 0)
            layout.append(
                py::make_tuple(own.layer, own.matrix, own.offset, py::make_tuple(own.rows, own.cols)));
        for (index k = 0; k < own.count(); ++k)
            layout.append(py::make_tuple(own.layer, own.vectors[std::size_t(k)], own.vector_offset(k),
                                         py::make_tuple(own.cols)));
    }
    return layout;
}

py::list state_layout(const Network& net) {
    py::list layout;
    for (const State& state : net.plan.states) {
        const py::tuple vector = py::make_tuple(state.size);
        const py::tuple shape =
            state.rows == 0 ? vector : py::make_tuple(state.rows, state.size / state.rows);
        layout.append(py::make_tuple(state.layer, state.name, state.offset, shape));
    }
    return layout;
}

py::list output_features(const Network& net) {
    py::list all;
    for (const int value : net.plan.outputs) all.append(net.plan.values[std::size_t(value)].features());
    return all;
}

// (height, width, channels) of each layer's output.
py::list output_shapes(const Network& net) {
    py::list all;
    for (const int value : net.plan.outputs) {
        const Shape& shape = net.plan.values[std::size_t(value)].shape;
        all.append(py::make_tuple(shape.height, shape.width, shape.channels));
    }
    return all;
}

// A field of a layer's description.
template <class F>
void read_field(const py::dict& fields, const char* name, F& to) {
    if (!fields.contains(name)) return;
    try {
        to = py::cast<F>(fields[name]);
    } catch (const py::cast_error&) {
        throw py::type_error(
            expected("layers", std::string("a value that fits '") + name + "'", repr_of(fields[name])));
    }
}

// Of {"kind": ..., "units": ..., ...}, with the names of LayerSpec. What is left out: the layer before is
// read, the path is the number.
std::vector<LayerSpec> layers_of(const py::list& given) {
    static const std::vector<std::string> known = {"kind",   "units",  "values",    "path",
                                                   "inputs", "shares", "trainable", "max_norm"};
    std::vector<LayerSpec> layers;
    for (const py::handle item : given) {
        const py::dict fields = py::cast<py::dict>(item);
        for (const auto& [key, value] : fields)
            if (std::find(known.begin(), known.end(), py::cast<std::string>(key)) == known.end())
                throw py::value_error(expected("layers", "fields of a layer", repr_of(key)));
        LayerSpec layer;
        layer.path = std::to_string(layers.size());
        layer.inputs = {int(layers.size())};
        read_field(fields, "kind", layer.kind);
        read_field(fields, "units", layer.units);
        read_field(fields, "values", layer.values);
        read_field(fields, "path", layer.path);
        read_field(fields, "inputs", layer.inputs);
        read_field(fields, "shares", layer.shares);
        read_field(fields, "trainable", layer.trainable);
        read_field(fields, "max_norm", layer.max_norm);
        layers.push_back(std::move(layer));
    }
    return layers;
}

}  // namespace

void register_network(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<SharedRun, std::shared_ptr<SharedRun>>(m, "Run")
        .def(py::init([](bool training, bool random, bool learns_state, std::uint64_t seed,
                         std::uint64_t step, index first) {
                 return std::make_shared<SharedRun>(
                     Run{training, training || random, learns_state, seed, step, first});
             }),
             py::kw_only(), "training"_a = false, "random"_a = false, "learns_state"_a = false, "seed"_a = 0,
             "step"_a = 0, "first"_a = 0)
        .def_property_readonly("training", [](const SharedRun& run) { return run.training; })
        .def_property_readonly("seed", [](const SharedRun& run) { return run.seed; });
    const auto present = std::make_shared<SharedRun>();
    py::class_<Pullback, std::shared_ptr<Pullback>>(m, "Pullback")
        .def("__call__", &Pullback::operator(), "dout"_a, "dparameters"_a, "dX"_a);
    py::class_<Network, std::shared_ptr<Network>>(m, "Network")
        .def(py::init([](const std::string& dtype, index in_features, const py::list& layers, bool fused,
                         const std::string& device, const std::optional<std::string>& compute_dtype,
                         const std::string& missing) {
                 return std::make_shared<Network>(dtype, in_features, layers_of(layers), fused, device,
                                                  compute_dtype, missing);
             }),
             "dtype"_a, "in_features"_a, "layers"_a, "fused"_a = true, "device"_a = "cpu",
             "compute_dtype"_a = py::none(), "missing"_a = "")
        .def_property_readonly("dtype", [](const Network& n) { return n.is_float64 ? "float64" : "float32"; })
        .def_property_readonly("in_features", [](const Network& n) { return n.plan.in_features(); })
        .def_property_readonly("encodes_inputs", [](const Network& n) { return !n.plan.input_ways.empty(); })
        .def_property_readonly("out_features", [](const Network& n) { return n.plan.out_features(); })
        .def_property_readonly("out_positions",
                               [](const Network& n) { return n.plan.output_shape().positions(); })
        .def_property_readonly("n_parameters", [](const Network& n) { return n.plan.n_parameters; })
        .def_property_readonly("n_trainable", [](const Network& n) { return n.plan.n_trainable; })
        .def_property_readonly("n_state", [](const Network& n) { return n.plan.n_state; })
        .def_property_readonly("parameter_layout", parameter_layout)
        .def_property_readonly("state_layout", state_layout)
        .def_property_readonly("output_features", output_features)
        .def_property_readonly("output_shapes", output_shapes)
        .def_property_readonly("inexact", [](const Network& n) { return n.plan.inexact; })
        .def_property_readonly("nonlinear", [](const Network& n) { return n.plan.nonlinear; })
        .def_property_readonly("couples_rows", [](const Network& n) { return n.plan.traits.couples_rows; })
        .def_property_readonly("is_random", [](const Network& n) { return n.plan.traits.is_random; })
        .def_property_readonly("has_state", [](const Network& n) { return n.plan.traits.has_state; })
        .def_property_readonly("piecewise_linear",
                               [](const Network& n) { return n.plan.traits.piecewise_linear; })
        .def("forward", forward, "parameters"_a, "X"_a, "out"_a, py::kw_only(), "link"_a = "identity",
             "model_state"_a = py::none(), "order"_a = py::none(), "run"_a = present)
        .def("values", values, "parameters"_a, "X"_a, "outs"_a, py::kw_only(), "model_state"_a = py::none())
        .def("input_gradient", input_gradient, "X"_a, "d"_a, "dX"_a, py::kw_only(),
             "model_state"_a = py::none())
        .def("input_columns", input_columns, "X"_a, "input"_a, "first"_a, "out"_a, py::kw_only(),
             "model_state"_a = py::none(), "order"_a = py::none())
        .def("evaluate", evaluate, "parameters"_a, "X"_a, "y"_a, "loss"_a, py::kw_only(),
             "weights"_a = py::none(), "model_state"_a = py::none(), "order"_a = py::none(),
             "run"_a = present, "out"_a = py::none(), "link"_a = "identity")
        .def("losses_along", losses_along, "parameters"_a, "directions"_a, "steps"_a, "X"_a, "y"_a, "loss"_a,
             "losses"_a, py::kw_only(), "weights"_a = py::none(), "model_state"_a = py::none(),
             "order"_a = py::none())
        .def("loss_and_grad", loss_and_grad, "parameters"_a, "X"_a, "y"_a, "loss"_a, "grad"_a, py::kw_only(),
             "weights"_a = py::none(), "model_state"_a = py::none(), "order"_a = py::none(),
             "run"_a = present, "forward"_a = false)
        .def("loss_and_slope", loss_and_slope, "parameters"_a, "v"_a, "X"_a, "y"_a, "loss"_a, py::kw_only(),
             "weights"_a = py::none(), "model_state"_a = py::none(), "order"_a = py::none(),
             "run"_a = present)
        .def("vjp", vjp, "parameters"_a, "X"_a, "out"_a, py::kw_only(), "model_state"_a = py::none(),
             "run"_a = present)
        .def("jvp", jvp, "parameters"_a, "v"_a, "X"_a, "out"_a, "dout"_a, py::kw_only(),
             "model_state"_a = py::none(), "run"_a = present)
        .def("hvp", hvp, "parameters"_a, "v"_a, "X"_a, "y"_a, "loss"_a, "hv"_a, py::kw_only(),
             "weights"_a = py::none(), "model_state"_a = py::none(), "order"_a = py::none(),
             "run"_a = present)
        .def("keep_memory", &Network::keep_memory, "keeps"_a, "examples"_a = py::list())
        .def("calibrate", calibrate, "parameters"_a, "X"_a, "model_state"_a)
        .def("train", train, "parameters"_a, "X"_a, "y"_a, "loss"_a, py::kw_only(), "order"_a, "batch_size"_a,
             "lr"_a, "update"_a, "state"_a, "step"_a, "report"_a, "weights"_a = py::none(),
             "model_state"_a = py::none(), "batches_per_step"_a = 1, "ridge"_a = 0.0, "mixup"_a = 0.0,
             "forward"_a = false, "run"_a = present)
        .def("train_stepwise", train_stepwise, "parameters"_a, "X"_a, "y"_a, "loss"_a, py::kw_only(),
             "order"_a, "batch_size"_a, "gradient"_a, "take_step"_a, "report"_a, "weights"_a = py::none(),
             "model_state"_a = py::none(), "batches_per_step"_a = 1, "ridge"_a = 0.0, "mixup"_a = 0.0,
             "forward"_a = false, "run"_a = present);
}

}  // namespace fnn::bindings
