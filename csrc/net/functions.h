// What a network is made of, one at a time, as functions of the caller's arrays.
#pragma once

#include "exec/gemm/gemm.h"
#include "net/evaluate.h"
#include "net/ops/dense.h"
#include "rules/turns.h"

namespace fnn::FNN_ISA::net {

template <class T>
inline Panels<T> take_panels(Carver& carver, index rows, index cols) {
    return {carver.take<T>(Panels<T>{nullptr, rows, cols}.size()), rows, cols};
}

// A stretch of an arena, laid out by lay_out(carver), which is called twice: to count and to take.
template <class F>
inline void carve(Arena& arena, const F& lay_out) {
    Carver count(nullptr);
    lay_out(count);
    Carver carver(arena.reserve(count.used()));
    lay_out(carver);
}

constexpr index work_per_function = 16;  // multiply-adds that an exponential or the like costs

// z (n, out) = x w + b; x (n, in), w (in, out), b (out,)
template <class T>
void dense_forward(const Source& x, const Source& w, const T* b, index out, T* z, int threads,
                   Interrupt interrupt, Arena& arena) {
    const index in = w.rows;
    threads = team_size(threads, x.rows * in * out);
    const index rows_each = exec::min(exec::divide_up(x.rows, threads), piece_rows);
    Panels<T> weight, bias, inputs, outputs;  // the last two for each thread
    carve(arena, [&](Carver& carver) {
        weight = take_panels<T>(carver, in, out);
        bias = take_panels<T>(carver, 1, out);
        inputs = take_panels<T>(carver, threads * rows_each, in);
        outputs = take_panels<T>(carver, threads * rows_each, out);
    });
    exec::run(threads, interrupt, [&](Exec& exec) {
        gather<T>(weight, w, nullptr, 0, exec.share(in));
        if (exec.rank == 0) exec::pack_rows<T>(bias, b, out, {0, 1});
        exec.barrier();
        for_own_pieces(exec, x.rows, piece_rows, [&](Range rows) {
            const index n = rows.size();
            const Panels<T> a{inputs.data + exec.rank * rows_each * inputs.padded(), n, in};
            const Panels<T> y{outputs.data + exec.rank * rows_each * outputs.padded(), n, out};
            gather<T>(a, x, nullptr, rows.begin, {0, n});
            Dense<T>::forward(y, a, weight, bias.data, {0, n}, {0, y.count()}, exec::NoEpilogue{});
            put_rows<T>(z, y, rows.begin, {0, n});
        });
    });
}

// dx (n, in) = dz w', if it is not null; dw (in, out) = x' dz; db (out,) = column sums of dz
template <class T>
void dense_backward(const Source& dz, const Source& x, const Source& w, index out, T* dx, T* dw, T* db,
                    int threads, Interrupt interrupt, Arena& arena) {
    const index in = w.rows, rows_most = chunk_size(x.rows);
    threads = team_size(threads, 2 * rows_most * in * out);
    Panels<T> weight, transposed, bias, inputs, dinputs, doutputs;
    double* totals = nullptr;  // of the gradients of weight and bias
    carve(arena, [&](Carver& carver) {
        weight = take_panels<T>(carver, in, out);  // and when that has been transposed, its gradient
        transposed = take_panels<T>(carver, dx != nullptr ? out : 0, in);
        bias = take_panels<T>(carver, 1, out);
        inputs = take_panels<T>(carver, rows_most, in);
        dinputs = take_panels<T>(carver, dx != nullptr ? rows_most : 0, in);
        doutputs = take_panels<T>(carver, rows_most, out);
        totals = carver.take<double>(x.rows > rows_most ? weight.size() + bias.size() : 0);
    });
    exec::run(threads, interrupt, [&](Exec& exec) {
        if (dx != nullptr) {
            const Range mine = exec.share(in);
            gather<T>(weight, w, nullptr, 0, mine);
            for (index p = 0; p < weight.count(); ++p) exec::transpose<T>(transposed, weight, p, mine);
            exec::clear_padding(transposed, exec.share(out));
            exec.barrier();
        }
        const auto parameter_gradient = [&](Panels<const T> a, Panels<const T> d, Turn turn) {
            const auto add_up = [&](T* values, double* total, index count) {
                if (turn.is_all()) return;
                exec::elementwise({0, count}, AddUp<T>{total, values, turn.first});
                if (turn.last) exec::elementwise({0, count}, Round<T>{values, total});
            };
            const Range all{0, a.rows};
            weight.for_part(exec.part(), [&](Range panels, Range rows) {
                const exec::Strips<T> strips{weight.panel(panels.begin), weight.rows};
                Dense<T>::weight_gradient(strips, a, d, all, rows, panels, false);
                for (index p = panels.begin; p < panels.end; ++p) {
                    T* const values = weight.row(p, rows.begin);
                    add_up(values, totals + (values - weight.data), rows.size() * weight.width(p));
                }
            });
            if (exec.rank != 0) return;
            for (index p = 0; p < bias.count(); ++p) Dense<T>::bias_gradient(bias.row(p, 0), d, all, p);
            add_up(bias.data, totals + weight.size(), bias.size());
        };
        if (x.rows == 0) parameter_gradient(inputs, doutputs, {});
        for_chunks(exec, x.rows, [&](index first, index batch) {
            const Panels<T> a{inputs.data, batch, in}, da{dinputs.data, batch, in},
                d{doutputs.data, batch, out};
            for_own_pieces(exec, batch, piece_rows, [&](Range rows) {
                gather<T>(a, x, nullptr, first, rows);
                gather<T>(d, dz, nullptr, first, rows);
                if (dx == nullptr) return;
                Dense<T>::backward(da, d, transposed, rows, {0, da.count()}, false, exec::NoEpilogue{});
                put_rows<T>(dx, da, first, rows);
            });
            exec.barrier();
            parameter_gradient(a, d, {first == 0, first + batch == x.rows});
        });
        exec.barrier();
        put_rows<T>(dw, weight, 0, exec.share(in));
        if (exec.rank == 0) put_rows<T>(db, bias, 0, {0, 1});
    });
}

// f(panels, rows) for this thread's rows, some at a time; panels hold `buffers` matrices of so many rows.
template <class T, class F>
inline void for_row_blocks(index rows, index cols, index buffers, int threads, Interrupt interrupt,
                           Arena& arena, const F& f) {
    constexpr index at_once = exec::lanes<T>;
    threads = team_size(threads, work_per_function * rows * cols);
    const index each = Panels<T>{nullptr, at_once, cols}.size();
    T* memory = nullptr;
    carve(arena, [&](Carver& carver) { memory = carver.take<T>(threads * buffers * each); });
    exec::run(threads, interrupt, [&](Exec& exec) {
        T* const mine = memory + exec.rank * buffers * each;
        for_own_pieces(exec, rows, piece_rows, [&](Range piece) {
            exec::for_pieces(piece, at_once, [&](Range block) {
                Panels<T> panels[2];
                for (index b = 0; b < buffers; ++b) panels[b] = {mine + b * each, block.size(), cols};
                f(panels, block);
            });
        });
    });
}

// p (rows, cols) = softmax(z), or its logarithm; p may be z
template <class T>
void softmax(bool logarithm, const T* z, index rows, index cols, T* p, int threads, Interrupt interrupt,
             Arena& arena) {
    for_row_blocks<T>(rows, cols, 1, threads, interrupt, arena, [&](Panels<T>* panels, Range block) {
        const Range all{0, block.size()};
        const Panels<T> y = panels[0];
        exec::pack_rows<T>(y, z + block.begin * cols, cols, all);
        if (logarithm)
            RowSoftmax<T>::log_forward(y, y, all);
        else
            RowSoftmax<T>::forward(y, y, all);
        put_rows<T>(p, y, block.begin, all);
    });
}

// dz (rows, cols) from da, the derivative in softmax(z); dz may be da or z
template <class T>
void softmax_backward(const T* da, const T* z, index rows, index cols, T* dz, int threads,
                      Interrupt interrupt, Arena& arena) {
    for_row_blocks<T>(rows, cols, 2, threads, interrupt, arena, [&](Panels<T>* panels, Range block) {
        const Range all{0, block.size()};
        const Panels<T> a = panels[0], d = panels[1];
        exec::pack_rows<T>(a, z + block.begin * cols, cols, all);
        exec::pack_rows<T>(d, da + block.begin * cols, cols, all);
        RowSoftmax<T>::forward(a, a, all);
        RowSoftmax<T>::backward(d, a, d, all, false, exec::NoEpilogue{});
        put_rows<T>(dz, d, block.begin, all);
    });
}

// dz = da f'(z), with z the input also of those activations whose derivative is a function of their value.
template <class T, class Rule>
struct BackwardFromInput {
    Rule rule;
    T* dz;
    const T *da, *z;
    void operator()(index i) const {
        dz[i] = da[i] * rule.derivative(Rule::reads_z ? z[i] : rule.value(z[i]));
    }
};

// f(piece) for this thread's pieces of n numbers.
template <class F>
inline void for_own_numbers(Exec& exec, index n, const F& f) {
    constexpr index at_once = index{1} << 16;
    exec.poll();
    exec::for_pieces(exec.share(n), at_once, [&](Range piece) {
        exec.poll();
        f(piece);
    });
}

// a (n,) = f(z); a may be z
template <class T>
void activate(const ActivationSpec& spec, const T* z, index n, T* a, int threads, Interrupt interrupt) {
    exec::run(team_size(threads, work_per_function * n), interrupt, [&](Exec& exec) {
        for_own_numbers(exec, n, [&](Range piece) { activation_forward<T>(spec, a, z, piece); });
    });
}

// dz (n,) = da f'(z); dz may be da or z
template <class T>
void activate_backward(const ActivationSpec& spec, const T* da, const T* z, index n, T* dz, int threads,
                       Interrupt interrupt) {
    exec::run(team_size(threads, work_per_function * n), interrupt, [&](Exec& exec) {
        for_own_numbers(exec, n, [&](Range piece) {
            with_rule<T>(spec, [&](auto rule) {
                exec::elementwise(piece, BackwardFromInput<T, decltype(rule)>{rule, dz, da, z});
            });
        });
    });
}

// The weighted mean of the losses of z (rows, cols), and dz, its gradient; dz may be z
template <class T>
double loss_and_output_gradient(const LossSpec& loss, const T* z, const Targets<T>& y, index rows, index cols,
                                T* dz, int threads, Interrupt interrupt, Arena& arena) {
    const index rows_most = loss.couples_rows() ? rows : chunk_size(rows);
    threads = team_size(threads, (loss.couples_rows() ? 4 * rows : work_per_function) * rows_most * cols);
    Panels<T> panels;
    PairRoom<T> pairs;
    RowScores<T> scores{};
    T* blocks = nullptr;
    carve(arena, [&](Carver& carver) {
        panels = take_panels<T>(carver, rows_most, cols);
        scores = {carver.take<T>(rows_most), carver.take<T>(rows_most)};
        blocks = carver.take<T>(threads * Block<T>::size(cols, false));
        if (loss.couples_rows()) pairs.lay_out(carver, loss, rows, cols, threads, false);
    });
    Score score;
    score.weight = total_weight<T>({y}, rows);
    const T factor = mean_factor<T>(score.weight);
    exec::run(threads, interrupt, [&](Exec& exec) {
        if (loss.couples_rows()) {
            const Panels<T> all{panels.data, rows, cols};
            const Range mine = exec.share(rows);
            const Batch<T> batch{y, nullptr, 0, cols};
            exec::pack_rows<T>(all, z, cols, mine);
            score_pairs<T>(exec, {pairs, loss, batch, all, factor, exec.rank}, scores, all, mine);
            put_rows<T>(dz, all, 0, mine);
            return collect(exec, scores, rows, &score);
        }
        T* const scratch = blocks + exec.rank * Block<T>::size(cols, false);
        for_chunks(exec, rows, [&](index first, index batch) {
            const Panels<T> chunk{panels.data, batch, cols};
            for_own_pieces(exec, batch, piece_rows, [&](Range mine) {
                exec::pack_rows<T>(chunk, z + first * cols, cols, mine);
                loss_forward<T>(loss, {y, nullptr, first, cols}, chunk, chunk, mine, factor, scores, scratch);
                put_rows<T>(dz, chunk, first, mine);
            });
            collect(exec, scores, batch, &score);
        });
    });
    return score.loss / score.weight;
}

template <class T, Elementary F>
struct Elementwise {
    T* y;
    const T* x;
    void operator()(index i) const {
        if constexpr (F == Elementary::exp) y[i] = rules::exp(x[i]);
        if constexpr (F == Elementary::log) y[i] = rules::log(x[i]);
        if constexpr (F == Elementary::log1p) y[i] = rules::log1p(x[i]);
        if constexpr (F == Elementary::tanh) y[i] = rules::tanh(x[i]);
        if constexpr (F == Elementary::erf) y[i] = rules::erf(x[i]);
        if constexpr (F == Elementary::sin_2pi) y[i] = rules::sin_2pi(x[i]);
        if constexpr (F == Elementary::cos_2pi) y[i] = rules::cos_2pi(x[i]);
    }
};

// y (n,) = the function of each x; y may be x
template <class T>
void elementary(Elementary function, const T* x, T* y, index n) {
    using E = Elementary;
    switch (function) {
        case E::exp:
            return exec::elementwise({0, n}, Elementwise<T, E::exp>{y, x});
        case E::log:
            return exec::elementwise({0, n}, Elementwise<T, E::log>{y, x});
        case E::log1p:
            return exec::elementwise({0, n}, Elementwise<T, E::log1p>{y, x});
        case E::tanh:
            return exec::elementwise({0, n}, Elementwise<T, E::tanh>{y, x});
        case E::erf:
            return exec::elementwise({0, n}, Elementwise<T, E::erf>{y, x});
        case E::sin_2pi:
            return exec::elementwise({0, n}, Elementwise<T, E::sin_2pi>{y, x});
        case E::cos_2pi:
            return exec::elementwise({0, n}, Elementwise<T, E::cos_2pi>{y, x});
    }
}

}  // namespace fnn::FNN_ISA::net
