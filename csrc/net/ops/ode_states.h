// What a differential equation of each example is made of. A value holds several states of each example, one
// for each evaluation of the block or for each step: number k of example e is its rows (k n + e) P to (k n +
// e) P + P - 1, with n examples and P positions.
#pragma once

#include <algorithm>

#include "net/ops/op.h"
#include "net/ops/stretches.h"
#include "rules/runge_kutta.h"

namespace fnn::FNN_ISA::net {

// to = from + the sum of factors times terms; without `from` the sum alone
template <class T>
struct AddTerms {
    T* to;
    const T* from;
    const T* terms[rules::RungeKutta::most];
    T factors[rules::RungeKutta::most];
    int count;
    FNN_HD void operator()(index j) const {
        T sum = from != nullptr ? from[j] : T(0);
        for (int i = 0; i < count; ++i) sum += factors[i] * terms[i][j];
        to[j] = sum;
    }
};

// What is added up over the stages of a step; of an example whose step is 0, nothing.
template <class T>
struct Terms {
    struct Term {
        Panels<T> of;
        index number;
        double weight;
    };
    Term list[rules::RungeKutta::most];
    int count = 0;
    const T* steps = nullptr;  // (examples,)
    bool times_step = true;

    void add(const Panels<T>& of, index number, double weight) {
        if (weight != 0) list[count++] = {of, number, weight};
    }
};

template <class T>
class States {
   public:
    // Of states like those that an op puts out.
    States(const Workspace<T>& ws, const Node& node)
        : examples_(ws.rows),
          positions_(ws.plan.values[std::size_t(node.output)].positions()),
          width_(ws.plan.values[std::size_t(node.output)].features()) {}

    index width() const { return width_; }
    index size() const { return positions_ * width_; }
    // So many of each example.
    Panels<T> at(T* data, index count = 1) const { return {data, count * examples_ * positions_, width_}; }

    Range rows(index number, index e) const {
        const index at = number * examples_ + e;
        return {at * positions_, (at + 1) * positions_};
    }
    double number(const Panels<T>& of, index number, index e, index q, index p, index j) const {
        return double(of.row(p, rows(number, e).begin + q)[j]);
    }

    // f(q, p, columns) for the positions and panels of a state.
    template <class F>
    void for_columns(const F& f) const {
        for (index q = 0; q < positions_; ++q)
            for (index p = 0; p * Panels<T>::full < width_; ++p)
                f(q, p, exec::min(width_ - p * Panels<T>::full, Panels<T>::full));
    }

    // State i of `to` = state j of `from`, without data zero, and the terms.
    void combine(const Panels<T>& to, index i, const Panels<T>& from, index j, const Terms<T>& terms,
                 Range some) const {
        for (index e = some.begin; e < some.end; ++e) {
            AddTerms<T> add{};
            const T h = terms.count > 0 ? terms.steps[e] : T(0);
            add.count = h != 0 ? terms.count : 0;
            for (int n = 0; n < add.count; ++n)
                add.factors[n] = T(terms.list[n].weight * (terms.times_step ? double(h) : 1.0));
            const auto at = [&](const Panels<T>& of, index number, index q, index p) -> T* {
                return of.data != nullptr ? of.row(p, rows(number, e).begin + q) : nullptr;
            };
            for_columns([&](index q, index p, index used) {
                add.to = at(to, i, q, p), add.from = at(from, j, q, p);
                for (int n = 0; n < add.count; ++n)
                    add.terms[n] = at(terms.list[n].of, terms.list[n].number, q, p);
                exec::elementwise({0, used}, add);
            });
            exec::clear_padding(to, rows(i, e));
        }
    }
    void copy(const Panels<T>& to, index i, const Panels<T>& from, index j, Range some) const {
        combine(to, i, from, j, {}, some);
    }

    // The column behind those of the state, which says the time.
    bool has_time(const Panels<T>& of) const { return of.cols > width_; }
    void put_time(const Panels<T>& to, index number, index e, T value) const {
        for (index r = rows(number, e).begin; r < rows(number, e).end; ++r)
            to.row(width_ / Panels<T>::full, r)[width_ % Panels<T>::full] = value;
    }

    void fill(const Panels<T>& to, index number, index e, T value) const {
        for_columns([&](index q, index p, index used) {
            std::fill_n(to.row(p, rows(number, e).begin + q), used, value);
        });
    }

   private:
    const index examples_, positions_, width_;
};

}  // namespace fnn::FNN_ISA::net
