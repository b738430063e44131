// The global norm, and clipping by it: Pascanu, Mikolov and Bengio (2013).
#pragma once

#include <cmath>

#include "exec/cpu.h"
#include "exec/memory.h"
#include "optim/segments.h"

namespace fnn::FNN_ISA::optim {

using exec::Exec;

static_assert(piece_length % tile_length == 0);

// Tensors are added up in pieces, cut by their lengths alone.
template <class T>
inline index count_pieces(const Segments<T>& all) {
    index n = 0;
    for (index s = 0; s < all.count; ++s) n += exec::divide_up(all.list[s].length, piece_length);
    return n;
}

// f(piece, segment, its numbers) for some of the pieces.
template <class T, class F>
inline void for_pieces_of(const Segments<T>& all, Range pieces, const F& f) {
    index first = 0;
    for (index s = 0; s < all.count; ++s) {
        const Segment<T>& segment = all.list[s];
        const Range own{first, first + exec::divide_up(segment.length, piece_length)};
        const Range both = exec::intersect(pieces, own);
        for (index piece = both.begin; piece < both.end; ++piece) {
            const index at = (piece - first) * piece_length;
            f(piece, segment, Range{at, exec::min(at + piece_length, segment.length)});
        }
        first = own.end;
    }
}

// The sum of (scale x)^2, in float64 and 16 partial sums, whatever the instruction set. Stretches are added
// one after another; all but the last are multiples of 16.
struct SumOfSquares {
    double scale;
    double sums[16] = {};

    template <class T>
    void add(const T* x, index n) {
        constexpr index w = 16;
        index i = 0;
        for (; i + w <= n; i += w)
            for (index j = 0; j < w; ++j) add_to(sums[j], x[i + j]);
        for (index j = 0; i + j < n; ++j) add_to(sums[j], x[i + j]);
    }

    double result() const {
        double total = 0;
        for (const double sum : sums) total += sum;
        return total;
    }

   private:
    void add_to(double& sum, double x) const { sum += (scale * x) * (scale * x); }
};

struct LargestSize {
    double most = 0;

    template <class T>
    void add(const T* x, index n) {
        T here = 0;
        for (index i = 0; i < n; ++i) {
            const T size = x[i] < 0 ? -x[i] : x[i];
            here = size > here ? size : here;
        }
        most = double(here) > most ? double(here) : most;
    }

    double result() const { return most; }
};

// results[piece] = what `start` has become when all gradients of the piece are added to it.
template <class T, class Reduction>
inline void reduce_pieces(const Segments<T>& all, double* results, const Reduction& start, int threads,
                          Interrupt interrupt) {
    exec::run(threads, interrupt, [&](Exec& exec) {
        exec.poll();
        for_pieces_of(all, exec.share(count_pieces(all)),
                      [&](index piece, const Segment<T>& s, Range numbers) {
                          exec.poll();
                          Reduction reduction = start;
                          if (s.gradient_places.dims == 0) {
                              reduction.add(s.gradient + numbers.begin, numbers.size());
                          } else {
                              T tile[tile_length];
                              for (index at = numbers.begin; at < numbers.end; at += tile_length) {
                                  const Range here{at, exec::min(at + tile_length, numbers.end)};
                                  gather(tile, s.gradient, s.gradient_places, here);
                                  reduction.add(tile, here.size());
                              }
                          }
                          results[piece] = reduction.result();
                      });
    });
}

template <class T>
inline double norm_times(double scale, const Segments<T>& all, double* results, int threads,
                         Interrupt interrupt) {
    reduce_pieces(all, results, SumOfSquares{scale}, threads, interrupt);
    double sum = 0;
    for (index piece = 0; piece < count_pieces(all); ++piece) sum += results[piece];
    return std::sqrt(sum);
}

inline constexpr index smallest_shared_norm = 50 * 1000;

// The norm of all gradients as one vector.
template <class T>
double gradient_norm(const Segments<T>& all, int threads, Interrupt interrupt, Arena& arena) {
    if (all.size() == 0) return 0;
    if (all.size() < smallest_shared_norm) threads = 1;
    const index pieces = count_pieces(all);
    double* const results = static_cast<double*>(arena.reserve(std::size_t(pieces) * sizeof(double)));

    double norm = norm_times(1, all, results, threads, interrupt);
    if (norm < 1e-140 || norm > 1e154) {  // squares that are too small or too large
        reduce_pieces(all, results, LargestSize{}, threads, interrupt);
        double largest = 0;
        for (index piece = 0; piece < pieces; ++piece)
            largest = results[piece] > largest ? results[piece] : largest;
        if (largest == 0 || !std::isfinite(largest)) return largest;
        const double scale = largest < 1 ? 0x1p1000 : 0x1p-600;
        norm = norm_times(scale, all, results, threads, interrupt) / scale;
    }
    return norm;
}

template <class T>
struct Scale {
    T* x;
    double factor;
    void operator()(index i) const { x[i] = T(double(x[i]) * factor); }
};

// If the norm of all gradients is finite and larger than max_norm, they, which are the segments' parameters
// here, are multiplied by max_norm / norm. Once begun that is not interrupted, or some would be clipped and
// others not.
template <class T>
double clip_norm(const Segments<T>& all, double max_norm, int threads, Interrupt interrupt, Arena& arena) {
    const double norm = gradient_norm(all, threads, interrupt, arena);
    if (!std::isfinite(norm) || norm <= max_norm) return norm;
    if (all.size() < smallest_shared_norm) threads = 1;
    exec::run(threads, nullptr, [&](Exec& exec) {
        for_segments(all, exec.share(all.size()), [&](const Segment<T>& s, Range numbers) {
            exec::elementwise(numbers, Scale<T>{s.parameters, max_norm / norm});
        });
    });
    return norm;
}

}  // namespace fnn::FNN_ISA::optim
