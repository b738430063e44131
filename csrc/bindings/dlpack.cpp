#include "bindings/dlpack.h"

#include <cstring>
#include <string>
#include <utility>

#include "bindings/message.h"

namespace fnn::bindings {

namespace {

// As dlpack.h lays them out.
struct Tensor {
    void* data;
    std::int32_t device_type, device_id;
    std::int32_t ndim;
    std::uint8_t code, bits;
    std::uint16_t lanes;
    std::int64_t *shape, *strides;  // strides in elements; null: C order
    std::uint64_t byte_offset;
};
struct Managed {  // before version 1
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};
struct Versioned {
    std::uint32_t major, minor;
    void* context;
    void (*deleter)(Versioned*);
    std::uint64_t flags;
    Tensor tensor;
};
constexpr std::uint64_t read_only = 1, is_copied = 2;
constexpr const char* name_of(const Managed*) { return "dltensor"; }
constexpr const char* name_of(const Versioned*) { return "dltensor_versioned"; }
constexpr const char* used_name_of(const Managed*) { return "used_dltensor"; }
constexpr const char* used_name_of(const Versioned*) { return "used_dltensor_versioned"; }

// NumPy's name of a type: "<f4".
std::string typestr(const Tensor& tensor) {
    constexpr char kinds[] = {'i', 'u', 'f', '?', '?', 'c', 'b'};  // by code; 3: pointers, 4: bfloat16
    const char kind = tensor.code < sizeof(kinds) ? kinds[tensor.code] : '?';
    if (kind == '?' || tensor.lanes != 1 || tensor.bits % 8 != 0)
        throw py::type_error("expected numbers of a type that NumPy has, got code " +
                             std::to_string(tensor.code) + " of " + std::to_string(tensor.bits) +
                             " bits in DLPack");
    return std::string("<") + kind + std::to_string(tensor.bits / 8);
}

py::dict interface_of(const Tensor& tensor, bool writable) {
    const std::string type = typestr(tensor);
    const auto n = std::size_t(tensor.ndim);
    py::tuple shape(n), strides(n);
    std::int64_t step = 1;
    for (std::size_t d = n; d-- > 0;) {
        shape[d] = tensor.shape[d];
        strides[d] = (tensor.strides != nullptr ? tensor.strides[d] : step) * (tensor.bits / 8);
        step *= tensor.shape[d];
    }
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
    py::dict interface;
    interface["shape"] = shape;
    interface["typestr"] = type;
    interface["data"] = py::make_tuple(address, !writable);
    interface["strides"] = strides;
    interface["version"] = 3;
    return interface;
}

template <class M>
void give_back(void* lent) {
    auto* const managed = static_cast<M*>(lent);
    if (managed->deleter != nullptr) managed->deleter(managed);
}

// What is in a capsule of that kind, which is used up; null: it is another one.
template <class M>
M* taken(const py::object& capsule) {
    const M* const kind = nullptr;
    if (PyCapsule_IsValid(capsule.ptr(), name_of(kind)) == 0) return nullptr;
    auto* const managed = static_cast<M*>(PyCapsule_GetPointer(capsule.ptr(), name_of(kind)));
    PyCapsule_SetName(capsule.ptr(), used_name_of(kind));
    return managed;
}

// What is lent of ours.
template <class M>
struct Loan {
    M managed{};
    std::shared_ptr<void> owner;
    std::vector<std::int64_t> shape, strides;
};

template <class M>
py::object capsule_of(std::unique_ptr<Loan<M>> loan) {
    M& managed = loan->managed;
    managed.context = loan.get();
    managed.deleter = [](M* own) {  // whoever borrows need not hold the GIL then
        if (Py_IsInitialized() == 0) return;
        const py::gil_scoped_acquire gil;
        delete static_cast<Loan<M>*>(own->context);
    };
    const auto destroy = [](PyObject* capsule) {
        const M* const kind = nullptr;
        if (PyCapsule_IsValid(capsule, name_of(kind)) != 0)  // nobody has used it
            give_back<M>(PyCapsule_GetPointer(capsule, name_of(kind)));
    };
    PyObject* const capsule = PyCapsule_New(&managed, name_of(&managed), destroy);
    if (capsule == nullptr) throw py::error_already_set();
    loan.release();  // the capsule's now
    return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

BorrowedArray::BorrowedArray(const py::object& capsule) {
    const Tensor* tensor = nullptr;
    bool writable = false;
    if (auto* const versioned = taken<Versioned>(capsule)) {
        lent_ = versioned, give_back_ = give_back<Versioned>;
        if (versioned->major == 1) tensor = &versioned->tensor;
        writable = (versioned->flags & (read_only | is_copied)) == 0;
    } else if (auto* const managed = taken<Managed>(capsule)) {
        lent_ = managed, give_back_ = give_back<Managed>;
        tensor = &managed->tensor;
    } else {
        throw py::type_error("expected a capsule of DLPack, got " + type_of(capsule));
    }
    try {
        if (tensor == nullptr) throw py::type_error("expected DLPack 1 or before, got a later one");
        interface_ = interface_of(*tensor, writable);
    } catch (...) {
        give_back_(lent_);
        throw;
    }
}

BorrowedArray::~BorrowedArray() { give_back_(lent_); }

py::object lend(std::shared_ptr<void> owner, void* data, int gpu, std::vector<std::int64_t> shape,
                std::vector<std::int64_t> strides, int itemsize, bool versioned) {
    const auto capsule = [&](auto loan) {
        loan->owner = std::move(owner);
        loan->shape = std::move(shape), loan->strides = std::move(strides);
        constexpr std::uint8_t is_float = 2;
        loan->managed.tensor = {data,
                                dlpack::cuda,
                                gpu,
                                std::int32_t(loan->shape.size()),
                                is_float,
                                std::uint8_t(8 * itemsize),
                                1,
                                loan->shape.data(),
                                loan->strides.data(),
                                0};
        return capsule_of(std::move(loan));
    };
    if (!versioned) return capsule(std::make_unique<Loan<Managed>>());
    auto loan = std::make_unique<Loan<Versioned>>();
    loan->managed.major = 1;
    return capsule(std::move(loan));
}

}  // namespace fnn::bindings
