// A function of one index over a stretch of indices, vectorised by the compiler.
#pragma once

#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// f(i) for every i of the range; f is a named struct of pointers (so that nvcc can run it too), and no i may
// write what another reads.
template <class F>
inline void elementwise(Range r, const F f) {
#pragma GCC ivdep
    for (index i = r.begin; i < r.end; ++i) f(i);
}

}  // namespace fnn::FNN_ISA::exec
