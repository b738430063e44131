// Half-open ranges and how they are cut.
#pragma once

#include "common.h"

namespace fnn::FNN_ISA::exec {

struct Range {
    index begin = 0;
    index end = 0;

    index size() const { return end - begin; }
    bool empty() const { return end <= begin; }
};

inline index min(index a, index b) { return a < b ? a : b; }
inline index max(index a, index b) { return a > b ? a : b; }

inline index divide_up(index a, index b) { return (a + b - 1) / b; }

inline Range intersect(Range a, Range b) {
    const Range both{a.begin > b.begin ? a.begin : b.begin, min(a.end, b.end)};
    return both.empty() ? Range{} : both;
}

// The part-th of `parts` pieces of r whose sizes differ by one at most.
inline Range cut(Range r, index parts, index part) {
    if (parts == 1) return r;  // without divisions
    const index n = r.size();
    return {r.begin + n * part / parts, r.begin + n * (part + 1) / parts};
}

// One of `size` parts of any work, of which each thread of a team has its own.
struct Part {
    index rank = 0;
    index size = 1;

    Range of(index n) const { return cut({0, n}, size, rank); }
};

// Calls f(piece) for the fewest pieces of r that are no longer than `limit`, all of nearly one size
// (28 rows in tiles of at most 13 are 9 + 9 + 10, not 13 + 13 + 2).
template <class F>
inline void for_pieces(Range r, index limit, const F& f) {
    if (r.empty()) return;
    const index parts = divide_up(r.size(), limit);
    for (index i = 0; i < parts; ++i) f(cut(r, parts, i));
}

// The same, cut only at multiples of `unit`; a limit below that counts as one unit.
template <class F>
void for_pieces(Range r, index limit, index unit, const F& f) {
    const Range units{r.begin / unit, divide_up(r.end, unit)};
    if (!r.empty())
        for_pieces(units, max(limit / unit, 1),
                   [&](Range some) { f(intersect(r, {some.begin * unit, some.end * unit})); });
}

}  // namespace fnn::FNN_ISA::exec
