// Single kernels on arrays: for tests, benchmarks and the Python side.
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/network.h"
#include "exec/threads.h"

namespace fnn::bindings {

namespace {

py::array unary(const std::string& name, const py::array& x) {
    static const std::map<std::string, Elementary> names = {
        {"exp", Elementary::exp},        {"log", Elementary::log}, {"log1p", Elementary::log1p},
        {"tanh", Elementary::tanh},      {"erf", Elementary::erf}, {"sin_2pi", Elementary::sin_2pi},
        {"cos_2pi", Elementary::cos_2pi}};
    const auto found = names.find(name);
    if (found == names.end()) throw py::value_error(expected("name", "that of a function", "'" + name + "'"));
    return with_type_of(x, "x", [&](auto zero) -> py::array {
        using T = decltype(zero);
        const index n = x.size();
        const T* in = to_read<T>(x, "x", {n});
        py::array_t<T> y(n);
        functions<T>(current_table()).elementary(found->second, in, y.mutable_data(), n);
        return std::move(y);
    });
}

void random_uniform(std::uint64_t seed, std::uint64_t stream, py::array out) {
    with_type_of(out, "out", [&](auto zero) {
        using T = decltype(zero);
        functions<T>(current_table())
            .uniform(seed, stream, to_write<T>(out, "out", shape_of(out)), out.size());
    });
}

void random_normal(std::uint64_t seed, std::uint64_t stream, py::array out) {
    with_type_of(out, "out", [&](auto zero) {
        using T = decltype(zero);
        functions<T>(current_table())
            .normal(seed, stream, to_write<T>(out, "out", shape_of(out)), out.size());
    });
}

void random_beta(double alpha, std::uint64_t seed, std::uint64_t stream, py::array out) {
    current_table().beta(alpha, seed, stream, to_write<double>(out, "out", shape_of(out)), out.size());
}

py::array_t<std::int64_t> permutation(std::uint64_t seed, std::uint64_t stream, index n) {
    need_at_least(0, n, "n");
    py::array_t<std::int64_t> order(n);
    current_table().permutation(seed, stream, order.mutable_data(), n);
    return order;
}

void update(const py::tuple& update, py::array params, const py::array& grads, const py::list& state,
            double lr, index step) {
    with_type_of(params, "params", [&](auto zero) {
        using T = decltype(zero);
        UpdateSpec spec = update_of(update);
        spec.lr = lr;
        need_at_least(0, step, "step");
        const index n = params.size();
        T* p = to_write<T>(params, "params", {n});
        const T* g = to_read<T>(grads, "grads", {n});
        T* states[max_states] = {};
        const auto held = states_of<T>(spec, state, n, states);
        const auto& table = functions<T>(current_table());
        const int threads = get_num_threads();
        const WithoutGil released;
        table.update(spec, p, g, states, n, step, threads);
    });
}

// Of the rows that `order` names, or of all.
py::object first_non_finite_row(const py::array& X, const std::string& dtype, const MaybeArray& order) {
    if (dtype != "float32" && dtype != "float64")
        throw py::value_error(expected("dtype", "'float32' or 'float64'", "'" + dtype + "'"));
    const index columns = X.ndim() == 2 ? X.shape(1) : 0;
    const Inputs x = inputs_of(X, "X", columns);
    std::vector<std::int64_t> places;
    const Order rows = order_of(order, x, places);
    if (rows.rows == 0 || columns == 0) return py::none();
    const Table& table = current_table();
    const auto find =
        dtype == "float32" ? table.float32.first_non_finite_row : table.float64.first_non_finite_row;
    const Interrupt interrupt = interrupt_of_thread();
    const index place = [&] {
        const WithoutGil released;
        Arena arena;
        return find(x, rows, columns, get_num_threads(), interrupt, arena);
    }();
    if (place == rows.rows) return py::none();
    return py::int_(rows.examples != nullptr ? index(rows.examples[place]) : place);
}

// Of the rows that `order` names, or of all.
void column_statistics(const py::object& X, py::array mean, py::array std, const MaybeArray& order) {
    const index columns = mean.size();
    const Inputs x = inputs_of(X, "X", columns);
    std::vector<std::int64_t> places;
    const Order rows = order_of(order, x, places);
    if (rows.rows == 0)
        throw py::value_error(expected("X", "at least one row, as the mean is taken", "none"));
    if (columns == 0) throw py::value_error(expected("X", "at least one column", "none"));
    double* m = to_write<double>(mean, "mean", {columns});
    double* s = to_write<double>(std, "std", {columns});
    const Table& table = current_table();
    const Interrupt interrupt = interrupt_of_thread();
    const WithoutGil released;
    Arena arena;
    table.column_statistics(x, rows, columns, get_num_threads(), interrupt, arena, m, s);
}

// out (k, n) = A' for A (n, k).
void transpose(const py::array& A, py::array out) {
    with_type_of(out, "out", [&](auto zero) {
        using T = decltype(zero);
        if (A.ndim() != 2) throw py::value_error(expected("A", "shape (n, k)", shape_text(shape_of(A))));
        const index n = A.shape(0), k = A.shape(1);
        const T* from = to_read<T>(A, "A", {n, k});
        T* to = to_write<T>(out, "out", {k, n});
        const Interrupt interrupt = interrupt_of_thread();
        const WithoutGil released;
        functions<T>(current_table()).transpose_matrix(to, from, n, k, get_num_threads(), interrupt);
    });
}

// The last row of one of the probes in Q (m + 1, probes, n); see exec/lanczos.h. Gives alpha, and the state
// that the next step takes.
using State = std::tuple<double, double, double, double, bool>;  // as LanczosState
std::tuple<double, State> lanczos_step(py::array Q, index probe, const py::array& Aq, double factor,
                                       double negligible, const State& before) {
    return with_type_of(Q, "Q", [&](auto zero) {
        using T = decltype(zero);
        if (Q.ndim() != 3 || Q.shape(0) < 2 || Q.size() < 1)
            throw py::value_error(expected("Q", "shape (m + 1, probes, n), none of m, probes and n 0",
                                           shape_text(shape_of(Q))));
        const index m = Q.shape(0) - 1, probes = Q.shape(1), n = Q.shape(2);
        if (probe < 0 || probe >= probes)
            throw py::value_error(
                expected("probe", "one of " + std::to_string(probes), std::to_string(probe)));
        T* rows = to_write<T>(Q, "Q", {m + 1, probes, n}) + probe * n;
        const T* product = to_read<T>(Aq, "Aq", {n});
        LanczosState state;
        std::tie(state.beta, state.scale, state.noise, state.growth, state.backwards) = before;
        const Interrupt interrupt = interrupt_of_thread();
        const WithoutGil released;
        Arena arena;
        const double alpha = functions<T>(current_table())
                                 .lanczos_step(rows, m, n, probes * n, product, T(factor), negligible, &state,
                                               get_num_threads(), interrupt, arena);
        return std::make_tuple(alpha,
                               State{state.beta, state.scale, state.noise, state.growth, state.backwards});
    });
}

}  // namespace

void register_kernels(py::module_& m) {
    using namespace pybind11::literals;
    m.def("unary", unary, "name"_a, "x"_a);
    m.def("transpose", transpose, "A"_a, "out"_a);
    m.def("lanczos_step", lanczos_step, "Q"_a, "probe"_a, "Aq"_a, "factor"_a, "negligible"_a, "before"_a);
    m.def("random_uniform", random_uniform, "seed"_a, "stream"_a, "out"_a);
    m.def("random_normal", random_normal, "seed"_a, "stream"_a, "out"_a);
    m.def("random_beta", random_beta, "alpha"_a, "seed"_a, "stream"_a, "out"_a);
    m.def("permutation", permutation, "seed"_a, "stream"_a, "n"_a);
    m.def("first_non_finite_row", first_non_finite_row, "X"_a, "dtype"_a, "order"_a = py::none());
    m.def("column_statistics", column_statistics, "X"_a, "mean"_a, "std"_a, "order"_a = py::none());
    m.def("update", update, "update"_a, "params"_a, "grads"_a, "state"_a, "lr"_a, "step"_a);
}

}  // namespace fnn::bindings
