// Memory of the core: aligned, counted, and asked for only between steps.
#pragma once

#include <cstddef>

#include "common.h"

namespace fnn {

// A block of memory that grows when a call needs more and is otherwise used again as it is.
class Arena {
   public:
    Arena() = default;
    Arena(Arena&& other) noexcept;
    Arena& operator=(Arena&& other) noexcept;
    ~Arena();

    // At least `bytes`, aligned to 64, contents undefined. Throws std::bad_alloc; what was held is then gone.
    void* reserve(std::size_t bytes);
    std::size_t capacity() const { return capacity_; }

   private:
    void* data_ = nullptr;
    std::size_t capacity_ = 0;
};

// Number of allocations made so far in this process.
std::size_t allocations();

// For tests: the k-th allocation from now fails once (0: none).
void fail_allocation(std::size_t k);

}  // namespace fnn
