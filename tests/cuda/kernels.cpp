// The schedules of csrc/cuda/kernels, products and graphs, under the emulator: each beside plain loops. Ends
// with the number of those that differ. tests/test_cuda_emulated.py compiles it with sanitizers.
#include <cstdio>
#include <random>
#include <tuple>
#include <vector>

#include "cuda/kernels/columns.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/totals.h"
#include "cuda/product.h"

namespace {

using namespace fnn::FNN_ISA::device;
using fnn::index;
using Numbers = std::vector<double>;

int wrong = 0;

Numbers draw(index n) {
    static std::mt19937 random(5);
    std::normal_distribution<double> normal;
    Numbers x(static_cast<std::size_t>(n));
    for (double& each : x) each = normal(random);
    return x;
}

// What a kernel has written, beside what it should have.
struct Setting {
    Stream stream;
    Memory memory{stream};

    double* up(const Numbers& x) { return memory.copy_of(x.data(), index(x.size())); }
    void compare(const char* what, const double* got, const Numbers& expected) {
        Numbers x(expected.size());
        stream.download(x.data(), got, index(x.size()));
        stream.wait();
        for (std::size_t i = 0; i < x.size(); ++i)
            if (!(std::fabs(x[i] - expected[i]) < 1e-11)) {
                std::printf("%s: %g at %zu, not %g\n", what, x[i], i, expected[i]);
                ++wrong;
                return;
            }
    }
};

struct Twice {
    double* y;
    const double* x;
    void operator()(index i) const { y[i] = 2 * x[i]; }
};

void elementwise() {
    Setting on;
    const Numbers x = draw(777);
    Numbers y;
    for (const double each : x) y.push_back(2 * each);
    double* const to = on.memory.take<double>(777);
    fnn::FNN_ISA::device::elementwise(on.stream, 777, Twice{to, on.up(x)});
    on.compare("elementwise", to, y);
}

struct SumAndLargest {
    const double* x;
    double* to;
    index cols;
    void operator()(index row, const Warp& warp) const {
        double sum = 0;
        warp.each(cols, [&](index j) { sum += x[row * cols + j]; });
        sum = warp.sum(sum);
        const auto largest = warp.largest<double>(cols, [&](index j) { return x[row * cols + j]; });
        if (warp.lane == 0) to[row] = sum + 10 * largest.value + double(largest.where);
    }
};

void rows() {
    const index rows = 9;
    for (const index cols : {3, 32, 75}) {
        Setting on;
        const Numbers x = draw(rows * cols);
        Numbers y;
        for (index r = 0; r < rows; ++r) {
            double sum = 0;
            index where = 0;
            for (index j = 0; j < cols; ++j) {
                sum += x[std::size_t(r * cols + j)];
                if (x[std::size_t(r * cols + j)] > x[std::size_t(r * cols + where)]) where = j;
            }
            y.push_back(sum + 10 * x[std::size_t(r * cols + where)] + double(where));
        }
        double* const to = on.memory.take<double>(rows);
        for_rows(on.stream, rows, SumAndLargest{on.up(x), to, cols});
        on.compare("rows", to, y);
    }
}

struct ColumnSum {
    const double* x;
    double* to;
    void operator()(index i, double (&terms)[2]) const { terms[0] = x[i], terms[1] = x[i] * x[i]; }
    void put(index j, const double (&sums)[2]) const { to[j] = sums[0] + sums[1]; }
};
struct Sum {
    const double* x;
    double* to;
    void operator()(index i, double (&terms)[1]) const { terms[0] = x[i]; }
    void put(const double (&sums)[1]) const { *to = sums[0]; }
};

void columns_and_totals() {
    const index rows = 43, cols = 70;
    Setting on;
    const Numbers x = draw(rows * cols);
    Numbers y(static_cast<std::size_t>(cols)), all(1);
    for (std::size_t i = 0; i < x.size(); ++i) {
        y[i % std::size_t(cols)] += x[i] + x[i] * x[i];
        all[0] += x[i];
    }
    double *const to = on.memory.take<double>(cols), *const sum = on.memory.take<double>(1);
    const double* const from = on.up(x);
    for_columns<double, 2>(on.stream, rows, cols, ColumnSum{from, to});
    total<1>(on.stream, rows * cols, Sum{from, sum});
    on.compare("columns", to, y);
    on.compare("totals", sum, all);
}

void products(bool large) {
    std::vector<std::tuple<index, index, index>> sizes = {{5, 7, 3}, {33, 70, 40}};
    if (large) sizes.push_back({700, 690, 20});
    for (const auto& [m, n, k] : sizes)
        for (const int turn : {0, 1, 2, 3}) {
            const bool ta = turn % 2 == 1, tb = turn / 2 == 1, add = turn > 0, biased = turn < 3;
            const bool relu = turn == 0 || turn == 3;
            Setting on;
            const Numbers a = draw(m * k), b = draw(k * n), c = draw(m * n), bias = draw(n);
            Numbers expected = add ? c : Numbers(c.size());
            for (index i = 0; i < m; ++i)
                for (index j = 0; j < n; ++j) {
                    double& sum = expected[std::size_t(i * n + j)];
                    for (index p = 0; p < k; ++p)
                        sum += a[std::size_t(ta ? p * m + i : i * k + p)] *
                               b[std::size_t(tb ? j * k + p : p * n + j)];
                    if (biased) sum += bias[std::size_t(j)];
                    if (relu && sum < 0) sum = 0;
                }
            double* const to = on.up(c);
            product<double>(on.stream, {}, m, n, k, {on.up(a), ta}, {on.up(b), tb}, add, to,
                            {biased ? on.up(bias) : nullptr, relu});
            on.compare("product", to, expected);
        }
}

struct CountUp {
    double* x;
    double by;
    void operator()(index i) const { x[i] += by; }
};

// It has the arguments of the time when it was captured.
void graphs() {
    Setting on;
    double* const x = on.up(Numbers(10));
    CountUp count{x, 2};
    Graph graph(on.stream, [&] { fnn::FNN_ISA::device::elementwise(on.stream, 10, count); });
    count.by = 100;
    for (int turn = 0; turn < 3; ++turn) graph.launch();
    on.compare("graph", x, Numbers(10, 6));
}

}  // namespace

int main(int count, char**) {
    elementwise();
    rows();
    columns_and_totals();
    products(count > 1);
    graphs();
    return wrong;
}
