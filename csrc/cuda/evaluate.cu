// Outputs, scores, gradients and directional derivatives over many examples: what net/evaluate.h does.
#include "cuda/call.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/units.h"

namespace fnn::FNN_ISA::device {

template <class T>
struct Exponential {
    T* y;
    FNN_HD void operator()(index i) const { y[i] = rules::exp(y[i]); }
};

// A point some steps away from the parameters, along directions (k, n).
template <class T>
struct GoAlong {
    T* to;
    const T *from, *directions;
    const double* steps;
    index k, n;
    FNN_HD void operator()(index i) const {
        T x = from[i];
        for (index d = 0; d < k; ++d)
            if (steps[d] != 0) x = x + T(steps[d]) * directions[d * n + i];
        to[i] = x;
    }
};

namespace {

// What the link makes of the outputs of a chunk, which change, into the caller's array.
template <class T>
void put_outputs(Workspace<T>& ws, Link link, T* out, index first) {
    const int last = ws.plan.output();
    T* const y = ws.a(last);
    if (link == Link::softmax) Walks<T>::softmax(ws, y);
    if (link == Link::sigmoid) Walks<T>::activate(ws, {Activation::sigmoid}, y, ws.size(last));
    if (link == Link::exp) elementwise(ws.stream, ws.size(last), Exponential<T>{y});
    ws.stream.download(out + first * ws.features(last), y, ws.size(last));
}

template <class T>
void outputs(const Context& context, const T* parameters, const Source& x, const Order& order, Link link,
             T* out) {
    Call<T> call(context, order.rows, {}, parameters);
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, order.examples, first);
        Walks<T>::forward(ws);
        put_outputs(ws, link, out, first);
    });
    call.stream.wait();
}

// What each layer of a plan that is not fused puts out.
template <class T>
void values(const Context& context, const T* parameters, const Source& x, T* const* outs) {
    Call<T> call(context, x.rows, {}, parameters);
    const std::vector<int>& layers = call.plan.outputs;
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, nullptr, first);
        Walks<T>::forward(ws);
        for (std::size_t i = 0; i < layers.size(); ++i)
            if (outs[i] != nullptr)
                ws.stream.download(outs[i] + first * ws.features(layers[i]), ws.a(layers[i]),
                                   ws.size(layers[i]));
    });
    call.stream.wait();
}

template <class T>
void evaluate(const Context& context, const T* parameters, const Source& x, const Targets<T>& y,
              const Order& order, const LossSpec& loss, Score* score, Link link, T* out) {
    Needs needs;
    needs.loss = true;
    std::optional<Stay<T>> stay;  // of the same order
    if (context.kept != nullptr) stay.emplace(context, x, y, context.kept->of);
    Call<T> call(context, order.rows, needs, parameters, stay ? &stay->set() : nullptr);
    score->weight = net::total_weight(net::batch_of(call.plan, y, order.examples, 0), order.rows);
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, order.examples, first);
        Walks<T>::forward(ws);
        Losses<T>::forward(ws, loss, call.load(ws, y, order.examples, first), T(1));
        call.collect(ws);
        if (out != nullptr) put_outputs(ws, link, out, first);
    });
    call.finish(score);
    if (stay) stay->keep();
}

template <class T>
void loss_and_gradient(const Context& context, const T* parameters, const Source& x, const Targets<T>& y,
                       const Order& order, const LossSpec& loss, T* gradient, Score* score) {
    Needs needs;
    needs.gradient = needs.loss = true;
    Call<T> call(context, order.rows, needs, parameters);
    score->weight = net::total_weight(net::batch_of(call.plan, y, order.examples, 0), order.rows);
    const T factor = net::mean_factor<T>(score->weight);
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, order.examples, first);
        Walks<T>::forward(ws);
        Losses<T>::forward(ws, loss, call.load(ws, y, order.examples, first), factor);
        call.collect(ws);
        Walks<T>::backward(ws);
        Walks<T>::gradient(ws, first > 0);
    });
    call.stream.download(gradient, call.ws.gradient, call.plan.n_parameters);
    call.finish(score);
}

template <class T>
void push_forward(const Context& context, const T* parameters, const T* direction, const Source& x, T* out,
                  T* dout) {
    Needs needs;
    needs.tangent = true;
    Call<T> call(context, x.rows, needs, parameters);
    call.load_direction(call.ws.direction, direction);
    const int last = call.plan.output();
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, nullptr, first);
        Walks<T>::forward(ws);
        Walks<T>::tangent_forward(ws);
        call.stream.download(out + first * ws.features(last), ws.a(last), ws.size(last));
        call.stream.download(dout + first * ws.features(last), ws.ra(last), ws.size(last));
    });
    call.stream.wait();
}

// Between its two calls a pullback keeps what both compute with, in the caller's arena: going forward again
// costs less than device memory that waits for a call which may never come.
template <class T>
struct KeptForPullback {
    T *rows, *parameters;

    KeptForPullback(const Context& call, index n) {
        net::Carver count(nullptr);
        lay_out(count, call.plan, n);
        net::Carver carver(call.arena.reserve(count.used()));
        lay_out(carver, call.plan, n);
    }

   private:
    void lay_out(net::Carver& carver, const Plan& plan, index n) {
        rows = carver.take<T>(n * plan.values.front().features());
        parameters = carver.take<T>(plan.n_parameters);
    }
};

template <class T>
void outputs_for_pullback(const Context& context, const T* parameters, const Source& x, T* out) {
    const KeptForPullback<T> kept(context, x.rows);
    read_rows(kept.rows, context, x, nullptr, 0, x.rows);
    std::copy_n(parameters, context.plan.n_parameters, kept.parameters);
    Call<T> call(context, x.rows, {}, parameters);
    const index width = context.plan.values.front().features();
    call.for_chunks([&](Workspace<T>& ws, index first, index count) {
        call.stream.upload(ws.a(0), kept.rows + first * width, count * width);
        Walks<T>::forward(ws);
        put_outputs(ws, Link::identity, out, first);
    });
    call.stream.wait();
}

template <class T>
void pull_back(const Context& context, index rows, const T* dout, T* gradient, T* dx) {
    const KeptForPullback<T> kept(context, rows);
    Needs needs;
    needs.gradient = needs.input_gradient = true;
    Call<T> call(context, rows, needs, kept.parameters);
    const Plan& plan = call.plan;
    const index width = plan.values.front().features(), last = plan.out_features();
    call.for_chunks([&](Workspace<T>& ws, index first, index count) {
        call.stream.upload(ws.a(0), kept.rows + first * width, count * width);
        Walks<T>::forward(ws);
        call.stream.upload(ws.da(plan.output()), dout + first * last, count * last);
        Walks<T>::backward(ws);
        Walks<T>::gradient(ws, first > 0);
        call.stream.download(dx + first * width, ws.d(0), count * width);
    });
    call.stream.download(gradient, call.ws.gradient, plan.n_parameters);
    call.stream.wait();
    if (plan.input_layers.empty() || !plan.input_ways.empty()) return;
    const std::vector<T> mapped(dx, dx + rows * width);
    Source none;
    none.rows = rows;
    input_gradient(context, none, mapped.data(), dx);
}

// losses (m,): the weighted mean of the losses at parameters + steps (m, k) directions (k, n_parameters).
template <class T>
void losses_along(const Context& context, const T* parameters, const T* directions, index k,
                  const double* steps, index m, const Source& x, const Targets<T>& y, const Order& order,
                  const LossSpec& loss, double* losses) {
    Needs needs;
    needs.loss = true;
    Call<T> call(context, order.rows, needs, parameters);
    const index n = call.plan.n_parameters;
    const T* const ways = call.memory.copy_of(directions, k * n);
    const double* const device_steps = call.memory.copy_of(steps, m * k);
    double* const sums = call.memory.template take<double>(2 * m);
    T* const point = call.memory.template take<T>(n);
    call.for_chunks([&](Workspace<T>& ws, index first, index) {
        call.load(ws, x, order.examples, first);
        const Examples<T> examples = call.load(ws, y, order.examples, first);
        Workspace<T> there = ws;
        there.parameters = point;
        for (index i = 0; i < m; ++i) {
            elementwise(ws.stream, n, GoAlong<T>{point, ws.parameters, ways, device_steps + i * k, k, n});
            Walks<T>::forward(there);
            Losses<T>::forward(there, loss, examples, T(1));
            total<2>(ws.stream, ws.rows, AddScores<T>{ws.losses, ws.right, sums + 2 * i, first > 0});
        }
    });
    std::vector<double> all(std::size_t(2 * m));
    call.stream.download(all.data(), sums, 2 * m);
    call.stream.wait();
    const double weight = net::total_weight(net::batch_of(call.plan, y, order.examples, 0), order.rows);
    for (index i = 0; i < m; ++i) losses[i] = all[std::size_t(2 * i)] / weight;
}

// Layer after layer, each with those before it as they are by then. Writes the state.
template <class T>
void calibrate(const Context& context, const T* parameters, const Source& x) {
    Call<T> call(context, x.rows, {}, parameters);
    for (const Node& node : call.plan.nodes) {
        if (!Walks<T>::has_state(node)) continue;
        call.for_chunks([&](Workspace<T>& ws, index first, index) {
            call.load(ws, x, nullptr, first);
            Walks<T>::forward(ws, &node);
            Walks<T>::calibrate(ws, node, first);
        });
    }
    call.stream.download(context.state, call.ws.state, call.plan.n_state);
    call.stream.wait();
}

}  // namespace

template <class T>
void fill_evaluation(Functions<T>& to) {
    to.outputs = outputs<T>;
    to.values = values<T>;
    to.evaluate = evaluate<T>;
    to.losses_along = losses_along<T>;
    to.calibrate = calibrate<T>;
    to.loss_and_gradient = loss_and_gradient<T>;
    to.push_forward = push_forward<T>;
    to.outputs_for_pullback = outputs_for_pullback<T>;
    to.pull_back = pull_back<T>;
    to.input_gradient = input_gradient<T>;
}

template void fill_evaluation(Functions<float>&);
template void fill_evaluation(Functions<double>&);

}  // namespace fnn::FNN_ISA::device
