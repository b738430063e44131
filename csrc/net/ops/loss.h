// Losses over rows of outputs: value, gradient, and Hessian in the outputs times a direction.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "net/call.h"
#include "net/mixing.h"
#include "net/ops/softmax_rows.h"
#include "net/plan.h"
#include "rules/losses.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// Which example stands where in a batch, and the targets and weights of the rows of its output: one for each
// position of each example.
template <class T>
struct Batch {
    Targets<T> targets;
    const std::int64_t* order = nullptr;  // null: as they come
    index first = 0;                      // place of the first example
    index out = 0;
    index positions = 1;
    Mixing mixing{};

    index example(index place) const { return order ? order[first + place] : first + place; }
    // Where the target of a row stands among those of all examples.
    index target(index row) const {
        if (positions == 1) return example(row);
        return example(row / positions) * positions + row % positions;
    }
    // The same of the row of the partner with which it is mixed.
    index partner(index row) const {
        const index place = mixing.partner(first + row / positions);
        return (order ? order[place] : place) * positions + row % positions;
    }
    const T* values(index target) const { return targets.values + target * out; }
    T weight_of(index target) const { return targets.weights ? targets.weights[target] : T(1); }
    T weight(index row) const {
        if (targets.weights == nullptr) return 1;
        if (!mixing) return weight_of(target(row));
        return T(mixing.share) * weight_of(target(row)) + T(1 - mixing.share) * weight_of(partner(row));
    }
    // f(target, its share) for those that make the target of a row, by the parts of its weight.
    template <class F>
    void for_targets(index row, const F& f) const {
        if (!mixing) return f(target(row), T(1));
        const T all = weight(row), own = T(mixing.share) * weight_of(target(row)) / all,
                other = T(1 - mixing.share) * weight_of(partner(row)) / all;
        if (own > 0) f(target(row), own);
        if (other > 0) f(partner(row), other);
    }
};

// Of a plan's outputs.
template <class T>
inline Batch<T> batch_of(const Plan& plan, const Targets<T>& targets, const std::int64_t* order,
                         index first) {
    return {targets, order, first, plan.out_features(), plan.output_shape().positions()};
}

// The sum of the weights of the rows of so many examples.
template <class T>
inline double total_weight(const Batch<T>& batch, index examples) {
    const index rows = examples * batch.positions;
    if (batch.targets.weights == nullptr) return double(rows);
    double sum = 0;
    for (index r = 0; r < rows; ++r) sum += double(batch.weight(r));
    return sum;
}

// What makes a weighted mean of a weighted sum. Rows without any weight have no part in anything.
template <class T>
inline T mean_factor(double total_weight) {
    return total_weight > 0 ? T(1 / total_weight) : T(0);
}

// What a loss leaves for each row of a batch: its weight times the loss, and its weight where the outputs are
// right, 0 elsewhere.
template <class T>
struct RowScores {
    T *loss, *right;
};

// As many rows as a vector has lanes, transposed: for each output the rows side by side, so that reductions
// over the outputs are elementwise, and every formula vectorises over rows.
template <class T>
struct Block {
    static constexpr index w = exec::lanes<T>;

    index out;      // rows of each of the following (out, w), which reach to a whole number of vectors
    T *z, *t, *dz;  // outputs, targets, and the gradient
    T *rz, *rdz;    // a direction, and the Hessian times it

    // Elements of scratch memory for one block.
    static index size(index out, bool tangent) { return (tangent ? 5 : 3) * exec::divide_up(out, w) * w * w; }

    Block(T* scratch, index out, bool tangent) : out(out) {
        const index each = exec::divide_up(out, w) * w * w;
        z = scratch;
        t = z + each;
        dz = t + each;
        rz = tangent ? dz + each : nullptr;
        rdz = tangent ? rz + each : nullptr;
    }

    void load_targets(const Batch<T>& batch, index first, index n) {
        std::fill(t, t + out * w, T(0));
        for (index r = 0; r < n; ++r) {
            batch.for_targets(first + r, [&](index target, T share) {
                if (batch.targets.labels != nullptr)
                    t[batch.targets.labels[target] * w + r] += share;
                else
                    for (index j = 0; j < out; ++j) t[j * w + r] += share * batch.values(target)[j];
            });
        }
    }

    static Lanes<T> weights(const Batch<T>& batch, index first, index n) {
        Lanes<T> weight(1);
        if (batch.targets.weights != nullptr)
            for (index r = 0; r < n; ++r) weight[r] = batch.weight(first + r);
        return weight;
    }

    // f(r) for the rows of the block, which do not see each other.
    template <class F>
    static void for_rows(const F& f) {
        exec::elementwise({0, w}, f);
    }

    // Clears what the padding of the outputs would get.
    void clear_padding(T* x) const { std::fill(x + out * w, x + exec::divide_up(out, w) * w * w, T(0)); }
};

// The largest of x (out, w) over the outputs, and the first that has it.
template <class T>
struct Largest {
    Lanes<T> value{0}, where{0};

    Largest(const T* x, index out) {
        exec::Vector<T> best = exec::load(x), at{};
        for (index j = 1; j < out; ++j) {
            const exec::Vector<T> xj = exec::load(x + j * Block<T>::w);
            at = xj > best ? exec::broadcast(T(j)) : at;
            best = xj > best ? xj : best;
        }
        exec::store(value.at, best);
        exec::store(where.at, at);
    }
};

// f(i, r, j) for the elements i of output j, in row r.
template <class T, class F>
inline void for_outputs(index out, const F& f) {
    constexpr index w = Block<T>::w;
    for (index j = 0; j < out; ++j) exec::elementwise({0, w}, [&](index r) { f(j * w + r, r, T(j)); });
}

// Writes p = softmax(z), and has what is exact of it where the largest is near 1: see the rule.
template <class T>
struct Probabilities {
    Lanes<T> rest{0}, share{0};

    Probabilities(T* p, const T* z, index out, const Largest<T>& largest) {
        exponentials(p, z, out, largest.value);
        // That of the largest is 1, or NaN.
        for_outputs<T>(out,
                       [&](index i, index r, T j) { rest[r] += j == largest.where[r] ? p[i] - 1 : p[i]; });
        Lanes<T> scale(0);
        Block<T>::for_rows([&](index r) {
            rest[r] = rules::Softmax<T>::decided(rest[r], 0, largest.value[r]);
            scale[r] = 1 / (1 + rest[r]);
            share[r] = rest[r] * scale[r];
        });
        for_elements<T>(out, [&](index i, index r) { p[i] *= scale[r]; });
    }
};

// The values take the place of the targets.
template <class T>
inline void cross_entropy(const Block<T>& b, const Lanes<T>& factor, Lanes<T>& loss, Lanes<T>& right) {
    using Rule = rules::CrossEntropy<T>;
    const Largest<T> guess(b.z, b.out), likeliest(b.t, b.out);
    const Lanes<T>& max = guess.value;
    const Probabilities<T> p(b.dz, b.z, b.out, guess);
    const Lanes<T> mass = sum_over_features(b.t, b.out);
    for_outputs<T>(b.out, [&](index i, index r, T j) {
        const T gradient = j == guess.where[r] ? Rule::largest_gradient(p.share[r], b.t[i], mass[r])
                                               : Rule::gradient(b.dz[i], b.t[i], mass[r]);
        b.dz[i] = factor[r] * gradient;
        b.t[i] = Rule::value(b.z[i], b.t[i], max[r]);
    });
    const Lanes<T> value = sum_over_features(b.t, b.out);
    Block<T>::for_rows([&](index r) {
        loss[r] = Rule::log_normaliser(p.rest[r], mass[r]) + value[r];
        right[r] = guess.where[r] == likeliest.where[r] ? 1 : 0;
    });
}

template <class T>
inline void cross_entropy_tangent(const Block<T>& b, const Lanes<T>& factor) {
    using Rule = rules::CrossEntropy<T>;
    const Largest<T> guess(b.z, b.out);
    const Probabilities<T> p(b.rdz, b.z, b.out, guess);
    const Lanes<T> mass = sum_over_features(b.t, b.out);
    Lanes<T> origin(0), mean(0);
    for_outputs<T>(b.out,
                   [&](index i, index r, T j) { origin[r] = j == guess.where[r] ? b.rz[i] : origin[r]; });
    for_elements<T>(b.out, [&](index i, index r) { mean[r] += b.rdz[i] * (b.rz[i] - origin[r]); });
    for_elements<T>(b.out, [&](index i, index r) {
        b.rdz[i] = factor[r] * Rule::curvature(b.rdz[i], b.rz[i] - origin[r], mean[r], mass[r]);
    });
}

// What a penalty on confidence adds to that; p takes the place of the targets.
template <class T>
inline void confidence_penalty(const Block<T>& b, T penalty, const Lanes<T>& factor, Lanes<T>& loss) {
    using Rule = rules::NegativeEntropy<T>;
    using Softmax = rules::Softmax<T>;
    constexpr index w = Block<T>::w;
    const Largest<T> guess(b.z, b.out);
    const Lanes<T>& max = guess.value;
    const Lanes<T> rest = Probabilities<T>(b.t, b.z, b.out, guess).rest;
    Lanes<T> log_sum(0), energy(0);
    Block<T>::for_rows([&](index r) { log_sum[r] = rules::log1p(rest[r]); });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, p = b.t + j * w](index r) {
            energy[r] += Rule::value(p[r], Softmax::logarithm(z[r], max[r], log_sum[r]));
        });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, p = b.t + j * w, dz = b.dz + j * w](index r) {
            dz[r] += factor[r] * penalty *
                     Rule::gradient(p[r], Softmax::logarithm(z[r], max[r], log_sum[r]), energy[r]);
        });
    Block<T>::for_rows([&](index r) { loss[r] += penalty * energy[r]; });
}

template <class T>
inline void confidence_penalty_tangent(const Block<T>& b, T penalty, const Lanes<T>& factor) {
    using Rule = rules::NegativeEntropy<T>;
    using Softmax = rules::Softmax<T>;
    constexpr index w = Block<T>::w;
    const Largest<T> guess(b.z, b.out);
    const Lanes<T>& max = guess.value;
    const Lanes<T> rest = Probabilities<T>(b.t, b.z, b.out, guess).rest;
    Lanes<T> log_sum(0), energy(0), mean(0), energy_rate(0);
    Block<T>::for_rows([&](index r) { log_sum[r] = rules::log1p(rest[r]); });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, p = b.t + j * w, rz = b.rz + j * w](index r) {
            energy[r] += Rule::value(p[r], Softmax::logarithm(z[r], max[r], log_sum[r]));
            mean[r] += p[r] * rz[r];
        });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, p = b.t + j * w, rz = b.rz + j * w](index r) {
            energy_rate[r] +=
                Rule::gradient(p[r], Softmax::logarithm(z[r], max[r], log_sum[r]), energy[r]) * rz[r];
        });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows(
            [&, z = b.z + j * w, p = b.t + j * w, rz = b.rz + j * w, rdz = b.rdz + j * w](index r) {
                rdz[r] += factor[r] * penalty *
                          Rule::curvature(p[r], Softmax::logarithm(z[r], max[r], log_sum[r]), energy[r],
                                          rz[r], mean[r], energy_rate[r]);
            });
}

// The scores of the right classes.
template <class T>
inline Lanes<T> right_scores(const Block<T>& b) {
    constexpr index w = Block<T>::w;
    Lanes<T> score(0);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows(
            [&, z = b.z + j * w, t = b.t + j * w](index r) { score[r] = t[r] != 0 ? z[r] : score[r]; });
    return score;
}

template <class T>
inline void multi_margin(const rules::MultiMargin<T>& rule, const Block<T>& b, const Lanes<T>& factor,
                         Lanes<T>& loss, Lanes<T>& right) {
    constexpr index w = Block<T>::w;
    const Largest<T> guess(b.z, b.out), likeliest(b.t, b.out);
    const Lanes<T> score = right_scores(b);
    const T share = 1 / T(b.out);
    Lanes<T> pushed(0);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, t = b.t + j * w, dz = b.dz + j * w](index r) {
            const T gradient = factor[r] * share * rule.gradient(z[r], score[r]);
            const T of_right = rules::zero_of(z[r]);  // NaN, of a class alone, too
            loss[r] += t[r] != 0 ? of_right : 2 * share * rule.half_value(z[r], score[r]);
            pushed[r] += t[r] != 0 ? of_right : gradient;
            dz[r] = gradient;
        });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows(
            [&, t = b.t + j * w, dz = b.dz + j * w](index r) { dz[r] = t[r] != 0 ? -pushed[r] : dz[r]; });
    Block<T>::for_rows([&](index r) { right[r] = guess.where[r] == likeliest.where[r] ? 1 : 0; });
}

template <class T>
inline void multi_margin_tangent(const rules::MultiMargin<T>& rule, const Block<T>& b) {
    constexpr index w = Block<T>::w;
    const Lanes<T> score = right_scores(b);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows(
            [&, z = b.z + j * w, t = b.t + j * w, rz = b.rz + j * w, rdz = b.rdz + j * w](index r) {
                rdz[r] = t[r] != 0 ? rules::zero_of(z[r]) * rz[r] : rule.curvature(z[r], score[r], rz[r]);
            });
}

// Losses that are means over the outputs of a function of one output; a row is right if all outputs are.
template <class Rule, class T>
inline void elementwise_loss(const Rule& rule, const Block<T>& b, const Lanes<T>& factor, Lanes<T>& loss,
                             Lanes<T>& right) {
    constexpr index w = Block<T>::w;
    const T share = 1 / T(b.out);
    Block<T>::for_rows([&](index r) { right[r] = 1; });
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, t = b.t + j * w, dz = b.dz + j * w](index r) {
            loss[r] += share * rule.value(z[r], t[r]);
            dz[r] = factor[r] * share * rule.gradient(z[r], t[r]);
            right[r] = rule.is_right(z[r], t[r]) ? right[r] : 0;
        });
}

template <class Rule, class T>
inline void elementwise_loss_tangent(const Rule& rule, const Block<T>& b, const Lanes<T>& factor) {
    constexpr index w = Block<T>::w;
    const T share = 1 / T(b.out);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows([&, z = b.z + j * w, t = b.t + j * w, rz = b.rz + j * w, rdz = b.rdz + j * w](
                               index r) { rdz[r] = factor[r] * share * rule.curvature(z[r], t[r], rz[r]); });
}

template <class T>
inline void cross_entropy_factor(const Block<T>& b, const Lanes<T>& factor) {
    using Rule = rules::CrossEntropy<T>;
    const Largest<T> guess(b.z, b.out);
    const Probabilities<T> p(b.rdz, b.z, b.out, guess);
    const Lanes<T> mass = sum_over_features(b.t, b.out);
    Lanes<T> others(0), largest(0);
    for_outputs<T>(b.out, [&](index i, index r, T j) {
        b.rdz[i] = std::sqrt(b.rdz[i]);
        const T part = b.rdz[i] * b.rz[i];
        others[r] += j == guess.where[r] ? 0 : part;
        largest[r] = j == guess.where[r] ? part : largest[r];
    });
    for_outputs<T>(b.out, [&](index i, index r, T j) {
        const T factor_of = j == guess.where[r]
                                ? Rule::largest_factor(b.rdz[i], b.rz[i], others[r], p.share[r])
                                : Rule::factor(b.rdz[i], b.rz[i], others[r], largest[r]);
        b.rdz[i] = std::sqrt(factor[r] * mass[r]) * factor_of;
    });
}

// The Hessian of the others is a diagonal, and so is its root.
template <class Rule, class T>
inline void elementwise_loss_factor(const Rule& rule, const Block<T>& b, const Lanes<T>& factor) {
    constexpr index w = Block<T>::w;
    const T share = 1 / T(b.out);
    for (index j = 0; j < b.out; ++j)
        Block<T>::for_rows(
            [&, z = b.z + j * w, t = b.t + j * w, u = b.rz + j * w, rdz = b.rdz + j * w](index r) {
                rdz[r] = std::sqrt(factor[r] * share * rule.curvature(z[r], t[r], T(1))) * u[r];
            });
}

// f(rule) for the elementwise loss that is named.
template <class T, class F>
inline void with_elementwise_loss(const LossSpec& loss, const F& f) {
    switch (loss.kind) {
        case LossKind::binary_cross_entropy:
            return f(rules::BinaryCrossEntropy<T>{});
        case LossKind::hinge:
            return f(rules::Hinge<T>{});
        case LossKind::mse:
            return f(rules::SquaredError<T>{});
        case LossKind::mae:
            return f(rules::AbsoluteError<T>{});
        case LossKind::huber:
            return f(rules::Huber<T>(loss.delta));
        case LossKind::poisson:
            return f(rules::Poisson<T>{});
        case LossKind::log_cosh:
            return f(rules::LogCosh<T>{});
        case LossKind::quantile:
            return f(rules::Quantile<T>(loss.q));
        case LossKind::cross_entropy:
        case LossKind::multi_margin:
        case LossKind::info_nce:
        case LossKind::supcon:
        case LossKind::n_pair:
        case LossKind::nce:
        case LossKind::contrastive:
        case LossKind::triplet:
            return;
    }
}

template <class T>
inline void smooth_labels(const Block<T>& b, double smoothing) {
    if (smoothing == 0) return;
    const rules::LabelSmoothing<T> rule(smoothing, b.out);
    exec::elementwise({0, b.out * Block<T>::w}, [&](index i) { b.t[i] = rule(b.t[i]); });
}

// f(first row, rows, their weights) for blocks of the given rows, with their outputs and targets in b.
template <class T, class F>
inline void for_blocks(Block<T>& b, const LossSpec& loss, const Batch<T>& batch, Panels<const T> z,
                       Range rows, const F& f) {
    for (index first = rows.begin; first < rows.end; first += b.w) {
        const index n = exec::min(rows.end - first, b.w);
        exec::load_columns(b.z, z, first, n);
        b.load_targets(batch, first, n);
        if (loss.kind == LossKind::cross_entropy) smooth_labels(b, loss.label_smoothing);
        f(first, n, b.weights(batch, first, n));
    }
}

// What a loss hands back for rows without any weight is 0, also where 0 times infinity would be NaN.
template <class T>
inline void drop_weightless(const Block<T>& b, T* x, const Batch<T>& batch, const Lanes<T>& weight) {
    if (batch.targets.weights == nullptr) return;
    for_elements<T>(b.out, [&](index i, index r) { x[i] = weight[r] != 0 ? x[i] : 0; });
}

template <class T>
inline Lanes<T> scaled(const Lanes<T>& weight, T factor) {
    Lanes<T> result(0);
    Block<T>::for_rows([&](index r) { result[r] = factor * weight[r]; });
    return result;
}

// The scores of the given rows, and dz = factor times weight times the gradient.
template <class T>
void loss_forward(const LossSpec& loss, const Batch<T>& batch, Panels<const T> z, Panels<T> dz, Range rows,
                  T factor, const RowScores<T>& scores, T* scratch) {
    Block<T> b(scratch, z.cols, false);
    for_blocks(b, loss, batch, z, rows, [&](index first, index n, const Lanes<T>& weight) {
        const Lanes<T> weighted = scaled(weight, factor);
        Lanes<T> value(0), right(0);
        switch (loss.kind) {
            case LossKind::cross_entropy:
                cross_entropy(b, weighted, value, right);
                if (loss.confidence_penalty != 0)
                    confidence_penalty(b, T(loss.confidence_penalty), weighted, value);
                break;
            case LossKind::multi_margin:
                multi_margin(rules::MultiMargin<T>{T(loss.margin)}, b, weighted, value, right);
                break;
            default:
                with_elementwise_loss<T>(
                    loss, [&](const auto& rule) { elementwise_loss(rule, b, weighted, value, right); });
        }
        drop_weightless(b, b.dz, batch, weight);
        b.clear_padding(b.dz);
        exec::store_columns(dz, b.dz, first, n);
        exec::elementwise({0, n}, [&](index r) {
            scores.loss[first + r] = weight[r] != 0 ? weight[r] * value[r] : 0;
            scores.right[first + r] = value[r] == value[r] ? weight[r] * right[r] : 0;  // NaN is no answer
        });
    });
}

// s = S u, where S S' is factor times weight times the Hessian in the outputs: u (n, out) in the order of the
// examples, row-major, or null for the column-th unit vector.
template <class T>
void loss_factor(const LossSpec& loss, const Batch<T>& batch, Panels<const T> z, const T* u, index column,
                 Panels<T> s, Range rows, T factor, T* scratch) {
    Block<T> b(scratch, z.cols, true);
    for_blocks(b, loss, batch, z, rows, [&](index first, index n, const Lanes<T>& weight) {
        std::fill(b.rz, b.rz + b.out * b.w, T(0));
        for (index r = 0; r < n; ++r) {
            if (u == nullptr)
                b.rz[column * b.w + r] = 1;
            else
                for (index j = 0; j < b.out; ++j)
                    b.rz[j * b.w + r] = u[(batch.first + first + r) * b.out + j];
        }
        const Lanes<T> weighted = scaled(weight, factor);
        switch (loss.kind) {
            case LossKind::cross_entropy:
                cross_entropy_factor(b, weighted);
                break;
            case LossKind::multi_margin:
                multi_margin_tangent(rules::MultiMargin<T>{T(loss.margin)}, b);
                break;
            default:
                with_elementwise_loss<T>(
                    loss, [&](const auto& rule) { elementwise_loss_factor(rule, b, weighted); });
        }
        drop_weightless(b, b.rdz, batch, weight);
        b.clear_padding(b.rdz);
        exec::store_columns(s, b.rdz, first, n);
    });
}

// rdz = factor times weight times the Hessian in the outputs times rz.
template <class T>
void loss_tangent(const LossSpec& loss, const Batch<T>& batch, Panels<const T> z, Panels<const T> rz,
                  Panels<T> rdz, Range rows, T factor, T* scratch) {
    Block<T> b(scratch, z.cols, true);
    for_blocks(b, loss, batch, z, rows, [&](index first, index n, const Lanes<T>& weight) {
        exec::load_columns(b.rz, rz, first, n);
        const Lanes<T> weighted = scaled(weight, factor);
        switch (loss.kind) {
            case LossKind::cross_entropy:
                cross_entropy_tangent(b, weighted);
                if (loss.confidence_penalty != 0)
                    confidence_penalty_tangent(b, T(loss.confidence_penalty), weighted);
                break;
            case LossKind::multi_margin:
                multi_margin_tangent(rules::MultiMargin<T>{T(loss.margin)}, b);
                break;
            default:
                with_elementwise_loss<T>(
                    loss, [&](const auto& rule) { elementwise_loss_tangent(rule, b, weighted); });
        }
        drop_weightless(b, b.rdz, batch, weight);
        b.clear_padding(b.rdz);
        exec::store_columns(rdz, b.rdz, first, n);
    });
}

extern template decltype(loss_forward<float>) loss_forward<float>;
extern template decltype(loss_forward<double>) loss_forward<double>;
extern template decltype(loss_factor<float>) loss_factor<float>;
extern template decltype(loss_factor<double>) loss_factor<double>;
extern template decltype(loss_tangent<float>) loss_tangent<float>;
extern template decltype(loss_tangent<double>) loss_tangent<double>;

}  // namespace fnn::FNN_ISA::net
