// What a network is: nodes in topological order over values, immutable, the same for every instruction set.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "common.h"

namespace fnn {

// What stands in front of all other layers, applied to numbers of X as they are read.
enum class InputKind {
    rescale,
    standardize,
    robust_scale,
    quantile_normal,
    piecewise_linear,
    one_hot,
    impute,
    missing_indicator,
    select,  // some of the columns
    join,    // side by side
};

// What a node computes before its activation; each kind has its type in net/ops/, found by `with_op`.
enum class OpKind {
    dense,
    convolution,
    identity,
    softmax,
    add,
    multiply,
    concatenate,
    slice,
    dropout,
    gaussian_noise,
    scale,
    prelu,
    layer_norm,
    rms_norm,
    group_norm,
    batch_norm,
    weight_norm,
    embedding,
    spread,
    cosine,
    reshape,
    permute,
    max_pool,
    avg_pool,
    sum_positions,
    mean_positions,
    max_positions,
    augment,
    rnn,
    gru,
    lstm,
    attention,
    rotary,
    positions,
    evaluation,  // what a block reads that the op at its end evaluates again and again
    neural_ode,
    equilibrium,
};

// A kind and its numbers; those of other kinds are 0.
struct OpSpec {
    OpKind kind = OpKind::identity;
    double first = 0;       // slice
    double count = 0;       // slice; rotary: columns that are turned
    double rate = 0;        // dropout
    double std = 0;         // gaussian_noise
    double eps = 0;         // norms
    double groups = 0;      // group_norm, convolution
    double momentum = 0;    // batch_norm
    double affine = 0;      // norms: 1 if they learn a scale (and a shift)
    double categories = 0;  // embedding
    double copies = 0;      // spread
    // What the output is to be: of reshape, augment, and of pooling with windows that depend on it; of
    // permute, which axis of the input each is; of a convolution, what it reads a row as, if it does.
    double height = 0;
    double width = 0;
    double channels = 0;
    double kernel_height = 0, kernel_width = 0;       // pooling with windows of one size, convolution
    double stride_height = 0, stride_width = 0;       // from position to position of the output
    double padding_height = 0, padding_width = 0;     // pooling: by how much windows reach outside
    double counts_outside = 0;                        // avg_pool: 1 if what is outside are zeros that count
    double dilation_height = 0, dilation_width = 0;   // convolution: from tap to tap
    double top = 0, bottom = 0, left = 0, right = 0;  // zeros around the input,
    double spacing_height = 0, spacing_width = 0;     // and from one of its numbers to the next
    double margin = 0;                                // augment: positions around the input
    double flips_rows = 0, flips_columns = 0;         // 1 if their order may be turned round
    double hole = 0;                                  // length of its sides
    double reversed = 0;         // recurrent layers: 1 if they begin with the last position
    double last = 0;             // recurrent layers: 1 if they put out what they end with, alone
    double heads = 0;            // attention, rotary
    double causal = 0;           // attention: 1 if a query sees no key behind its position
    double cross = 0;            // attention: 1 if queries are one input, and keys and values another
    double rectifies = 0;        // rnn: 1 with the rectifier, 0 with the hyperbolic tangent
    double method = 0;           // neural_ode: one of rules/runge_kutta.h; equilibrium: 1 for Broyden's
    double start = 0, stop = 0;  // of time
    double steps = 0;            // that are made; where their sizes adapt, and of iterations, at most
    double rtol = 0, atol = 0;   // what is tolerated of the error of such a step; of a fixed point
    double time = 0;             // 1 if the block reads the time as one more column
    double adjoint = 0;          // back by the adjoint method, so many steps at a time; 0: by the steps made
};

// Of one example: channels at each position of a grid. A sequence is of height 1, a vector has one position.
struct Shape {
    index height = 1, width = 1, channels = 0;

    index positions() const { return height * width; }
    index size() const { return positions() * channels; }
    bool has_positions_of(const Shape& other) const { return height == other.height && width == other.width; }
    std::string text() const;  // as a user writes it: "(28, 28, 1)", "(50, 3)", "(10,)"
};

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

// Which parts of an output may be computed apart, and what a part reads.
enum class Cut {
    elements,  // any; of each input the same part
    rows,      // some rows, all columns
    columns,   // all rows, some columns: of each input the same columns
    products,  // any; of the input all columns of the same rows
};

// What an op or an activation says of itself. Where it says nothing, what depends on it is refused.
struct Traits {
    bool couples_rows = false;       // in training, the output of a row depends on other rows
    bool is_random = false;          // draws random numbers while training
    bool has_state = false;          // keeps numbers that are saved but not differentiated
    bool piecewise_linear = false;   // in its inputs, for fixed parameters
    bool exact_traces = false;       // traces and gradients of single examples are right with it
    bool reads_output = false;       // on the way back: nothing may be computed in its place
    bool walks_positions = false;    // one after the other, so that many examples together pay
    bool learns_going_back = false;  // the gradient of its parameters is made of what its way back leaves
};

// The output of one node, or the network's input (value 0, of one position): a matrix with a row for each
// position of each example, (examples * positions, channels).
struct Value {
    Shape shape;
    int producer = -1;    // the node that writes it, -1 for the input
    bool learns = false;  // depends on parameters that are trained
    // Within a block: memory for so many evaluations of each example, and where not all are kept.
    index evaluations = 1, at_a_time = 1;

    index features() const { return shape.channels; }
    index positions() const { return shape.positions(); }
};

// What a layer learns: a matrix (rows, cols), or none, and then some vectors (cols,), one after the other in
// the flat vector.
struct Parameters {
    std::string layer;   // its path among the layers that the user gave
    std::string matrix;  // its name
    std::vector<std::string> vectors;
    index rows = 0, cols = 0;
    index offset = 0;          // where they start, row-major
    bool trainable = true;     // otherwise they are constants
    index trained_before = 0;  // numbers in front of them that are trained
    std::vector<int> nodes;    // that use them
    double max_norm = 0;       // of each column of the matrix, held after every update; 0: any
    // The matrix is v, and what is computed with is w = g v/|v| of each column, with g the last vector.
    bool is_normalized = false;
    bool is_table = false;  // rows of the matrix are looked up, not multiplied

    bool is_constrained() const { return trainable && max_norm > 0; }
    index vector_offset(index k) const { return offset + (rows + k) * cols; }
    index count() const { return index(vectors.size()); }
    index tensors() const { return count() + (rows > 0 ? 1 : 0); }
    index size() const { return (rows + count()) * cols; }
};

// Numbers that a layer keeps besides.
struct State {
    std::string layer, name;
    index offset = 0, size = 0;
    index rows = 0;  // of a matrix; of a vector: 0
};

struct Input {
    int value = 0;
    // Going backward, nodes write the gradient of their inputs in turn: the first overwrites, the others
    // add, and the last one multiplies by the derivative of the activation that made the input.
    bool adds_gradient = false;
    bool completes_gradient = true;
};

// output = activation(op(inputs)). An activation that stands alone has the identity as its op.
struct Node {
    OpSpec op;
    ActivationSpec activation;
    std::vector<Input> inputs;
    int output = 0;
    int parameters = -1;             // of Plan::parameters, or none
    index state = 0;                 // where its own starts
    int random = 0;                  // its number among those that draw random numbers
    bool learns_going_back = false;  // goes back for its own parameters, too: see Traits
    // Of an op that evaluates a block: the first node of that, which ends with the node before the op. Of the
    // nodes of a block, the op. A walk through the network leaves them to it.
    int block = -1, solver = -1;
    std::string layer;  // the path of the first that the user gave

    bool is_within_block() const { return solver >= 0; }
    int input() const { return inputs.front().value; }
};

// A layer in front of all others. It makes of each column that comes in one or several, by a function of its
// own of each; but for those that select and join columns.
struct InputLayer {
    InputKind kind = InputKind::rescale;
    std::vector<double> values;  // its numbers: scale and offset, say
    std::vector<int> inputs;     // 0: the columns of X, i + 1: what input_layers[i] puts out
    index in_features = 0, features = 0;
    index state = 0;  // where its own starts: number k of column j is k in_features + j behind it

    index per_column() const { return features / in_features; }
};

// One function of a number on its way from X: which of those that a layer makes of one of its columns.
struct InputStep {
    int layer = 0;
    index column = 0, which = 0;
};

// The way from a column of X to one of those that come in, or, where count > 1, to all that the last layer on
// the way makes.
struct InputWay {
    index column = 0;
    std::vector<InputStep> steps;
    index first = 0, count = 1;
};

// A layer as it comes from the user's: of a kind, as "dense" or "leaky_relu", with its numbers.
struct LayerSpec {
    std::string kind;
    index units = 0;
    std::vector<double> values;
    std::string path;  // its name
    std::vector<int>
        inputs;       // which values it reads: 0 is the network's input, i + 1 the output of layers[i]
    int shares = -1;  // the layer before it whose parameters it uses, or none
    bool trainable = true;
    double max_norm = 0;  // of each column of its matrix; 0: any
};

class Plan {
   public:
    // Throws std::invalid_argument for an unknown kind, an impossible size or a wrong number of values.
    // fused: activations are computed in the place of what they read, if nothing else reads it.
    Plan(index in_features, const std::vector<LayerSpec>& layers, bool fused = true);

    std::vector<Value> values;
    std::vector<Node> nodes;
    std::vector<Parameters> parameters;
    std::vector<State> states;
    std::vector<InputLayer> input_layers;  // in the order of their application
    std::vector<InputWay> input_ways;      // by column of X; none where all input layers are one affine map
    std::vector<int> outputs;              // of each layer given: the value that it puts out
    index n_parameters = 0, n_trainable = 0;
    index n_state = 0;
    Traits traits;          // of the whole network
    std::string inexact;    // why not exact_traces: what a message says; empty if they are
    std::string nonlinear;  // the first layer that is not piecewise linear; empty if there is none

    index in_features() const { return in_features_; }  // columns of X
    const Shape& output_shape() const { return values[std::size_t(output())].shape; }
    index out_features() const { return output_shape().channels; }
    int output() const { return nodes.back().output; }
    // The most positions that a value has, in all evaluations.
    index positions() const { return positions_; }

    // The ways to some columns of what is read as `inputs` of an InputLayer, by column of X.
    std::vector<InputWay> ways_to(int input, index first, index count) const;
    // How many columns that has.
    index width_of_input(int input) const {
        return input == 0 ? in_features_ : input_layers[std::size_t(input) - 1].features;
    }

    // The multiply-adds that one example costs going forward.
    index work_per_row() const { return work_per_row_; }

   private:
    struct Building;

    index in_features_ = 0, work_per_row_ = 0, positions_ = 1;
};

}  // namespace fnn
