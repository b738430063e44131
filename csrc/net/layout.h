// Where the parameters lie while a call computes with them: every weight in panels.
#pragma once

#include "exec/convert.h"
#include "exec/transpose.h"
#include "net/carver.h"
#include "net/plan.h"

namespace fnn::FNN_ISA::net {

using exec::Panels;
using exec::Part;
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

    // Where the layers behind this one begin.
    index end(const Node& node) const { return slot(node).bias + padded(out(node)); }

    Panels<T> weight(T* image, const Node& node) const {
        return {image + slot(node).weight, in(node), out(node)};
    }
    T* bias(T* image, const Node& node) const { return image + slot(node).bias; }
    // (out, in), in an image of transposes
    Panels<T> weight_transposed(T* image, const Node& node) const {
        return {image + slot(node).transposed, out(node), in(node)};
    }

    // f(node, panels, rows of the weight, whether the bias belongs to them) for a part of the parameters of
    // each layer: by columns of its weight, a bias counting as one more row.
    template <class F>
    void for_layers(Part part, const F& f) const {
        for (const Node& node : plan_.nodes) {
            if (node.map != Map::dense) continue;
            const Panels<T> both{nullptr, in(node) + 1, out(node)};
            both.for_part(part, [&](Range panels, Range rows) {
                const bool with_bias = rows.end == both.rows;
                f(node, panels, Range{rows.begin, with_bias ? in(node) : rows.end}, with_bias);
            });
        }
    }

    // The same for each panel alone.
    template <class F>
    void for_panels(Part part, const F& f) const {
        for_layers(part, [&](const Node& node, Range panels, Range rows, bool with_bias) {
            for (index p = panels.begin; p < panels.end; ++p) f(node, p, rows, with_bias);
        });
    }

    // image = flat, row-major (the padding becomes zero), for a part.
    void pack(T* image, const T* flat, Part part) const {
        for_rows(image, flat, part, [](T* row, const T* from, index used, index width) {
            exec::copy_row(row, from, used);
            for (index j = used; j < width; ++j) row[j] = 0;
        });
    }

    // flat = image
    void unpack(T* flat, T* image, Part part) const {
        for_rows(image, flat, part,
                 [](const T* row, T* to, index used, index) { exec::copy_row(to, row, used); });
    }

    // The transpose of one layer's weight, for a part.
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

    const Slot& slot(const Node& node) const { return slots_[&node - plan_.nodes.data()]; }
    index in(const Node& node) const { return plan_.buffers[node.input].features; }
    index out(const Node& node) const { return plan_.buffers[node.output].features; }
    static index padded(index cols) { return Panels<T>{nullptr, 1, cols}.size(); }

    // f(row of a panel, the same numbers in the flat vector, columns used, width)
    template <class Flat, class F>
    void for_rows(T* image, Flat* flat, Part part, const F& f) const {
        for_panels(part, [&](const Node& node, index p, Range rows, bool with_bias) {
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
