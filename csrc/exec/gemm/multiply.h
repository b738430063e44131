// Products of matrices in panels. Nothing is packed: the operands lie as the kernels read them.
#pragma once

#include "exec/gemm/blas.h"
#include "exec/gemm/tile.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// What a product is added to: nothing, one row for all rows (a bias, in panels of one row), or what C holds.
template <class T>
struct Initial {
    const T* row = nullptr;
    bool keep = false;

    static Initial zero() { return {}; }
    static Initial bias(const T* row) { return {row, false}; }
    static Initial add() { return {nullptr, true}; }
};

template <class T>
alignas(vector_bytes) constexpr T zeros[panel_width<T>] = {};

template <class T>
inline void set_initial(Tile<T>& t, Initial<T> initial, index p) {
    t.shared_init = !initial.keep;
    t.init = initial.keep ? t.c : initial.row ? initial.row + p * panel_width<T> : zeros<T>;
    t.init_panel = initial.keep ? t.c_panel : initial.row ? panel_width<T> : 0;
}

struct NoEpilogue {
    void operator()(index, index) const {}
};

// What happens to a finished tile while it is in the first-level cache: f(first, count) gets the tile as a
// stretch of C's memory, `first` counted from C's first element. Called through a pointer, as the kernels
// are, so that products are compiled once for all of them. Refers to f.
class Epilogue {
   public:
    template <class F>
    Epilogue(const F& f) : f(&f), call(call_to<F>) {}

    void operator()(index first, index count) const { call(f, first, count); }

   private:
    template <class F>
    static void call_to(const void* f, index first, index count) {
        (*static_cast<const F*>(f))(first, count);
    }

    const void* f;
    void (*call)(const void*, index, index);
};

// A slice of b, of one panel or two, is reused from the first-level cache by all rows of a block of a; the
// block, of a slab of the inner dimension, from the second-level cache by all panels.
constexpr index slice_bytes = 32 * 1024;
constexpr index block_bytes = 384 * 1024;
constexpr index slab = 1024;

constexpr index panels_limit = paired_rows > 0 ? 2 : 1;  // that a tile takes together

template <class T>
constexpr index slice = slice_bytes / (panels_limit * panel_width<T> * index(sizeof(T)));

// Panels that a tile takes together, and the most rows of the tile.
struct Group {
    index first, panels, height;
};

// f(group) for some panels of x.
template <class T, class F>
inline void for_groups(const Panels<T>& x, Range panels, const F& f) {
    for (index p = panels.begin; p < panels.end;) {
        const bool pair = panels_limit > 1 && p + 1 < panels.end && x.width(p + 1) == Panels<T>::full;
        const Group group{p, pair ? 2 : 1, pair ? paired_rows : tile_rows};
        f(group);
        p += group.panels;
    }
}

// f(piece) for pieces of r of this length, or up to half as long again, cut at multiples of a panel's width;
// once if r is empty.
template <class T, class F>
inline void for_depths(Range r, index length, const F& f) {
    constexpr index full = panel_width<T>;
    const Range panels{0, divide_up(r.size(), full)};
    const index parts = max((r.size() + length / 2) / length, 1);
    for (index i = 0; i < parts; ++i) {
        const Range some = cut(panels, parts, i);
        f(intersect(r, {r.begin + some.begin * full, r.begin + some.end * full}));
    }
}

// c[rows, panels] = initial + a b; a (m, k), b (k, n), c (m, n).
template <class T>
void multiply(const Panels<T>& c, const Panels<const T>& a, const Panels<const T>& b, Initial<T> initial,
              Range rows, Range panels, const Epilogue& epilogue = NoEpilogue{}) {
    constexpr index full = panel_width<T>;
    if (const BlasGemm<T> blas = blas_gemm<T>()) {
        for (index p = panels.begin; p < panels.end; ++p) {
            if (!initial.keep) start_panel(c, p, rows, initial.row ? initial.row + p * full : nullptr);
            add_by_blas(blas, c, a, b, rows, p);
            epilogue(c.row(p, rows.begin) - c.data, rows.size() * c.width(p));
        }
        return;
    }
    const index k = a.cols;
    // What is read next is worth fetching unless all of b is near anyway.
    const bool far = panels.size() * k * full * index(sizeof(T)) > 4 * slice_bytes;
    Tile<T> t{};
    t.a_panel = full * a.rows, t.b_panel = full * b.rows, t.c_panel = full * c.rows;

    // `then`: what comes after the slice, or after all panels of the block.
    struct Next {
        const T *slice, *block;
        index rows;
    };
    const auto multiply_slice = [&](Range block, const Group& group, Range depth, const Next& then) {
        const index width = c.width(group.first), q = depth.begin / full;
        t.b = b.row(group.first, depth.begin);
        t.full = depth.size() / full;
        t.rest = depth.size() % full;
        t.narrow = t.rest != 0 && a.width(q + t.full) < full;
        const bool fetches = far && t.full > 0;
        t.aheads = fetches ? int(1 + group.panels) : 0;
        Part of_group, of_block;
        if (fetches) {
            of_group.size = divide_up(block.size(), group.height);
            of_block = {(group.first - panels.begin) / group.panels * of_group.size,
                        divide_up(panels.size(), group.panels) * of_group.size};
        }
        const auto& kernel = TileKernels<T>::all.by_rows[TileKernels<T>::form(group.panels, width)];
        for_pieces(block, group.height, [&](Range tile) {
            t.c = c.row(group.first, tile.begin);
            set_initial(t, depth.begin == 0 ? initial : Initial<T>::add(), group.first);
            t.a = a.panel(q) + tile.begin * full;
            t.a_rest = t.rest != 0 ? a.row(q + t.full, tile.begin) : nullptr;
            if (fetches) {
                const index vectors = depth.size() * width / lanes<T>;
                t.ahead[0] = Ahead<T>::strided(then.block, then.rows * full / lanes<T>, t.a_panel, of_block);
                for (index i = 0; i < group.panels; ++i)
                    t.ahead[1 + i] = Ahead<T>::spread(then.slice + i * t.b_panel, vectors, t.full, of_group);
                ++of_group.rank, ++of_block.rank;
            }
            kernel[tile.size() - 1](t);
            if (depth.end == k)
                for (index i = 0; i < group.panels; ++i)
                    epilogue(t.c + i * t.c_panel - c.data, tile.size() * width);
        });
    };

    const index row_limit = block_bytes / (index(sizeof(T)) * min(k + 1, slab));
    for_pieces(rows, max(row_limit, 4 * tile_rows), [&](Range block) {
        for_depths<T>({0, k}, slab, [&](Range all) {
            const bool last = all.end == k;
            const index next_depth = last ? 0 : all.end;
            const Range next_rows = last ? intersect(rows, {block.end, block.end + block.size()}) : block;
            for_groups(c, panels, [&](const Group& group) {
                const index after = group.first + group.panels;
                const T* const next_group =
                    after < panels.end ? b.row(after, all.begin) : b.row(panels.begin, next_depth);
                for_depths<T>(all, slice<T>, [&](Range depth) {
                    const index q = (next_depth + depth.begin - all.begin) / full;
                    multiply_slice(block, group, depth,
                                   {depth.end < all.end ? b.row(group.first, depth.end) : next_group,
                                    a.panel(q) + next_rows.begin * full, next_rows.size()});
                });
            });
        });
    });
}

// Rows of a' at a time, for k columns of it.
template <class T>
inline index transposed_rows_limit(index k) {
    return block_bytes / (index(sizeof(T)) * max(min(k, slab), 1));
}

// Consecutive panels of so many rows; their first row is row `first` of a matrix.
template <class T>
struct Strips {
    T* data = nullptr;
    index rows = 0;
    index first = 0;

    index panel_size() const { return rows * Panels<T>::full; }
    T* row(index p, index r, index width) const { return data + p * panel_size() + (r - first) * width; }
    operator Strips<const T>() const { return {data, rows, first}; }
};

// c = initial + a' b for some rows of a' and panels of b, which are those of c and of initial; that (no data:
// zeros) may be c. Summed over the rows `inner` of a and b. `turn`: which part these are of all panels that
// the rows go through; meanwhile the rows after them are fetched.
template <class T>
void multiply_transposed(Strips<T> c, Strips<const T> initial, const Panels<const T>& a,
                         const Panels<const T>& b, Range inner, Range rows, Range panels, Part turn = {},
                         const Beside<T>& beside = {}) {
    constexpr index full = panel_width<T>;
    if (const BlasGemm<T> blas = blas_gemm<T>()) {
        for (index p = panels.begin; p < panels.end; ++p) {
            const index before = p - panels.begin, width = b.width(p);
            T* const strip = c.row(before, rows.begin, width);
            const T* const from = initial.data != nullptr ? initial.row(before, rows.begin, width) : nullptr;
            for (index i = 0; i < rows.size() * width; ++i) strip[i] = from != nullptr ? from[i] : 0;
            add_transposed_by_blas(blas, strip, a, b, inner, rows, p);
        }
        return;
    }
    Tile<T> t{};
    t.b_panel = full * b.rows, t.c_panel = c.panel_size();

    const auto multiply_slice = [&](Range block, const Group& group, Range depth) {
        const index width = b.width(group.first), before = group.first - panels.begin;
        const index groups = divide_up(panels.size(), group.panels), depths = divide_up(depth.size(), full);
        const Part of_all{turn.rank * groups + before / group.panels, turn.size * groups};
        const Strips<const T> from = depth.begin > inner.begin ? c : initial;
        t.k = depth.size();
        t.b = b.row(group.first, depth.begin);
        t.shared_init = from.data == nullptr;
        t.init_panel = t.shared_init ? 0 : from.panel_size();
        const auto& kernel = TileKernels<T>::all.by_columns[TileKernels<T>::form(group.panels, width)];
        for (index q = block.begin / full; q * full < block.end; ++q) {
            const Range own = intersect(block, {q * full, (q + 1) * full});
            const index next = q + divide_up(block.size(), full);
            // With one group there is no time to spread them over.
            const bool fetches = of_all.size > 1 && next < a.count() && depths > 0;
            const index tiles = fetches ? divide_up(own.size(), group.height) : 1;
            Part part{of_all.rank * tiles, of_all.size * tiles};
            t.narrow = a.width(q) < full;
            for_pieces(own, group.height, [&](Range tile) {
                t.c = c.row(before, tile.begin, width);
                t.init = t.shared_init ? zeros<T> : from.row(before, tile.begin, width);
                t.a = a.row(q, depth.begin) + (tile.begin - q * full);
                t.aheads = 0;
                if (fetches) {
                    t.ahead[t.aheads++] = Ahead<T>::spread(a.row(next, depth.begin),
                                                           t.k * a.width(next) / lanes<T>, depths, part);
                    ++part.rank;
                }
                for (int i = 0; depth.end == inner.end && depths > 0 && i < beside.count; ++i)
                    for (index p = group.first; p < group.first + group.panels; ++p)
                        t.ahead[t.aheads++] = Ahead<T>::spread(beside.row(i, p, tile.begin),
                                                               tile.size() * width / lanes<T>, depths, {});
                kernel[tile.size() - 1](t);
            });
        }
    };
    for_pieces(rows, transposed_rows_limit<T>(inner.size()), full, [&](Range block) {
        for_depths<T>(inner, slab, [&](Range all) {
            for_groups(b, panels, [&](const Group& group) {
                for_depths<T>(all, slice<T>, [&](Range depth) { multiply_slice(block, group, depth); });
            });
        });
    });
}

extern template decltype(multiply<float>) multiply<float>;
extern template decltype(multiply<double>) multiply<double>;
extern template decltype(multiply_transposed<float>) multiply_transposed<float>;
extern template decltype(multiply_transposed<double>) multiply_transposed<double>;

}  // namespace fnn::FNN_ISA::exec
