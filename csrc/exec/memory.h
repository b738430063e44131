// Memory of the core: aligned, counted, and asked for only between steps.
#pragma once

#include <atomic>
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

// An array that lies in a file that is mapped. What is read of it stays in memory until the system needs the
// room; this lets go of it before, so that a process which reads a large file stays small. What is let go of
// comes back, from the file or the system's cache of it, where it is read again.
class Mapping {
   public:
    Mapping(const void* data, std::size_t bytes) : data_(data), bytes_(bytes) {}

    // To be told by any thread of the bytes that it has read, at least now and then.
    void read(std::size_t bytes);

    // What one page that is read may bring into memory: its neighbours, too, where the system has them.
    static constexpr std::size_t around = std::size_t{64} << 10;

   private:
    const void* data_;
    std::size_t bytes_;
    std::atomic<std::size_t> read_{0};
};

// Number of allocations made so far in this process.
std::size_t allocations();

// For tests: the k-th allocation from now fails once (0: none).
void fail_allocation(std::size_t k);

}  // namespace fnn
