// The compiled module pyfast_nn._core.
#include <pybind11/stl.h>

#include <cstdlib>
#include <stdexcept>

#include "bindings/network.h"
#include "exec/blas.h"
#include "exec/crew.h"
#include "exec/threads.h"

namespace fnn::bindings {

namespace {

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

py::dict build_config() {
    using namespace pybind11::literals;
    return py::dict("version"_a = FNN_VERSION, "isa"_a = current_isa(), "available_isas"_a = available_isas(),
                    "gemm"_a = blas_gemm<float>() != nullptr ? "blas" : "own", "openmp"_a = openmp_version(),
                    "compiler"_a = compiler());
}

// The functions of pyfast_nn._blas, or None and None for our own products.
void use_blas_of(const py::object& sgemm, const py::object& dgemm) {
    const auto address = [](const py::object& capsule, const char* name) -> void* {
        if (capsule.is_none()) return nullptr;
        void* const pointer = PyCapsule_GetPointer(capsule.ptr(), name);
        if (pointer == nullptr) throw py::error_already_set();
        return pointer;
    };
    use_blas(reinterpret_cast<BlasGemm<float>>(address(sgemm, "pyfast_nn.sgemm")),
             reinterpret_cast<BlasGemm<double>>(address(dgemm, "pyfast_nn.dgemm")));
}

void set_threads(int n) {
    need_at_least(1, n, "n");
    set_num_threads(n);
}

double checked_measurement(double (*measure)(double, int), double seconds, int threads) {
    need_at_least(1, threads, "threads");
    const WithoutGil released;
    return measure(seconds, threads);
}

// PYFAST_NN_ISA, read once.
void choose_isa() {
    const char* wanted = std::getenv("PYFAST_NN_ISA");
    const auto available = available_isas();
    if (available.empty())
        throw py::import_error("pyfast_nn was built for other instruction sets than this processor's");
    if (wanted == nullptr || *wanted == '\0') return use_isa(available.front());
    try {
        use_isa(wanted);
    } catch (const std::invalid_argument& e) {
        throw py::import_error(std::string("PYFAST_NN_ISA: ") + e.what());
    }
}

}  // namespace

void register_runtime(py::module_& m) {
    using namespace pybind11::literals;
    m.def("isa", current_isa);
    m.def("available_isas", available_isas);
    m.def("use_isa", use_isa, "name"_a);
    m.def("build_config", build_config);
    m.def("use_blas", use_blas_of, "sgemm"_a, "dgemm"_a);
    m.def("set_num_threads", set_threads, "n"_a);
    m.def("get_num_threads", get_num_threads);
    m.def("set_own_threads", set_own_threads, "n"_a);
    m.def("get_own_threads", get_own_threads);
    py::class_<Stop, std::shared_ptr<Stop>>(m, "Stop")
        .def(py::init<>())
        .def("set", &Stop::set)
        .def("is_set", &Stop::is_set);
    m.def("obey", obey, "stop"_a.none(true));
    m.def("allocations", allocations);
    m.def("fail_allocation", fail_allocation, "k"_a);
    m.def("fail_in_team", fail_in_team, "k"_a);
    m.def("unsettle_teams", &Crew::unsettle, "on"_a);
    m.def(
        "fma_peak",
        [](double seconds, int threads) {
            return checked_measurement(current_table().fma_peak, seconds, threads);
        },
        "seconds"_a, "threads"_a);
    m.def(
        "memory_bandwidth",
        [](double seconds, int threads) {
            return checked_measurement(current_table().memory_bandwidth, seconds, threads);
        },
        "seconds"_a, "threads"_a);
}

}  // namespace fnn::bindings

PYBIND11_MODULE(_core, m) {
    fnn::bindings::choose_isa();
    fnn::bindings::register_runtime(m);
    fnn::bindings::register_device(m);
    fnn::bindings::register_kernels(m);
    fnn::bindings::register_ops(m);
    fnn::bindings::register_tensors(m);
    fnn::bindings::register_updater(m);
    fnn::bindings::register_around(m);
    fnn::bindings::register_network(m);
    fnn::bindings::register_curvature(m);
}
