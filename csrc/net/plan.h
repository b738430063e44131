// What a network is: nodes in topological order over buffers, immutable, the same for every instruction set.
#pragma once

#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "common.h"

namespace fnn {

enum class InputKind { rescale, standardize };
enum class Map { dense, identity, softmax };

enum class Activation {
    identity,
    relu,
    leaky_relu,
    elu,
    softplus,
    gelu,
    gelu_tanh,
    silu,
    tanh,
    hardtanh,
    sigmoid,
    step,
    sign,
};

struct ActivationSpec {
    Activation kind = Activation::identity;
    double values[2] = {};  // its parameters: a slope, the ends of a range, ...
};

// Throws std::invalid_argument for an unknown name or a wrong number of values.
ActivationSpec activation_of(const std::string& name, const std::vector<double>& values);

// What a layer says of itself; curvature refuses or adapts on these.
struct Traits {
    bool couples_rows = false;     // the output of a row depends on other rows
    bool is_random = false;        // draws random numbers while training
    bool has_state = false;        // keeps numbers that are saved but not differentiated
    bool piecewise_linear = true;  // in its input, for fixed parameters
};

// The output of one node, or the network's input (buffer 0): (rows, features).
struct Buffer {
    index features = 0;
    int producer = -1;  // the node that writes it, -1 for the input
};

// output = activation(map(input)). An activation that stands alone has the identity as its map.
struct Node {
    Map map = Map::identity;
    ActivationSpec activation;
    int input = 0;
    int output = 0;
    int layer = 0;     // of the list that the user gave: the one with the parameters
    index weight = 0;  // where they start in the flat vector: (in, out), row-major
    index bias = 0;    // (out,)
    // Going backward, nodes write the gradient of their input in turn: the first overwrites, the others
    // add, and the last one multiplies by the derivative of the activation that made the input.
    bool adds_gradient = false;
    bool completes_gradient = true;
};

// A layer in front of all others, elementwise and folded into the gather.
struct InputLayer {
    InputKind kind = InputKind::rescale;
    int layer = 0;                  // of the list that the user gave
    double scale = 1, offset = 0;   // rescale: x scale + offset
    index mean = 0, deviation = 0;  // standardize: where those of each column start in the state
};

// A layer as the user gave it: (kind, units, values), as ("dense", 256, {}) or ("leaky_relu", 0, {0.01}).
using LayerSpec = std::tuple<std::string, index, std::vector<double>>;

class Plan {
   public:
    // Throws std::invalid_argument for an unknown kind, an impossible size or a wrong number of values.
    Plan(index in_features, const std::vector<LayerSpec>& layers);

    std::vector<Buffer> buffers;
    std::vector<Node> nodes;
    std::vector<InputLayer> input_layers;  // in the order of their application
    index n_parameters = 0;
    index n_state = 0;
    Traits traits;  // of the whole network

    index in_features() const { return buffers.front().features; }
    index out_features() const { return buffers[output()].features; }
    int output() const { return nodes.back().output; }

    // The multiply-adds that one row costs going forward.
    index work_per_row() const;

   private:
    Node& add_node(int layer, index units);
    void add_dense(int layer, index units);
    void add_softmax(int layer);
    void add_activation(int layer, const ActivationSpec& activation);
    void add_input_layer(int layer, InputKind kind, const std::vector<double>& values);
};

}  // namespace fnn
