// Which update, with which hyper-parameters.
#pragma once

#include "common.h"

namespace fnn {

enum class UpdateKind {
    sgd,
    asgd,
    adagrad,
    adadelta,
    rmsprop,
    adam,
    adamw,
    adamax,
    nadam,
    radam,
    rprop,
    lion,
    lamb,
    adafactor,
    muon
};

// Rules for which a tensor is more than its numbers.
constexpr bool needs_whole_tensors(UpdateKind kind) {
    return kind == UpdateKind::lamb || kind == UpdateKind::adafactor || kind == UpdateKind::muon;
}

constexpr int max_states = 3;

// With torch's names; those of other kinds are 0.
struct UpdateSpec {
    UpdateKind kind = UpdateKind::sgd;
    int states = 0;  // numbers that each parameter carries along: its momentum, its moments
    double lr = 0, weight_decay = 0, eps = 0;
    double momentum = 0, dampening = 0;                            // sgd; the former of rmsprop, too
    double lambd = 0, alpha = 0, t0 = 0;                           // asgd; alpha of rmsprop, too
    double lr_decay = 0;                                           // adagrad
    double rho = 0;                                                // adadelta
    double beta1 = 0, beta2 = 0;                                   // adam and its kin, lion
    double momentum_decay = 0;                                     // nadam
    double etaminus = 0, etaplus = 0, step_min = 0, step_max = 0;  // rprop
    double ns_a = 0, ns_b = 0, ns_c = 0, ns_steps = 0;             // muon
    double beta2_decay = 0, eps1 = 0, eps2 = 0, d = 0;             // adafactor; eps1 < 0: the machine epsilon

    // Switches: off if 0.
    double heavy = 0;  // there is a state for the momentum, which may be 0 for now
    double nesterov = 0;
    double centered = 0;
    double amsgrad = 0, keras_eps = 0;  // the latter: eps is not divided by the correction of v
    double match_rms_adamw = 0;         // of muon
    double first_is_unit = 0;           // of muon: the first axis of a matrix is the units, not the last
    double decoupled_weight_decay = 0;  // of nadam and radam; adamw has it always
};

// A hyper-parameter that changes: its value at each step of an epoch.
struct Schedule {
    double UpdateSpec::* number;
    const double* values;  // (steps,)
};

// Where the numbers of a strided tensor lie, in C order; strides in bytes.
struct Places {
    int dims = 0;  // 0: one after another
    const index* shape = nullptr;
    const index* strides = nullptr;
};

// One tensor and what belongs to it. States lie one number after another, in the order of the parameters if
// they have as many.
template <class T>
struct Segment {
    T* parameters = nullptr;
    const T* gradient = nullptr;
    T* states[max_states] = {};
    index state_lengths[max_states] = {};
    index length = 0;
    Places parameter_places, gradient_places;
    int dims = 0;
    const index* shape = nullptr;  // in the order of counting,
    bool fortran = false;          // from the last axis to the first
};

// Tensors as one row of numbers: those of tensor s are numbers starts[s] to starts[s + 1].
template <class T>
struct Segments {
    const Segment<T>* list = nullptr;
    const index* starts = nullptr;
    index count = 0;

    index size() const { return count == 0 ? 0 : starts[count]; }
};

// What stands for the gradient g in an update: scale g, held within [-bound, bound].
struct GradientMap {
    double scale = 1;
    double bound = 0;
    bool bounded = false;

    bool changes() const { return scale != 1 || bounded; }
};

// A group of tensors with hyper-parameters of its own: the segments up to `end` from the group before.
struct Group {
    UpdateSpec update;
    bool frozen = false;
    index end = 0;
    index missed = 0;  // steps made without its tensors
};

// One step of all groups. `step` counts those already taken.
template <class T>
struct Step {
    Segments<T> segments;
    const Group* groups = nullptr;
    index n_groups = 0;
    index step = 0;
    GradientMap gradient;
    void* scratch = nullptr;  // as much as step_scratch says
    void* stream = nullptr;   // of a device: behind the work that is queued there
};

constexpr int max_dims = 64;  // NumPy's limit

// What is done with tensors beside the update, each with a vector of its own, states[0]: see rules/updates.h.
enum class PassKind { remember, remember_gradient, restore, average, average_gradient, lookahead, ascend };

template <class T>
struct Pass {
    Segments<T> segments;
    PassKind kind;
    double weight;
    GradientMap gradient;
};

// The units of a tensor: its numbers are an array (outer, count, inner), a unit is [:, i, :].
struct Units {
    index count = 1;
    index inner = 1;
};

// Numbers that are added up by themselves where norms are computed.
constexpr index piece_length = index{1} << 16;

}  // namespace fnn
