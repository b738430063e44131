// A function of one index over a stretch of indices, vectorised by the compiler.
#pragma once

#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// The compiler may take it that the turns of the following loop do not depend on each other.
#if defined(__clang__)
#define FNN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define FNN_INDEPENDENT _Pragma("GCC ivdep")
#endif

// f(i) for every i of the range; no i may write what another reads. Flattened: f is inlined whatever its
// size, as a loop with a call in it does not vectorise.
template <class F>
__attribute__((flatten)) inline void elementwise(Range r, const F f) {
    FNN_INDEPENDENT
    for (index i = r.begin; i < r.end; ++i) f(i);
}

}  // namespace fnn::FNN_ISA::exec
