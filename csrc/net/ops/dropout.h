// z = x / (1 - rate) where a random number of its own says so, else 0, while training; otherwise z = x.
//
// The random numbers are functions of the seed, the step, the layer, the example and the feature: the same
// for any team and any cut of the batch. 16 bits decide one number, so that a rate is rounded to a multiple
// of 2^-16, below 1; what is kept is divided by the probability that it really has. N. Srivastava, G. Hinton,
// A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014), "Dropout: a simple way to prevent neural networks
// from overfitting", JMLR 15.
#pragma once

#include "exec/mask.h"
#include "net/ops/elementwise.h"
#include "rules/random.h"

namespace fnn::FNN_ISA::net {

template <class T>
struct Dropout : OpBase {
    static constexpr Traits traits{false, /*is_random=*/true, false, /*piecewise_linear=*/true,
                                   /*exact_traces=*/true};

    // A bit for each number.
    static index kept(const Node& node, const Plan& plan, index rows) {
        const index features = plan.values[std::size_t(node.output)].features();
        const index bytes = rows * exec::divide_up(features, of_a_word) * index(sizeof(std::uint16_t));
        return exec::divide_up(bytes, index(sizeof(T)));
    }

    template <class Done>
    static void forward(Workspace<T>& ws, const Node& node, Range rows, Range panels, const Done& done) {
        if (ws.run.random) draw(ws, node, rows, panels);
        drop(ws, node, ws.z(node.output), ws.a(node.input()), rows, panels, false, done);
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
    static constexpr index group = 16;                               // columns that are decided together,
    static constexpr index of_a_word = full < group ? full : group;  // and those whose bits stand in one word
    static constexpr int groups_of_a_block = 8;  // for which random numbers are drawn together

    // Of 2^16 numbers, those below this one drop.
    static std::uint32_t threshold(const Node& node) {
        return std::uint32_t(exec::min(index(node.op.rate * 65536 + 0.5), 65535));
    }

    // Word by word of a row's columns; of each, those of all rows.
    static std::uint16_t* words(const Workspace<T>& ws, const Node& node) {
        return reinterpret_cast<std::uint16_t*>(ws.kept(node));
    }

    struct Shifted {
        std::uint32_t* to;
        const std::uint64_t* from;
        int left;
        void operator()(index i) const { to[i] = std::uint32_t(from[i]) << left; }
    };

    // decided[g]: the bits of group 8 b + g, of all groups of all examples, one example after the other. The
    // column is decided by the block of its number within the group, the group by half a word.
    static void decide(std::uint32_t* decided, const Run& run, int layer, std::uint32_t threshold, index b) {
        using Wide = exec::Vector<std::uint64_t>;
        constexpr std::uint64_t low = 0xffffffff;
        constexpr index lanes = exec::lanes<std::uint64_t>;
        alignas(exec::vector_bytes) std::uint64_t drawn[4][group], places[lanes];
        alignas(exec::vector_bytes) std::uint32_t halves[group];
        for (index i = 0; i < group; i += lanes) {
            const std::uint64_t first = (std::uint64_t(layer) << 48) + std::uint64_t(b * group + i);
            for (index k = 0; k < lanes; ++k) places[k] = first + std::uint64_t(k);
            const Wide place = exec::load(places);
            Wide words[4] = {place, place >> 32, exec::broadcast(run.stream() & low),
                             exec::broadcast(run.stream() >> 32)};
            rules::philox_rounds(words, run.seed & low, run.seed >> 32, exec::MultiplyWords{});
            for (int k = 0; k < 4; ++k) exec::store(drawn[k] + i, words[k]);
        }
        for (int g = 0; g < groups_of_a_block; ++g) {
            exec::elementwise({0, group}, Shifted{halves, drawn[g / 2], g % 2 == 0 ? 16 : 0});
            decided[g] = exec::bits_at_least(halves, threshold << 16);
        }
    }

    // The bits of some rows of some panels.
    static void draw(const Workspace<T>& ws, const Node& node, Range rows, Range panels) {
        const Panels<T> z = ws.z(node.output);
        const index groups = exec::divide_up(z.cols, group);
        const Range own{panels.begin * full / of_a_word,
                        exec::min(panels.end * full / of_a_word, exec::divide_up(z.cols, of_a_word))};
        std::uint16_t* const to = words(ws, node);
        const std::uint32_t least = threshold(node);
        // Groups are numbered through; those that are wanted of a row, or all of all rows.
        const auto go = [&](index r, index g, index count) {
            index at = (ws.first_row(node.output) + r) * groups + g;
            const index end = at + count;
            while (at < end) {
                std::uint32_t decided[groups_of_a_block];
                const index b = at / groups_of_a_block;
                decide(decided, ws.run, node.random, least, b);
                for (; at < exec::min(end, (b + 1) * groups_of_a_block); ++at) {
                    const std::uint32_t bits = decided[at - b * groups_of_a_block];
                    for (index k = 0; k < group / of_a_word; ++k) {
                        const index word = g * (group / of_a_word) + k;
                        if (own.begin <= word && word < own.end)
                            to[word * z.rows + r] = std::uint16_t(bits >> k * of_a_word);
                    }
                    if (++g == groups) g = 0, ++r;
                }
            }
        };
        if (panels.size() == z.count()) return go(rows.begin, 0, rows.size() * groups);
        const index first = panels.begin * full / group;
        const index end = exec::min(exec::divide_up(panels.end * full, group), groups);
        for (index r = rows.begin; r < rows.end; ++r) go(r, first, end - first);
    }

    // y (+)= x where it is kept, divided by the probability of that.
    template <class Done>
    static void drop(const Workspace<T>& ws, const Node& node, const Panels<T>& y, const Panels<T>& x,
                     Range rows, Range panels, bool add, const Done& done) {
        if (!ws.run.random || x.data == nullptr) return pass_on(y, x, rows, panels, add, done);
        const T factor = T(65536.0 / (65536.0 - double(threshold(node))));
        for (index p = panels.begin; p < panels.end; ++p) {
            const index width = y.width(p);
            const auto keep = width == full
                                  ? (add ? exec::keep_rows<T, 2, true> : exec::keep_rows<T, 2, false>)
                                  : (add ? exec::keep_rows<T, 1, true> : exec::keep_rows<T, 1, false>);
            keep(y.row(p, rows.begin), x.row(p, rows.begin), factor,
                 words(ws, node) + p * full / of_a_word * y.rows + rows.begin, y.rows, rows.size());
            done(y.row(p, rows.begin) - y.data, rows.size() * width);
        }
    }
};

}  // namespace fnn::FNN_ISA::net
