// Convolutions of images, channels last. An image lies in a halo of zeros, dense in the order (y, x,
// channel): a tap of the filter is then the image further on, and what a row of the filter covers is one run
// of numbers. What comes in, what comes out and their gradients are panels with a row for each position.
#pragma once

#include "exec/filter.h"
#include "exec/gemm/multiply.h"
#include "exec/gemm/runs.h"
#include "exec/lanes.h"

namespace fnn::FNN_ISA::exec {

// An image in its halo, and the matrix (tap and channel, channels that come out) that it is multiplied by.
template <class T>
struct FilteredImage {
    const T* image;
    Panels<const T> w;
};

// The gradient of what came out, and the transpose of that matrix.
template <class T>
struct FilteredGradient {
    Panels<const T> dz, wt;
};

// A sum of N products has N such: the tangent of a product has two.
template <class T>
class Convolution {
   public:
    explicit Convolution(const Filter& filter) : f_(filter), depth_(filter.in / filter.groups) {}

    // Numbers of an image in its halo.
    index image_size() const { return round_up(f_.y.padded() * f_.x.padded() * f_.in, lanes<T>); }

    // The image of an example.
    void copy(T* image, const Panels<const T>& x, index example) const {
        copy_image(image, x, example, f_, f_.in,
                   [&](T* to, index p, index row) { exec::copy_row(to, x.row(p, row), x.used(p)); });
    }

    // The same of an example that is one row.
    void copy_row(T* image, const Panels<const T>& x, index example) const {
        copy_row_image(image, x, example, f_, f_.in);
    }

    // z = bias + the products of one example
    template <int N>
    void forward(const Panels<T>& z, const FilteredImage<T> (&products)[N], const T* bias, index example,
                 const Epilogue& epilogue) const {
        if (f_.groups > 1) return forward_by_groups(z, products, bias, example, epilogue);
        for_groups(z, {0, z.count()}, [&](const Group& group) {
            const index width = z.width(group.first);
            const auto& kernel = RunKernels<T>::all.by_rows[TileKernels<T>::form(group.panels, width)];
            for_slices(products, group.first, 0, [&](Range slice, Run<T>* taps, index count, bool last) {
                Run<T> runs[most_runs];
                for (index k = 0; k < count; ++k) runs[k] = taps[k];
                RunTile<T> t{};
                t.c_row = width, t.c_panel = z.full * z.rows, t.b_panel = z.full * products[0].w.rows;
                t.runs = runs, t.count = count;
                const bool first = slice.begin == 0;
                for_tiles(group.height, [&](index i, Range tile) {
                    const index at = first_number(i, tile.begin);
                    for (index k = 0; k < count; ++k) runs[k].a = taps[k].a + at;
                    t.c = z.row(group.first, example * f_.positions() + i * f_.x.out + tile.begin);
                    t.init = first ? bias + group.first * z.full : t.c;
                    t.init_row = first ? 0 : t.c_row, t.init_panel = first ? z.full : t.c_panel;
                    kernel[tile.size() - 1](t);
                    for (index p = 0; last && p < group.panels; ++p)
                        epilogue(t.c + p * t.c_panel - z.data, tile.size() * width);
                });
            });
        });
    }

    // dx += the products of one example: of each position that came out to the taps that it read.
    template <int N>
    void backward(const Panels<T>& dx, const FilteredGradient<T> (&products)[N], index example) const {
        // Where the channels of a tap are whole panels, its products begin with what is there.
        if (f_.groups == 1 && f_.in % dx.full == 0) return backward_by_taps(dx, products, example);
        const Panels<const T> wt = products[0].wt;
        // A vector that holds some of the numbers may begin before the first, and end behind the last.
        alignas(vector_bytes) T room[lanes<T> + buffer_size + lanes<T>];
        T* const buffer = room + lanes<T>;
        // Of so many panels at a time, and so of few channels of all taps.
        const index most = max(buffer_size / (height * wt.full) / panels_limit, 1) * panels_limit;
        for (index g = 0; g < f_.groups; ++g)
            for_pieces({0, wt.count()}, most, panels_limit, [&](Range panels) {
                const index begin = panels.begin * wt.full;
                const index row = min(panels.size() * wt.full, wt.padded() - begin);
                const Range columns{begin, min(panels.end * wt.full, wt.cols)};
                for_tiles(height, [&](index i, Range tile) {
                    const index first = example * f_.positions() + i * f_.x.out + tile.begin;
                    for_groups(wt, panels, [&](const Group& group) {
                        T* const to = buffer + group.first * wt.full - begin;
                        multiply_gradients(to, row, products, group, g, first, tile.size());
                    });
                    scatter(dx, buffer, row, columns, g, example, i, tile);
                });
            });
    }

    // strips of dw (+)= x' dz: some rows and panels of the matrix, summed over examples. images: of all
    // examples.
    void weight_gradient(const Strips<T>& dw, const T* images, const Panels<const T>& dz, Range examples,
                         Range rows, Range panels, bool add) const {
        const index lines = min(max(summed_at_once / f_.x.out, 1), most_runs);
        bool first = !add;
        for (index e = examples.begin; e < examples.end; ++e)
            for_pieces({0, f_.y.out}, lines, [&](Range block) {
                const T* const image = images + e * image_size();
                if (f_.groups > 1)
                    add_by_groups(dw, image, dz, e, block, rows, panels, first);
                else
                    for_groups(dz, panels, [&](const Group& group) {
                        const index width = dz.width(group.first);
                        RunTile<T> t{};
                        t.c_row = width, t.c_panel = dw.panel_size();
                        for_lines(rows, group.height, [&](index offset, Range tile) {
                            t.c = dw.row(group.first - panels.begin, tile.begin, width);
                            t.init = first ? zeros<T> : t.c;
                            t.init_row = first ? 0 : t.c_row, t.init_panel = first ? 0 : t.c_panel;
                            multiply_lines(t, image + offset, dz, group, e, block, tile.size());
                        });
                    });
                first = false;
            });
    }

   private:
    static constexpr index most_runs = 64;
    static constexpr index summed_at_once = 128;  // positions whose gradients stay in the first-level cache
    static constexpr index buffer_size = 2048;
    static constexpr index height = panels_limit > 1 ? paired_rows : tile_rows;

    // Where in an image a position of what comes out begins to read.
    index first_number(index i, index j) const {
        return (i * f_.y.stride * f_.x.padded() + j * f_.x.stride) * f_.in;
    }
    index first_of_tap(index ky, index kx) const {
        return (ky * f_.y.dilation * f_.x.padded() + kx * f_.x.dilation) * f_.in;
    }
    // Do the taps of a row of the filter lie side by side?
    index taps_together() const { return f_.x.dilation == 1 && f_.groups == 1 ? f_.x.kernel : 1; }
    Range outputs(index g) const { return cut({0, f_.out}, f_.groups, g); }

    // f(line, positions) for tiles of positions in one line of what comes out.
    template <class F>
    void for_tiles(index most, const F& f) const {
        for (index i = 0; i < f_.y.out; ++i) for_pieces({0, f_.x.out}, most, [&](Range tile) { f(i, tile); });
    }

    // f(rows, runs at the first position, how many, whether they are the last): slices of the inner dimension
    // whose rows of the matrix stay in the first-level cache, for panel p and a group of channels.
    template <int N, class F>
    void for_slices(const FilteredImage<T> (&products)[N], index p, index g, const F& f) const {
        Run<T> runs[most_runs];
        index count = 0, begin = 0, end = 0;
        const index together = taps_together(), length = together * depth_;
        const index each = divide_up(length, divide_up(length, slice<T>));
        for (const FilteredImage<T>& product : products)
            for (index ky = 0; ky < f_.y.kernel; ++ky)
                for (index kx = 0; kx < f_.x.kernel; kx += together)
                    for (index k = 0; k < length; k += each) {
                        const index n = min(each, length - k);
                        if (count == most_runs || (count > 0 && end - begin + n > slice<T>)) {
                            f(Range{begin, end}, runs, count, false);
                            count = 0, begin = end;
                        }
                        const index tap = ky * f_.x.kernel + kx;
                        runs[count++] = {product.image + first_of_tap(ky, kx) + g * depth_ + k,
                                         product.w.row(p, tap * depth_ + k), n, f_.x.stride * f_.in};
                        end += n;
                    }
        f(Range{begin, end}, runs, count, true);
    }

    // f(where its first number lies in an image, rows) for tiles of those rows of the matrix that lie side by
    // side there, of the first group.
    template <class F>
    void for_lines(Range rows, index most, const F& f) const {
        const index length = taps_together() * depth_;
        for (index line = rows.begin / length; line * length < rows.end; ++line) {
            const index tap = line * taps_together();
            const index at = first_of_tap(tap / f_.x.kernel, tap % f_.x.kernel) - line * length;
            for_pieces(intersect(rows, {line * length, (line + 1) * length}), most,
                       [&](Range tile) { f(at + tile.begin, tile); });
        }
    }

    // The tile of the gradient that comes from some lines of an example, for what lies at `image`.
    void multiply_lines(RunTile<T>& t, const T* image, const Panels<const T>& dz, const Group& group,
                        index example, Range lines, index rows) const {
        Run<T> runs[most_runs];
        for (index i = lines.begin; i < lines.end; ++i)
            runs[i - lines.begin] = {image + first_number(i, 0),
                                     dz.row(group.first, example * f_.positions() + i * f_.x.out), f_.x.out,
                                     f_.x.stride * f_.in};
        t.runs = runs, t.count = lines.size(), t.b_panel = dz.full * dz.rows;
        RunKernels<T>::all.by_columns[TileKernels<T>::form(group.panels, dz.width(group.first))][rows - 1](t);
    }

    void add_by_groups(const Strips<T>& dw, const T* image, const Panels<const T>& dz, index example,
                       Range lines, Range rows, Range panels, bool first) const {
        alignas(vector_bytes) T own[tile_rows * panel_width<T>];
        for (index p = panels.begin; p < panels.end; ++p)
            for_groups_of(dz, p, [&](index g, Range columns) {
                for_lines(rows, tile_rows, [&](index offset, Range tile) {
                    RunTile<T> t{};
                    t.c = own, t.c_row = dz.width(p), t.init = zeros<T>;
                    multiply_lines(t, image + offset + g * depth_, dz, {p, 1, tile_rows}, example, lines,
                                   tile.size());
                    T* const to = dw.row(p - panels.begin, tile.begin, t.c_row);
                    for (index r = 0; r < tile.size(); ++r)
                        for (index c = columns.begin; c < columns.end; ++c) {
                            const index i = r * t.c_row + c;
                            to[i] = first ? own[i] : to[i] + own[i];
                        }
                });
            });
    }

    template <int N>
    void backward_by_taps(const Panels<T>& dx, const FilteredGradient<T> (&products)[N],
                          index example) const {
        const Panels<const T> wt = products[0].wt;
        for (index i = 0; i < f_.y.out; ++i)
            for (index tap = 0; tap < f_.taps(); ++tap) {
                const index y = f_.y.read(i, tap / f_.x.kernel);
                if (y < 0) continue;
                f_.x.for_read({0, f_.x.out}, tap % f_.x.kernel,
                              [&](index first, index x, index count, index by, index step) {
                                  const index from = example * f_.positions() + i * f_.x.out + first;
                                  const index to = (example * f_.y.in + y) * f_.x.in + x;
                                  for_groups(dx, {0, dx.count()}, [&](const Group& group) {
                                      RunTile<T> t{};
                                      t.c_row = t.init_row = step * dx.full;
                                      t.c_panel = t.init_panel = dx.full * dx.rows;
                                      const Group columns{tap * f_.in / wt.full + group.first, group.panels,
                                                          group.height};
                                      for_pieces({0, count}, group.height, [&](Range tile) {
                                          t.c = dx.row(group.first, to + tile.begin * step);
                                          t.init = t.c;
                                          add_gradients(t, products, columns, 0, from + tile.begin * by, by,
                                                        tile.size());
                                      });
                                  });
                              });
            }
    }

    // Of a panel that several groups share, each computes all columns and keeps its own.
    template <int N>
    void forward_by_groups(const Panels<T>& z, const FilteredImage<T> (&products)[N], const T* bias,
                           index example, const Epilogue& epilogue) const {
        alignas(vector_bytes) T own[tile_rows * panel_width<T>];
        for (index p = 0; p < z.count(); ++p) {
            const index width = z.width(p);
            const auto& kernel = RunKernels<T>::all.by_rows[TileKernels<T>::form(1, width)];
            for_tiles(tile_rows, [&](index i, Range tile) {
                T* const to = z.row(p, example * f_.positions() + i * f_.x.out + tile.begin);
                for_groups_of(z, p, [&](index g, Range columns) {
                    RunTile<T> t{};
                    t.c = own, t.c_row = width;
                    for_slices(products, p, g, [&](Range slice, Run<T>* runs, index count, bool) {
                        for (index k = 0; k < count; ++k) runs[k].a += first_number(i, tile.begin);
                        t.init = slice.begin == 0 ? bias + p * z.full : own;
                        t.init_row = slice.begin == 0 ? 0 : width;
                        t.runs = runs, t.count = count;
                        kernel[tile.size() - 1](t);
                    });
                    for (index j = 0; j < tile.size(); ++j)
                        for (index c = columns.begin; c < columns.end; ++c)
                            to[j * width + c] = own[j * width + c];
                });
                epilogue(to - z.data, tile.size() * width);
            });
        }
    }

    // f(group, its columns in the panel) for those that have some there; the last one's include what pads.
    template <class F>
    void for_groups_of(const Panels<const T>& z, index p, const F& f) const {
        const index begin = p * z.full, end = begin + z.used(p), each = f_.out / f_.groups;
        for (index g = begin / each; g * each < end; ++g) {
            const Range own = intersect(outputs(g), {begin, end});
            f(g, Range{own.begin - begin, own.end == z.cols ? z.width(p) : own.end - begin});
        }
    }

    // to (rows, columns of a group of panels) = the products of some rows, those of one group of channels
    template <int N>
    void multiply_gradients(T* to, index row, const FilteredGradient<T> (&products)[N], const Group& group,
                            index g, index first, index rows) const {
        RunTile<T> t{};
        t.c = to, t.c_panel = products[0].wt.width(group.first), t.c_row = row, t.init = zeros<T>;
        add_gradients(t, products, group, g, first, 1, rows);
    }

    // A tile of them, added to what it begins with, of every `by`th row.
    template <int N>
    void add_gradients(RunTile<T>& t, const FilteredGradient<T> (&products)[N], const Group& group, index g,
                       index first, index by, index rows) const {
        const Panels<const T> wt = products[0].wt;
        const auto& kernel =
            RunKernels<T>::all.by_rows[TileKernels<T>::form(group.panels, wt.width(group.first))];
        Run<T> runs[most_runs];
        t.b_panel = wt.full * wt.rows, t.runs = runs, t.count = 0;
        const auto multiply = [&] {
            kernel[rows - 1](t);
            t.init = t.c, t.init_row = t.c_row, t.init_panel = t.c_panel, t.count = 0;
        };
        const Range own = outputs(g);
        for (const FilteredGradient<T>& product : products)
            for (index q = own.begin / wt.full; q * wt.full < own.end; ++q) {
                if (t.count == most_runs) multiply();
                const Range some = intersect(own, {q * wt.full, (q + 1) * wt.full});
                runs[t.count++] = {product.dz.row(q, first) + (some.begin - q * wt.full),
                                   product.wt.row(group.first, some.begin), some.size(),
                                   by * product.dz.width(q)};
            }
        multiply();
    }

    // dx += products (tile, columns), where a column is a tap and a channel of a group; the tile is one of
    // line i of what came out.
    void scatter(const Panels<T>& dx, const T* products, index row, Range columns, index g, index example,
                 index i, Range tile) const {
        const Range channels{g * depth_, (g + 1) * depth_};
        if (f_.in <= lanes<T> && depth_ * f_.taps() == columns.size())
            return scatter_vectors(dx, products - channels.begin, row, SomeLanes<T>(channels), example, i,
                                   tile);
        for (index tap = columns.begin / depth_; tap * depth_ < columns.end;) {
            const index ky = tap / f_.x.kernel, y = f_.y.read(i, ky);
            for (index kx = tap % f_.x.kernel; kx < f_.x.kernel && tap * depth_ < columns.end; ++kx, ++tap) {
                if (y < 0) continue;
                f_.x.for_read(tile, kx, [&](index first, index x, index count, index by, index step) {
                    const index to = (example * f_.y.in + y) * f_.x.in + x;
                    const T* const from =
                        products + (first - tile.begin) * row + tap * depth_ - columns.begin - channels.begin;
                    const Range own{max(columns.begin - tap * depth_, 0) + channels.begin,
                                    min(columns.end - tap * depth_, depth_) + channels.begin};
                    for_vectors(dx, to, own, [&](index place, index c, auto, auto some) {
                        T* sum = dx.data + place;
                        const T* term = from + c;
                        const index width = step * dx.width(c / dx.full);
                        for (index j = 0; j < count; ++j, sum += width, term += by * row)
                            store(sum, load(sum) + some(load_unaligned(term)));
                    });
                });
            }
        }
    }

    // The same of all taps, where all channels are one vector.
    void scatter_vectors(const Panels<T>& dx, const T* products, index row, const SomeLanes<T>& some,
                         index example, index i, Range tile) const {
        for (index kx = 0; kx < f_.x.kernel; ++kx)
            f_.x.for_read(tile, kx, [&](index first, index x, index count, index by, index step) {
                for (index ky = 0; ky < f_.y.kernel; ++ky) {
                    const index y = f_.y.read(i, ky);
                    if (y < 0) continue;
                    T* sum = dx.row(0, (example * f_.y.in + y) * f_.x.in + x);
                    const T* term = products + (first - tile.begin) * row + (ky * f_.x.kernel + kx) * depth_;
                    for (index j = 0; j < count; ++j, sum += step * lanes<T>, term += by * row)
                        store(sum, load(sum) + some(load_unaligned(term)));
                }
            });
    }

    const Filter f_;
    const index depth_;  // channels of a group
};

}  // namespace fnn::FNN_ISA::exec
