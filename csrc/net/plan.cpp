#include "net/plan.h"

#include <algorithm>
#include <map>

#include "net/ops/activation.h"
#include "net/ops/dense.h"
#include "net/ops/softmax.h"

namespace fnn {

namespace {

struct Named {
    Activation kind;
    std::size_t n_values;
};

const std::map<std::string, Named> activations = {
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

void check_count(const std::string& kind, const std::vector<double>& values, std::size_t expected) {
    if (values.size() != expected)
        throw std::invalid_argument("'" + kind + "': expected " + std::to_string(expected) + " values, got " +
                                    std::to_string(values.size()));
}

void merge(Traits& all, const Traits& one) {
    all.couples_rows |= one.couples_rows;
    all.is_random |= one.is_random;
    all.has_state |= one.has_state;
    all.piecewise_linear &= one.piecewise_linear;
}

// Sizes beyond this do not fit into memory anyway, and their products must not wrap around.
constexpr index largest_width = index{1} << 31;
constexpr index largest_plan = index{1} << 48;

void check_size(const std::string& name, index size) {
    if (size < 1 || size > largest_width)
        throw std::invalid_argument(name + ": expected 1 to " + std::to_string(largest_width) + ", got " +
                                    std::to_string(size));
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

Plan::Plan(index in_features, const std::vector<LayerSpec>& layers) {
    check_size("in_features", in_features);
    buffers.push_back({in_features, -1});
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto& [kind, units, values] = layers[i];
        try {
            if (kind == "dense") {
                check_count(kind, values, 0);
                add_dense(int(i), units);
            } else if (kind == "rescale") {
                add_input_layer(int(i), InputKind::rescale, values);
            } else if (kind == "standardize") {
                add_input_layer(int(i), InputKind::standardize, values);
            } else if (kind == "softmax") {
                check_count(kind, values, 0);
                add_softmax(int(i));
            } else {
                add_activation(int(i), activation_of(kind, values));
            }
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument("layers[" + std::to_string(i) + "]: " + error.what());
        }
    }
    if (nodes.empty()) throw std::invalid_argument("layers: expected at least one layer, got none");

    std::vector<int> last_writer(buffers.size(), -1);
    for (int n = int(nodes.size()) - 1; n >= 0; --n) {
        int& writer = last_writer[std::size_t(nodes[n].input)];
        nodes[n].adds_gradient = writer >= 0;
        if (writer >= 0) nodes[writer].completes_gradient = false;
        writer = n;
    }
}

Node& Plan::add_node(int layer, index units) {
    Node node;
    node.input = int(buffers.size()) - 1;
    node.output = node.input + 1;
    node.layer = layer;
    buffers.push_back({units, int(nodes.size())});
    nodes.push_back(node);
    return nodes.back();
}

void Plan::add_dense(int layer, index units) {
    check_size("units", units);
    const index in = buffers.back().features;
    Node& node = add_node(layer, units);
    node.map = Map::dense;
    node.weight = n_parameters;
    node.bias = n_parameters + in * units;
    n_parameters = node.bias + units;
    if (n_parameters > largest_plan)
        throw std::invalid_argument("units: expected at most " + std::to_string(largest_plan) +
                                    " parameters of the network, got " + std::to_string(n_parameters));
    merge(traits, baseline::net::Dense<float>::traits);
}

void Plan::add_softmax(int layer) {
    add_node(layer, buffers.back().features).map = Map::softmax;
    merge(traits, baseline::net::Softmax<float>::traits);
}

void Plan::add_activation(int layer, const ActivationSpec& activation) {
    if (activation.kind == Activation::identity && !nodes.empty()) return;
    // Fused into the node before it, if that has none yet and does not read its own output going backward.
    const bool fused = !nodes.empty() && nodes.back().activation.kind == Activation::identity &&
                       nodes.back().map != Map::softmax;
    (fused ? nodes.back() : add_node(layer, buffers.back().features)).activation = activation;
    merge(traits, baseline::net::activation_traits<float>(activation));
}

void Plan::add_input_layer(int layer, InputKind kind, const std::vector<double>& values) {
    if (!nodes.empty())
        throw std::invalid_argument("expected in front of all layers of other kinds, got behind one");
    InputLayer input{kind, layer};
    if (kind == InputKind::rescale) {
        check_count("rescale", values, 2);
        input.scale = values[0];
        input.offset = values[1];
    } else {
        check_count("standardize", values, 0);
        input.mean = n_state;
        input.deviation = n_state + in_features();
        n_state += 2 * in_features();
        traits.has_state = true;
    }
    input_layers.push_back(input);
}

index Plan::work_per_row() const {
    index work = 0;
    for (const Node& node : nodes) {
        const index in = buffers[node.input].features, out = buffers[node.output].features;
        work += node.map == Map::dense ? in * out : out;
    }
    return work;
}

}  // namespace fnn
