// z = x / (1 - rate) where a random number of its own says so, else 0, while training; otherwise z = x.
//
// The random numbers are functions of the seed, the step, the layer, the example and the feature: the same
// for any team and any cut of the batch. 16 bits decide one number, so that a rate is rounded to a multiple
// of 2^-16; what is kept is divided by the probability that it really has. N. Srivastava, G. Hinton, A.
// Krizhevsky, I. Sutskever, R. Salakhutdinov (2014), "Dropout: a simple way to prevent neural networks from
// overfitting", JMLR 15.
#pragma once

#include "exec/mask.h"
#include "net/ops/elementwise.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Dropout : OpBase {
    static constexpr Traits traits{false, /*is_random=*/true, false, /*piecewise_linear=*/true,
                                   /*exact_traces=*/true};

    // A word of bits for each row of each panel.
    static index kept(const Node& node, const Plan& plan, index rows) {
        const Panels<T> z{nullptr, rows, plan.values[std::size_t(node.output)].features};
        return exec::divide_up(rows * z.count() * index(sizeof(std::uint32_t)), index(sizeof(T)));
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        const Panels<T> z = ws.z(node.output), x = ws.a(node.input());
        if (!ws.run.training) return pass_on(z, x, rows, panels, false, done);
        draw(ws, node, rows, panels);
        drop(ws, node, z, x, rows, panels, false, done);
    }
    template <class Into>
    static void backward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Into& into) {
        if (!into.wants(0)) return;
        drop(ws, node, ws.da(node.input()), ws.d(node.output), rows, panels, into.adds(0),
             DoneOf<Into>{into, 0});
    }
    template <class Done>
    static void tangent_forward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                const Done& done) {
        drop(ws, node, ws.rz(node.output), ws.ra(node.input()), rows, panels, false, done);
    }
    template <class Into>
    static void tangent_backward(Workspace<T>& ws, const Node& node, Range rows, Range panels,
                                 const Into& into) {
        if (!into.wants(0)) return;
        drop(ws, node, ws.rda(node.input()), ws.rd(node.output), rows, panels, into.adds(0),
             DoneOf<Into>{into, 0});
    }

   private:
    static constexpr index full = Panels<T>::full;
    static constexpr index group = 16;              // columns that are decided together,
    static constexpr index of_a_block = 8 * group;  // and those for which random numbers are drawn together

    // Of 2^16 numbers, those below this one drop.
    static std::uint32_t threshold(const Node& node) { return std::uint32_t(node.op.rate * 65536 + 0.5); }

    static std::uint32_t* bits(const Workspace<T>& ws, const Node& node) {
        return reinterpret_cast<std::uint32_t*>(ws.kept(node));
    }

    struct Draw {
        std::uint64_t seed, stream, first;
        std::uint32_t (*words)[group];
        void operator()(index i) const {
            const rules::Block block = rules::philox(seed, stream, first + std::uint64_t(i));
            for (int k = 0; k < 4; ++k) words[k][i] = block.word[k];
        }
    };

    // The bits of some rows of some panels.
    static void draw(const Workspace<T>& ws, const Node& node, Range rows, Range panels) {
        const Panels<T> z = ws.z(node.output);
        const index blocks = exec::divide_up(z.cols, of_a_block), end = exec::min(panels.end * full, z.cols);
        const std::uint32_t least = threshold(node);
        std::uint32_t* const to = bits(ws, node);
        for (index b = panels.begin * full / of_a_block; b * of_a_block < end; ++b)
            for (index r = rows.begin; r < rows.end; ++r) {
                alignas(exec::vector_bytes) std::uint32_t words[4][group], halves[group];
                const std::uint64_t place = std::uint64_t(ws.run.first + r) * std::uint64_t(blocks * group);
                exec::elementwise(
                    {0, group},
                    Draw{ws.run.seed, ws.run.stream(),
                         (std::uint64_t(node.random) << 48) + place + std::uint64_t(b * group), words});
                std::uint32_t decided[8];
                for (int g = 0; g < 8; ++g) {
                    exec::elementwise({0, group}, [&, word = words[g / 2], shift = g % 2 * 16](index i) {
                        halves[i] = word[i] >> shift & 0xffffu;
                    });
                    decided[g] = exec::bits_at_least(halves, least);
                }
                const Range of_block = exec::intersect(
                    panels, {b * of_a_block / full, exec::divide_up((b + 1) * of_a_block, full)});
                for (index p = of_block.begin; p < of_block.end; ++p) {
                    const index j = p * full - b * of_a_block;
                    std::uint32_t word = decided[j / group] >> (j % group);
                    if (full > group && j / group + 1 < 8) word |= decided[j / group + 1] << group;
                    to[p * z.rows + r] = word;
                }
            }
    }

    // y (+)= x where it is kept, divided by the probability of that.
    template <class Done>
    static void drop(const Workspace<T>& ws, const Node& node, const Panels<T>& y, const Panels<T>& x,
                     Range rows, Range panels, bool add, const Done& done) {
        if (!ws.run.training || x.data == nullptr) return pass_on(y, x, rows, panels, add, done);
        const std::uint32_t* const from = bits(ws, node);
        const T factor = T(65536.0 / (65536.0 - double(threshold(node))));
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = y.width(p);
            const std::uint32_t* const words = from + p * y.rows;
            for (index r = rows.begin; r < rows.end; ++r)
                if (add)
                    exec::add_where(y.row(p, r), x.row(p, r), factor, words[r], width);
                else
                    exec::keep_where(y.row(p, r), x.row(p, r), factor, words[r], width);
            done(y.row(p, rows.begin) - y.data, rows.size() * width);
        }
    }
};

}  // namespace fnn::FNN_ISA::net
