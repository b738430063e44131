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
    Vector<T> replace(const T*, Vector<T> v) const { return v; }
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
    // or what is there.
    Vector<T> replace(const T* there, Vector<T> v) const {
        return Vector<T>((bits_ & Bits(v)) | (~bits_ & Bits(load(there))));
    }

   private:
    Bits bits_;
};

// f(i, j, n, lanes) for the vectors of row r of x that hold some columns: where a vector lies in x.data, its
// first column, which vector of its panel it is (a constant), and which of its lanes count.
template <class T, class F>
__attribute__((flatten)) inline void for_vectors(const Panels<T>& x, index r, Range columns, const F& f) {
    constexpr index w = lanes<T>, full = Panels<T>::full;
    using Zero = std::integral_constant<int, 0>;
    using One = std::integral_constant<int, 1>;
    for (index p = columns.begin / full; p * full < columns.end; ++p) {
        const index i = x.row(p, r) - x.data, j = p * full;
        if (columns.begin <= j && j + full <= columns.end) {
            f(i, j, Zero{}, AllLanes<T>{});
            f(i + w, j + w, One{}, AllLanes<T>{});
            continue;
        }
        const auto part = [&](auto n) {
            const Range these{max(columns.begin - j - n * w, 0), min(columns.end - j - n * w, w)};
            if (these.size() == w)
                f(i + n * w, j + n * w, n, AllLanes<T>{});
            else if (these.begin < these.end)
                f(i + n * w, j + n * w, n, SomeLanes<T>(these));
        };
        part(Zero{});
        part(One{});
    }
}

}  // namespace fnn::FNN_ISA::exec
