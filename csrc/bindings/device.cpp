#include "bindings/device.h"

#include <dlfcn.h>

#include <map>

#include "bindings/network.h"

namespace fnn::bindings {

namespace {

std::map<std::string, const Device*> devices;  // by name; they are never freed, as networks point to them

// What stands in the place of a function that a device lacks.
template <class F>
struct Refusal;
template <class R, class... A>
struct Refusal<R (*)(A...)> {
    template <const char* what>
    static R refuse(A...) {
        throw Lacking(
            expected("device", std::string("'cpu' for ") + what, "another, which does not compute that yet"));
    }
};

template <const char* what, class F>
void refuse_if_lacking(F& function) {
    if (function == nullptr) function = Refusal<F>::template refuse<what>;
}

constexpr char outputs[] = "outputs", values[] = "the outputs of all layers", evaluate[] = "evaluations",
               losses_along[] = "losses along directions", gradients[] = "gradients",
               pullbacks[] = "pullbacks", input_gradients[] = "gradients through input layers",
               tangents[] = "directional derivatives", forward_gradients[] = "forward gradients",
               calibrate[] = "calibrate", products[] = "products of curvature",
               quadratic_forms[] = "quadratic forms of curvature",
               jacobian_products[] = "products with Jacobians", traces[] = "exact traces",
               diagonal[] = "exact diagonals", example_gradients[] = "gradients of single examples",
               train[] = "training", train_stepwise[] = "training step by step";

// All that a network asks of its table.
template <class T>
void refuse_what_is_lacking(Functions<T>& of) {
    refuse_if_lacking<outputs>(of.outputs);
    refuse_if_lacking<values>(of.values);
    refuse_if_lacking<evaluate>(of.evaluate);
    refuse_if_lacking<losses_along>(of.losses_along);
    refuse_if_lacking<gradients>(of.loss_and_gradient);
    refuse_if_lacking<forward_gradients>(of.activity_gradient);
    refuse_if_lacking<forward_gradients>(of.loss_and_slope);
    refuse_if_lacking<pullbacks>(of.outputs_for_pullback);
    refuse_if_lacking<pullbacks>(of.pull_back);
    refuse_if_lacking<input_gradients>(of.input_gradient);
    refuse_if_lacking<tangents>(of.push_forward);
    refuse_if_lacking<calibrate>(of.calibrate);
    refuse_if_lacking<products>(of.chunks_within);
    refuse_if_lacking<products>(of.shelf_bytes);
    refuse_if_lacking<products>(of.keep);
    refuse_if_lacking<products>(of.curvature_products);
    refuse_if_lacking<quadratic_forms>(of.quadratic_forms);
    refuse_if_lacking<jacobian_products>(of.jacobian_products);
    refuse_if_lacking<jacobian_products>(of.jacobian_transposed_products);
    refuse_if_lacking<traces>(of.traces);
    refuse_if_lacking<diagonal>(of.diagonal);
    refuse_if_lacking<example_gradients>(of.example_gradients);
    refuse_if_lacking<train>(of.train);
    refuse_if_lacking<train_stepwise>(of.train_stepwise);
}

std::runtime_error useless(const std::string& path, const std::string& why) {
    return std::runtime_error(expected("device", "a library that belongs to this build", path + ": " + why) +
                              "; build both anew");
}

// Of the library there, which stays open. Another one with a device of the same name takes its place for the
// networks to come.
void open_device(const std::string& path) {
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw useless(path, dlerror());
    const auto of_library = reinterpret_cast<DeviceOfLibrary>(dlsym(library, device_of_library));
    if (of_library == nullptr) throw useless(path, "it is no library of a device");
    const Device* const found = of_library();
    if (found->layout != layout || std::string(found->build) != FNN_VERSION)
        throw useless(path, "it was built with other sources, those of version " + std::string(found->build));
    auto* const device = new Device(*found);
    refuse_what_is_lacking(device->table.float32);
    refuse_what_is_lacking(device->table.float64);
    devices[device->name] = device;
}

const Device& opened(const std::string& name) {
    const auto found = devices.find(name);
    if (found == devices.end())
        throw std::invalid_argument(expected("device", "'cpu', or one that is open", "'" + name + "'"));
    return *found->second;
}

// Memory of a device, as Python holds it.
class DeviceMemory : public Shared {
   public:
    DeviceMemory(const std::string& name, std::size_t bytes)
        : device_(opened(name)), bytes_(bytes), data_(device_.allocate(bytes)) {}
    ~DeviceMemory() {
        try {
            device_.release(data_);
        } catch (const std::exception&) {  // a device that has failed has no memory to give back
        }
    }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data_); }
    void write(const py::array& from) {
        check(from, "array");
        device_.upload(data_, from.data(), bytes_);
    }
    void read(py::array to) const {
        check(to, "array");
        check_writeable(to, "array");
        device_.download(to.mutable_data(), data_, bytes_);
    }

   private:
    void check(const py::array& array, const char* name) const {
        if (std::size_t(array.nbytes()) != bytes_ || (array.flags() & py::array::c_style) == 0)
            throw py::value_error(
                expected(name, "a C-contiguous array of " + std::to_string(bytes_) + " bytes", "another"));
    }

    const Device& device_;
    const std::size_t bytes_;
    void* const data_;
};

}  // namespace

Lacking::Lacking(const std::string& what)
    : std::runtime_error(
          expected("device", "'cpu' for " + what, "another, which does not compute that yet")) {}

const Device* device_named(const std::string& name) { return name == "cpu" ? nullptr : &opened(name); }

void register_device(py::module_& m) {
    using namespace pybind11::literals;
    py::register_exception_translator([](std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const Lacking& e) {
            PyErr_SetString(PyExc_NotImplementedError, e.what());
        }
    });
    py::class_<DeviceMemory, std::shared_ptr<DeviceMemory>>(m, "DeviceMemory")
        .def(py::init([](const std::string& device, std::size_t bytes) {
                 return std::make_shared<DeviceMemory>(device, bytes);
             }),
             "device"_a, "bytes"_a)
        .def_property_readonly("address", &DeviceMemory::address)
        .def("write", &DeviceMemory::write, "array"_a)
        .def("read", &DeviceMemory::read, "array"_a);
    m.def("open_device", open_device, "path"_a);
    m.def("is_open_device", [](const std::string& name) { return devices.count(name) != 0; }, "name"_a);
    m.def(
        "use_cublaslt",
        [](const std::string& name, const std::string& path, bool always) {
            opened(name).use_cublaslt(path.c_str(), always);
        },
        "device"_a, "path"_a, "always"_a);
    m.def(
        "device_model",
        [](const std::string& name) {
            const Device& device = opened(name);
            const WithoutGil released;
            return device.model();
        },
        "name"_a);
}

}  // namespace fnn::bindings
