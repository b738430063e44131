#include "net/plan.h"

#include <algorithm>
#include <limits>
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

// Sums and products of sizes that do not fit into memory anyway, but must not wrap around.
index product(index a, index b) {
    if (a != 0 && b > std::numeric_limits<std::int32_t>::max() * index{1 << 16} / a)
        throw std::invalid_argument("layers: a weight of " + std::to_string(a) + " x " + std::to_string(b) +
                                    " is too large");
    return a * b;
}

}  // namespace

Plan::Plan(index in_features, const std::vector<std::pair<std::string, index>>& layers) {
    if (in_features < 1)
        throw std::invalid_argument("in_features is " + std::to_string(in_features) +
                                    ", expected at least 1");
    buffers.push_back({in_features, -1});
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto& [kind, units] = layers[i];
        const int last = int(buffers.size()) - 1;
        if (kind == "dense") {
            if (units < 1)
                throw std::invalid_argument("layers[" + std::to_string(i) + "]: units is " +
                                            std::to_string(units) + ", expected at least 1");
            Node node;
            node.linear = Linear::dense;
            node.input = last;
            node.output = last + 1;
            node.layer = int(i);
            node.weight = n_parameters;
            node.bias = n_parameters + product(buffers[last].features, units);
            n_parameters = node.bias + units;
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
