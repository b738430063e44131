// Adaptive clipping, unit by unit: Brock et al. (2021).
#pragma once

#include <cmath>

#include "optim/clip.h"
#include "optim/step.h"

namespace fnn::FNN_ISA::optim {

constexpr index most_units = 64;  // whose norms are computed together

// f(first, count, unit) for the numbers of `block`, some units, in stretches of one unit each, or, where the
// numbers of a unit do not lie beside each other, of one number of each.
template <class F>
inline void for_stretches(const Units& units, index length, Range block, const F& f) {
    const index outer = length / (units.count * units.inner);
    for (index o = 0; o < outer; ++o) {
        const index row = o * units.count;
        if (units.inner == 1)
            f(row + block.begin, block.size(), block.begin);
        else
            for (index unit = block.begin; unit < block.end; ++unit)
                for (index at = 0; at < units.inner; at += tile_length)
                    f((row + unit) * units.inner + at, exec::min(tile_length, units.inner - at), unit);
    }
}

// norms[unit - block.begin] = the norm of each unit of a block. tile_of(first, count) gives numbers to read.
template <class TileOf>
inline void norms_of_units(const Units& units, index length, Range block, const TileOf& tile_of,
                           double* norms) {
    const auto squares = [&](double scale, double* sums) {
        for (index j = 0; j < block.size(); ++j) sums[j] = 0;
        for_stretches(units, length, block, [&](index first, index count, index unit) {
            const auto* const x = tile_of(first, count);
            if (units.inner == 1) {
                for (index j = 0; j < count; ++j) sums[j] += (scale * x[j]) * (scale * x[j]);
            } else {
                SumOfSquares sum{scale};
                sum.add(x, count);
                sums[unit - block.begin] += sum.result();
            }
        });
    };
    squares(1, norms);
    bool all_finite = true;
    for (index j = 0; j < block.size(); ++j) {
        norms[j] = std::sqrt(norms[j]);
        all_finite = all_finite && std::isfinite(norms[j]);
    }
    if (all_finite) return;
    double scaled[most_units];  // squares that were too large
    squares(0x1p-600, scaled);
    for (index j = 0; j < block.size(); ++j)
        if (!std::isfinite(norms[j])) norms[j] = std::sqrt(scaled[j]) / 0x1p-600;
}

// Scales the gradients, which lie one number after another in states[0], such that the norm of those of a
// unit is at most `ratio` times that of its parameters, or times 1e-3. A norm that is not finite changes
// nothing.
template <class T>
inline void clip_block(const Segment<T>& s, const Units& units, Range block, double ratio) {
    T* const gradient = s.states[0];
    T tile[tile_length];
    double of_gradient[most_units], of_parameters[most_units];
    norms_of_units(units, s.length, block, [&](index first, index) { return gradient + first; }, of_gradient);
    norms_of_units(
        units, s.length, block,
        [&](index first, index count) -> const T* {
            if (s.parameter_places.dims == 0) return s.parameters + first;
            gather(tile, s.parameters, s.parameter_places, {first, first + count});
            return tile;
        },
        of_parameters);
    double factors[most_units];
    for (index j = 0; j < block.size(); ++j) {
        const double limit = ratio * (of_parameters[j] > 1e-3 ? of_parameters[j] : 1e-3);
        const double norm = of_gradient[j];
        factors[j] = std::isfinite(norm) && norm > limit ? limit / norm : 1;
    }
    for_stretches(units, s.length, block, [&](index first, index count, index unit) {
        const double* const factor = factors + (unit - block.begin);
        const bool one_each = units.inner == 1;
        for (index i = 0; i < count; ++i)
            gradient[first + i] = T(double(gradient[first + i]) * factor[one_each ? i : 0]);
    });
}

template <class T>
void clip_units(const Segments<T>& all, const Units* units, double ratio, int threads) {
    exec::run(all.size() < smallest_shared ? 1 : threads, nullptr, [&](Exec& exec) {
        for (index s = 0; s < all.count; ++s) {
            if (all.list[s].length == 0) continue;
            const index blocks = exec::divide_up(units[s].count, most_units);
            const Range mine = exec.share(blocks);
            for (index block = mine.begin; block < mine.end; ++block)
                clip_block(all.list[s], units[s],
                           {block * most_units, exec::min((block + 1) * most_units, units[s].count)}, ratio);
        }
    });
}

}  // namespace fnn::FNN_ISA::optim
