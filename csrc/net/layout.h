// Where the parameters lie while a call computes with them: every matrix in panels.
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
// every matrix in panels and every vector as a row of panels; an image of transposes holds the matrices'
// transposes. Of a layer that is normalised there are two matrices: behind the others, what is learned.
template <class T>
class Layout {
   public:
    static constexpr index full = Panels<T>::full;

    // Of all parameters, or of those alone that are no part of a product.
    Layout(const Plan& plan, bool products) : plan_(plan), products_(products) {
        for (const Parameters& own : plan.parameters) {
            size_ += size(own);
            size_transposed_ += own.cols * padded(own.rows);
            panels_ += Panels<T>{nullptr, own.rows, own.cols}.count();
        }
    }

    // The table of places, in memory that lives as long as this.
    void place(Carver& carver) {
        slots_ = carver.take<Slot>(index(plan_.parameters.size()));
        if (slots_ == nullptr) return;  // counting
        index at = 0, at_transposed = 0;
        Slot* slot = slots_;
        for (const Parameters& own : plan_.parameters) {
            *slot++ = {at, at_transposed};
            at += size(own);
            at_transposed += own.cols * padded(own.rows);
        }
    }

    // Elements of an image.
    index size() const { return size_; }
    index size_transposed() const { return size_transposed_; }
    index panels() const { return panels_; }  // of all matrices

    // Where those of the layers behind begin.
    index end(const Parameters& own) const { return slot(own).begin + size(own); }

    Panels<T> matrix(T* image, const Parameters& own) const {
        return {image + slot(own).begin, own.rows, own.cols};
    }
    // What the flat vector holds.
    Panels<T> learned(T* image, const Parameters& own) const {
        if (!own.is_normalized) return matrix(image, own);
        return {vector(image, own, own.count()), own.rows, own.cols};
    }
    T* vector(T* image, const Parameters& own, index k) const {
        return image + slot(own).begin + (own.rows + k) * padded(own.cols);
    }
    // (cols, rows), in an image of transposes
    Panels<T> transposed(T* image, const Parameters& own) const {
        return {image + slot(own).transposed, own.cols, own.rows};
    }

    // f(parameters, panels, rows of the matrix, vectors) for a part of what each layer learns: by columns,
    // each vector counting as one more row.
    template <class F>
    void for_layers(Part part, const F& f) const {
        for (const Parameters& own : plan_.parameters) {
            if (size(own) == 0) continue;
            const Panels<T> both{nullptr, own.rows + own.count(), own.cols};
            both.for_part(part, [&](Range panels, Range rows) {
                const Range vectors{exec::max(rows.begin - own.rows, 0), exec::max(rows.end - own.rows, 0)};
                f(own, panels, Range{exec::min(rows.begin, own.rows), exec::min(rows.end, own.rows)},
                  vectors);
            });
        }
    }

    // The same for each panel alone.
    template <class F>
    void for_panels(Part part, const F& f) const {
        for_layers(part, [&](const Parameters& own, Range panels, Range rows, Range vectors) {
            for (index p = panels.begin; p < panels.end; ++p) f(own, p, rows, vectors);
        });
    }

    // image = flat, row-major (the padding becomes zero), for a part.
    void pack(T* image, const T* flat, Part part) const { for_rows(image, flat, part, offset, fill); }
    // The same of a direction: what is not trained does not move.
    void pack_direction(T* image, const T* flat, Part part) const {
        for_rows(image, flat, part, offset,
                 [](const Parameters& own, T* row, const T* from, index used, index width) {
                     fill(own, row, from, own.trainable ? used : 0, width);
                 });
    }
    // The same of a vector that has numbers only of parameters that are trained.
    void pack_trained(T* image, const T* flat, Part part) const {
        for_rows(image, flat, part, trained_offset,
                 [](const Parameters& own, T* row, const T* from, index used, index width) {
                     if (own.trainable) fill(own, row, from, used, width);
                 });
    }

    // flat = image
    void unpack(T* flat, T* image, Part part) const {
        for_rows(image, flat, part, offset, [](const Parameters&, const T* row, T* to, index used, index) {
            exec::copy_row(to, row, used);
        });
    }
    // The same of a gradient: zero for what is not trained.
    void unpack_gradient(T* flat, T* image, Part part) const {
        for_rows(image, flat, part, offset,
                 [](const Parameters& own, const T* row, T* to, index used, index) {
                     if (own.trainable)
                         exec::copy_row(to, row, used);
                     else
                         std::fill(to, to + used, T(0));
                 });
    }
    void unpack_trained(T* flat, T* image, Part part) const {
        for_rows(image, flat, part, trained_offset,
                 [](const Parameters& own, const T* row, T* to, index used, index) {
                     if (own.trainable) exec::copy_row(to, row, used);
                 });
    }

    // The transpose of one layer's matrix, for a part; `all`: to its last row.
    void transpose(T* image_transposed, T* image, const Parameters& own, index p, Range rows,
                   bool all) const {
        const Panels<T> wt = transposed(image_transposed, own);
        exec::transpose<T>(wt, matrix(image, own), p, rows);
        if (all) exec::clear_padding(wt, exec::intersect({0, wt.rows}, {p * full, (p + 1) * full}));
    }

   private:
    struct Slot {
        index begin, transposed;
    };

    const Slot& slot(const Parameters& own) const { return slots_[&own - plan_.parameters.data()]; }
    static index padded(index cols) { return Panels<T>{nullptr, 1, cols}.size(); }
    index size(const Parameters& own) const {
        if (own.rows > 0 && !products_) return 0;
        const index rows = own.is_normalized ? 2 * own.rows : own.rows;
        return (rows + own.count()) * padded(own.cols);
    }

    static index offset(const Parameters& own) { return own.offset; }
    static index trained_offset(const Parameters& own) { return own.trained_before; }

    static void fill(const Parameters&, T* row, const T* from, index used, index width) {
        exec::copy_row(row, from, used);
        for (index j = used; j < width; ++j) row[j] = 0;
    }

    // f(parameters, row of a panel, the same numbers in the flat vector, columns used, width);
    // begin(parameters) says where they start there.
    template <class Flat, class Begin, class F>
    void for_rows(T* image, Flat* flat, Part part, const Begin& begin, const F& f) const {
        for_panels(part, [&](const Parameters& own, index p, Range rows, Range vectors) {
            const Panels<T> w = learned(image, own);
            Flat* const from = flat + begin(own) + p * full;
            for (index i = rows.begin; i < rows.end; ++i)
                f(own, w.row(p, i), from + i * w.cols, w.used(p), w.width(p));
            for (index k = vectors.begin; k < vectors.end; ++k)
                f(own, vector(image, own, k) + p * full, from + (own.rows + k) * w.cols, w.used(p),
                  w.width(p));
        });
    }

    const Plan& plan_;
    const bool products_;
    Slot* slots_ = nullptr;  // by layer
    index size_ = 0, size_transposed_ = 0, panels_ = 0;
};

}  // namespace fnn::FNN_ISA::net
