// Where the parameters lie while a call computes with them: every weight in panels.
#pragma once

#include "exec/convert.h"
#include "exec/transpose.h"
#include "net/carver.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Range;

// An image is the parameters, or anything with one number for each (a gradient, a state, a direction), with
// every weight in panels; an image of transposes holds the weights' transposes.
template <class T>
class Layout {
   public:
    static constexpr index full = Panels<T>::full;

    explicit Layout(const Plan& plan) : plan_(plan) {
        for (const Node& node : plan.nodes) {
            if (node.map != Map::dense) continue;
            size_ += (in(node) + 1) * padded(out(node));
            size_transposed_ += out(node) * padded(in(node));
        }
    }

    // The table of places, in memory that lives as long as this.
    void place(Carver& carver) {
        slots_ = carver.take<Slot>(index(plan_.nodes.size()));
        if (slots_ == nullptr) return;  // counting
        index at = 0, at_transposed = 0;
        for (std::size_t n = 0; n < plan_.nodes.size(); ++n) {
            const Node& node = plan_.nodes[n];
            if (node.map != Map::dense) continue;
            slots_[n] = {at, at + in(node) * padded(out(node)), at_transposed};
            at += (in(node) + 1) * padded(out(node));
            at_transposed += out(node) * padded(in(node));
        }
    }

    // Elements of an image.
    index size() const { return size_; }
    index size_transposed() const { return size_transposed_; }

    Panels<T> weight(T* image, const Node& node) const {
        return {image + slot(node).weight, in(node), out(node)};
    }
    T* bias(T* image, const Node& node) const { return image + slot(node).bias; }
    // (out, in), in an image of transposes
    Panels<T> weight_transposed(T* image, const Node& node) const {
        return {image + slot(node).transposed, out(node), in(node)};
    }

    // The parameters are shared among threads in units of one row of one vector's width of a weight; a bias
    // counts as one more row. A row of a full panel is two units, and goes to whom its first belongs.
    index units() const {
        index n = 0;
        for (const Node& node : plan_.nodes) n += units_of(node);
        return n;
    }

    // One of `parts` shares of the units that cost about the same, where each unit of a node costs cost(node)
    // >= 1.
    template <class F>
    Range share(index parts, index part, const F& cost) const {
        index total = 0;
        for (const Node& node : plan_.nodes) total += units_of(node) * cost(node);
        const auto unit_at = [&](index spent) {
            index first = 0;
            for (const Node& node : plan_.nodes) {
                const index here = units_of(node) * cost(node);
                if (spent < here) return first + spent / cost(node);
                spent -= here;
                first += units_of(node);
            }
            return first;
        };
        return {unit_at(total * part / parts), unit_at(total * (part + 1) / parts)};
    }

    // f(node, panel, rows of the weight, whether the bias belongs to them) for the units of a share.
    template <class F>
    void for_units(Range share, const F& f) const {
        index first = 0;
        for (const Node& node : plan_.nodes) {
            if (node.map != Map::dense) continue;
            const Panels<T> shape{nullptr, in(node), out(node)};
            for (index p = 0; p < shape.count(); ++p) {
                const index per_row = shape.width(p) / Panels<T>::half, length = per_row * (shape.rows + 1);
                const Range mine = exec::intersect(share, {first, first + length});
                const Range rows{exec::divide_up(mine.begin - first, per_row),
                                 exec::divide_up(mine.end - first, per_row)};
                first += length;
                if (mine.empty() || rows.empty()) continue;
                const bool with_bias = rows.end == shape.rows + 1;
                f(node, p, Range{rows.begin, with_bias ? shape.rows : rows.end}, with_bias);
            }
        }
    }

    // f(first, count) for the numbers of an image that the units of a share cover.
    template <class F>
    void for_numbers(Range share, const F& f) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            const Panels<T> shape{nullptr, in(node), out(node)};
            const index width = shape.width(p);
            f(slot(node).weight + p * full * shape.rows + rows.begin * width, rows.size() * width);
            if (with_bias) f(slot(node).bias + p * full, width);
        });
    }

    // image = flat, row-major (the padding becomes zero), for a share of the units.
    void pack(T* image, const T* flat, Range share) const {
        for_rows(image, flat, share, [](T* row, const T* from, index used, index width) {
            exec::copy_row(row, from, used);
            for (index j = used; j < width; ++j) row[j] = 0;
        });
    }

    // flat = image
    void unpack(T* flat, T* image, Range share) const {
        for_rows(image, flat, share,
                 [](const T* row, T* to, index used, index) { exec::copy_row(to, row, used); });
    }

    // The transpose of one layer's weight, for the units of a share.
    void transpose(T* image_transposed, T* image, const Node& node, index p, Range rows,
                   bool with_bias) const {
        const Panels<T> wt = weight_transposed(image_transposed, node);
        exec::transpose<T>(wt, weight(image, node), p, rows);
        if (with_bias) exec::clear_padding(wt, exec::intersect({0, wt.rows}, {p * full, (p + 1) * full}));
    }

   private:
    struct Slot {
        index weight, bias, transposed;
    };

    index units_of(const Node& node) const {
        return node.map == Map::dense ? padded(out(node)) / Panels<T>::half * (in(node) + 1) : 0;
    }
    const Slot& slot(const Node& node) const { return slots_[&node - plan_.nodes.data()]; }
    index in(const Node& node) const { return plan_.buffers[node.input].features; }
    index out(const Node& node) const { return plan_.buffers[node.output].features; }
    static index padded(index cols) { return Panels<T>{nullptr, 1, cols}.size(); }

    // f(row of a panel, the same numbers in the flat vector, columns used, width)
    template <class Flat, class F>
    void for_rows(T* image, Flat* flat, Range share, const F& f) const {
        for_units(share, [&](const Node& node, index p, Range rows, bool with_bias) {
            const Panels<T> w = weight(image, node);
            for (index i = rows.begin; i < rows.end; ++i)
                f(w.row(p, i), flat + node.weight + i * w.cols + p * full, w.used(p), w.width(p));
            if (with_bias)
                f(bias(image, node) + p * full, flat + node.bias + p * full, w.used(p), w.width(p));
        });
    }

    const Plan& plan_;
    Slot* slots_ = nullptr;  // by node
    index size_ = 0, size_transposed_ = 0;
};

}  // namespace fnn::FNN_ISA::net
