// Operators of curvature: a network, a copy of its parameters, and the examples, which stay where they are.
#include <pybind11/stl.h>

#include <tuple>
#include <utility>

#include "bindings/network.h"

namespace fnn::bindings {

namespace {

Curvature curvature_of(const std::string& name) {
    if (name == "hessian") return Curvature::hessian;
    if (name == "gauss_newton") return Curvature::gauss_newton;
    if (name == "empirical_fisher") return Curvature::empirical_fisher;
    if (name == "jacobian") return Curvature::jacobian;
    throw py::value_error(
        expected("kind", "'hessian', 'gauss_newton', 'empirical_fisher' or 'jacobian'", "'" + name + "'"));
}

class Operator : public Shared {
   public:
    // Keeps the pass of as many examples as `memory_budget` bytes hold.
    Operator(std::shared_ptr<Network> net, const std::string& kind, const py::array& parameters,
             const py::object& X, const py::object& y, const py::object& loss, const MaybeArray& weights,
             const py::object& model_state, const MaybeArray& order, double memory_budget, const Run& run)
        : net_(std::move(net)),
          run_(run),
          table_(&net_->table()),
          x_(inputs_of(X, "X", net_->plan.in_features())) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            CurvatureOf<T>& of = parts<T>();
            of.kind = curvature_of(kind);
            if (of.kind == Curvature::empirical_fisher && net_->plan.output_shape().positions() > 1)
                throw py::value_error(expected("kind", "another, as the losses of an example are several",
                                               "'empirical_fisher' of outputs at several positions"));
            of.x = x_;
            of.order = order_of(order, x_, places_);
            rows_ = of.order.rows;
            need_batch(*net_, run_, rows_);
            if (const double* state = state_of(*net_, model_state))
                state_.assign(state, state + net_->plan.n_state);
            if (of.kind != Curvature::jacobian) {
                need_rows(rows_);
                y_ = py::cast<py::array>(y);
                weights_ = weights;
                of.loss = loss_of(py::cast<py::tuple>(loss));
                of.y = targets_of<T>(y_, weights_, of.loss, net_->plan, x_.rows, labels_);
                loss_couples_rows_ = of.loss.couples_rows();
                if (loss_couples_rows_ && of.kind == Curvature::empirical_fisher)
                    throw py::value_error(
                        expected("kind", "another, as no loss of pairs of rows is one of an example",
                                 "'empirical_fisher'"));
            }
            const T* p = to_read<T>(parameters, "parameters", {net_->plan.n_parameters});
            const Interrupt interrupt = interrupt_of_thread();
            const Standing standing = net_->standing;
            const WithoutGil released;
            const Gate::Pass pass(net_->gate, Gate::As::reader, interrupt);
            this->run<T>(interrupt, standing, [&](const Functions<T>& table, const Context& context) {
                of.kept_chunks = table.chunks_within(context, of, memory_budget);
                of.shelf = shelf_.reserve(table.shelf_bytes(context, of, of.kept_chunks));
                table.keep(context, of, p);
            });
        });
    }

    void products(const py::array& V, py::array out) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const index k = rows_of(V, "V"), n = net_->plan.n_parameters;
            const T* v = to_read<T>(V, "V", {k, n});
            T* o = to_write<T>(out, "out", {k, n});
            multiply(v, k, o);
        });
    }

    template <class T>
    void multiply(const T* v, index k, T* out) {
        call<T>([&](const Functions<T>& table, const Context& context) {
            table.curvature_products(context, parts<T>(), v, k, out);
        });
    }

    void quadratic_forms(const py::array& V, py::array out) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const index k = rows_of(V, "V");
            const T* v = to_read<T>(V, "V", {k, net_->plan.n_parameters});
            double* o = to_write<double>(out, "out", {k});
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.quadratic_forms(context, parts<T>(), v, k, o);
            });
        });
    }

    void jacobian_products(const py::array& V, py::array out) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const index k = rows_of(V, "V");
            const T* v = to_read<T>(V, "V", {k, net_->plan.n_parameters});
            T* o = to_write<T>(out, "out", {k, rows_ * net_->plan.output_shape().size()});
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.jacobian_products(context, parts<T>(), v, k, o);
            });
        });
    }

    void jacobian_transposed_products(const py::array& U, py::array out) {
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const index k = rows_of(U, "U");
            const T* u = to_read<T>(U, "U", {k, rows_ * net_->plan.output_shape().size()});
            T* o = to_write<T>(out, "out", {k, net_->plan.n_parameters});
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.jacobian_transposed_products(context, parts<T>(), u, k, o);
            });
        });
    }

    // (of each matrix and vector, in their order; what each example adds)
    std::pair<std::vector<double>, std::vector<double>> traces(const MaybeArray& signs) {
        need_exact("traces");
        index n = 0;
        for (const Parameters& own : net_->plan.parameters) n += own.tensors();
        std::vector<double> all(static_cast<std::size_t>(n)), of_rows(static_cast<std::size_t>(rows_));
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const T* s = signs_of<T>(signs);
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.traces(context, parts<T>(), s, all.data(), of_rows.data());
            });
        });
        return {all, of_rows};
    }

    void diagonal(py::array out, const MaybeArray& signs) {
        need_exact("diagonal");
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            const T* s = signs_of<T>(signs);
            T* o = to_write<T>(out, "out", {net_->plan.n_parameters});
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.diagonal(context, parts<T>(), s, o);
            });
        });
    }

    void example_gradients(py::array out) {
        need_exact("example_gradients");
        with_type(*net_, [&](auto zero) {
            using T = decltype(zero);
            T* o = to_write<T>(out, "out", {rows_, net_->plan.n_parameters});
            call<T>([&](const Functions<T>& table, const Context& context) {
                table.example_gradients(context, parts<T>(), o);
            });
        });
    }

    index kept_chunks() const { return net_->is_float64 ? float64_.kept_chunks : float32_.kept_chunks; }

   private:
    template <class T>
    CurvatureOf<T>& parts() {
        if constexpr (sizeof(T) == 8)
            return float64_;
        else
            return float32_;
    }

    // Throws py::value_error where what is computed example by example would be wrong.
    void need_exact(const char* what) const {
        const Plan& plan = net_->plan;
        std::string why = plan.inexact;
        if (run_.training && plan.traits.couples_rows) why = "in training the rows depend on each other";
        if (loss_couples_rows_) why = "the loss is one of pairs of rows";
        if (!why.empty())
            throw py::value_error(
                expected(what, "a network of which each example's part is known", "one where " + why));
    }

    template <class T>
    const T* signs_of(const MaybeArray& signs) const {
        return signs ? to_read<T>(*signs, "signs", {rows_, net_->plan.out_features()}) : nullptr;
    }

    template <class T, class F>
    void run(Interrupt interrupt, const Standing& standing, const F& f) {
        Borrowed borrowed(net_->pool);
        double* const state = state_.empty() ? nullptr : state_.data();
        const On on(net_->device);
        const Context context{net_->plan, borrowed.arena, get_num_threads(), interrupt, state, run_,
                              nullptr,    &kept_,         net_->compute_type};
        make_room(standing, [&](bool) { f(functions<T>(*table_), context); });
    }

    // Several calls may run at once: what they share is only read.
    template <class T, class F>
    void call(const F& f) {
        const Interrupt interrupt = interrupt_of_thread();
        const Standing standing = net_->standing;
        const WithoutGil released;
        run<T>(interrupt, standing, f);
    }

    std::shared_ptr<Network> net_;
    Run run_;
    const Table* table_;
    Inputs x_;
    index rows_ = 0;  // in the order
    bool loss_couples_rows_ = false;
    std::vector<std::int64_t> places_;
    py::array y_;
    MaybeArray weights_;
    std::vector<std::int64_t> labels_;
    std::vector<double> state_;
    CurvatureOf<float> float32_{};
    CurvatureOf<double> float64_{};
    Arena shelf_;
    KeptOnDevice kept_{net_->device};
};

}  // namespace

void hvp(const std::shared_ptr<Network>& net, const py::array& parameters, const py::array& v,
         const py::object& X, const py::array& y, const py::tuple& loss, py::array hv,
         const MaybeArray& weights, const py::object& model_state, const MaybeArray& order,
         const SharedRun& run) {
    with_type(*net, [&](auto zero) {
        using T = decltype(zero);
        const T* direction = to_read<T>(v, "v", {net->plan.n_parameters});
        T* product = to_write<T>(hv, "hv", {net->plan.n_parameters});
        Operator(net, "hessian", parameters, X, y, loss, weights, model_state, order, 0, run)
            .multiply(direction, 1, product);
    });
}

void register_curvature(py::module_& m) {
    using namespace pybind11::literals;
    py::class_<Operator, std::shared_ptr<Operator>>(m, "Operator")
        .def(py::init([](const std::shared_ptr<Network>& net, const std::string& kind,
                         const py::array& parameters, const py::object& X, const py::object& y,
                         const py::object& loss, const MaybeArray& weights, const py::object& model_state,
                         const MaybeArray& order, double memory_budget, const SharedRun& run) {
                 return std::make_shared<Operator>(net, kind, parameters, X, y, loss, weights, model_state,
                                                   order, memory_budget, run);
             }),
             "net"_a, "kind"_a, "parameters"_a, "X"_a, py::kw_only(), "y"_a = py::none(),
             "loss"_a = py::none(), "weights"_a = py::none(), "model_state"_a = py::none(),
             "order"_a = py::none(), "memory_budget"_a = 0.0, "run"_a = std::make_shared<SharedRun>())
        .def_property_readonly("kept_chunks", &Operator::kept_chunks)
        .def("products", &Operator::products, "V"_a, "out"_a)
        .def("quadratic_forms", &Operator::quadratic_forms, "V"_a, "out"_a)
        .def("jacobian_products", &Operator::jacobian_products, "V"_a, "out"_a)
        .def("jacobian_transposed_products", &Operator::jacobian_transposed_products, "U"_a, "out"_a)
        .def("traces", &Operator::traces, "signs"_a = py::none())
        .def("diagonal", &Operator::diagonal, "out"_a, "signs"_a = py::none())
        .def("example_gradients", &Operator::example_gradients, "out"_a);
}

}  // namespace fnn::bindings
