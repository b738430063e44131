// z = the numbers of x in their order, position by position and of each its channels, in another shape.
#pragma once

#include "exec/lanes.h"
#include "net/ops/by_example.h"

namespace fnn::FNN_ISA::net {

// The numbers of an example, whose rows begin at one of x, as one row: some of them, from number `first` on.
// Rows of one panel are read and written as vectors, since most are short; `flat` has room for one more.
template <class T>
class Flat {
   public:
    static constexpr index room = 1024, slack = Panels<T>::full;

    Flat(const Panels<T>& x, index row) : x_(x), row_(row) {}

    void read(T* flat, index first, index count) const {
        for_parts(
            first, count, [&](const T* x, index n) { exec::copy_row(flat, x, n), flat += n; },
            [&](const T* x, index rows, auto vectors) {
                constexpr index n = decltype(vectors)::value;
                for (index r = 0; r < rows; ++r, x += n * w, flat += x_.cols)
                    for (index k = 0; k < n; ++k) exec::store_unaligned(flat + k * w, exec::load(x + k * w));
            });
    }

    // (+)=; zeros in what pads a row.
    void write(const T* flat, index first, index count, bool add) const {
        const index pad = x_.padded() - x_.cols;
        const exec::SomeLanes<T> last(Range{0, x_.cols - (x_.padded() - w)});
        for_parts(
            first, count,
            [&](T* x, index n) {
                if (add)
                    exec::elementwise({0, n}, AddTo<T>{x, flat});
                else
                    exec::copy_row(x, flat, n);
                flat += n, first += n;
                if (pad > 0 && first % x_.cols == 0) exec::elementwise({0, pad}, Clear<T>{x + n});
            },
            [&](T* x, index rows, auto vectors) {
                constexpr index n = decltype(vectors)::value;
                first += rows * x_.cols;
                for (index r = 0; r < rows; ++r, x += n * w, flat += x_.cols)
                    for (index k = 0; k < n; ++k) {
                        exec::Vector<T> v = exec::load_unaligned(flat + k * w);
                        if (k == n - 1) v = last(v);
                        exec::store(x + k * w, add ? exec::load(x + k * w) + v : v);
                    }
            });
    }

   private:
    static constexpr index w = exec::lanes<T>, full = Panels<T>::full;

    // stretch(place, how many) for what follows each other within a row of a panel, or rows(place, how many,
    // vectors of each) for whole rows of one panel.
    template <class Stretch, class Rows>
    void for_parts(index first, index count, const Stretch& stretch, const Rows& rows) const {
        const index end = first + count;
        index r = row_ + first / x_.cols, c = first % x_.cols;
        while (first < end) {
            if (x_.cols <= full && c == 0 && end - first >= x_.cols) {
                const index whole = (end - first) / x_.cols;
                if (x_.cols <= w)
                    rows(x_.row(0, r), whole, std::integral_constant<index, 1>{});
                else
                    rows(x_.row(0, r), whole, std::integral_constant<index, 2>{});
                first += whole * x_.cols, r += whole;
                continue;
            }
            const index n = exec::min(end - first, exec::min(full - c % full, x_.cols - c));
            stretch(x_.row(c / full, r) + c % full, n);
            first += n, c += n;
            if (c == x_.cols) c = 0, ++r;
        }
    }

    Panels<T> x_;
    index row_;
};

template <class T>
class SameOrder {
   public:
    SameOrder(const Workspace<T>& ws, const Node& node)
        : z_(ws.plan.values[std::size_t(node.output)].shape),
          x_(ws.plan.values[std::size_t(node.input())].shape) {}

    void there(const Panels<T>& z, const Panels<T>& x, index e) const {
        pour(Flat<T>(z, e * z_.positions()), Flat<T>(x, e * x_.positions()), false);
    }
    void back(const Panels<T>& dx, const Panels<T>& dz, index e, bool add) const {
        pour(Flat<T>(dx, e * x_.positions()), Flat<T>(dz, e * z_.positions()), add);
    }

   private:
    void pour(const Flat<T>& to, const Flat<T>& from, bool add) const {
        alignas(exec::vector_bytes) T flat[Flat<T>::room + Flat<T>::slack];
        const index n = z_.size();
        for (index first = 0; first < n; first += Flat<T>::room) {
            const index count = exec::min(n - first, Flat<T>::room);
            exec::elementwise({count, count + Flat<T>::slack}, Clear<T>{flat});
            from.read(flat, first, count);
            to.write(flat, first, count, add);
        }
    }

    Shape z_, x_;
};

template <class T>
using Reshape = LinearByExample<T, SameOrder<T>>;

}  // namespace fnn::FNN_ISA::net
