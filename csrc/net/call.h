// What crosses from the bindings into an instruction set's library: plain views and numbers.
#pragma once

#include <memory>

#include "common.h"
#include "exec/crew.h"
#include "exec/memory.h"
#include "exec/threads.h"
#include "optim/spec.h"

namespace fnn {

class Plan;

enum class DType {
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
};

// The user's inputs as they lie in memory, converted while rows are gathered: an array of any strides and
// alignment, or a sparse matrix in CSR format.
struct Source {
    const char* data = nullptr;
    DType dtype = DType::float32;
    bool swapped = false;  // in the other byte order
    index rows = 0;
    index row_stride = 0;        // bytes
    index col_stride = 0;        // of a sparse matrix: between the numbers that it stores
    Mapping* mapping = nullptr;  // of an array in a file

    // Of a sparse matrix (else null): row r stores the numbers from starts[r] up to starts[r + 1], each in
    // the column of the same place in `columns`. Both are int64 or both int32.
    const void* starts = nullptr;   // (rows + 1,)
    const void* columns = nullptr;  // (stored,)
    index stored = 0;
    bool wide = false;  // int64
};

enum class LossKind {
    cross_entropy,
    multi_margin,
    binary_cross_entropy,
    hinge,
    mse,
    mae,
    huber,
    poisson,
    log_cosh,
    quantile,
    info_nce,  // from here on: of pairs of rows
    supcon,
    n_pair,
    nce,
    contrastive,
    triplet
};

// Which triplets of an anchor count: all; the furthest positive and the nearest negative; or each positive
// with the nearest negative beyond it.
enum class Mining { all, hard, semi_hard };

// Which loss, with which parameters.
struct LossSpec {
    LossKind kind = LossKind::mse;
    double label_smoothing = 0, confidence_penalty = 0;  // cross_entropy
    double margin = 0, delta = 0, q = 0;                 // multi_margin and distances, huber, quantile
    double temperature = 0;                              // of similarities
    bool normalize = false;                              // rows of pairs, to length 1
    Mining mining = Mining::all;                         // triplet

    // Whether the loss of a row depends on the other rows of its batch.
    bool couples_rows() const { return kind >= LossKind::info_nce; }
};

// One of the two: labels (n,), of classes or of rows that belong together, or rows (n, out).
template <class T>
struct Targets {
    const std::int64_t* labels = nullptr;
    const T* values = nullptr;
    const T* weights = nullptr;  // (n,) of the examples; null: all are 1
};

// Which examples, and in which order.
struct Order {
    const std::int64_t* examples = nullptr;  // (rows,); null: the first of them, as they come
    index rows = 0;
};

// What makes probabilities or rates of the outputs.
enum class Link { identity, softmax, sigmoid, exp };

// What a curvature operator is made of. J are the derivatives of the outputs in the parameters, H the Hessian
// of the losses in the outputs, g their gradient in the parameters, one column for each example.
enum class Curvature { hessian, gauss_newton /* J' H J */, empirical_fisher /* g g' */, jacobian /* J */ };

// Examples, what is asked of them, and memory that outlives calls: it holds the packed parameters, and the
// forward and backward pass of the first chunks of rows.
template <class T>
struct CurvatureOf {
    Curvature kind;
    Source x;
    Order order;
    Targets<T> y;   // not of `jacobian`
    LossSpec loss;  // likewise
    void* shelf = nullptr;
    index kept_chunks = 0;
};

// What a device keeps from one call to the next, of the same operator or of examples that stay as they are.
// Empty at first. Of an operator it is written by `keep` alone, as several other calls may read it at once.
struct OnDevice {
    std::shared_ptr<void> there;
    Order of;  // the rows of x that the calls are about
};

// How layers act that do not always act alike, and what random numbers are functions of.
struct Run {
    bool training = false;
    bool random = false;        // layers that draw random numbers do
    bool learns_state = false;  // what layers keep of the examples that they train on
    std::uint64_t seed = 0, step = 0;
    index first = 0;  // place of the batch's first row among the examples of the step

    // Of random numbers: apart from those of initial parameters and row orders.
    std::uint64_t stream() const { return std::uint64_t(1) << 63 | step; }
    // Those of noise of which gradients are estimated.
    std::uint64_t noise_stream() const { return std::uint64_t(1) << 62 | step; }
    // Those of what a step does with its examples before any layer sees them.
    std::uint64_t mixing_stream() const { return std::uint64_t(3) << 62 | step; }
};

// What a device rounds the operands of matrix products to, whose sums are float32 as everything else.
enum class ComputeType { same /* they stay as they are */, tfloat32, bfloat16 };

// What every call needs.
struct Context {
    const Plan& plan;
    Arena& arena;  // this call's own
    int threads;
    Interrupt interrupt;
    double* state = nullptr;  // (n_state,): what layers keep besides parameters; written if run.learns_state
    Run run;
    Crew* crew = nullptr;      // of a training
    OnDevice* kept = nullptr;  // null where nothing is kept
    ComputeType compute_type = ComputeType::same;
};

// One pass over the examples that trains; parameters and states are updated in place.
template <class T>
struct Epoch {
    T* parameters;  // flat, row-major, as are the states
    T* states[max_states];
    Order order;
    index batch_size;
    index batches_per_step;  // whose gradients are added up before an update
    index steps;             // updates
    bool forward;            // gradients are estimates without a way back
    double mixup;            // alpha of the shares in which examples are mixed; 0: they are not
    double ridge;            // of the objective, whose mean has this / rows of the step
    const double* ridges;    // (steps,) of each step in its place, or null
    UpdateSpec update;
    const Schedule* schedules;  // (n_schedules,) of those hyper-parameters that change
    int n_schedules;
    index steps_before;        // updates that the states have seen
    std::uint64_t first_step;  // of the epoch, of which random numbers are functions

    // Of `train_stepwise`, whose updates are the caller's: where the gradient goes, flat, and who is told
    // that it is there, with whether the loss is finite; true asks for the gradient of the same examples
    // again.
    T* gradient;
    bool (*take_step)(void* caller, bool finite);
    void* caller;

    void set_schedules(UpdateSpec& now, index step) const {
        for (int k = 0; k < n_schedules; ++k) now.*schedules[k].number = schedules[k].values[step];
    }
};

enum class Elementary { exp, log, log1p, tanh, erf, sin_2pi, cos_2pi };

// Weighted sums over rows, so that they can be added up.
struct Score {
    double loss = 0;
    double right = 0;
    double penalty = 0;  // of ridge, a part of the loss
    double weight = 0;   // of all rows; not in training
    index steps = 0;     // of training that are complete
    bool finite = true;  // false: the loss of the step after those was not

    void add(const Score& rows) {
        loss += rows.loss;
        right += rows.right;
        penalty += rows.penalty;
    }
};

}  // namespace fnn
