#include "bindings/device.h"

#include <dlfcn.h>
#include <pybind11/stl.h>

#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "bindings/dlpack.h"
#include "bindings/network.h"

namespace fnn::bindings {

namespace {

// One device of a library that is open.
struct Opened {
    Device device;
    std::string model;
};

std::map<std::string, const Device*> libraries;  // by the kind of their devices
// By kind and number. They are never freed, as networks point to them.
std::map<std::string, const Opened*> devices;

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

// The library there stays open. Another one with devices of the same kind takes its place for what is to
// come.
void open_device(const std::string& path) {
    void* const file = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (file == nullptr) throw useless(path, dlerror());
    const auto of_library = reinterpret_cast<DeviceOfLibrary>(dlsym(file, device_of_library));
    if (of_library == nullptr) throw useless(path, "it is no library of a device");
    const Device* const found = of_library();
    if (found->layout != layout || std::string(found->build) != FNN_VERSION)
        throw useless(path, "it was built with other sources, those of version " + std::string(found->build));
    auto* const library = new Device(*found);
    refuse_what_is_lacking(library->table.float32);
    refuse_what_is_lacking(library->table.float64);
    const std::string kind = library->name;
    for (auto each = devices.begin(); each != devices.end();)
        each = each->first.rfind(kind + ":", 0) == 0 ? devices.erase(each) : std::next(each);
    libraries[kind] = library;
}

const Device& library_of(const std::string& kind) {
    const auto found = libraries.find(kind);
    if (found == libraries.end())
        throw std::invalid_argument(expected("device", "'cpu', or one that is open", "'" + kind + "'"));
    return *found->second;
}

// How many there are of a kind. Throws std::runtime_error where there is none.
int count_of(const std::string& kind) {
    const Device& library = library_of(kind);
    const WithoutGil released;
    return library.count();
}

const Opened& opened(const std::string& name) {
    const std::size_t colon = name.find(':');
    const std::string kind = name.substr(0, colon);
    const std::string number = colon == std::string::npos ? "0" : name.substr(colon + 1);
    const auto found = devices.find(kind + ":" + number);
    if (found != devices.end()) return *found->second;
    const Device& library = library_of(kind);
    const int count = count_of(kind);
    int which = 0;
    while (which < count && std::to_string(which) != number) ++which;
    if (which == count)
        throw std::invalid_argument(expected("device",
                                             count == 1 ? "'" + kind + ":0', as there is one GPU"
                                                        : "'" + kind + ":0' to '" + kind + ":" +
                                                              std::to_string(count - 1) + "', as there are " +
                                                              std::to_string(count) + " GPUs",
                                             "'" + name + "'"));
    auto made = std::make_unique<Opened>(Opened{library, library.model(which)});
    made->device.number = which;
    return *devices.emplace(kind + ":" + number, made.release()).first->second;
}

// Memory of a device, as Python holds it.
class DeviceMemory : public Shared {
   public:
    DeviceMemory(const std::string& name, std::size_t bytes)
        : device_(opened(name).device), bytes_(bytes), data_(allocated()) {}
    ~DeviceMemory() {
        try {
            on([&] { device_.release(data_); });
        } catch (const std::exception&) {  // a device that has failed has no memory to give back
        }
    }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data_); }
    void* data() const { return data_; }
    int number() const { return device_.number; }
    void write(const py::array& from) {
        check(from, "array");
        on([&, data = from.data()] { device_.upload(data_, data, bytes_); });
    }
    void read(py::array to) const {
        check(to, "array");
        check_writeable(to, "array");
        on([&, data = to.mutable_data()] { device_.download(data, data_, bytes_); });
    }
    void wait() const { on(device_.wait); }

   private:
    template <class F>
    void on(const F& f) const {
        const WithoutGil released;
        const On on(&device_);
        f();
    }
    void* allocated() const {
        void* data = nullptr;
        on([&] { data = device_.allocate(bytes_); });
        return data;
    }
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

const Device* device_named(const std::string& name) { return name == "cpu" ? nullptr : &opened(name).device; }

std::string owner_of(const std::string& kind, const void* address) {
    const int number = library_of(kind).owner(address);
    return number < 0 ? "" : kind + ":" + std::to_string(number);
}

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
        .def_property_readonly("number", &DeviceMemory::number)
        .def("write", &DeviceMemory::write, "array"_a)
        .def("read", &DeviceMemory::read, "array"_a)
        .def("wait", &DeviceMemory::wait)
        .def(
            "lend",
            [](const std::shared_ptr<DeviceMemory>& self, std::vector<std::int64_t> shape,
               std::vector<std::int64_t> strides, int itemsize, bool versioned) {
                return lend(self, self->data(), self->number(), std::move(shape), std::move(strides),
                            itemsize, versioned);
            },
            "shape"_a, "strides"_a, "itemsize"_a, "versioned"_a);
    py::class_<BorrowedArray>(m, "BorrowedArray")
        .def(py::init<const py::object&>(), "capsule"_a)
        .def_property_readonly("__array_interface__", &BorrowedArray::interface);
    m.def("open_device", open_device, "path"_a);
    m.def("is_open_device", [](const std::string& kind) { return libraries.count(kind) != 0; }, "kind"_a);
    m.def("count_devices", count_of, "kind"_a);
    m.def("device_model", [](const std::string& name) { return opened(name).model; }, "name"_a);
    m.def(
        "use_cublaslt",
        [](const std::string& name, const std::string& path, bool always) {
            const On on(device_named(name));
            device_named(name)->use_cublaslt(path.c_str(), always);
        },
        "device"_a, "path"_a, "always"_a);
}

}  // namespace fnn::bindings
