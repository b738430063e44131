// z = x + std normal(), while training; otherwise z = x.
//
// The random numbers are functions of the seed, the step, the layer, the example and the feature, as those of
// dropout. C. M. Bishop (1995), "Training with noise is equivalent to Tikhonov regularization", Neural
// Computation 7(1).
#pragma once

#include "net/ops/elementwise.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct GaussianNoise : Identity<T> {  // but for the way forward
    static constexpr Traits traits{false, /*is_random=*/true, false, /*piecewise_linear=*/true,
                                   /*exact_traces=*/true};

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        if (!ws.run.random) return Identity<T>::forward(ws, node, rows, panels, done);
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        for (index p = panels.begin; p < panels.end; ++p) {
            for (index r = rows.begin; r < rows.end; ++r) {
                const index place = (ws.first_row(node.output) + r) * z.cols + p * z.full;
                exec::elementwise(
                    {0, z.width(p)},
                    AddNoise{z.row(p, r), x.row(p, r), T(node.op.std), ws.run.seed, ws.run.stream(),
                             (std::uint64_t(node.random) << 48) + std::uint64_t(place)});
            }
            done(z.row(p, rows.begin) - z.data, rows.size() * z.width(p));
        }
    }

   private:
    struct AddNoise {
        T* to;
        const T* from;
        T std;
        std::uint64_t seed, stream, first;
        void operator()(index j) const {
            to[j] = from[j] + std * rules::normal<T>(seed, stream, first + std::uint64_t(j));
        }
    };
};

}  // namespace fnn::FNN_ISA::net
