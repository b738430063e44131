#include "net/plan.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "net/ops/activation.h"
#include "net/ops/with_op.h"
#include "net/shapes.h"
#include "rules/runge_kutta.h"

namespace fnn {

namespace {

struct NamedActivation {
    Activation kind;
    std::size_t n_values;
};

const std::map<std::string, NamedActivation> activations = {
    {"identity", {Activation::identity, 0}},
    {"relu", {Activation::relu, 0}},
    {"leaky_relu", {Activation::leaky_relu, 1}},  // slope
    {"elu", {Activation::elu, 1}},                // alpha
    {"softplus", {Activation::softplus, 1}},      // beta
    {"gelu", {Activation::gelu, 0}},
    {"gelu_tanh", {Activation::gelu_tanh, 0}},
    {"silu", {Activation::silu, 0}},
    {"tanh", {Activation::tanh, 0}},
    {"hardtanh", {Activation::hardtanh, 2}},  // min, max
    {"sigmoid", {Activation::sigmoid, 0}},
    {"step", {Activation::step, 0}},
    {"sign", {Activation::sign, 0}},
};

struct NamedOp {
    OpKind kind;
    std::vector<double OpSpec::*> numbers;  // its values, in their order
    std::string matrix;                     // names of what it learns
    std::vector<std::string> vectors;
    std::vector<std::string> states;  // names of what it keeps: each (features,)
    std::size_t inputs = 1;           // how many it takes; any: 0
    std::size_t optional = 0;         // how many more it may take: lengths
};

using Numbers = std::vector<double OpSpec::*>;
const Numbers windows = {&OpSpec::kernel_height, &OpSpec::kernel_width,   &OpSpec::stride_height,
                         &OpSpec::stride_width,  &OpSpec::padding_height, &OpSpec::padding_width};
const Numbers windows_and_outside = {&OpSpec::kernel_height, &OpSpec::kernel_width,   &OpSpec::stride_height,
                                     &OpSpec::stride_width,  &OpSpec::padding_height, &OpSpec::padding_width,
                                     &OpSpec::counts_outside};

const std::map<std::string, NamedOp> ops = {
    {"dense", {OpKind::dense, {}, "weight", {"bias"}, {}}},
    {"convolution",
     {OpKind::convolution,
      {&OpSpec::kernel_height, &OpSpec::kernel_width, &OpSpec::stride_height, &OpSpec::stride_width,
       &OpSpec::dilation_height, &OpSpec::dilation_width, &OpSpec::top, &OpSpec::bottom, &OpSpec::left,
       &OpSpec::right, &OpSpec::spacing_height, &OpSpec::spacing_width, &OpSpec::groups},
      "weight",
      {"bias"},
      {}}},
    {"weight_norm", {OpKind::weight_norm, {}, "weight_v", {"bias", "weight_g"}, {}}},
    {"embedding", {OpKind::embedding, {&OpSpec::categories}, "weight", {}, {}}},
    {"spread", {OpKind::spread, {&OpSpec::copies}, "", {"weight", "bias"}, {}}},
    {"cosine", {OpKind::cosine, {}, "", {}, {}}},
    {"softmax", {OpKind::softmax, {}, "", {}, {}}},
    {"add", {OpKind::add, {}, "", {}, {}, 0}},
    {"multiply", {OpKind::multiply, {}, "", {}, {}, 2}},
    {"concatenate", {OpKind::concatenate, {}, "", {}, {}, 0}},
    {"slice", {OpKind::slice, {&OpSpec::first, &OpSpec::count}, "", {}, {}}},
    {"reshape", {OpKind::reshape, {&OpSpec::height, &OpSpec::width, &OpSpec::channels}, "", {}, {}}},
    {"permute", {OpKind::permute, {&OpSpec::height, &OpSpec::width, &OpSpec::channels}, "", {}, {}}},
    {"max_pool", {OpKind::max_pool, windows, "", {}, {}}},
    {"avg_pool", {OpKind::avg_pool, windows_and_outside, "", {}, {}}},
    {"adaptive_max_pool", {OpKind::max_pool, {&OpSpec::height, &OpSpec::width}, "", {}, {}}},
    {"adaptive_avg_pool", {OpKind::avg_pool, {&OpSpec::height, &OpSpec::width}, "", {}, {}}},
    {"sum_positions", {OpKind::sum_positions, {}, "", {}, {}, 1, 1}},
    {"mean_positions", {OpKind::mean_positions, {}, "", {}, {}, 1, 1}},
    {"max_positions", {OpKind::max_positions, {}, "", {}, {}, 1, 1}},
    {"augment",
     {OpKind::augment,
      {&OpSpec::height, &OpSpec::width, &OpSpec::margin, &OpSpec::flips_rows, &OpSpec::flips_columns,
       &OpSpec::hole},
      "",
      {},
      {}}},
    {"gates", {OpKind::dense, {}, "weight_ih", {"bias_ih"}, {}}},  // of recurrent layers, from the input
    {"rnn",
     {OpKind::rnn,
      {&OpSpec::reversed, &OpSpec::last, &OpSpec::rectifies},
      "weight_hh",
      {"bias_hh"},
      {},
      1,
      1}},
    {"gru", {OpKind::gru, {&OpSpec::reversed, &OpSpec::last}, "weight_hh", {"bias_hh"}, {}, 1, 1}},
    {"lstm", {OpKind::lstm, {&OpSpec::reversed, &OpSpec::last}, "weight_hh", {"bias_hh"}, {}, 1, 1}},
    {"attention", {OpKind::attention, {&OpSpec::heads, &OpSpec::causal, &OpSpec::cross}, "", {}, {}, 1, 2}},
    {"rotary", {OpKind::rotary, {&OpSpec::heads, &OpSpec::count}, "", {}, {}}},
    {"positions", {OpKind::positions, {}, "weight", {}, {}}},
    {"evaluation", {OpKind::evaluation, {}, "", {}, {}}},
    {"neural_ode",
     {OpKind::neural_ode,
      {&OpSpec::method, &OpSpec::start, &OpSpec::stop, &OpSpec::steps, &OpSpec::rtol, &OpSpec::atol,
       &OpSpec::time, &OpSpec::adjoint},
      "",
      {},
      {},
      2}},
    {"equilibrium", {OpKind::equilibrium, {&OpSpec::method, &OpSpec::rtol, &OpSpec::steps}, "", {}, {}, 2}},
    {"dropout", {OpKind::dropout, {&OpSpec::rate}, "", {}, {}}},
    {"gaussian_noise", {OpKind::gaussian_noise, {&OpSpec::std}, "", {}, {}}},
    {"prelu", {OpKind::prelu, {}, "", {"weight"}, {}}},
    {"scale", {OpKind::scale, {}, "", {"weight"}, {}}},
    {"layer_norm", {OpKind::layer_norm, {&OpSpec::eps, &OpSpec::affine}, "", {"weight", "bias"}, {}}},
    {"rms_norm", {OpKind::rms_norm, {&OpSpec::eps, &OpSpec::affine}, "", {"weight"}, {}}},
    {"group_norm",
     {OpKind::group_norm, {&OpSpec::groups, &OpSpec::eps, &OpSpec::affine}, "", {"weight", "bias"}, {}}},
    {"batch_norm",
     {OpKind::batch_norm,
      {&OpSpec::eps, &OpSpec::affine, &OpSpec::momentum},
      "",
      {"weight", "bias"},
      {"running_mean", "running_var"}}},
};

struct NamedInput {
    InputKind kind;
    std::size_t n_values;
    std::vector<std::string> vectors;  // names of what it has learned: each (features,), or one matrix
    std::string matrix;
};

const std::map<std::string, NamedInput> input_kinds = {
    {"rescale", {InputKind::rescale, 2, {}, ""}},  // scale, offset
    {"standardize", {InputKind::standardize, 0, {"mean", "std"}, ""}},
    {"robust_scale", {InputKind::robust_scale, 1, {"center", "scale"}, ""}},  // clip
    {"quantile_normal", {InputKind::quantile_normal, 1, {}, "quantiles"}},    // how many
    {"piecewise_linear", {InputKind::piecewise_linear, 1, {}, "edges"}},      // bins
    {"one_hot", {InputKind::one_hot, 2, {}, "counts"}},                       // categories, min_count
    {"impute", {InputKind::impute, 0, {"value"}, ""}},
    {"missing_indicator", {InputKind::missing_indicator, 0, {}, ""}},
    {"join", {InputKind::join, 0, {}, ""}},
};

void check_count(const std::string& kind, const std::vector<double>& values, std::size_t expected) {
    if (values.size() != expected)
        throw std::invalid_argument("'" + kind + "': expected " + std::to_string(expected) + " values, got " +
                                    std::to_string(values.size()));
}

void check_inputs(const LayerSpec& layer, std::size_t expected, std::size_t optional = 0) {
    const std::size_t count = layer.inputs.size();
    if (count < expected || count > expected + optional)
        throw std::invalid_argument("inputs: expected " + std::to_string(expected) +
                                    (optional > 0 ? " to " + std::to_string(expected + optional) : "") +
                                    ", got " + std::to_string(count));
}

// More does not fit into memory anyway, and products must not wrap around.
constexpr index largest_plan = index{1} << 48;

Traits traits_of(const OpSpec& op) {
    return baseline::net::with_op<float>(op, [](auto type) { return type.traits; });
}

}  // namespace

ActivationSpec activation_of(const std::string& name, const std::vector<double>& values) {
    const auto found = activations.find(name);
    if (found == activations.end())
        throw std::invalid_argument("kind: expected that of a layer, got '" + name + "'");
    check_count(name, values, found->second.n_values);
    ActivationSpec spec{found->second.kind};
    std::copy(values.begin(), values.end(), spec.values);
    return spec;
}

// Adds one layer after the other.
struct Plan::Building {
    Plan& plan;
    const std::vector<LayerSpec>& layers;
    const bool fused;
    std::vector<int> roots;    // of the input and each layer's output: itself, or what an identity passes on
    std::vector<int> readers;  // of those

    Building(Plan& plan, const std::vector<LayerSpec>& layers, bool fused)
        : plan(plan), layers(layers), fused(fused), roots{0}, readers(layers.size() + 1, 0) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const LayerSpec& layer = layers[i];
            for (const int input : layer.inputs)
                if (input < 0 || input > int(i))
                    throw std::invalid_argument("layers[" + layer.path +
                                                "]: inputs: expected numbers from 0 to " + std::to_string(i) +
                                                ", got " + std::to_string(input));
            if (layer.inputs.empty())
                throw std::invalid_argument("layers[" + layer.path +
                                            "]: inputs: expected at least one, got none");
            const bool passes = layer.kind == "identity";
            roots.push_back(passes ? root_of(layer.inputs[0]) : int(i) + 1);
            for (const int input : layer.inputs)
                if (!passes) ++readers[std::size_t(root_of(input))];
        }
        ++readers[std::size_t(roots.back())];
    }

    int root_of(int input) const { return roots[std::size_t(input)]; }

    const Shape& shape(int value) const { return plan.values[std::size_t(value)].shape; }

    int value_of(int input) const { return input == 0 ? 0 : plan.outputs[std::size_t(input) - 1]; }

    void add(std::size_t i) {
        const LayerSpec& layer = layers[i];
        if (layer.max_norm != 0 && layer.kind != "dense")
            throw std::invalid_argument("max_norm: expected that of a dense layer, got one of '" +
                                        layer.kind + "'");
        if (readers[std::size_t(roots[i + 1])] == 0)
            throw std::invalid_argument("expected something that reads what it puts out, got nothing");
        const auto op = ops.find(layer.kind);
        if (op != ops.end())
            add_op(layer, op->second);
        else if (layer.kind == "select" || input_kinds.count(layer.kind) > 0)
            add_input_layer(layer);
        else
            add_activation(layer, activation_of(layer.kind, layer.values));
    }

    // What a value is called as an input of an InputLayer.
    int input_of(int value) const { return value == 0 ? 0 : inputs_[std::size_t(value) - 1]; }

    Node& add_node(const LayerSpec& layer, const Shape& shape) {
        Node node;
        for (const int input : layer.inputs) {
            node.inputs.push_back({value_of(input)});
            const int producer = plan.values[std::size_t(node.inputs.back().value)].producer;
            if (producer >= 0 && plan.nodes[std::size_t(producer)].is_within_block())
                throw std::invalid_argument("inputs: expected no value of a block that has ended, got " +
                                            std::to_string(input));
            if (value_of(input) == 0 && input_of(input) != int(plan.input_layers.size()))
                throw std::invalid_argument("inputs: expected what the last input layer puts out, got " +
                                            std::to_string(input));
        }
        node.output = int(plan.values.size());
        node.layer = layer.path;
        bool learns = false;
        for (const Input& input : node.inputs) learns |= plan.values[std::size_t(input.value)].learns;
        plan.outputs.push_back(node.output);
        plan.values.push_back({shape, int(plan.nodes.size()), learns});
        plan.positions_ = std::max(plan.positions_, shape.positions());
        plan.nodes.push_back(node);
        return plan.nodes.back();
    }

    void merge(const Traits& one, const std::string& layer, const char* kind) {
        Traits& all = plan.traits;
        all.couples_rows |= one.couples_rows;
        all.is_random |= one.is_random;
        all.has_state |= one.has_state;
        all.walks_positions |= one.walks_positions;
        if (!one.piecewise_linear && plan.nonlinear.empty()) plan.nonlinear = layer;
        if (!one.exact_traces && plan.inexact.empty())
            plan.inexact = "what '" + std::string(kind) + "' (layer " + layer + ") adds to them is not known";
    }

    void add_op(const LayerSpec& layer, const NamedOp& op) {
        check_count(layer.kind, layer.values, op.numbers.size());
        if (op.inputs != 0) check_inputs(layer, op.inputs, op.optional);
        OpSpec spec{op.kind};
        for (std::size_t k = 0; k < op.numbers.size(); ++k) spec.*op.numbers[k] = layer.values[k];
        std::vector<Shape> inputs;
        for (const int input : layer.inputs) inputs.push_back(shape(value_of(input)));
        const Shape output = shape_of(spec, layer.units, inputs);
        check_size("units", output.channels);
        check_numbers(output);
        const index rows = op.matrix.empty() ? 0 : matrix_rows(spec, inputs);
        if (spec.kind == OpKind::convolution && fused) read_through(layer.inputs[0], spec);
        Node& node = add_node(layer, output);
        node.op = spec;
        if (spec.kind == OpKind::evaluation) begin_block();
        const Traits traits = traits_of(node.op);
        if (traits.is_random) node.random = n_random_++;
        const bool may_learn = !op.matrix.empty() || !op.vectors.empty();
        const bool affine = std::count(op.numbers.begin(), op.numbers.end(), &OpSpec::affine) > 0;
        if (affine ? node.op.affine != 0 : may_learn) {
            node.parameters = parameters_of(layer, op, rows, vector_length(spec, output));
            owners_.back() = node.parameters;
            Parameters& own = plan.parameters[std::size_t(node.parameters)];
            own.nodes.push_back(int(plan.nodes.size()) - 1);
            if (own.nodes.size() > 1 && plan.inexact.empty())
                plan.inexact = "the parameters of layer " + own.layer + " are used more than once";
            if (output.positions() > 1 && plan.inexact.empty())
                plan.inexact = "the parameters of layer " + own.layer + " are used at several positions";
            plan.values.back().learns |= own.trainable;
            node.learns_going_back = traits.learns_going_back && own.trainable;
        }
        if (!op.states.empty() && layer.shares >= 0)
            throw std::invalid_argument("shares: expected none, as its statistics are those of one place");
        node.state = plan.n_state;
        for (const std::string& name : op.states) add_state(layer.path, name, output.channels);
        merge(traits, layer.path, layer.kind.c_str());
        add_work(work_of(spec, inputs, output, rows));
        if (spec.kind == OpKind::neural_ode || spec.kind == OpKind::equilibrium) end_block(plan.nodes.back());
    }

    // Evaluations that there is memory for, also where not all are kept, and those of an example, if need be
    // guessed.
    struct BlockSize {
        index evaluations, at_a_time, usual;
    };
    static BlockSize block_size(const OpSpec& op) {
        constexpr index guess = 10;
        const index steps = index(op.steps);
        check_size("steps", steps);
        if (op.kind == OpKind::equilibrium) return {1, 1, std::min(steps, guess)};
        const index methods = index(std::size(baseline::rules::runge_kutta));
        if (!(op.method >= 0 && op.method < double(methods)))
            throw std::invalid_argument("method: expected 0 to " + std::to_string(methods - 1) + ", got " +
                                        std::to_string(op.method));
        if (!(op.adjoint >= 0 && op.adjoint <= op.steps) || op.adjoint != double(index(op.adjoint)))
            throw std::invalid_argument("adjoint: expected a whole number from 0 to steps, got " +
                                        std::to_string(op.adjoint));
        const auto& method = baseline::rules::runge_kutta[index(op.method)];
        return {method.stages * (steps + 1), method.stages * (std::max(index(op.adjoint), index{1}) + 1),
                method.stages * (method.adapts ? std::min(steps, guess) : steps)};
    }

    // More than `most` decides nothing, and what it is multiplied by must not make it wrap around.
    void add_work(double work) {
        constexpr double most = 0x1p40;
        plan.work_per_row_ = index(std::min(double(plan.work_per_row_) + work, most));
    }

    void begin_block() {
        if (block_ >= 0) throw std::invalid_argument("expected no block within a block, got one");
        block_ = int(plan.nodes.size()) - 1;
        work_before_block_ = plan.work_per_row_;
    }

    // The nodes since then are what the op at the end evaluates.
    void end_block(Node& solver) {
        if (block_ < 0) throw std::invalid_argument("expected an evaluation before it, got none");
        const BlockSize size = block_size(solver.op);
        const int number = int(plan.nodes.size()) - 1, reads = plan.nodes[std::size_t(block_)].output;
        bool learns = plan.values.back().learns;
        for (int n = block_; n < number; ++n) {
            Node& node = plan.nodes[std::size_t(n)];
            Value& value = plan.values[std::size_t(node.output)];
            node.solver = number;
            if (size.evaluations > largest_plan / value.shape.size())
                throw std::invalid_argument("steps: expected at most " + std::to_string(largest_plan) +
                                            " numbers in all evaluations of layers[" + node.layer +
                                            "], got " + std::to_string(size.evaluations) + " times " +
                                            std::to_string(value.shape.size()));
            value.evaluations = size.evaluations, value.at_a_time = size.at_a_time;
            learns |= value.learns;
            plan.positions_ = std::max(plan.positions_, size.evaluations * value.positions());
            for (const Input& input : node.inputs)
                if (n > block_ && input.value < reads)
                    throw std::invalid_argument("inputs: expected values of its own block, got " +
                                                std::to_string(input.value));
        }
        const OpSpec& op = solver.op;
        const index beside = op.kind == OpKind::equilibrium ? shape(solver.input()).channels : index(op.time);
        if (shape(reads).channels != shape(solver.output).channels + beside)
            throw std::invalid_argument("expected an evaluation of " +
                                        std::to_string(shape(solver.output).channels + beside) +
                                        " columns, got " + std::to_string(shape(reads).channels));
        if (solver.inputs.back().value == reads)
            throw std::invalid_argument("block: expected layers that compute something, got none");
        // A second evaluation reads what the first has put out.
        for (int n = block_; n <= number; ++n)
            plan.values[std::size_t(plan.nodes[std::size_t(n)].output)].learns = learns;
        solver.block = block_;
        add_work(double(plan.work_per_row_ - work_before_block_) * double(size.usual - 1));
        block_ = -1;
    }

    // A convolution reads what is reshaped for it alone as it comes.
    void read_through(int input, OpSpec& spec) {
        const Node& before = plan.nodes.empty() ? Node{} : plan.nodes.back();
        if (before.op.kind != OpKind::reshape || before.activation.kind != Activation::identity ||
            before.output != value_of(input) || readers[std::size_t(root_of(input))] != 1 ||
            shape(before.input()).positions() != 1)
            return;
        const Shape from = shape(before.output);
        spec.height = double(from.height), spec.width = double(from.width);
        spec.channels = double(from.channels);
        plan.work_per_row_ -= from.size();
        plan.outputs[std::size_t(input) - 1] = before.input();
        plan.nodes.pop_back();
        plan.values.pop_back();
    }

    void add_state(const std::string& layer, const std::string& name, index size, index rows = 0) {
        plan.states.push_back({layer, name, plan.n_state, size, rows});
        plan.n_state += size;
        if (plan.n_state > largest_plan)
            throw std::invalid_argument("expected at most " + std::to_string(largest_plan) +
                                        " numbers beside parameters, got " + std::to_string(plan.n_state));
    }

    int parameters_of(const LayerSpec& layer, const NamedOp& op, index rows, index cols) {
        if (layer.shares >= 0) {
            const auto owner = std::size_t(layer.shares);
            const int shared = owner < owners_.size() ? owners_[owner] : -1;
            if (shared < 0) throw std::invalid_argument("shares: expected a layer before it with parameters");
            const Parameters& own = plan.parameters[std::size_t(shared)];
            if (own.matrix != op.matrix || own.vectors != op.vectors)
                throw std::invalid_argument("shares: expected a layer of its own kind");
            if (own.rows != rows || own.cols != cols)
                throw std::invalid_argument("expected inputs as wide as where it was used first, got " +
                                            std::to_string(rows == 0 ? cols : rows) + " features, not " +
                                            std::to_string(own.rows == 0 ? own.cols : own.rows));
            return shared;
        }
        Parameters own;
        own.layer = layer.path, own.matrix = op.matrix, own.vectors = op.vectors;
        own.rows = rows, own.cols = cols, own.offset = plan.n_parameters;
        own.trainable = layer.trainable, own.trained_before = plan.n_trainable;
        own.max_norm = layer.max_norm, own.is_normalized = op.kind == OpKind::weight_norm;
        own.is_table = op.kind == OpKind::embedding || op.kind == OpKind::positions;
        plan.n_parameters += own.size();
        if (own.trainable) plan.n_trainable += own.size();
        if (plan.n_parameters > largest_plan)
            throw std::invalid_argument("units: expected at most " + std::to_string(largest_plan) +
                                        " parameters of the network, got " +
                                        std::to_string(plan.n_parameters));
        plan.parameters.push_back(own);
        return int(plan.parameters.size()) - 1;
    }

    void add_activation(const LayerSpec& layer, const ActivationSpec& activation) {
        check_inputs(layer, 1);
        const int value = value_of(layer.inputs[0]), producer = plan.values[std::size_t(value)].producer;
        const bool passes = activation.kind == Activation::identity;
        if (passes && !plan.nodes.empty()) {
            plan.outputs.push_back(value);
            return;
        }
        merge(baseline::net::activation_traits<float>(activation), layer.path, layer.kind.c_str());
        // Fused into the node before it, if that has none yet, does not read its own output going backward,
        // and nobody else reads that.
        Node* const before = producer >= 0 ? &plan.nodes[std::size_t(producer)] : nullptr;
        if (fused && before != nullptr && before->activation.kind == Activation::identity &&
            !traits_of(before->op).reads_output && readers[std::size_t(root_of(layer.inputs[0]))] == 1) {
            before->activation = activation;
            plan.outputs.push_back(value);
            return;
        }
        const Shape own = shape(value);
        add_node(layer, own).activation = activation;
        add_work(double(own.size()));
    }

    void add_input_layer(const LayerSpec& layer) {
        if (!plan.nodes.empty())
            throw std::invalid_argument("expected in front of all layers of other kinds, got behind one");
        InputLayer input;
        input.values = layer.values;
        for (const int each : layer.inputs) {
            input.inputs.push_back(input_of(each));
            input.in_features += plan.width_of_input(input.inputs.back());
        }
        input.features = input.in_features, input.state = plan.n_state;
        if (layer.kind == "select") {
            check_inputs(layer, 1);
            if (input.inputs.front() != 0)
                throw std::invalid_argument("inputs: expected the columns of X, got those of a layer");
            input.kind = InputKind::select, input.features = index(layer.values.size());
            for (const double column : layer.values)
                if (!(column >= 0 && column < double(input.in_features)) || column != double(index(column)))
                    throw std::invalid_argument("columns: expected whole numbers below " +
                                                std::to_string(input.in_features) + ", got " +
                                                std::to_string(column));
        } else {
            add_named(layer, input_kinds.at(layer.kind), input);
        }
        check_size("units", input.features);
        plan.traits.has_state |= input.state < plan.n_state;
        plan.values.front().shape.channels = input.features;
        plan.input_layers.push_back(input);
        plan.outputs.push_back(0);
    }

    void add_named(const LayerSpec& layer, const NamedInput& named, InputLayer& input) {
        check_count(layer.kind, layer.values, named.n_values);
        if (named.kind != InputKind::join) check_inputs(layer, 1);
        input.kind = named.kind;
        const bool splits = input.kind == InputKind::piecewise_linear || input.kind == InputKind::one_hot;
        for (std::size_t i = 0; i < (named.matrix.empty() ? 0 : named.n_values); ++i)
            if (!(input.values[i] >= 1 && input.values[i] <= double(largest_size)))
                throw std::invalid_argument("'" + layer.kind + "': expected sizes from 1 to " +
                                            std::to_string(largest_size) + ", got " +
                                            std::to_string(input.values[i]));
        if (splits) {
            const bool has_rare = input.kind == InputKind::one_hot && input.values[1] > 1;
            input.features *= index(input.values[0]) + index(has_rare);
        }
        const index in = input.in_features;
        for (const std::string& name : named.vectors) add_state(layer.path, name, in);
        if (named.matrix.empty()) return;
        const index rows = index(input.values[0]) + index(input.kind == InputKind::piecewise_linear);
        add_state(layer.path, named.matrix, rows * in, rows);
    }

    // Who writes the gradient of a value first, and who last.
    void order_gradients() {
        std::vector<Input*> last_writer(plan.values.size(), nullptr);
        for (std::size_t n = plan.nodes.size(); n-- > 0;) {
            if (plan.nodes[n].op.kind == OpKind::evaluation) continue;  // whose input the op at the end reads
            for (Input& input : plan.nodes[n].inputs) {
                Input*& writer = last_writer[std::size_t(input.value)];
                input.adds_gradient = writer != nullptr;
                if (writer != nullptr) writer->completes_gradient = false;
                writer = &input;
            }
        }
    }

    std::vector<int> owners_;  // of each layer: its parameters
    std::vector<int> inputs_;  // of each layer: as an input of an InputLayer

   private:
    int n_random_ = 0;
    int block_ = -1;  // where one has begun that has not ended: its first node
    index work_before_block_ = 0;
};

Plan::Plan(index in_features, const std::vector<LayerSpec>& layers, bool fused) {
    check_size("in_features", in_features);
    in_features_ = in_features;
    values.push_back({{1, 1, in_features}});
    Building building(*this, layers, fused);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        building.owners_.push_back(-1);
        try {
            building.add(i);
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument("layers[" + layers[i].path + "]: " + error.what());
        }
        building.inputs_.push_back(int(input_layers.size()));
    }
    if (nodes.empty()) throw std::invalid_argument("layers: expected at least one layer, got none");
    building.order_gradients();
    const bool affine = std::all_of(input_layers.begin(), input_layers.end(), [](const InputLayer& layer) {
        return layer.kind == InputKind::rescale || layer.kind == InputKind::standardize;
    });
    if (!affine) input_ways = ways_to(int(input_layers.size()), 0, values.front().features());
    if (output_shape().positions() > 1 && inexact.empty()) inexact = "outputs have several positions";
    traits.piecewise_linear = nonlinear.empty();
    traits.exact_traces = inexact.empty();
}

std::vector<InputWay> Plan::ways_to(int input, index first, index count) const {
    std::vector<InputWay> ways;
    for (index to = first; to < first + count;) {
        InputWay way;
        way.first = to - first, way.column = to;
        for (int from = input; from != 0;) {
            const int number = from - 1;
            const InputLayer& layer = input_layers[std::size_t(number)];
            from = layer.inputs.front();
            if (layer.kind == InputKind::select) {
                way.column = index(layer.values[std::size_t(way.column)]);
            } else if (layer.kind == InputKind::join) {
                for (auto next = layer.inputs.begin(); way.column >= width_of_input(from); from = *++next)
                    way.column -= width_of_input(from);
            } else {
                const index width = layer.per_column();
                way.steps.push_back({number, way.column / width, way.column % width});
                way.column /= width;
            }
        }
        // What begins and ends with all that a layer makes of a column is one way.
        if (!way.steps.empty()) {
            const InputStep& last = way.steps.front();
            const index width = input_layers[std::size_t(last.layer)].per_column();
            if (last.which == 0 && to + width <= first + count) way.count = width;
        }
        std::reverse(way.steps.begin(), way.steps.end());
        to += way.count;
        ways.push_back(std::move(way));
    }
    std::stable_sort(ways.begin(), ways.end(),
                     [](const InputWay& one, const InputWay& other) { return one.column < other.column; });
    return ways;
}

}  // namespace fnn
