// Which positions of an image a filter reads for each that comes out.
#pragma once

#include "exec/panels.h"

namespace fnn::FNN_ISA::exec {

// One dimension: of the image, in zeros before and after, tap k of output j reads number
// j stride + k dilation. The image's own numbers lie `spacing` apart, with zeros in between; then the stride
// is 1.
struct Axis {
    index in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, before = 0, after = 0, spacing = 1;

    index padded() const { return before + (in - 1) * spacing + 1 + after; }

    // Which number of the image that is; -1: a zero.
    index read(index j, index k) const {
        const index at = j * stride + k * dilation - before;
        if (spacing == 1) return at < 0 || at >= in ? -1 : at;  // without divisions
        return at < 0 || at % spacing != 0 || at / spacing >= in ? -1 : at / spacing;
    }

    // f(first j, its number of the image, how many, from j to j, from number to number): those of some j
    // whose tap k reads one.
    template <class F>
    void for_read(Range some, index k, const F& f) const {
        index first = some.begin, last = some.end - 1;
        while (first <= last && read(first, k) < 0) ++first;
        while (first < last && read(last, k) < 0) --last;
        if (first <= last) f(first, read(first, k), (last - first) / spacing + 1, spacing, stride);
    }
};

struct Filter {
    Axis y, x;
    index in = 1, out = 1, groups = 1;  // channels, and in how many parts they do not know of each other

    index taps() const { return y.kernel * x.kernel; }
    index positions_in() const { return y.in * x.in; }
    index positions() const { return y.out * x.out; }
};

inline index round_up(index n, index unit) { return divide_up(n, unit) * unit; }

// The image of an example in its halo of zeros, with so many numbers for each position: put(to, panel, row)
// copies those of a row of a panel.
template <class T, class Put>
void copy_image(T* image, const Panels<const T>& from, index example, const Filter& filter, index channels,
                const Put& put) {
    const Axis &y = filter.y, &x = filter.x;
    const index line = x.padded() * channels;
    std::memset(image, 0, std::size_t(y.padded() * line) * sizeof(T));
    for (index i = 0; i < y.in; ++i)
        for (index p = 0; p < from.count(); ++p) {
            T* to = image + (y.before + i * y.spacing) * line + x.before * channels + p * from.full;
            const index row = (example * y.in + i) * x.in;
            for (index j = 0; j < x.in; ++j, to += x.spacing * channels) put(to, p, row + j);
        }
}

// The same of an example that is one row of numbers.
template <class T>
void copy_row_image(T* image, const Panels<const T>& from, index example, const Filter& filter,
                    index channels) {
    const Axis &y = filter.y, &x = filter.x;
    const index line = x.padded() * channels;
    const bool together = x.spacing == 1 && channels == filter.in;
    const index parts = together ? 1 : x.in, length = (together ? x.in : 1) * filter.in;
    std::memset(image, 0, std::size_t(y.padded() * line) * sizeof(T));
    index number = 0;
    for (index i = 0; i < y.in; ++i)
        for (index j = 0; j < parts; ++j) {
            T* const to = image + (y.before + i * y.spacing) * line + (x.before + j * x.spacing) * channels;
            for (index k = 0, n; k < length; k += n, number += n) {
                const index column = number % from.full;
                n = min(from.full - column, length - k);
                std::memcpy(to + k, from.row(number / from.full, example) + column,
                            std::size_t(n) * sizeof(T));
            }
        }
}

}  // namespace fnn::FNN_ISA::exec
