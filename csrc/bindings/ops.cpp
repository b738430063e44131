// Layers, losses and matrix products on the caller's own arrays: fnn.ops.
#include <pybind11/stl.h>

#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>

#include "bindings/network.h"
#include "bindings/overlap.h"

namespace fnn::bindings {

namespace {

bool is_aligned(const py::array& x) {
    return reinterpret_cast<std::uintptr_t>(x.data()) % std::size_t(x.dtype().alignment()) == 0;
}

bool is_contiguous(const py::array& x) { return (x.flags() & py::array::c_style) != 0 && is_aligned(x); }

py::array array_of(const py::object& value, const std::string& name) {
    if (!py::isinstance<py::array>(value))
        throw py::type_error(expected(name, "an array, as it is written to", type_of(value)));
    return py::reinterpret_borrow<py::array>(value);
}

// Whether two contiguous arrays have the same elements in the same places.
bool is_same(const py::array& a, const py::array& b) {
    return a.data() == b.data() && a.dtype().equal(b.dtype()) && shape_of(a) == shape_of(b);
}

// Elements from one row of a matrix to the next, or -1 if those of a row do not lie side by side.
index row_stride(const py::array& x) {
    const index rows = x.shape(0), cols = x.shape(1), size = x.itemsize();
    const bool single_row = rows <= 1 || cols == 0, single_col = cols <= 1 || rows == 0;
    const index stride = single_row ? cols : x.strides(0) / size;
    const bool side_by_side =
        (single_col || x.strides(1) == size) && (single_row || (x.strides(0) % size == 0 && stride >= cols));
    return side_by_side && is_aligned(x) ? stride : -1;
}

bool has_rows(const py::array& x) { return row_stride(x) >= 0; }

// Where a result goes: the caller's `out`, or a new array where that is None. If `out` does not lie in memory
// as the core writes it, or an input lies there, the core writes elsewhere and `finish` copies.
template <class T>
class Result {
   public:
    struct Options {
        bool (*lies_well)(const py::array&) = is_contiguous;
        bool keep = false;  // what `out` holds is read
        bool in_place =
            false;  // may be an input itself: what is read at a place is read before it is written
    };

    Result(const py::object& out, const char* name, const std::vector<index>& shape,
           std::initializer_list<const py::array*> inputs, Options options) {
        if (out.is_none()) {
            array_ = written_ = py::array_t<T>(shape);
            return;
        }
        array_ = array_of(out, name);
        check_dtype_and_shape(array_, name, shape, py::dtype::of<T>());
        check_writeable(array_, name);
        check_own_places(array_, name);
        bool direct = options.lies_well(array_);
        for (const py::array* input : inputs)
            if (!(options.in_place && is_same(array_, *input)))
                direct = direct && !may_overlap(array_, *input);
        written_ = direct ? array_ : py::array(py::array_t<T>(shape));
        if (!direct && options.keep) written_[py::ellipsis()] = array_;
    }
    Result(const py::object& out, const char* name, const std::vector<index>& shape,
           std::initializer_list<const py::array*> inputs)
        : Result(out, name, shape, inputs, Options()) {}

    T* data() { return static_cast<T*>(written_.mutable_data()); }
    const py::array& written() const { return written_; }

    py::array finish() {
        if (!written_.is(array_)) array_[py::ellipsis()] = written_;
        return array_;
    }

   private:
    py::array array_, written_;
};

Pool& pool() {
    static Pool pool;
    return pool;
}

// Runs f(threads, interrupt, arena) without the GIL.
template <class F>
auto call(const F& f) {
    Borrowed borrowed(pool());
    const int threads = get_num_threads();
    const Interrupt interrupt = interrupt_of_thread();
    const WithoutGil released;
    return f(threads, interrupt, borrowed.arena);
}

void check_dimensions(const char* name, const py::array& x, index ndim) {
    if (x.ndim() != ndim)
        throw py::value_error(expected(name, std::to_string(ndim) + " dimension" + (ndim == 1 ? "" : "s"),
                                       "shape " + shape_text(shape_of(x))));
}

// Sizes that must agree, of an array and of `other`.
void check_same(const char* name, index size, const char* what, const char* other, index expected_size) {
    if (size != expected_size)
        throw py::value_error(expected(name,
                                       std::to_string(expected_size) + " " + what + ", as many as " + other,
                                       std::to_string(size)));
}

template <class T>
void check_dtype(const char* name, const py::array& x) {
    if (!py::isinstance<py::array_t<T>>(x))
        throw py::type_error(expected(name, std::string("dtype ") + dtype_name<T>(), text_of(x.dtype())));
}

// ------------------------------------------------------------------------------------------ matrix products

// x, or its transpose (then `transpose` changes), or a copy: whichever has rows that are contiguous in
// memory.
template <class T>
py::array with_rows(py::array x, const char* name, bool& transpose) {
    check_dtype<T>(name, x);
    check_dimensions(name, x, 2);
    if (has_rows(x)) return x;
    const py::array transposed = x.attr("T");
    if (!has_rows(transposed)) return py::array_t<T, py::array::c_style>(x);
    transpose = !transpose;
    return transposed;
}

py::array gemm(const py::array& a, const py::array& b, const py::object& out, double alpha, double beta,
               bool transpose_a, bool transpose_b) {
    return with_type_of(a, "a", [&](auto zero) {
        using T = decltype(zero);
        const py::array x = with_rows<T>(a, "a", transpose_a), y = with_rows<T>(b, "b", transpose_b);
        Gemm<T> g{};
        g.m = x.shape(transpose_a ? 1 : 0);
        g.k = x.shape(transpose_a ? 0 : 1);
        g.n = y.shape(transpose_b ? 0 : 1);
        check_same("op(b)", y.shape(transpose_b ? 1 : 0), "rows", "op(a) has columns", g.k);
        if (beta != 0 && out.is_none())
            throw py::value_error(expected("beta", "0 without out", std::to_string(beta)));
        Result<T> c(out, "out", {g.m, g.n}, {&x, &y}, {has_rows, beta != 0});
        g.a = static_cast<const T*>(x.data());
        g.b = static_cast<const T*>(y.data());
        g.c = c.data();
        g.a_stride = row_stride(x);
        g.b_stride = row_stride(y);
        g.c_stride = row_stride(c.written());
        g.transpose_a = transpose_a;
        g.transpose_b = transpose_b;
        g.alpha = T(alpha);
        g.beta = T(beta);
        const auto& table = functions<T>(current_table());
        call([&](auto&&... with) { table.gemm(g, with...); });
        return c.finish();
    });
}

// -------------------------------------------------------------------------------------------------- layers

py::array dense_forward(const py::array& x, const py::array& w, const py::array& b, const py::object& out) {
    return with_type_of(w, "w", [&](auto zero) {
        using T = decltype(zero);
        check_dimensions("x", x, 2);
        check_dimensions("w", w, 2);
        const index columns = w.shape(1);
        check_same("x", x.shape(1), "columns", "w has rows", w.shape(0));
        check_dimensions("b", b, 1);
        check_same("b", b.shape(0), "elements", "w has columns", columns);
        const Inputs inputs = inputs_of(x, "x", x.shape(1)), weights = inputs_of(w, "w", columns);
        const T* const bias = to_read<T>(b, "b", {columns});
        Result<T> z(out, "out", {x.shape(0), columns}, {&x, &w, &b});
        const auto& table = functions<T>(current_table());
        call([&](auto&&... with) { table.dense_forward(inputs, weights, bias, columns, z.data(), with...); });
        return z.finish();
    });
}

py::tuple dense_backward(const py::array& dz, const py::array& x, const py::array& w, const py::object& dx,
                         const py::object& dw, const py::object& db, bool input_gradient) {
    return with_type_of(w, "w", [&](auto zero) {
        using T = decltype(zero);
        check_dtype<T>("dz", dz);
        check_dimensions("dz", dz, 2);
        check_dimensions("x", x, 2);
        check_dimensions("w", w, 2);
        const index in = w.shape(0), columns = w.shape(1);
        check_same("x", x.shape(1), "columns", "w has rows", in);
        check_same("dz", dz.shape(1), "columns", "w has", columns);
        check_same("dz", dz.shape(0), "rows", "x has", x.shape(0));
        const Inputs derivatives = inputs_of(dz, "dz", columns), inputs = inputs_of(x, "x", in),
                     weights = inputs_of(w, "w", columns);
        Result<T> for_x(dx, "dx", {input_gradient ? x.shape(0) : 0, in}, {&dz, &x, &w});
        Result<T> for_w(dw, "dw", {in, columns}, {&dz, &x, &w});
        Result<T> for_b(db, "db", {columns}, {&dz, &x, &w});
        std::vector<NamedArray> outs;
        for (const auto& [name, out] : {std::pair("dx", dx), std::pair("dw", dw), std::pair("db", db)})
            if (!out.is_none()) outs.emplace_back(name, array_of(out, name));
        check_apart(outs);
        const auto& table = functions<T>(current_table());
        call([&](auto&&... with) {
            table.dense_backward(derivatives, inputs, weights, columns,
                                 input_gradient ? for_x.data() : nullptr, for_w.data(), for_b.data(),
                                 with...);
        });
        return py::make_tuple(input_gradient ? py::object(for_x.finish()) : py::object(py::none()),
                              for_w.finish(), for_b.finish());
    });
}

// Along the last axis.
template <class F>
py::array along_last_axis(const py::array& z, const py::object& out,
                          std::initializer_list<const py::array*> inputs, const F& f) {
    return with_type_of(z, "z", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = shape_of(z);
        if (shape.empty() || shape.back() == 0)
            throw py::value_error(expected("z", "at least one column", "shape " + shape_text(shape)));
        const T* const from = to_read<T>(z, "z", shape);
        Result<T> result(out, "out", shape, inputs, {is_contiguous, false, true});
        f(functions<T>(current_table()), from, z.size() / shape.back(), shape.back(), result.data());
        return result.finish();
    });
}

py::array softmax(const py::array& z, bool logarithm, const py::object& out) {
    return along_last_axis(
        z, out, {&z}, [&](const auto& table, auto* from, index rows, index cols, auto* to) {
            call([&](auto&&... with) { table.softmax(logarithm, from, rows, cols, to, with...); });
        });
}

py::array softmax_backward(const py::array& da, const py::array& z, const py::object& out) {
    return along_last_axis(
        z, out, {&da, &z}, [&](const auto& table, auto* from, index rows, index cols, auto* to) {
            const auto* d = to_read<std::remove_pointer_t<decltype(to)>>(da, "da", shape_of(z));
            call([&](auto&&... with) { table.softmax_backward(d, from, rows, cols, to, with...); });
        });
}

// -------------------------------------------------------------------------------------- activations, losses

py::array activation(const std::string& name, const std::vector<double>& values, const py::array& z,
                     const py::object& out) {
    return with_type_of(z, "z", [&](auto zero) {
        using T = decltype(zero);
        const ActivationSpec spec = activation_of(name, values);
        const T* const from = to_read<T>(z, "z", shape_of(z));
        Result<T> a(out, "out", shape_of(z), {&z}, {is_contiguous, false, true});
        const auto& table = functions<T>(current_table());
        T* const to = a.data();
        call([&](int threads, Interrupt interrupt, Arena&) {
            table.activate(spec, from, z.size(), to, threads, interrupt);
        });
        return a.finish();
    });
}

py::array activation_backward(const std::string& name, const std::vector<double>& values, const py::array& da,
                              const py::array& z, const py::object& out) {
    return with_type_of(z, "z", [&](auto zero) {
        using T = decltype(zero);
        const ActivationSpec spec = activation_of(name, values);
        const T* const from = to_read<T>(da, "da", shape_of(z));
        const T* const at = to_read<T>(z, "z", shape_of(z));
        Result<T> dz(out, "out", shape_of(z), {&da, &z}, {is_contiguous, false, true});
        const auto& table = functions<T>(current_table());
        T* const to = dz.data();
        call([&](int threads, Interrupt interrupt, Arena&) {
            table.activate_backward(spec, from, at, z.size(), to, threads, interrupt);
        });
        return dz.finish();
    });
}

py::tuple loss(const py::tuple& loss_spec, const py::array& z, const py::array& y, const MaybeArray& weights,
               const py::object& out) {
    return with_type_of(z, "z", [&](auto zero) {
        using T = decltype(zero);
        const LossSpec spec = loss_of(loss_spec);
        check_dimensions("z", z, 2);
        const index rows = z.shape(0), cols = z.shape(1);
        const T* const from = to_read<T>(z, "z", {rows, cols});
        if (rows == 0 || cols == 0)
            throw py::value_error(expected("z", "at least one row and one column, as the mean is taken",
                                           "shape " + shape_text({rows, cols})));
        std::vector<std::int64_t> labels;
        const Targets<T> targets = targets_of<T>(y, weights, spec, rows, cols, labels);
        const py::array& w = weights ? *weights : z;
        Result<T> dz(out, "out", {rows, cols}, {&z, &y, &w}, {is_contiguous, false, true});
        const auto& table = functions<T>(current_table());
        T* const to = dz.data();
        const double value = call([&](auto&&... with) {
            return table.loss_and_output_gradient(spec, from, targets, rows, cols, to, with...);
        });
        return py::make_tuple(value, dz.finish());
    });
}

// ------------------------------------------------------------------------------------------------ gradients

double clip_grad_norm(const py::list& grads, double max_norm) {
    if (grads.empty()) return 0;
    std::vector<NamedArray> arrays;
    for (std::size_t i = 0; i < grads.size(); ++i) {
        const std::string name = "grads[" + std::to_string(i) + "]";
        arrays.emplace_back(name, array_of(grads[i], name));
    }
    check_apart(arrays);
    return with_type_of(arrays[0].second, "grads[0]", [&](auto zero) {
        using T = decltype(zero);
        std::vector<Result<T>> clipped;
        std::vector<Segment<T>> segments;
        std::vector<index> starts = {0};
        for (const auto& [name, array] : arrays) {
            clipped.emplace_back(array, name.c_str(), shape_of(array),
                                 std::initializer_list<const py::array*>{},
                                 typename Result<T>::Options{is_contiguous, true});
            Segment<T> segment;
            segment.gradient = segment.parameters = clipped.back().data();
            segment.length = array.size();
            segments.push_back(segment);
            starts.push_back(starts.back() + segment.length);
        }
        const Segments<T> all{segments.data(), starts.data(), index(segments.size())};
        const auto& table = functions<T>(current_table());
        const double norm = call([&](auto&&... with) { return table.clip_norm(all, max_norm, with...); });
        for (Result<T>& result : clipped) result.finish();
        return norm;
    });
}

}  // namespace

void register_ops(py::module_& m) {
    using namespace pybind11::literals;
    m.def("gemm", gemm, "a"_a, "b"_a, "out"_a, "alpha"_a = 1.0, "beta"_a = 0.0, "transpose_a"_a = false,
          "transpose_b"_a = false);
    m.def("dense_forward", dense_forward, "x"_a, "w"_a, "b"_a, "out"_a);
    m.def("dense_backward", dense_backward, "dz"_a, "x"_a, "w"_a, "dx"_a, "dw"_a, "db"_a, "input_gradient"_a);
    m.def("softmax", softmax, "z"_a, "logarithm"_a, "out"_a);
    m.def("softmax_backward", softmax_backward, "da"_a, "z"_a, "out"_a);
    m.def("activation", activation, "name"_a, "values"_a, "z"_a, "out"_a);
    m.def("activation_backward", activation_backward, "name"_a, "values"_a, "da"_a, "z"_a, "out"_a);
    m.def("loss", loss, "loss"_a, "z"_a, "y"_a, "weights"_a, "out"_a);
    m.def("clip_grad_norm", clip_grad_norm, "grads"_a, "max_norm"_a);
}

}  // namespace fnn::bindings
