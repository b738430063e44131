// The loops over tensors of an instruction set, for code that is compiled once for all.
#pragma once

#include <cstddef>

#include "exec/crew.h"
#include "exec/memory.h"
#include "exec/threads.h"
#include "optim/spec.h"

namespace fnn {

// For one scalar type; what they do stands in step.h, pass.h, units.h and clip.h.
template <class T>
struct LoopsOf {
    std::size_t (*step_scratch)(const Step<T>&, int threads);
    void (*step)(const Step<T>&, int threads, Crew&);
    void (*pass)(const Pass<T>&, int threads);
    void (*clip_units)(const Segments<T>&, const Units*, double ratio, int threads);
    double (*gradient_norm)(const Segments<T>&, int threads, Interrupt, Arena&);
};

struct Loops {
    LoopsOf<float> float32;
    LoopsOf<double> float64;
    int threads;             // of this call
    void* stream = nullptr;  // likewise, of a device

    const LoopsOf<float>& of(float) const { return float32; }
    const LoopsOf<double>& of(double) const { return float64; }
};

}  // namespace fnn
