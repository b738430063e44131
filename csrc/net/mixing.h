// Mix-up: each example of a step mixed with another, inputs and targets alike. H. Zhang, M. Cisse, Y. N.
// Dauphin, D. Lopez-Paz (2018), "mixup: beyond empirical risk minimization".
#pragma once

#include "exec/range.h"
#include "net/call.h"
#include "rules/beta.h"

namespace fnn::FNN_ISA::net {

// The partner of an example is the one so many places on in its step, after the last of which comes the
// first. Its share and that number are functions of the seed and the step.
struct Mixing {
    double share = 1;    // of an example itself; the rest is its partner's
    exec::Range step{};  // places
    index shift = 0;     // 0: nothing is mixed

    Mixing() = default;
    Mixing(double alpha, const Run& run, exec::Range step) : step(step) {
        if (alpha == 0 || step.size() < 2) return;
        const std::uint64_t stream = run.mixing_stream();
        share = rules::beta(alpha, run.seed, stream, 1);
        shift = 1 + index(rules::bounded(rules::bits(run.seed, stream, 0), std::uint64_t(step.size() - 1)));
    }

    explicit operator bool() const { return shift != 0; }
    index partner(index place) const {
        return place + shift < step.end ? place + shift : place + shift - step.size();
    }
};

}  // namespace fnn::FNN_ISA::net
