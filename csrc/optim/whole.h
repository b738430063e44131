// What rules that need a whole tensor have in common: its numbers in tiles, and who computes which piece.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exec/cpu.h"
#include "optim/clip.h"
#include "optim/segments.h"

namespace fnn::FNN_ISA::optim {

using exec::Exec;

// One step of one group.
template <class T>
struct GroupStep {
    const Segment<T>* tensors;
    const index* starts;  // of the tensors and the group's end
    index count;
    const UpdateSpec& update;
    index step;  // counts those already taken
    GradientMap gradient;

    index size() const { return starts[count] - starts[0]; }
};

// Some of a tensor's numbers in one stretch: where they lie, or else copied when they are asked for.
template <class T>
class Tile {
   public:
    Tile(const Segment<T>& s, Range numbers, const GradientMap& map) : s_(s), numbers_(numbers), map_(map) {}

    index size() const { return numbers_.size(); }
    T* parameters() {
        if (parameters_ != nullptr) return parameters_;
        if (s_.parameter_places.dims == 0) return parameters_ = s_.parameters + numbers_.begin;
        gather(parameter_copy_, s_.parameters, s_.parameter_places, numbers_);
        return parameters_ = parameter_copy_;
    }
    const T* gradient() {
        if (gradient_ == nullptr) gradient_ = gradient_of(s_, numbers_, map_, gradient_copy_);
        return gradient_;
    }
    // To be called when parameters() has been changed.
    void write() {
        if (parameters_ == parameter_copy_)
            scatter(s_.parameters, s_.parameter_places, numbers_, parameter_copy_);
    }

   private:
    const Segment<T>& s_;
    const Range numbers_;
    const GradientMap& map_;
    T* parameters_ = nullptr;
    const T* gradient_ = nullptr;
    alignas(64) T parameter_copy_[tile_length];
    alignas(64) T gradient_copy_[tile_length];
};

// f(tile, its first number) for some numbers of a tensor.
template <class T, class F>
inline void for_tiles(const Segment<T>& s, Range numbers, const GradientMap& map, const F& f) {
    for (index at = numbers.begin; at < numbers.end; at += tile_length) {
        Tile<T> tile(s, {at, exec::min(at + tile_length, numbers.end)}, map);
        f(tile, at);
    }
}

// The numbers of a piece of one number after the other.
template <class T>
inline Range numbers_of_piece(const Segment<T>& s, index piece) {
    return {piece * piece_length, exec::min((piece + 1) * piece_length, s.length)};
}

// f(tensor, piece, how many pieces the tensor has, its place in the scratch memory) for this thread's pieces:
// `pieces(tensor)` are shared by their numbers, as a piece may be a tensor of three. The memory of a tensor
// is `memory(tensor)` long.
template <class T, class Pieces, class Memory, class F>
inline void for_own_pieces(const Exec& exec, const GroupStep<T>& now, const Pieces& pieces,
                           const Memory& memory, const F& f) {
    const Range mine = exec.share(now.size());
    index place = 0;
    for (index i = 0; i < now.count; ++i) {
        const Segment<T>& s = now.tensors[i];
        const index first = now.starts[i] - now.starts[0], n = pieces(s);
        if (first < mine.end && first + s.length > mine.begin)
            for (index piece = 0; piece < n; ++piece) {
                const index at = first + s.length * piece / n;
                if (mine.begin <= at && at < mine.end) f(s, piece, n, place);
            }
        place += memory(s);
    }
}

// The sum over a tensor's pieces, in their order.
inline double add_up(const double* parts, index n) {
    double sum = 0;
    for (index i = 0; i < n; ++i) sum += parts[i];
    return sum;
}

}  // namespace fnn::FNN_ISA::optim
