// Loops over many tensors, wherever their numbers lie: in tiles, so that a rule always sees one stretch.
#pragma once

#include <cstring>

#include "exec/elementwise.h"
#include "exec/range.h"
#include "optim/spec.h"

namespace fnn::FNN_ISA::optim {

using exec::Range;

constexpr index tile_length = 1024;  // numbers: what a tile copies stays in L1

// f(segment, its numbers within the range), for the numbers of all tensors as one row.
template <class T, class F>
inline void for_segments(const Segments<T>& all, Range numbers, const F& f) {
    if (numbers.empty()) return;
    index first = 0, end = all.count;  // the last that starts at or before the range
    while (end - first > 1) {
        const index middle = first + (end - first) / 2;
        (all.starts[middle] <= numbers.begin ? first : end) = middle;
    }
    for (index s = first; s < all.count && all.starts[s] < numbers.end; ++s) {
        const Range both = exec::intersect({all.starts[s], all.starts[s + 1]}, numbers);
        if (!both.empty()) f(all.list[s], Range{both.begin - all.starts[s], both.end - all.starts[s]});
    }
}

// f(first, offset, run, stride) for runs of numbers at equal distances: the range's numbers first, first + 1,
// ... lie at offset, offset + stride, ... (bytes).
template <class F>
inline void for_runs(const Places& places, Range numbers, const F& f) {
    const int last = places.dims - 1;
    index at[max_dims], offset = 0, rest = numbers.begin;
    for (int d = last; d >= 0; --d) {
        at[d] = rest % places.shape[d];
        rest /= places.shape[d];
        offset += at[d] * places.strides[d];
    }
    for (index i = 0; i < numbers.size();) {
        const index run = exec::min(numbers.size() - i, places.shape[last] - at[last]);
        f(i, offset, run, places.strides[last]);
        i += run;
        at[last] += run;
        offset += run * places.strides[last];
        for (int d = last; d > 0 && at[d] == places.shape[d]; --d) {
            offset += places.strides[d - 1] - at[d] * places.strides[d];
            at[d] = 0;
            ++at[d - 1];
        }
    }
}

template <class T>
inline void gather(T* out, const T* data, const Places& places, Range numbers) {
    const char* const bytes = reinterpret_cast<const char*>(data);
    for_runs(places, numbers, [&](index first, index offset, index run, index stride) {
        for (index i = 0; i < run; ++i)
            std::memcpy(out + first + i, bytes + offset + i * stride, sizeof(T));  // may be misaligned
    });
}

template <class T>
inline void scatter(T* data, const Places& places, Range numbers, const T* in) {
    char* const bytes = reinterpret_cast<char*>(data);
    for_runs(places, numbers, [&](index first, index offset, index run, index stride) {
        for (index i = 0; i < run; ++i) std::memcpy(bytes + offset + i * stride, in + first + i, sizeof(T));
    });
}

template <class T>
struct MapGradient {
    const T* from;
    T* to;
    double scale;
    T bound;
    bool bounded;
    void operator()(index i) const {
        const T g = T(scale * double(from[i]));
        const T low = g < -bound ? -bound : g, held = low > bound ? bound : low;  // NaN stays
        to[i] = bounded ? held : g;
    }
};

// The gradient of some numbers of a tensor as an update reads it: where it lies, or in `tile`.
template <class T>
inline const T* gradient_of(const Segment<T>& s, Range numbers, const GradientMap& map, T* tile) {
    const T* from = s.gradient + numbers.begin;
    if (s.gradient_places.dims != 0) {
        gather(tile, s.gradient, s.gradient_places, numbers);
        from = tile;
    }
    if (!map.changes()) return from;
    exec::elementwise({0, numbers.size()}, MapGradient<T>{from, tile, map.scale, T(map.bound), map.bounded});
    return tile;
}

}  // namespace fnn::FNN_ISA::optim
