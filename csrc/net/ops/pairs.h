// Losses over the pairs of rows of a batch: value, gradient, and Hessian in the outputs times a direction.
//
// A row is the output of an example, or of one of its positions. Rows without weight are as if they were not
// there: the others are numbered without them.
//
// Each row is an anchor once, and the loss is the mean over anchors. An anchor needs all other rows as they
// are compared (`begin`); what it makes of them is kept in a few numbers for each anchor (`score`); a row's
// gradient is the sum of what it does as an anchor and of what it does to the others (`differentiate`), which
// these numbers tell, so that no matrix of all pairs is needed but by triplets, and no two threads add to one
// place. All threads wait before each of these three.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <type_traits>

#include "exec/elementwise.h"
#include "exec/gemm/multiply.h"
#include "exec/lanes.h"
#include "net/carver.h"
#include "net/ops/loss.h"
#include "rules/norm.h"
#include "rules/pairs.h"

namespace fnn::FNN_ISA::net {

// Memory for a batch of rows.
template <class T>
struct PairRoom {
    using Id = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;  // as wide as a number
    static constexpr index block = 48;                                          // anchors at a time

    T *rows = nullptr, *transposed, *scales, *squares;  // as they are compared, and |row|^2
    Id *labels, *views;                                 // rows of one view are not compared
    Id* places;                                         // of rows that are there among all
    T *log_sums, *shares, *rates;                       // of anchors: see the rules
    T* matrix;                                          // (n, n) of triplets: derivative of each distance
    T *moves, *moves_transposed, *scale_moves, *square_moves, *log_sum_moves, *rate_moves;
    T* own;  // of each thread
    index per_thread;

    void lay_out(Carver& carver, const LossSpec& loss, index n, index features, int threads, bool tangent) {
        const auto panels = [](index r, index c) { return Panels<T>{nullptr, r, c}.size(); };
        const auto take = [&](bool wanted, index count) { return wanted ? carver.take<T>(count) : nullptr; };
        rows = carver.take<T>(panels(n, features));
        transposed = carver.take<T>(panels(features, n));
        for (Id** each : {&labels, &views, &places}) *each = carver.take<Id>(n);
        for (T** each : {&scales, &squares, &log_sums, &shares, &rates}) *each = carver.take<T>(n);
        matrix = take(loss.kind == LossKind::triplet, n * n);
        moves = take(tangent, panels(n, features));
        moves_transposed = take(tangent, panels(features, n));
        for (T** each : {&scale_moves, &square_moves, &log_sum_moves, &rate_moves}) *each = take(tangent, n);
        const index pairs = panels(block, n), of_rows = panels(block, features), stretch = panels(1, n);
        per_thread = (tangent ? 2 : 1) * (pairs + 2 * of_rows) + 4 * stretch;
        own = carver.take<T>(threads * per_thread);
    }
};

// A loss of pairs on a batch, for one thread.
template <class T>
class Pairs {
    using Id = typename PairRoom<T>::Id;
    using Norm = rules::Norm;

   public:
    Pairs(const PairRoom<T>& room, const LossSpec& loss, const Batch<T>& batch, Panels<const T> z, T factor,
          int rank)
        : room_(room),
          loss_(loss),
          batch_(batch),
          z_(z),
          n_(there({0, z.rows}).size()),
          features_(z.cols),
          factor_(factor),
          own_(room.own + rank * room.per_thread) {}

    void begin(Range rows) const;
    // The scores of the given rows.
    void score(Range rows, const RowScores<T>& scores) const;
    // dz = factor times the gradient.
    void differentiate(Panels<T> dz, Range rows) const;

    // The same along a direction, each after its namesake.
    void begin_tangent(Panels<const T> rz, Range rows) const;
    void score_tangent(Range rows) const;
    // Of the Hessian; or of what is convex of it, as a Gauss-Newton matrix has it: see `keep_convex`.
    void differentiate_tangent(Panels<T> rdz, Range rows, bool convex) const;

   private:
    template <class Rule>
    struct Similarities {};  // a rule of these

    static constexpr T none = -rules::Format<T>::infinity;  // of a similarity that does not count

    bool is_there(index row) const { return batch_.weight(row) != 0; }
    // Those of the given rows that are there, by their own numbers.
    Range there(Range rows) const {
        if (batch_.targets.weights == nullptr) return rows;
        index before = 0, within = 0;
        for (index r = 0; r < rows.begin; ++r) before += index(is_there(r));
        for (index r = rows.begin; r < rows.end; ++r) within += index(is_there(r));
        return {before, before + within};
    }
    index place(index i) const { return index(room_.places[i]); }

    Panels<T> of_features(T* data) const { return {data, n_, features_}; }
    Panels<T> of_transposed(T* data) const { return {data, features_, n_}; }

    // A thread's memory for a block of anchors.
    struct Own {
        Panels<T> pairs, rows, gradient;     // (block, n), (block, features) twice
        Panels<T> rpairs, moves, rgradient;  // the same along the direction
        T *x, *rx, *y, *ry;                  // (n,) and room to a whole panel
    };
    Own own(index block, bool tangent) const {
        Own own;
        T* at = own_;
        const auto take = [&](index rows, index cols) {
            const Panels<T> panels{at, rows, cols};
            at += panels.size();
            return panels;
        };
        for (T** each : {&own.x, &own.rx, &own.y, &own.ry}) *each = take(1, n_).data;
        own.pairs = take(block, n_);
        own.rows = take(block, features_);
        own.gradient = take(block, features_);
        if (!tangent) return own;
        own.rpairs = take(block, n_);
        own.moves = take(block, features_);
        own.rgradient = take(block, features_);
        return own;
    }

    bool of_distances() const {
        return loss_.kind == LossKind::contrastive || loss_.kind == LossKind::triplet;
    }
    T sharpness() const { return of_distances() ? T(1) : T(1 / loss_.temperature); }
    T share(index anchor, index parts) const {
        return parts > 0 ? factor_ * batch_.weight(place(anchor)) / T(parts) : T(0);
    }
    std::int64_t label(index row) const { return batch_.targets.labels[batch_.target(row)]; }
    bool is_positive(index anchor, index j) const {
        return room_.labels[j] == room_.labels[anchor] && room_.views[j] != room_.views[anchor];
    }

    static void copy_rows(Panels<T> to, Panels<const T> from, index first) {
        for (index p = 0; p < to.count(); ++p)
            std::memcpy(to.panel(p), from.row(p, first), std::size_t(to.rows * to.width(p)) * sizeof(T));
    }
    static void read_row(T* to, Panels<const T> from, index r) {
        for (index p = 0; p < from.count(); ++p)
            std::memcpy(to + p * from.full, from.row(p, r), std::size_t(from.width(p)) * sizeof(T));
    }
    static void write_row(Panels<T> to, index r, const T* from) {
        for (index p = 0; p < to.count(); ++p)
            std::memcpy(to.row(p, r), from + p * to.full, std::size_t(to.width(p)) * sizeof(T));
    }
    static T product_of_rows(Panels<const T> a, index r, Panels<const T> b, index s) {
        exec::Vector<T> sum{};
        for (index p = 0; p < a.count(); ++p)
            for (index j = 0; j < a.width(p); j += exec::lanes<T>)
                sum = exec::multiply_add(exec::load(a.row(p, r) + j), exec::load(b.row(p, s) + j), sum);
        return exec::sum_of_lanes<T>(sum);
    }
    // Over n numbers, in the order of vectors; the room behind them is overwritten.
    T total(T* x) const {
        exec::Vector<T> sum{};
        fill_up(x, 0);
        for (index j = 0; j < n_; j += exec::lanes<T>) sum += exec::load(x + j);
        return exec::sum_of_lanes<T>(sum);
    }
    T largest(T* x) const {
        exec::Vector<T> best = exec::broadcast(none);
        fill_up(x, none);
        for (index j = 0; j < n_; j += exec::lanes<T>) {
            const exec::Vector<T> v = exec::load(x + j);
            best = v > best ? v : best;
        }
        T most = best[0];
        for (index l = 1; l < exec::lanes<T>; ++l) most = best[l] > most ? best[l] : most;
        return most;
    }
    void fill_up(T* x, T with) const {
        for (index j = n_; j % exec::lanes<T> != 0; ++j) x[j] = with;
    }

    // f(anchor, x) for the given anchors, in blocks: x (n,) are their similarities to all rows, or the
    // squares of their distances. Then done(block).
    template <class F, class Done>
    void for_anchors(Range anchors, bool tangent, const F& f, const Done& done) const {
        exec::for_pieces(anchors, PairRoom<T>::block, [&](Range block) {
            Own mine = own(block.size(), tangent);
            const Range local{0, block.size()}, all{0, mine.pairs.count()};
            const Panels<T> others = of_transposed(room_.transposed);
            copy_rows(mine.rows, of_features(room_.rows), block.begin);
            exec::multiply<T>(mine.pairs, mine.rows, others, exec::Initial<T>::zero(), local, all);
            if (tangent) {
                copy_rows(mine.moves, of_features(room_.moves), block.begin);
                exec::multiply<T>(mine.rpairs, mine.moves, others, exec::Initial<T>::zero(), local, all);
                exec::multiply<T>(mine.rpairs, mine.rows, of_transposed(room_.moves_transposed),
                                  exec::Initial<T>::add(), local, all);
            }
            for (index i = block.begin; i < block.end; ++i) {
                const index r = i - block.begin;
                read_row(mine.x, mine.pairs, r);
                compare(mine.x, i);
                if (tangent) {
                    read_row(mine.rx, mine.rpairs, r);
                    compare_moves(mine.rx, i);
                }
                f(i, mine, r);
            }
            done(block, mine);
        });
    }
    void compare(T* x, index i) const {
        if (!of_distances())
            return exec::elementwise({0, n_}, [x, by = sharpness()](index j) { x[j] *= by; });
        exec::elementwise({0, n_}, [x, square = room_.squares[i], squares = room_.squares](index j) {
            const T d = (square + squares[j]) - 2 * x[j];
            x[j] = d < 0 ? 0 : d;  // a rounding below
        });
    }
    void compare_moves(T* rx, index i) const {
        if (!of_distances())
            return exec::elementwise({0, n_}, [rx, by = sharpness()](index j) { rx[j] *= by; });
        exec::elementwise({0, n_}, [rx, move = room_.square_moves[i], moves = room_.square_moves](index j) {
            rx[j] = (move + moves[j]) - 2 * rx[j];
        });
    }
    // f(rule)
    template <class F>
    void with_rule(const F& f) const {
        switch (loss_.kind) {
            case LossKind::supcon:
                return f(Similarities<rules::SupCon<T>>{});
            case LossKind::nce:
                return f(Similarities<rules::NCE<T>>{});
            case LossKind::contrastive:
                return f(rules::Contrastive<T>{T(loss_.margin)});
            case LossKind::triplet:
                return f(rules::Triplet<T>{T(loss_.margin)});
            default:
                return f(Similarities<rules::InfoNCE<T>>{});
        }
    }

    // The loss of an anchor without its weight; what it needs later is kept.
    template <class Rule>
    T score_anchor(Similarities<Rule>, index i, const Own& mine) const {
        const T* const x = mine.x;
        index others = 0, positives = 0;
        for (index j = 0; j < n_; ++j) {
            positives += index(is_positive(i, j));
            others += index(room_.views[j] != room_.views[i]);
        }
        T log_sum = none;
        if (others > (Rule::counts_positives ? 0 : positives)) {
            counted<Rule>(mine.y, x, i);
            const T most = largest(mine.y);
            exec::elementwise({0, n_}, [y = mine.y, most](index j) { y[j] = rules::exp(y[j] - most); });
            log_sum = most + rules::log(total(mine.y));
        }
        T value = 0, slope = 0;
        for (index j = 0; j < n_ && positives > 0; ++j) {
            if (!is_positive(i, j)) continue;
            value += Rule::value(x[j], log_sum);
            slope += Rule::slope(x[j], log_sum);
        }
        room_.log_sums[i] = log_sum;
        room_.shares[i] = share(i, positives);
        room_.rates[i] = room_.shares[i] * slope;
        return positives > 0 ? value / T(positives) : T(0);
    }
    // y = x where it is in the sum of an anchor
    template <class Rule>
    void counted(T* y, const T* x, index i) const {
        exec::elementwise({0, n_}, [=, own = room_.labels[i], seen = room_.views[i], labels = room_.labels,
                                    views = room_.views](index j) {
            const bool counts = (views[j] != seen) & (Rule::counts_positives | (labels[j] != own));
            y[j] = counts ? x[j] : none;
        });
    }

    T score_anchor(Similarities<rules::NCE<T>>, index i, const Own& mine) const {
        index positives = 0, negatives = 0;
        for (index j = 0; j < n_; ++j) {
            positives += index(is_positive(i, j));
            negatives += index(room_.labels[j] != room_.labels[i]);
        }
        const bool has_both = positives > 0 && negatives > 0;
        room_.log_sums[i] = has_both ? rules::log(T(negatives) / T(positives)) : none;
        room_.shares[i] = share(i, positives);
        room_.rates[i] = 0;
        if (positives == 0) return 0;
        exec::elementwise({0, n_},
                          [x = mine.x, y = mine.y, own = room_.labels[i], seen = room_.views[i],
                           log_k = room_.log_sums[i], labels = room_.labels, views = room_.views](index j) {
                              const T value = rules::NCE<T>::value(x[j], labels[j] == own, log_k);
                              y[j] = views[j] != seen ? value : 0;
                          });
        return total(mine.y) / T(positives);
    }

    T score_anchor(const rules::Contrastive<T>& rule, index i, const Own& mine) const {
        room_.shares[i] = share(i, n_ - 1);
        exec::elementwise({0, n_},
                          [rule, x = mine.x, y = mine.y, own = room_.labels[i], seen = room_.views[i],
                           labels = room_.labels, views = room_.views](index j) {
                              const T value = rule.value(x[j], labels[j] == own);
                              y[j] = views[j] != seen ? value : 0;
                          });
        return n_ > 1 ? total(mine.y) / T(n_ - 1) : T(0);
    }

    // Its row of the matrix: the derivative of its loss in each distance.
    T score_anchor(const rules::Triplet<T>& rule, index i, const Own& mine) const {
        T* const row = room_.matrix + i * n_;
        T* const d = mine.x;
        exec::elementwise({0, n_}, [d](index j) { d[j] = rules::Distance<T>::value(d[j]); });
        std::fill(row, row + n_, T(0));
        index positives = 0, negatives = 0;
        T *const of_negatives = mine.y, *const hits = mine.rx, *const losses = mine.ry;
        for (index j = 0; j < n_; ++j) {
            positives += index(is_positive(i, j));
            if (room_.labels[j] != room_.labels[i]) of_negatives[negatives++] = d[j];
        }
        if (positives == 0 || negatives == 0) return 0;
        const auto slack = [rule](T of_positive, T of_negative) {
            return rule.slack(of_positive, of_negative);
        };
        if (loss_.mining == Mining::all) {
            const T each = share(i, positives * negatives);
            std::fill(hits, hits + negatives, T(0));
            std::fill(losses, losses + n_, T(0));
            for (index j = 0; j < n_; ++j) {
                if (!is_positive(i, j)) continue;
                Id active = 0;
                for (index k = 0; k < negatives; ++k) active += Id(slack(d[j], of_negatives[k]) > 0);
                row[j] = each * T(active);
                exec::elementwise({0, negatives}, [=, of_positive = d[j]](index k) {
                    const T lost = slack(of_positive, of_negatives[k]);
                    losses[k] += rules::Triplet<T>::value(lost);
                    hits[k] += T(lost > 0);
                });
            }
            for (index j = 0, k = 0; j < n_; ++j)
                if (room_.labels[j] != room_.labels[i]) row[j] = -each * hits[k++];
            return total(losses) / T(positives * negatives);
        }
        const auto add = [&](index positive, index negative, T each) {
            const T lost = slack(d[positive], d[negative]);
            if (lost > 0) row[positive] += each, row[negative] -= each;
            return rules::Triplet<T>::value(lost);
        };
        // The best of those that count, the first of several; NaN is better than any number.
        const auto best_of = [&](const auto& counts, const auto& is_as_good) {
            index best = -1;
            for (index j = 0; j < n_; ++j) {
                if (!counts(j)) continue;
                if (best < 0 || !(std::isnan(d[best]) || is_as_good(d[best], d[j]))) best = j;
            }
            return best;
        };
        const auto is_own = [&](index j) { return is_positive(i, j); };
        const auto is_negative = [&](index j) { return room_.labels[j] != room_.labels[i]; };
        const auto nearest = [&](const auto& counts) { return best_of(counts, std::less_equal<T>()); };
        const auto furthest = [&](const auto& counts) { return best_of(counts, std::greater_equal<T>()); };
        if (loss_.mining == Mining::hard) return add(furthest(is_own), nearest(is_negative), share(i, 1));
        const index last = furthest(is_negative);
        const T each = share(i, positives);
        T sum = 0;
        for (index j = 0; j < n_; ++j) {
            if (!is_positive(i, j)) continue;
            const index beyond = nearest([&](index k) { return is_negative(k) && !(d[k] <= d[j]); });
            sum += add(j, beyond < 0 ? last : beyond, each);
        }
        return sum / T(positives);
    }

    // x becomes the derivative of all that is lost in the x of an anchor's pairs, by both rows.
    template <class Rule>
    void pull(Similarities<Rule>, index i, T* x) const {
        exec::elementwise(
            {0, n_},
            [x, own = room_.labels[i], seen = room_.views[i], log_sum = room_.log_sums[i],
             share = room_.shares[i], rate = room_.rates[i], labels = room_.labels, views = room_.views,
             log_sums = room_.log_sums, shares = room_.shares, rates = room_.rates](index j) {
                const bool same = labels[j] == own;
                const T both = Rule::gradient(x[j], same, log_sum, share, rate) +
                               Rule::gradient(x[j], same, log_sums[j], shares[j], rates[j]);
                x[j] = views[j] != seen ? both : 0;
            });
    }
    void pull(const rules::Contrastive<T>& rule, index i, T* x) const {
        exec::elementwise({0, n_},
                          [x, rule, own = room_.labels[i], seen = room_.views[i], share = room_.shares[i],
                           labels = room_.labels, views = room_.views, shares = room_.shares](index j) {
                              const T both = (share + shares[j]) * rule.gradient(x[j], labels[j] == own);
                              x[j] = views[j] != seen ? both : 0;
                          });
    }
    void pull(const rules::Triplet<T>&, index i, T* x) const {
        exec::elementwise({0, n_}, [x, i, n = n_, matrix = room_.matrix](index j) {
            x[j] = (matrix[i * n + j] + matrix[j * n + i]) * rules::Distance<T>::gradient(x[j]);
        });
        x[i] = 0;
    }

    template <class Rule>
    void score_moves(Similarities<Rule>, index i, const Own& mine) const {
        counted<Rule>(mine.y, mine.x, i);
        exec::elementwise({0, n_}, [y = mine.y, rx = mine.rx, log_sum = room_.log_sums[i]](index j) {
            y[j] = y[j] == none ? 0 : rules::exp(y[j] - log_sum) * rx[j];
        });
        const T move = total(mine.y);
        T sum = 0;
        for (index j = 0; j < n_; ++j)
            if (is_positive(i, j)) sum += Rule::bend(mine.x[j], room_.log_sums[i]) * (move - mine.rx[j]);
        room_.log_sum_moves[i] = move;
        room_.rate_moves[i] = room_.shares[i] * sum;
    }
    void score_moves(Similarities<rules::NCE<T>>, index i, const Own&) const {
        room_.log_sum_moves[i] = room_.rate_moves[i] = 0;
    }
    void score_moves(const rules::Contrastive<T>&, index, const Own&) const {}
    void score_moves(const rules::Triplet<T>&, index, const Own&) const {}

    // rx becomes how that moves.
    template <class Rule>
    void pull_moves(Similarities<Rule>, index i, const T* x, T* rx) const {
        exec::elementwise(
            {0, n_}, [x, rx, own = room_.labels[i], seen = room_.views[i], log_sum = room_.log_sums[i],
                      share = room_.shares[i], rate = room_.rates[i], move = room_.log_sum_moves[i],
                      rate_move = room_.rate_moves[i], labels = room_.labels, views = room_.views,
                      log_sums = room_.log_sums, shares = room_.shares, rates = room_.rates,
                      moves = room_.log_sum_moves, rate_moves = room_.rate_moves](index j) {
                const bool same = labels[j] == own;
                const T both = Rule::tangent(x[j], rx[j], same, log_sum, share, rate, move, rate_move) +
                               Rule::tangent(x[j], rx[j], same, log_sums[j], shares[j], rates[j], moves[j],
                                             rate_moves[j]);
                rx[j] = views[j] != seen ? both : 0;
            });
    }
    void pull_moves(const rules::Contrastive<T>& rule, index i, const T* x, T* rx) const {
        exec::elementwise(
            {0, n_}, [x, rx, rule, own = room_.labels[i], seen = room_.views[i], share = room_.shares[i],
                      labels = room_.labels, views = room_.views, shares = room_.shares](index j) {
                const T both = (share + shares[j]) * rule.tangent(x[j], rx[j], labels[j] == own);
                rx[j] = views[j] != seen ? both : 0;
            });
    }
    void pull_moves(const rules::Triplet<T>&, index i, const T* x, T* rx) const {
        exec::elementwise({0, n_}, [x, rx, i, n = n_, matrix = room_.matrix](index j) {
            rx[j] *= (matrix[i * n + j] + matrix[j * n + i]) * rules::Distance<T>::curvature(x[j]);
        });
        rx[i] = 0;
    }

    // What is left of derivatives in x and of how they move, so that their products are those of a matrix
    // without negative eigenvalues: a loss is convex in similarities, and these count as linear in the rows;
    // a distance is convex in the rows, but what pushes them apart is not.
    template <class Rule>
    void keep_convex(Similarities<Rule>, T* x, T*) const {
        std::fill(x, x + n_, T(0));
    }
    void keep_convex(const rules::Contrastive<T>&, T* x, T*) const {
        exec::elementwise({0, n_}, [x](index j) { x[j] = x[j] < 0 ? 0 : x[j]; });
    }
    void keep_convex(const rules::Triplet<T>&, T* x, T* rx) const {
        exec::elementwise({0, n_}, [x, rx](index j) {
            rx[j] = x[j] < 0 ? 0 : rx[j];
            x[j] = x[j] < 0 ? 0 : x[j];
        });
    }

    // Row i with zeros behind it.
    void load_row(Panels<T> to, Panels<const T> from, index i) const {
        for (index p = 0; p < to.count(); ++p) {
            std::memcpy(to.row(p, i), from.row(p, place(i)), std::size_t(to.used(p)) * sizeof(T));
            std::fill(to.row(p, i) + to.used(p), to.row(p, i) + to.width(p), T(0));
        }
    }
    // Derivatives in x become factors of the rows whose sum is the derivative in row i.
    void write_products(Panels<T> to, index r, T* x, index i) const {
        exec::elementwise({0, n_}, [x, by = of_distances() ? T(-2) : sharpness()](index j) { x[j] *= by; });
        if (of_distances()) x[i] -= total(x);
        write_row(to, r, x);
    }
    void multiply_rows(Panels<T> to, Panels<const T> factors, T* of, exec::Initial<T> initial) const {
        exec::multiply<T>(to, factors, of_features(of), initial, {0, to.rows}, {0, to.count()});
    }
    // What is not there has no derivative.
    void clear_others(Panels<T> dz, Range rows) const {
        for (index row = rows.begin; row < rows.end; ++row)
            for (index p = 0; p < dz.count() && !is_there(row); ++p)
                std::fill(dz.row(p, row), dz.row(p, row) + dz.width(p), T(0));
    }
    // A row of dz from row r of what is derived in row i as it is compared: the way back through the norm.
    void put_gradient(Panels<T> dz, index row, index i, Panels<const T> u, Panels<const T> gradient,
                      index r) const {
        const T scale = loss_.normalize ? room_.scales[i] : T(1);
        const T along = is_free(i) ? T(0) : product_of_rows(u, i, gradient, r);
        for (index p = 0; p < dz.count(); ++p)
            exec::elementwise({0, dz.width(p)},
                              [to = dz.row(p, row), u = u.row(p, i), d = gradient.row(p, r), scale,
                               along](index j) { to[j] = Norm::product(scale, u[j], d[j], T(0), along); });
    }
    void put_tangent(Panels<T> rdz, index i, const Own& mine, index r) const {
        const Panels<T> u = of_features(room_.rows), ru = of_features(room_.moves);
        const T scale = loss_.normalize ? room_.scales[i] : T(1), move = room_.scale_moves[i];
        T along = 0, bend = 0;
        if (!is_free(i)) {
            along = product_of_rows(u, i, mine.gradient, r);
            bend = product_of_rows(ru, i, mine.gradient, r) + product_of_rows(u, i, mine.rgradient, r);
        }
        for (index p = 0; p < rdz.count(); ++p)
            exec::elementwise({0, rdz.width(p)}, [to = rdz.row(p, place(i)), u = u.row(p, i),
                                                  ru = ru.row(p, i), d = mine.gradient.row(p, r),
                                                  rd = mine.rgradient.row(p, r), scale, along, move,
                                                  bend](index j) {
                to[j] = Norm::product_tangent(scale, u[j], ru[j], d[j], rd[j], T(0), along, move, T(0), bend);
            });
    }

    static constexpr T least_norm = T(1e-12);
    // Whether row i is compared at any length, or its own is so small that it counts as a constant.
    bool is_free(index i) const { return !loss_.normalize || room_.scales[i] >= 1 / least_norm; }

    const PairRoom<T>& room_;
    const LossSpec& loss_;
    const Batch<T>& batch_;
    const Panels<const T> z_;
    const index n_, features_;  // of rows that are there
    const T factor_;
    T* const own_;
};

template <class T>
void Pairs<T>::begin(Range rows) const {
    const Panels<T> u = of_features(room_.rows), t = of_transposed(room_.transposed);
    const Range own = there(rows);
    for (index row = rows.begin, i = own.begin; row < rows.end; ++row)
        if (is_there(row)) room_.places[i++] = Id(row);
    for (index i = own.begin; i < own.end; ++i) {
        load_row(u, z_, i);
        room_.squares[i] = product_of_rows(u, i, u, i);
        if (loss_.normalize) {
            const T norm = std::sqrt(room_.squares[i]);
            const T scale = 1 / (norm <= least_norm ? least_norm : norm);
            for (index p = 0; p < u.count(); ++p)
                exec::elementwise({0, u.width(p)}, [to = u.row(p, i), scale](index j) { to[j] *= scale; });
            room_.scales[i] = scale;
            room_.squares[i] = product_of_rows(u, i, u, i);
        }
        room_.labels[i] = Id(label(place(i)));
        room_.views[i] = Id(i);
        if (loss_.kind == LossKind::n_pair) {  // how many of its label come before it
            Id before = 0;
            for (index row = 0; row < place(i); ++row)
                before += Id(is_there(row) && label(row) == label(place(i)));
            room_.views[i] = before;
        }
    }
    for (index p = 0; p < u.count(); ++p) exec::transpose<T>(t, u, p, own);
}

template <class T>
void Pairs<T>::score(Range rows, const RowScores<T>& scores) const {
    std::fill(scores.loss + rows.begin, scores.loss + rows.end, T(0));
    std::fill(scores.right + rows.begin, scores.right + rows.end, T(0));
    with_rule([&](const auto& rule) {
        for_anchors(
            there(rows), false,
            [&](index i, const Own& mine, index) {
                scores.loss[place(i)] = batch_.weight(place(i)) * score_anchor(rule, i, mine);
            },
            [](Range, const Own&) {});
    });
}

template <class T>
void Pairs<T>::differentiate(Panels<T> dz, Range rows) const {
    const auto pull_rows = [&](const auto& rule, index i, const Own& mine, index r) {
        pull(rule, i, mine.x);
        write_products(mine.pairs, r, mine.x, i);
    };
    const auto put = [&](Range block, const Own& mine) {
        multiply_rows(mine.gradient, mine.pairs, room_.rows, exec::Initial<T>::zero());
        for (index i = block.begin; i < block.end; ++i)
            put_gradient(dz, place(i), i, of_features(room_.rows), mine.gradient, i - block.begin);
    };
    clear_others(dz, rows);
    with_rule([&](const auto& rule) {
        for_anchors(
            there(rows), false, [&](index i, const Own& mine, index r) { pull_rows(rule, i, mine, r); }, put);
    });
}

template <class T>
void Pairs<T>::begin_tangent(Panels<const T> rz, Range rows) const {
    const Panels<T> u = of_features(room_.rows), ru = of_features(room_.moves);
    const Range own = there(rows);
    for (index i = own.begin; i < own.end; ++i) {
        load_row(ru, rz, i);
        room_.scale_moves[i] = is_free(i) ? T(0) : product_of_rows(u, i, ru, i);
        put_gradient(ru, i, i, u, ru, i);
        room_.square_moves[i] = 2 * product_of_rows(u, i, ru, i);
    }
    for (index p = 0; p < ru.count(); ++p)
        exec::transpose<T>(of_transposed(room_.moves_transposed), ru, p, own);
}

template <class T>
void Pairs<T>::score_tangent(Range rows) const {
    with_rule([&](const auto& rule) {
        for_anchors(
            there(rows), true, [&](index i, const Own& mine, index) { score_moves(rule, i, mine); },
            [](Range, const Own&) {});
    });
}

template <class T>
void Pairs<T>::differentiate_tangent(Panels<T> rdz, Range rows, bool convex) const {
    const auto pull_rows = [&](const auto& rule, index i, const Own& mine, index r) {
        pull_moves(rule, i, mine.x, mine.rx);
        pull(rule, i, mine.x);
        if (convex) keep_convex(rule, mine.x, mine.rx);
        write_products(mine.pairs, r, mine.x, i);
        write_products(mine.rpairs, r, mine.rx, i);
    };
    const auto put = [&](Range block, const Own& mine) {
        multiply_rows(mine.gradient, mine.pairs, room_.rows, exec::Initial<T>::zero());
        multiply_rows(mine.rgradient, mine.rpairs, room_.rows, exec::Initial<T>::zero());
        multiply_rows(mine.rgradient, mine.pairs, room_.moves, exec::Initial<T>::add());
        const Panels<T> u = of_features(room_.rows);
        for (index i = block.begin; i < block.end; ++i) {
            const index r = i - block.begin;
            convex ? put_gradient(rdz, place(i), i, u, mine.rgradient, r) : put_tangent(rdz, i, mine, r);
        }
    };
    clear_others(rdz, rows);
    with_rule([&](const auto& rule) {
        for_anchors(
            there(rows), true, [&](index i, const Own& mine, index r) { pull_rows(rule, i, mine, r); }, put);
    });
}

extern template class Pairs<float>;
extern template class Pairs<double>;

}  // namespace fnn::FNN_ISA::net
