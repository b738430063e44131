// Ops that draw random numbers while training: the same functions of (seed, step, layer, example, feature) as
// on a CPU, see net/ops/dropout.h and net/ops/gaussian_noise.h.
#pragma once

#include "cuda/ops/elementwise.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::device {

// The random numbers of a node's output.
struct Draws {
    std::uint64_t seed, layer;
    index first_row, cols;
    const Now* now;

    template <class T>
    Draws(const Workspace<T>& ws, const Node& node)
        : seed(ws.run.seed),
          layer(std::uint64_t(node.random) << 48),
          first_row(ws.run.first),
          cols(ws.features(node.output)),
          now(ws.now) {}

    FNN_HD std::uint64_t stream_now() const { return now->stream + std::uint64_t(now->step); }
};

// y (+)= x where it is kept, times a factor.
template <class T>
struct Drop {
    static constexpr index group = 16, groups_of_a_block = 8;
    T* y;
    const T* x;
    Draws draws;
    std::uint32_t threshold;  // of 2^16 numbers, those below this one drop
    T factor;
    bool add;

    FNN_HD bool keeps(index i) const {
        const index r = draws.first_row + i / draws.cols, j = i % draws.cols;
        const index at = r * ((draws.cols + group - 1) / group) + j / group;
        const rules::Block block =
            rules::philox(draws.seed, draws.stream_now(),
                          draws.layer + std::uint64_t(at / groups_of_a_block * group + j % group));
        const index turn = at % groups_of_a_block;
        const std::uint32_t word = block.word[turn / 2];
        return (turn % 2 == 0 ? word & 0xffff : word >> 16) >= threshold;
    }
    FNN_HD void operator()(index i) const {
        const T kept = keeps(i) ? x[i] * factor : T(0);
        y[i] = add ? y[i] + kept : kept;
    }
};

template <class T>
struct Dropout : OpBase {
    static void forward(Workspace<T>& ws, const Node& node) {
        drop(ws, node, ws.z(node.output), ws.a(node.input()), false);
    }
    static void backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node, [&](int, int x, bool add) { drop(ws, node, ws.da(x), ws.d(node.output), add); });
    }
    static void tangent_forward(Workspace<T>& ws, const Node& node) {
        drop(ws, node, ws.rz(node.output), ws.ra(node.input()), false);
    }
    static void tangent_backward(Workspace<T>& ws, const Node& node) {
        for_wanted(ws, node,
                   [&](int, int x, bool add) { drop(ws, node, ws.rd(x), ws.rd(node.output), add); });
    }

   private:
    static void drop(Workspace<T>& ws, const Node& node, T* y, const T* x, bool add) {
        const index n = ws.size(node.output);
        if (!ws.run.random || x == nullptr) return pass_on(ws.stream, y, x, n, add);
        const auto threshold = std::uint32_t(exec::min(index(node.op.rate * 65536 + 0.5), 65535));
        const T factor = T(65536.0 / (65536.0 - double(threshold)));
        elementwise(ws.stream, n, Drop<T>{y, x, Draws(ws, node), threshold, factor, add});
    }
};

template <class T>
struct AddNoise {
    T* to;
    const T* from;
    T std;
    Draws draws;
    FNN_HD void operator()(index i) const {
        const index place = draws.first_row * draws.cols + i;
        to[i] = from[i] +
                std * rules::normal<T>(draws.seed, draws.stream_now(), draws.layer + std::uint64_t(place));
    }
};

template <class T>
struct GaussianNoise : Identity<T> {  // but for the way forward
    static void forward(Workspace<T>& ws, const Node& node) {
        if (!ws.run.random) return Identity<T>::forward(ws, node);
        elementwise(ws.stream, ws.size(node.output),
                    AddNoise<T>{ws.z(node.output), ws.a(node.input()), T(node.op.std), Draws(ws, node)});
    }
};

}  // namespace fnn::FNN_ISA::device
