// Clipping by the global norm, Pascanu, Mikolov and Bengio (2013).
#pragma once

#include <cmath>

#include "exec/cpu.h"
#include "exec/elementwise.h"
#include "exec/memory.h"

namespace fnn::FNN_ISA::optim {

using exec::Exec;
using exec::Range;

// Arrays cut into pieces, by their lengths alone.
template <class T>
struct Pieces {
    T* const* arrays;
    const index* lengths;
    index count;

    static constexpr index length = index{1} << 16;

    index size() const {
        index n = 0;
        for (index a = 0; a < count; ++a) n += exec::divide_up(lengths[a], length);
        return n;
    }

    // f(piece, its numbers, how many)
    template <class F>
    void for_each(Range mine, const F& f) const {
        index first = 0;
        for (index a = 0; a < count; ++a) {
            const Range own{first, first + exec::divide_up(lengths[a], length)};
            const Range both = exec::intersect(mine, own);
            for (index piece = both.begin; piece < both.end; ++piece) {
                const index at = (piece - first) * length;
                f(piece, arrays[a] + at, exec::min(lengths[a] - at, length));
            }
            first = own.end;
        }
    }
};

// The sum of (scale x)^2, in float64 and 16 partial sums, whatever the instruction set.
struct SumOfSquares {
    double scale;

    template <class T>
    double operator()(const T* x, index n) const {
        constexpr index w = 16;
        double sum[w] = {}, total = 0;
        index i = 0;
        for (; i + w <= n; i += w)
            for (index j = 0; j < w; ++j) add(sum[j], x[i + j]);
        for (index j = 0; i + j < n; ++j) add(sum[j], x[i + j]);
        for (const double s : sum) total += s;
        return total;
    }

    void add(double& sum, double x) const { sum += (scale * x) * (scale * x); }
};

struct LargestSize {
    template <class T>
    double operator()(const T* x, index n) const {
        T most = 0;
        for (index i = 0; i < n; ++i) {
            const T size = x[i] < 0 ? -x[i] : x[i];
            most = size > most ? size : most;
        }
        return double(most);
    }
};

template <class T>
struct Scale {
    T* x;
    double factor;
    void operator()(index i) const { x[i] = T(double(x[i]) * factor); }
};

// results[piece] = f of each piece
template <class T, class F>
inline void reduce_pieces(const Pieces<T>& all, double* results, const F& f, int threads,
                          Interrupt interrupt) {
    exec::run(threads, interrupt, [&](Exec& exec) {
        exec.poll();
        all.for_each(exec.share(all.size()), [&](index piece, const T* x, index n) {
            exec.poll();
            results[piece] = f(x, n);
        });
    });
}

template <class T>
inline double norm_times(double scale, const Pieces<T>& all, double* sums, int threads, Interrupt interrupt) {
    reduce_pieces(all, sums, SumOfSquares{scale}, threads, interrupt);
    double sum = 0;
    for (index piece = 0; piece < all.size(); ++piece) sum += sums[piece];
    return std::sqrt(sum);
}

// The norm of all numbers of all arrays; if it is finite and larger than max_norm, they are multiplied by
// max_norm / norm.
template <class T>
double clip_norm(T* const* arrays, const index* lengths, index count, double max_norm, int threads,
                 Interrupt interrupt, Arena& arena) {
    constexpr index smallest_shared = 50 * 1000;
    const Pieces<T> all{arrays, lengths, count};
    index numbers = 0;
    for (index a = 0; a < count; ++a) numbers += lengths[a];
    if (numbers == 0) return 0;
    if (numbers < smallest_shared) threads = 1;
    double* const results = static_cast<double*>(arena.reserve(std::size_t(all.size()) * sizeof(double)));

    double norm = norm_times(1, all, results, threads, interrupt);
    if (norm < 1e-140 || norm > 1e154) {  // squares that are too small or too large
        reduce_pieces(all, results, LargestSize{}, threads, interrupt);
        double largest = 0;
        for (index piece = 0; piece < all.size(); ++piece)
            largest = results[piece] > largest ? results[piece] : largest;
        if (largest == 0 || !std::isfinite(largest)) return largest;
        const double scale = largest < 1 ? 0x1p1000 : 0x1p-600;
        norm = norm_times(scale, all, results, threads, interrupt) / scale;
    }
    // Once begun it is not interrupted, or some gradients would be clipped and others not.
    if (std::isfinite(norm) && norm > max_norm)
        exec::run(threads, nullptr, [&](Exec& exec) {
            all.for_each(exec.share(all.size()), [&](index, T* x, index n) {
                exec::elementwise({0, n}, Scale<T>{x, max_norm / norm});
            });
        });
    return norm;
}

}  // namespace fnn::FNN_ISA::optim
