// Arrays from library to library by DLPack (https://dmlc.github.io/dlpack): where their numbers lie, and who
// lets go of them, in a capsule.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bindings/arrays.h"

namespace fnn::bindings {

// Kinds of memory, as DLPack numbers them. `managed` moves between the two.
namespace dlpack {
constexpr int cuda = 2, managed = 13;
}

// What a capsule lends, until this is gone: NumPy makes an array of it that has its address, wherever that
// is.
class BorrowedArray {
   public:
    // The capsule is used up. Throws TypeError where there is none in it, or numbers of a type that NumPy
    // lacks.
    explicit BorrowedArray(const py::object& capsule);
    ~BorrowedArray();
    BorrowedArray(const BorrowedArray&) = delete;
    BorrowedArray& operator=(const BorrowedArray&) = delete;

    // NumPy's __array_interface__. Of a lender before DLPack 1.0 nobody knows whether it may be written to,
    // and what is written to a copy does not arrive: both are read-only.
    py::dict interface() const { return interface_; }

   private:
    void* lent_;
    void (*give_back_)(void*);
    py::dict interface_;
};

// A capsule that lends floats of so many bytes in the memory of GPU number `gpu`; they are the owner's.
// Versioned: of DLPack 1.0.
py::object lend(std::shared_ptr<void> owner, void* data, int gpu, std::vector<std::int64_t> shape,
                std::vector<std::int64_t> strides, int itemsize, bool versioned);

}  // namespace fnn::bindings
