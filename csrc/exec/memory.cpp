#include "exec/memory.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace fnn {

namespace {

std::atomic<std::size_t> made{0};
std::atomic<std::size_t> failing{0};

// Asks for large pages, as NumPy does for its arrays: one core streams through them a third faster.
void prefer_large_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::size_t page = 4096, smallest = std::size_t{4} << 20;
    if (bytes < smallest) return;
    const std::size_t skipped = (page - reinterpret_cast<std::uintptr_t>(data) % page) % page;
    // A wish: where it is not granted nothing else changes.
    (void)madvise(static_cast<char*>(data) + skipped, bytes - skipped, MADV_HUGEPAGE);
#endif
}

#if defined(__linux__)
// Of files that are mapped, in all of the process.
std::size_t resident_bytes_of_files(std::size_t page) {
    std::size_t resident = 0;
    bool known = false;
    if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
        known = std::fscanf(file, "%*u %*u %zu", &resident) == 1;
        std::fclose(file);
    }
    return known ? resident * page : SIZE_MAX;
}
#endif

void* allocate(std::size_t bytes) {
    made.fetch_add(1, std::memory_order_relaxed);
    std::size_t left = failing.load();
    while (left != 0 && !failing.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 1) throw std::bad_alloc();
    constexpr std::size_t alignment = 64;
    if (bytes > SIZE_MAX - alignment) throw std::bad_alloc();
    void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (data == nullptr) throw std::bad_alloc();
    prefer_large_pages(data, bytes);
    return data;
}

}  // namespace

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
}

Arena::~Arena() { std::free(data_); }

void* Arena::reserve(std::size_t bytes) {
    if (bytes <= capacity_ && data_ != nullptr) return data_;
    std::free(std::exchange(data_, nullptr));
    capacity_ = 0;
    data_ = allocate(bytes);
    capacity_ = bytes;
    return data_;
}

void Mapping::read([[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    // How much stays depends on the system and the order of reading (one row may bring in 2 MiB, since Linux
    // 6.18), so it is asked often: for each row that takes less time than reading it.
    constexpr std::size_t now_and_then = std::size_t{4} << 20, most = std::size_t{128} << 20;
    static std::atomic<std::size_t> others{0};  // what stays when this has gone: libraries, say
    if (read_.fetch_add(bytes, std::memory_order_relaxed) + bytes < now_and_then) return;
    if (read_.exchange(0, std::memory_order_relaxed) < now_and_then) return;  // another thread does it
    const auto page = std::size_t(sysconf(_SC_PAGESIZE));
    const std::size_t resident = resident_bytes_of_files(page), rest = others.load();
    if (resident < rest + most) return;
    // Pages of a file that is shared lose nothing by that, whatever was written to them.
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(data_), first = begin / page * page;
    (void)madvise(reinterpret_cast<void*>(first), begin - first + bytes_, MADV_DONTNEED);
    const std::size_t left = resident_bytes_of_files(page);
    others.store(left == SIZE_MAX ? 0 : left);
#endif
}

std::size_t allocations() { return made.load(std::memory_order_relaxed); }

void fail_allocation(std::size_t k) { failing.store(k); }

}  // namespace fnn
