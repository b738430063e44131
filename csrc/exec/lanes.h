// A row of panels a vector at a time, some of its columns, and what is computed across the lanes of a vector.
#pragma once

#include "exec/transpose.h"

namespace fnn::FNN_ISA::exec {

template <int S, class V, int... L>
inline V rotated(V v, std::integer_sequence<int, L...>) {
    return shuffle(v, v, std::integer_sequence<int, ((L + S) % int(sizeof...(L)))...>{});
}

// The sum of the lanes, as a tree.
template <class T, int S = int(lanes<T>) / 2>
inline T sum_of_lanes(Vector<T> v) {
    v += rotated<S>(v, std::make_integer_sequence<int, int(lanes<T>)>{});
    if constexpr (S > 1)
        return sum_of_lanes<T, S / 2>(v);
    else
        return v[0];
}

// Which lanes of a vector count.
template <class T>
struct AllLanes {
    Vector<T> operator()(Vector<T> v) const { return v; }
    Vector<T> replace(Vector<T>, Vector<T> v) const { return v; }
};

template <class T>
class SomeLanes {
    using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Integer Bits __attribute__((vector_size(vector_bytes)));

   public:
    explicit SomeLanes(Range these) {
        for (index l = 0; l < lanes<T>; ++l) bits_[l] = these.begin <= l && l < these.end ? -1 : 0;
    }
    // The others are zero,
    Vector<T> operator()(Vector<T> v) const { return Vector<T>(bits_ & Bits(v)); }
    // or stay as they are.
    Vector<T> replace(Vector<T> old, Vector<T> v) const {
        return Vector<T>((bits_ & Bits(v)) | (~bits_ & Bits(old)));
    }

   private:
    Bits bits_;
};

// f(panel, n, lanes) for the vectors of a row that hold some columns: vector n of the panel, a constant.
template <class T, class F>
__attribute__((flatten)) inline void for_vectors(Range columns, const F& f) {
    constexpr index w = lanes<T>, full = panel_width<T>;
    using Zero = std::integral_constant<int, 0>;
    using One = std::integral_constant<int, 1>;
    for (index p = columns.begin / full; p * full < columns.end; ++p) {
        const Range own{max(columns.begin - p * full, 0), min(columns.end - p * full, full)};
        if (own.size() == full) {
            f(p, Zero{}, AllLanes<T>{});
            f(p, One{}, AllLanes<T>{});
            continue;
        }
        const auto part = [&](auto n) {
            const Range these{max(own.begin - n * w, 0), min(own.end - n * w, w)};
            if (these.size() == w)
                f(p, n, AllLanes<T>{});
            else if (these.begin < these.end)
                f(p, n, SomeLanes<T>(these));
        };
        part(Zero{});
        part(One{});
    }
}

}  // namespace fnn::FNN_ISA::exec
