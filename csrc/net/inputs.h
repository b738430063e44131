// Layers in front of all others: what they make of the numbers of X, in double precision, for a block of rows
// at a time and one column after the other.
#pragma once

#include <cstdint>

#include "exec/convert.h"
#include "net/plan.h"
#include "rules/inputs.h"

namespace fnn::FNN_ISA::net {

// What input layers do: nothing, one affine map for each column, or what the ways of a plan say.
struct InputMap {
    exec::ColumnMap columns;
    const Plan* plan = nullptr;  // where it has ways
    const double* state = nullptr;

    explicit operator bool() const { return columns || plan != nullptr; }
};

// Numbers of one column, one for each row of a block. All are computed with, also where there are fewer rows.
struct InputBlock {
    static constexpr index rows = 16;
    double x[rows] = {};

    template <class F>
    void map(const F& f) {
        for (index i = 0; i < rows; ++i) x[i] = f(x[i]);
    }
};

// What a layer has learned of one of its columns.
class Learned {
   public:
    Learned(const InputLayer& layer, index column, const double* state)
        : numbers_(state + layer.state + column), stride_(layer.in_features) {}

    double operator[](index k) const { return numbers_[k * stride_]; }

    // How many of the first `most` are there; those that are missing are the last.
    index count(index most) const {
        const Learned& all = *this;
        if (all[most - 1] == all[most - 1]) return most;
        index low = 0, high = most - 1;  // of the first that is missing
        while (low < high) {
            const index middle = (low + high) / 2;
            if (all[middle] == all[middle])
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }

    // Between which two of the first `count` >= 2, which do not fall, each number lies: the place of the
    // lower. Below all it is the first, above all the last but one.
    void places(index count, const InputBlock& of, std::int64_t* places) const {
        const double* const numbers = numbers_;
        const index stride = stride_;
        index step = 1;
        while (2 * step < count) step *= 2;
        for (index i = 0; i < InputBlock::rows; ++i) places[i] = 0;
        for (; step > 0; step /= 2)
            for (index i = 0; i < InputBlock::rows; ++i) {
                const std::int64_t next = places[i] + step, there = next < count - 2 ? next : count - 2;
                const double number = numbers[there * stride];
                places[i] = number <= of.x[i] ? there : places[i];
            }
    }

   private:
    const double* numbers_;
    index stride_;
};

// All layers as one affine map, for some columns, if there is to be one.
inline void compose_input_layers(const Plan& plan, const double* state, const exec::ColumnMap& map,
                                 exec::Range columns) {
    if (!map) return;
    for (index j = columns.begin; j < columns.end; ++j) {
        double center = 0, scale = 1, shift = 0;
        for (const InputLayer& layer : plan.input_layers) {
            if (layer.kind == InputKind::rescale) {
                scale *= layer.values[0];
                shift = shift * layer.values[0] + layer.values[1];
            } else {
                const Learned own(layer, j, state);
                center += (own[0] - shift) / scale;
                scale /= own[1];
                shift = 0;
            }
        }
        map.center[j] = center;
        map.scale[j] = scale;
        map.shift[j] = shift;
    }
}

// x as the rank that it has among quantiles, as a normal number. A column that was constant has no ranks.
template <class F>
inline void map_by_quantiles(const Learned& quantiles, index most, InputBlock& block, const F& f) {
    const index count = quantiles.count(most);
    if (count < 2) return block.map([](double x) { return x == x ? 0 : x; });
    std::int64_t places[InputBlock::rows];
    quantiles.places(count, block, places);
    double low[InputBlock::rows], high[InputBlock::rows];
    for (index i = 0; i < InputBlock::rows; ++i)
        low[i] = quantiles[places[i]], high[i] = quantiles[places[i] + 1];
    const double steps = double(count - 1);
    for (index i = 0; i < InputBlock::rows; ++i)
        block.x[i] = f(rules::QuantileNormal{low[i], high[i], double(places[i]), steps}, block.x[i]);
}

// f(row, bin, low, high) for the bin in which each number of some rows lies.
template <class F>
inline void for_bins(const Learned& edges, index count, const InputBlock& block, index rows, const F& f) {
    std::int64_t places[InputBlock::rows];
    edges.places(count, block, places);
    for (index i = 0; i < rows; ++i)
        f(i, index(places[i]), rules::PiecewiseLinear{edges[places[i]], edges[places[i] + 1]});
}

// The column of a code: its own, or that of the rare ones together; -1: none.
inline index column_of_code(const InputLayer& layer, const Learned& counts, double x) {
    const double categories = layer.values[0], least = layer.values[1];
    if (!(x >= 0 && x < categories)) return -1;
    const index code = index(x);
    if (double(code) != x || !(counts[code] >= 1)) return -1;
    return counts[code] >= least ? code : index(categories);
}

// All that a layer makes of a column, of some rows: put(row, which, number) of those that are not zero.
template <class Put>
inline void put_all(const InputLayer& layer, const Learned& own, const InputBlock& block, index rows,
                    const Put& put) {
    if (layer.kind == InputKind::one_hot) {
        for (index i = 0; i < rows; ++i) {
            const index which = column_of_code(layer, own, block.x[i]);
            if (which >= 0) put(i, which, 1.0);
        }
        return;
    }
    const index count = own.count(index(layer.values[0]) + 1);
    if (count < 2) return;  // a column that was constant has no bins
    for_bins(own, count, block, rows, [&](index i, index bin, const rules::PiecewiseLinear& rule) {
        const double x = block.x[i], part = rule.value(x);
        for (index k = 0; k < bin; ++k) put(i, k, x == x ? 1.0 : x);
        put(i, bin, part);
        if (x != x)
            for (index k = bin + 1; k < count - 1; ++k) put(i, k, x);
    });
}

// The derivatives of these: put(row, which, number) of those that are not zero.
template <class Put>
inline void put_slopes(const InputLayer& layer, const Learned& own, const InputBlock& block, index rows,
                       const Put& put) {
    if (layer.kind == InputKind::one_hot) return;
    const index count = own.count(index(layer.values[0]) + 1);
    if (count < 2) return;
    for_bins(own, count, block, rows, [&](index i, index bin, const rules::PiecewiseLinear& rule) {
        put(i, bin, rule.slope(block.x[i]));
    });
}

// One of the numbers that a layer makes of a column.
inline void put_one(const InputLayer& layer, const Learned& own, index which, InputBlock& block) {
    InputBlock out;
    put_all(layer, own, block, InputBlock::rows, [&](index i, index k, double x) {
        if (k == which) out.x[i] = x;
    });
    block = out;
}

// A step of the way.
inline void take_step(const InputLayer& layer, const InputStep& step, const double* state,
                      InputBlock& block) {
    const Learned own(layer, step.column, state);
    switch (layer.kind) {
        case InputKind::rescale:
            return block.map(
                [scale = layer.values[0], shift = layer.values[1]](double x) { return x * scale + shift; });
        case InputKind::standardize:
            return block.map([mean = own[0], std = own[1]](double x) { return (x - mean) / std; });
        case InputKind::robust_scale:
            return block.map([rule = rules::RobustScale{own[0], own[1], layer.values[0]}](double x) {
                return rule.value(x);
            });
        case InputKind::quantile_normal:
            return map_by_quantiles(
                own, index(layer.values[0]), block,
                [](const rules::QuantileNormal& rule, double x) { return rule.value(x); });
        case InputKind::impute:
            return block.map([value = own[0]](double x) { return x == x ? x : value; });
        case InputKind::missing_indicator:
            return block.map([](double x) { return x == x ? 0.0 : 1.0; });
        case InputKind::piecewise_linear:
        case InputKind::one_hot:
            return put_one(layer, own, step.which, block);
        case InputKind::select:
        case InputKind::join:
            break;  // no steps
    }
}

// The derivative of a step, where it stands: times what `slopes` are before.
inline void take_slope(const InputLayer& layer, const InputStep& step, const double* state,
                       const InputBlock& block, InputBlock& slopes) {
    const Learned own(layer, step.column, state);
    const auto times = [&](const auto& slope) {
        for (index i = 0; i < InputBlock::rows; ++i) slopes.x[i] *= slope(block.x[i]);
    };
    switch (layer.kind) {
        case InputKind::rescale:
            return times([&](double) { return layer.values[0]; });
        case InputKind::standardize:
            return times([&](double) { return 1 / own[1]; });
        case InputKind::robust_scale:
            return times([rule = rules::RobustScale{own[0], own[1], layer.values[0]}](double x) {
                return rule.slope(x);
            });
        case InputKind::quantile_normal: {
            InputBlock own_slopes = block;
            map_by_quantiles(own, index(layer.values[0]), own_slopes,
                             [](const rules::QuantileNormal& rule, double x) { return rule.slope(x); });
            for (index i = 0; i < InputBlock::rows; ++i) slopes.x[i] *= own_slopes.x[i];
            return;
        }
        case InputKind::piecewise_linear: {
            InputBlock own_slopes;
            put_slopes(layer, own, block, InputBlock::rows, [&](index i, index which, double slope) {
                if (which == step.which) own_slopes.x[i] = slope;
            });
            for (index i = 0; i < InputBlock::rows; ++i) slopes.x[i] *= own_slopes.x[i];
            return;
        }
        case InputKind::impute:
            return times([](double x) { return x == x ? 1.0 : 0.0; });
        case InputKind::one_hot:
        case InputKind::missing_indicator:
        case InputKind::select:
        case InputKind::join:
            return times([](double) { return 0.0; });
    }
}

// f(way, its column) for all ways, of at most InputBlock::rows rows. read(row, first, count, numbers) gives
// `count` columns of X, from the first on.
template <class Read, class F>
inline void for_ways(const Plan& plan, const std::vector<InputWay>& ways, index rows, Read& read,
                     const F& f) {
    constexpr index group = exec::Panels<double>::full;
    double raw[InputBlock::rows][group] = {};
    for (auto way = ways.begin(); way != ways.end();) {
        const index first = way->column / group * group;
        const index count = exec::min(group, plan.in_features() - first);
        for (index i = 0; i < rows; ++i) read(i, first, count, raw[i]);
        for (; way != ways.end() && way->column < first + count; ++way) {
            InputBlock block;
            for (index i = 0; i < rows; ++i) block.x[i] = raw[i][way->column - first];
            f(*way, block);
        }
    }
}

// f(step, its layer) for the steps of a way that make one number of each.
template <class F>
inline void for_steps(const Plan& plan, const InputWay& way, const F& f) {
    const std::size_t count = way.steps.size() - (way.count > 1 ? 1 : 0);
    for (std::size_t k = 0; k < count; ++k)
        f(way.steps[k], plan.input_layers[std::size_t(way.steps[k].layer)]);
}

// What input layers make of rows of X: put(row, column, number) of all that is not zero.
template <class Read, class Put>
inline void encode(const Plan& plan, const std::vector<InputWay>& ways, const double* state, index rows,
                   Read& read, const Put& put) {
    for_ways(plan, ways, rows, read, [&](const InputWay& way, InputBlock& block) {
        for_steps(plan, way, [&](const InputStep& step, const InputLayer& layer) {
            take_step(layer, step, state, block);
        });
        if (way.count == 1) {
            for (index i = 0; i < rows; ++i) put(i, way.first, block.x[i]);
            return;
        }
        const InputStep& last = way.steps.back();
        const InputLayer& layer = plan.input_layers[std::size_t(last.layer)];
        put_all(layer, Learned(layer, last.column, state), block, rows,
                [&](index i, index which, double x) { put(i, way.first + which, x); });
    });
}

// And back: add(row, column of X, number) of what the gradient d(row, column) of that means for X.
template <class Read, class D, class Add>
inline void encode_back(const Plan& plan, const std::vector<InputWay>& ways, const double* state, index rows,
                        Read& read, const D& d, const Add& add) {
    for_ways(plan, ways, rows, read, [&](const InputWay& way, InputBlock& block) {
        InputBlock slopes;
        slopes.map([](double) { return 1.0; });
        for_steps(plan, way, [&](const InputStep& step, const InputLayer& layer) {
            take_slope(layer, step, state, block, slopes);
            take_step(layer, step, state, block);
        });
        if (way.count == 1) {
            for (index i = 0; i < rows; ++i) add(i, way.column, d(i, way.first) * slopes.x[i]);
            return;
        }
        const InputStep& last = way.steps.back();
        const InputLayer& layer = plan.input_layers[std::size_t(last.layer)];
        put_slopes(layer, Learned(layer, last.column, state), block, rows,
                   [&](index i, index which, double slope) {
                       add(i, way.column, d(i, way.first + which) * slope * slopes.x[i]);
                   });
    });
}

}  // namespace fnn::FNN_ISA::net
