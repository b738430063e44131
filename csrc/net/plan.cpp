#include "net/plan.h"

#include <map>

#include "net/ops/activation.h"
#include "net/ops/dense.h"

namespace fnn {

namespace {

const std::map<std::string, Activation> activations = {
    {"relu", Activation::relu},
    {"tanh", Activation::tanh},
    {"sigmoid", Activation::sigmoid},
};

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
        throw std::invalid_argument(name + " is " + std::to_string(size) + ", expected 1 to " +
                                    std::to_string(largest_width));
}

}  // namespace

Plan::Plan(index in_features, const std::vector<std::pair<std::string, index>>& layers) {
    check_size("in_features", in_features);
    buffers.push_back({in_features, -1});
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto& [kind, units] = layers[i];
        const int last = int(buffers.size()) - 1;
        if (kind == "dense") {
            check_size("layers[" + std::to_string(i) + "]: units", units);
            Node node;
            node.linear = Linear::dense;
            node.input = last;
            node.output = last + 1;
            node.layer = int(i);
            node.weight = n_parameters;
            node.bias = n_parameters + buffers[last].features * units;
            n_parameters = node.bias + units;
            if (n_parameters > largest_plan) throw std::invalid_argument("layers have too many parameters");
            buffers.push_back({units, int(nodes.size())});
            nodes.push_back(node);
            merge(traits, baseline::net::Dense<float>::traits);
        } else if (const auto found = activations.find(kind); found != activations.end()) {
            // Fused into the node before it, if that has none yet.
            if (nodes.empty() || nodes.back().activation != Activation::identity) {
                Node node;
                node.input = last;
                node.output = last + 1;
                node.layer = int(i);
                buffers.push_back({buffers[last].features, int(nodes.size())});
                nodes.push_back(node);
            }
            nodes.back().activation = found->second;
            merge(traits, baseline::net::activation_traits<float>(found->second));
        } else {
            throw std::invalid_argument("layers[" + std::to_string(i) + "]: unknown kind '" + kind + "'");
        }
    }
    if (nodes.empty()) throw std::invalid_argument("layers is empty, expected at least one layer");

    std::vector<int> last_writer(buffers.size(), -1);
    for (int n = int(nodes.size()) - 1; n >= 0; --n) {
        int& writer = last_writer[std::size_t(nodes[n].input)];
        nodes[n].adds_gradient = writer >= 0;
        if (writer >= 0) nodes[writer].completes_gradient = false;
        writer = n;
    }
}

index Plan::work_per_row() const {
    index work = 0;
    for (const Node& node : nodes) {
        const index in = buffers[node.input].features, out = buffers[node.output].features;
        work += node.linear == Linear::dense ? in * out : out;
    }
    return work;
}

}  // namespace fnn
