// Convolutions that filter each channel by itself: lanes are channels.
#pragma once

#include "exec/convolution.h"

namespace fnn::FNN_ISA::exec {

// As Convolution, where the matrix is (tap, channel) and needs no transpose. A position of an image in its
// halo is a row of whole vectors.
template <class T>
class Depthwise {
   public:
    explicit Depthwise(const Filter& filter) : f_(filter), row_(Panels<T>{nullptr, 1, filter.in}.padded()) {}

    index image_size() const { return f_.y.padded() * f_.x.padded() * row_; }

    void copy(T* image, const Panels<const T>& x, index example) const {
        copy_image(image, x, example, f_, row_, [&](T* to, index p, index row) {
            std::memcpy(to, x.row(p, row), std::size_t(x.width(p)) * sizeof(T));
        });
    }

    void copy_row(T* image, const Panels<const T>& x, index example) const {
        copy_row_image(image, x, example, f_, row_);
    }

    template <int N>
    void forward(const Panels<T>& z, const FilteredImage<T> (&products)[N], const T* bias, index example,
                 const Epilogue& epilogue) const {
        for (index p = 0; p < z.count(); ++p)
            for (index i = 0; i < f_.y.out; ++i) {
                const index first = example * f_.positions() + i * f_.x.out;
                for (index j = 0; j < z.width(p); j += w) {
                    index at = 0;
                    for (; at + height <= f_.x.out; at += height)
                        add_taps<height>(z, products, bias, p, j, first, i, at);
                    for (; at < f_.x.out; ++at) add_taps<1>(z, products, bias, p, j, first, i, at);
                }
                epilogue(z.row(p, first) - z.data, f_.x.out * z.width(p));
            }
    }

    template <int N>
    void backward(const Panels<T>& dx, const FilteredGradient<T> (&products)[N], index example) const {
        for (const FilteredGradient<T>& product : products) {
            const Panels<const T>&dz = product.dz, &taps = product.wt;
            for (index p = 0; p < dx.count(); ++p)
                for_lines([&](index i, index ky, index y) {
                    for (index kx = 0; kx < f_.x.kernel; ++kx)
                        f_.x.for_read(
                            {0, f_.x.out}, kx, [&](index j, index x, index count, index by, index step) {
                                const index width = dx.width(p);
                                const T* from = dz.row(p, example * f_.positions() + i * f_.x.out + j);
                                T* to = dx.row(p, (example * f_.y.in + y) * f_.x.in + x);
                                const T* const tap = taps.row(p, ky * f_.x.kernel + kx);
                                for (index c = 0; c < width; c += w) {
                                    const Vector<T> factor = load(tap + c);
                                    for (index n = 0; n < count; ++n) {
                                        T* const sum = to + n * step * width + c;
                                        store(sum, multiply_add(factor, load(from + n * by * width + c),
                                                                load(sum)));
                                    }
                                }
                            });
                });
        }
    }

    void weight_gradient(const Strips<T>& dw, const T* images, const Panels<const T>& dz, Range examples,
                         Range rows, Range panels, bool add) const {
        for (index p = panels.begin; p < panels.end; ++p)
            for (index tap = rows.begin; tap < rows.end; ++tap)
                for (index c = 0; c < dz.width(p); c += w) {
                    T* const to = dw.row(p - panels.begin, tap, dz.width(p)) + c;
                    Vector<T> sum = add ? load(to) : Vector<T>{};
                    for (index e = examples.begin; e < examples.end; ++e)
                        sum += sum_of_products(images + e * image_size() + p * dz.full + c, dz, e, p, c, tap);
                    store(to, sum);
                }
    }

   private:
    static constexpr index w = lanes<T>, height = 8;

    index first_number(index i, index j) const {
        return (i * f_.y.stride * f_.x.padded() + j * f_.x.stride) * row_;
    }
    index first_of_tap(index ky, index kx) const {
        return (ky * f_.y.dilation * f_.x.padded() + kx * f_.x.dilation) * row_;
    }

    // f(line that came out, line of the filter, line of the image that it read)
    template <class F>
    void for_lines(const F& f) const {
        for (index i = 0; i < f_.y.out; ++i)
            for (index ky = 0; ky < f_.y.kernel; ++ky)
                if (const index y = f_.y.read(i, ky); y >= 0) f(i, ky, y);
    }

    // One vector of H positions.
    template <index H, int N>
    void add_taps(const Panels<T>& z, const FilteredImage<T> (&products)[N], const T* bias, index p, index c,
                  index first, index i, index j) const {
        Vector<T> sums[H];
        const Vector<T> initial = load(bias + p * z.full + c);
        for (index h = 0; h < H; ++h) sums[h] = initial;
        for (const FilteredImage<T>& product : products) {
            const T* const image = product.image + first_number(i, j) + p * z.full + c;
            for (index ky = 0, tap = 0; ky < f_.y.kernel; ++ky)
                for (index kx = 0; kx < f_.x.kernel; ++kx, ++tap) {
                    const T* const from = image + first_of_tap(ky, kx);
                    const Vector<T> factor = load(product.w.row(p, tap) + c);
#pragma GCC unroll 8
                    for (index h = 0; h < H; ++h)
                        sums[h] = multiply_add(factor, load(from + h * f_.x.stride * row_), sums[h]);
                }
        }
        for (index h = 0; h < H; ++h) store(z.row(p, first + j + h) + c, sums[h]);
    }

    // Over the positions of an example, for a tap: every fourth goes to the same partial sum.
    Vector<T> sum_of_products(const T* image, const Panels<const T>& dz, index e, index p, index c,
                              index tap) const {
        const index width = dz.width(p), step = f_.x.stride * row_;
        Vector<T> sums[4] = {};
        for (index i = 0; i < f_.y.out; ++i) {
            const T* from = image + first_number(i, 0) + first_of_tap(tap / f_.x.kernel, tap % f_.x.kernel);
            const T* d = dz.row(p, e * f_.positions() + i * f_.x.out) + c;
            index j = 0;
            for (; j + 4 <= f_.x.out; j += 4)
#pragma GCC unroll 4
                for (index k = 0; k < 4; ++k)
                    sums[k] = multiply_add(load(from + (j + k) * step), load(d + (j + k) * width), sums[k]);
            for (; j < f_.x.out; ++j)
                sums[0] = multiply_add(load(from + j * step), load(d + j * width), sums[0]);
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    const Filter f_;
    const index row_;
};

}  // namespace fnn::FNN_ISA::exec
