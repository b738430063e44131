#include "cuda/narrow.h"

#include "cuda/loss_rows.h"
#include "net/ops/activation.h"
#include "optim/update.h"

namespace fnn::FNN_ISA::device {

constexpr int most_layers = 8, narrow_threads = 512;
constexpr int own_rows = 4;  // that a thread computes side by side

// Where things lie in shared memory, counted in numbers.
struct NarrowLayer {
    int in, out;
    int weight, bias;  // among the parameters
    int x, a, d;       // (rows, in), (rows, out) and (rows, out)
    ActivationSpec activation;
};
struct NarrowNetwork {
    NarrowLayer layers[most_layers];
    int depth = 0, parameters = 0;
    int losses = 0, right = 0;  // (rows,) each
    int numbers = 0;            // all together
};

// f(rule) with the rules whose derivatives are functions of their values; others are not asked for.
template <class T, class F>
__device__ void with_activation(const ActivationSpec& spec, const F& f) {
    const T first = T(spec.values[0]), second = T(spec.values[1]);
    switch (spec.kind) {
        case Activation::relu:
            return f(rules::ReLU<T>{});
        case Activation::leaky_relu:
            return f(rules::LeakyReLU<T>{first});
        case Activation::elu:
            return f(rules::ELU<T>{first});
        case Activation::tanh:
            return f(rules::Tanh<T>{});
        case Activation::hardtanh:
            return f(rules::Hardtanh<T>{first, second});
        case Activation::sigmoid:
            return f(rules::Sigmoid<T>{});
        case Activation::step:
            return f(rules::Step<T>{});
        case Activation::sign:
            return f(rules::Sign<T>{});
        default:
            return f(rules::Identity<T>{});
    }
}

template <class T>
__device__ Scores<T> narrow_loss(const LossSpec& spec, const Row<T>& row, T factor, T* dz, const Warp& warp) {
    switch (spec.kind) {
        case LossKind::cross_entropy:
            return CrossEntropy<T>{T(spec.confidence_penalty)}.forward(row, factor, dz, warp);
        case LossKind::binary_cross_entropy:
            return Elementwise<T, rules::BinaryCrossEntropy<T>>{}.forward(row, factor, dz, warp);
        default:
            return Elementwise<T, rules::SquaredError<T>>{}.forward(row, factor, dz, warp);
    }
}

FNN_HD inline index smaller(index a, index b) { return a < b ? a : b; }

// The block's threads go through some places of their own.
template <class F>
__device__ void each_thread(int n, const F& f) {
    for (int i = int(threadIdx.x); i < n; i += narrow_threads) f(i);
}

// a = f(x w + b)
template <class T>
__device__ void narrow_forward(const NarrowLayer& l, T* s, int rows) {
    const int groups = (rows + own_rows - 1) / own_rows;
    each_thread(groups * l.out, [&](int i) {
        const int j = i % l.out, first = i / l.out * own_rows;
        T sums[own_rows];
        for (int r = 0; r < own_rows; ++r) sums[r] = s[l.bias + j];
        for (int k = 0; k < l.in; ++k) {
            const T w = s[l.weight + k * l.out + j];
            for (int r = 0; r < own_rows; ++r)
                sums[r] = rules::mul_add(s[l.x + (first + r) * l.in + k], w, sums[r]);
        }
        with_activation<T>(l.activation, [&](auto rule) {
            for (int r = 0; r < own_rows; ++r) s[l.a + (first + r) * l.out + j] = rule.value(sums[r]);
        });
    });
}

// d of the layer before = d w' f'(x), where x is what that layer puts out. Each thread begins its sum at
// another column, so that those of a warp read from different banks.
template <class T>
__device__ void narrow_backward(const NarrowLayer& l, const NarrowLayer& before, T* s, int rows) {
    const int groups = (rows + own_rows - 1) / own_rows;
    each_thread(groups * l.in, [&](int i) {
        const int k = i % l.in, first = i / l.in * own_rows;
        T sums[own_rows] = {};
        for (int turn = 0, j = k % l.out; turn < l.out; ++turn, j = j + 1 == l.out ? 0 : j + 1) {
            const T w = s[l.weight + k * l.out + j];
            for (int r = 0; r < own_rows; ++r)
                sums[r] = rules::mul_add(s[l.d + (first + r) * l.out + j], w, sums[r]);
        }
        with_activation<T>(before.activation, [&](auto rule) {
            for (int r = 0; r < own_rows; ++r) {
                const int at = (first + r) * l.in + k;
                s[before.d + at] = sums[r] * rule.derivative(s[l.x + at]);
            }
        });
    });
}

// The gradient of each parameter, which is updated at once. own_rows is of the matrix here.
template <class T, class Rule>
__device__ void narrow_update(const NarrowLayer& l, T* s, int rows, const Rule& rule, const Tensors<T>& all) {
    const auto update = [&](int at, T gradient) {
        T* own[max_states] = {};
        for (int k = 0; k < Rule::states; ++k) own[k] = all.states[k] + at;
        optim::Apply<T, Rule>{rule, s + at, own[0], own[1], own[2], &gradient}(0);
    };
    const int groups = (l.in + own_rows - 1) / own_rows;
    each_thread(groups * l.out, [&](int i) {
        const int j = i % l.out, first = i / l.out * own_rows;
        T sums[own_rows] = {};
        for (int r = 0; r < rows; ++r) {
            const T d = s[l.d + r * l.out + j];
            for (int k = 0; k < own_rows && first + k < l.in; ++k)
                sums[k] = rules::mul_add(s[l.x + r * l.in + first + k], d, sums[k]);
        }
        for (int k = 0; k < own_rows && first + k < l.in; ++k)
            update(l.weight + (first + k) * l.out + j, sums[k]);
    });
    each_thread(l.out, [&](int j) {
        T sum = 0;
        for (int r = 0; r < rows; ++r) sum += s[l.d + r * l.out + j];
        update(l.bias + j, sum);
    });
}

template <class T, class Rule>
__global__ void __launch_bounds__(narrow_threads)
    narrow_kernel(NarrowNetwork net, StepsOf<T> of, rules::LabelSmoothing<T> smoothing, bool smooths,
                  index steps) {
    T* const s = reinterpret_cast<T*>(&shared<double>());
    const Warp warp{int(threadIdx.x) % Warp::lanes};
    const int number = int(threadIdx.x) / Warp::lanes, warps = narrow_threads / Warp::lanes;
    const NarrowLayer &first = net.layers[0], &last = net.layers[net.depth - 1];
    const index begin = of.now->step;
    double sums[2] = {};   // of the first thread: loss and right of the steps that are complete, from the
    if (threadIdx.x == 0)  // epoch's first on, however many a launch makes
        for (int k = 0; k < 2; ++k) sums[k] = of.progress->all[k];
    index step = begin;
    int stopped = of.now->stopped;
    each_thread(net.parameters, [&](int i) { s[i] = of.tensors.parameters[i]; });
    for (; step < begin + steps && !stopped; ++step) {
        const int rows = int(smaller(of.rows - step * of.batch_size, of.batch_size));
        const T factor = T(1 / double(rows));
        Examples<T> examples = of.examples;
        examples.first = (step - begin) * of.batch_size;  // besides what `now` counts
        each_thread(rows * first.in, [&](int i) {
            s[first.x + i] = of.X[examples.example(i / first.in) * first.in + i % first.in];
        });
        __syncthreads();
        for (int l = 0; l < net.depth; ++l) {
            narrow_forward(net.layers[l], s, rows);
            __syncthreads();
        }
        for (int r = number; r < rows; r += warps) {
            const Row<T> own{examples, s + last.a + r * last.out, r, last.out, smoothing, smooths};
            const T weight = examples.weight(r);
            T* const dz = s + last.d + r * last.out;
            const Scores<T> scores = narrow_loss(of.loss, own, factor * weight, dz, warp);
            with_activation<T>(last.activation, [&](auto rule) {
                warp.each(last.out,
                          [&](index j) { dz[j] = weight != 0 ? dz[j] * rule.derivative(own.z[j]) : T(0); });
            });
            if (warp.lane > 0) continue;
            s[net.losses + r] = weight != 0 ? weight * scores.value : T(0);
            s[net.right + r] = scores.value == scores.value ? weight * scores.right : T(0);
        }
        __syncthreads();
        double loss = 0, right = 0;  // every warp adds them up, and knows without waiting whether to go on
        warp.each(rows, [&](index r) {
            loss += double(s[net.losses + r]);
            right += double(s[net.right + r]);
        });
        loss = warp.sum(loss), right = warp.sum(right);
        stopped = !(loss - loss == 0);
        if (stopped) break;
        sums[0] += loss, sums[1] += right;
        for (int l = net.depth - 1; l > 0; --l) {
            narrow_backward(net.layers[l], net.layers[l - 1], s, rows);
            __syncthreads();
        }
        Rule rule;
        memcpy(&rule, of.rules[step].numbers, sizeof(Rule));
        for (int l = 0; l < net.depth; ++l) narrow_update(net.layers[l], s, rows, rule, of.tensors);
        __syncthreads();
    }
    each_thread(net.parameters, [&](int i) { of.tensors.parameters[i] = s[i]; });
    if (threadIdx.x > 0) return;
    of.progress->all[0] = sums[0];
    of.progress->all[1] = sums[1];
    of.now->step = step;
    of.now->stopped = stopped;
}

namespace {

// Nothing at depth 0: the network is none of these.
template <class T>
NarrowNetwork layout_of(const Plan& plan, index batch_size) {
    constexpr index widest = 128,
                    most_work = index{1} << 19;  // multiply-adds of a step, as one block makes them
    const auto none = NarrowNetwork{};
    NarrowNetwork net;
    if (!plan.input_ways.empty() || plan.nodes.size() > most_layers) return none;
    if (batch_size * plan.n_parameters > most_work) return none;
    const int rows = int(exec::divide_up(batch_size, own_rows)) * own_rows;
    index at = plan.n_parameters;
    const auto take = [&](index n) {
        at += n;
        return int(at - n);
    };
    int value = 0, x = take(rows * plan.values.front().features());
    for (const Node& node : plan.nodes) {
        if (node.op.kind != OpKind::dense || node.input() != value || net::reads_z<T>(node.activation))
            return none;
        const Parameters& own = plan.parameters[std::size_t(node.parameters)];
        const index in = own.rows, out = own.cols;
        if (own.nodes.size() > 1 || !own.trainable || own.is_constrained() || in > widest || out > widest)
            return none;
        const int a = take(rows * out), d = take(rows * out);
        net.layers[net.depth++] = {int(in), int(out), int(own.offset), int(own.vector_offset(0)), x,
                                   a,       d,        node.activation};
        value = node.output, x = a;
    }
    net.parameters = int(plan.n_parameters);
    net.losses = take(rows), net.right = take(rows);
    net.numbers = int(at);
    return at * index(sizeof(T)) <= most_shared() ? net : none;
}

template <class T, class Rule>
void run_steps(Stream& stream, const Plan& plan, const StepsOf<T>& of, index steps) {
    const NarrowNetwork net = layout_of<T>(plan, of.batch_size);
    const bool smooths = of.loss.kind == LossKind::cross_entropy && of.loss.label_smoothing != 0;
    const rules::LabelSmoothing<T> smoothing(smooths ? of.loss.label_smoothing : 0, plan.out_features());
    launch(stream, narrow_kernel<T, Rule>, dim3(1), dim3(narrow_threads),
           std::size_t(net.numbers) * sizeof(T), net, of, smoothing, smooths, steps);
}

}  // namespace

template <class T>
RunSteps<T> narrow_steps(const Plan& plan, const LossSpec& loss, const UpdateSpec& update, index batch_size) {
    if (loss.kind != LossKind::cross_entropy && loss.kind != LossKind::mse &&
        loss.kind != LossKind::binary_cross_entropy)
        return nullptr;
    if (layout_of<T>(plan, batch_size).depth == 0) return nullptr;
    RunSteps<T> result = nullptr;
    optim::with_update_rule<T>(update, 0, [&](const auto& rule) {
        using Own = std::decay_t<decltype(rule)>;
        constexpr bool is_common =
            std::is_same_v<Own, rules::SGD<T>> || std::is_same_v<Own, rules::Momentum<T, false>> ||
            std::is_same_v<Own, rules::Momentum<T, true>> || std::is_same_v<Own, rules::Adam<T>>;
        if constexpr (is_common)
            if (update.kind != UpdateKind::radam) result = run_steps<T, Own>;
    });
    return result;
}

template RunSteps<float> narrow_steps(const Plan&, const LossSpec&, const UpdateSpec&, index);
template RunSteps<double> narrow_steps(const Plan&, const LossSpec&, const UpdateSpec&, index);

}  // namespace fnn::FNN_ISA::device
