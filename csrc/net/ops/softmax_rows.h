// The softmax over the features of a row, and what goes with it: of blocks of rows, for losses, and of
// panels.
#pragma once

#include <algorithm>
#include <cstddef>

#include "exec/elementwise.h"
#include "exec/transpose.h"
#include "net/ops/stretches.h"
#include "rules/softmax.h"

namespace fnn::FNN_ISA::net {

// A number for each of as many rows as a vector has lanes. Such rows are transposed, so that for each feature
// they lie side by side, reductions over features are elementwise, and every formula vectorises over rows.
template <class T>
struct alignas(exec::vector_bytes) Lanes {
    T at[exec::lanes<T>];

    explicit Lanes(T x) {
        for (T& a : at) a = x;
    }
    T& operator[](index r) { return at[r]; }
    T operator[](index r) const { return at[r]; }
};

// f(i, r) for the elements i, in row r, of some features (features, lanes).
template <class T, class F>
inline void for_elements(index features, const F& f) {
    constexpr index w = exec::lanes<T>;
    for (index j = 0; j < features; ++j) exec::elementwise({0, w}, [&](index r) { f(j * w + r, r); });
}

// The sums of x (features, w) over the features; in a register, as one in memory would wait for itself.
template <class T>
inline Lanes<T> sum_over_features(const T* x, index features) {
    exec::Vector<T> total{};
    for (index j = 0; j < features; ++j) total += exec::load(x + j * exec::lanes<T>);
    Lanes<T> sum(0);
    exec::store(sum.at, total);
    return sum;
}

// p = exp(z - max), both (features, w); gives its sums over the features. p may be z.
template <class T>
inline Lanes<T> exponentials(T* p, const T* z, index features, const Lanes<T>& max) {
    for_elements<T>(features, [&](index i, index r) { p[i] = rules::Softmax<T>::exponential(z[i], max[r]); });
    return sum_over_features(p, features);
}

// y = softmax(x), both (batch, features). It goes through rows a square at a time, so that they may
// have any length without memory of its own.
template <class T>
struct RowSoftmax {
    using In = Panels<const T>;

    // y may be x.
    static void forward(Panels<T> y, In x, Range rows) {
        for_blocks(rows, [&](Range block) {
            const Lanes<T> max = largest(x, block);
            Lanes<T> sum(0);
            for_squares(block, {x}, [&](index features, Square* s, auto store) {
                add(sum, exponentials(s[0].at, s[0].at, features, max));
                store(y);
            });
            decide(sum, max);
            for (index p = 0; p < y.count(); ++p)
                for (index r = 0; r < block.size(); ++r)
                    exec::elementwise({0, y.width(p)}, Scale{y.row(p, block.begin + r), 1 / sum[r]});
        });
    }

    // y = log(softmax(x)); y may be x.
    static void log_forward(Panels<T> y, In x, Range rows) {
        for_blocks(rows, [&](Range block) {
            const Lanes<T> max = largest(x, block);
            Lanes<T> sum(0);
            for_squares(block, {x}, [&](index features, Square* s, auto) {
                add(sum, exponentials(s[0].at, s[0].at, features, max));
            });
            decide(sum, max);
            for_elements<T>(1, [&](index, index r) { sum[r] = rules::log(sum[r]); });
            for_squares(block, {x}, [&](index features, Square* s, auto store) {
                for_elements<T>(features, [&, z = s[0].at](index i, index r) {
                    z[i] = Rule::logarithm(z[i], max[r], sum[r]);
                });
                store(y);
            });
        });
    }

    // dx (+)= J dy, where the Jacobian J is symmetric; so this is the tangent of `forward`, too.
    template <class Epilogue>
    static void backward(Panels<T> dx, In y, In dy, Range rows, bool add, const Epilogue& epilogue) {
        for_blocks(rows, [&](Range block) {
            Lanes<T> mean(0);
            for_squares(block, {y, dy}, [&](index features, Square* s, auto) {
                for_elements<T>(features,
                                [&, p = s[0].at, q = s[1].at](index i, index r) { mean[r] += p[i] * q[i]; });
            });
            for_squares(block, {y, dy, add ? In(dx) : y}, [&](index features, Square* s, auto store) {
                for_elements<T>(features, [&, p = s[0].at, q = s[1].at, old = s[2].at](index i, index r) {
                    const T product = Rule::product(p[i], q[i], mean[r]);
                    p[i] = add ? old[i] + product : product;
                });
                store(dx);
            });
        });
        for_stretches(dx, rows, [&](Range r) { epilogue(r.begin, r.size()); });
    }

    // rdx (+)= J rdy + (the tangent of J) dy
    template <class Epilogue>
    static void tangent_backward(Panels<T> rdx, In y, In ry, In dy, In rdy, Range rows, bool add,
                                 const Epilogue& epilogue) {
        for_blocks(rows, [&](Range block) {
            Lanes<T> mean(0), change(0);
            for_squares(block, {y, dy, ry, rdy}, [&](index features, Square* s, auto) {
                for_elements<T>(features,
                                [&, p = s[0].at, q = s[1].at, rp = s[2].at, rq = s[3].at](index i, index r) {
                                    mean[r] += p[i] * q[i];
                                    change[r] += rp[i] * q[i] + p[i] * rq[i];
                                });
            });
            for_squares(
                block, {y, dy, ry, rdy, add ? In(rdx) : y}, [&](index features, Square* s, auto store) {
                    for_elements<T>(features, [&, p = s[0].at, q = s[1].at, rp = s[2].at, rq = s[3].at,
                                               old = s[4].at](index i, index r) {
                        const T tangent = Rule::product_tangent(p[i], rp[i], q[i], rq[i], mean[r], change[r]);
                        p[i] = add ? old[i] + tangent : tangent;
                    });
                    store(rdx);
                });
        });
        for_stretches(rdx, rows, [&](Range r) { epilogue(r.begin, r.size()); });
    }

   private:
    using Rule = rules::Softmax<T>;
    static constexpr index w = exec::lanes<T>;

    // Features by rows.
    struct alignas(exec::vector_bytes) Square {
        T at[w * w];
    };

    struct Scale {
        T* y;
        T factor;
        void operator()(index i) const { y[i] *= factor; }
    };

    static void add(Lanes<T>& sum, const Lanes<T>& more) {
        for_elements<T>(1, [&](index, index r) { sum[r] += more[r]; });
    }

    static void decide(Lanes<T>& sum, const Lanes<T>& max) {
        for_elements<T>(1, [&](index, index r) { sum[r] = Rule::decided(sum[r], 1, max[r]); });
    }

    static Lanes<T> largest(In x, Range block) {
        Lanes<T> max(-rules::Format<T>::infinity);
        for_squares(block, {x}, [&](index features, Square* s, auto) {
            for_elements<T>(features, [&, z = s[0].at](index i, index r) {
                max[r] = rules::select(z[i] > max[r], z[i], max[r]);
            });
        });
        return max;
    }

    // f(rows) for pieces of at most w rows.
    template <class F>
    static void for_blocks(Range rows, const F& f) {
        for (index first = rows.begin; first < rows.end; first += w)
            f(Range{first, exec::min(first + w, rows.end)});
    }

    // f(features, squares, store) for w features of a block of rows after the other: a square of each x, and
    // store(y) to put the first square back.
    template <std::size_t N, class F>
    static void for_squares(Range block, const In (&x)[N], const F& f) {
        Square s[N];
        for (index p = 0; p < x[0].count(); ++p)
            for (index j = 0; j < x[0].used(p); j += w) {
                for (std::size_t k = 0; k < N; ++k)
                    exec::load_square<T>(s[k].at, x[k], p, j, block.begin, block.size());
                const index features = exec::min(x[0].used(p) - j, w);
                f(features, s, [&](Panels<T> y) {
                    std::fill(s[0].at + features * w, s[0].at + w * w, T(0));  // the padding
                    exec::store_square<T>(y, s[0].at, p, j, block.begin, block.size());
                });
            }
    }
};

}  // namespace fnn::FNN_ISA::net
