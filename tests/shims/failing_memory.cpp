// Makes the n-th allocation that some libraries ask for fail, and counts the blocks that they still hold.
// To be preloaded; a test calls the functions at the end through ctypes. For glibc.
#include <link.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

struct Code {
    std::uintptr_t begin, end;
} watched[64];
std::atomic<int> n_watched{0};

std::atomic<long> left{0};  // allocations until one fails; 0: none fails
std::atomic<bool> ever_after{false};
std::atomic<long> failed{0}, live{0};

bool is_watched(void* caller) {
    const auto at = std::uintptr_t(caller);
    for (int i = n_watched.load(); i-- > 0;)
        if (watched[i].begin <= at && at < watched[i].end) return true;
    return false;
}

bool fails() {
    long now = left.load();
    while (now != 0) {
        if (now == 1 && ever_after.load()) break;
        if (left.compare_exchange_weak(now, now - 1)) break;
    }
    if (now != 1) return false;
    failed.fetch_add(1);
    return true;
}

// The blocks in use, in a hash table with linear probing.
constexpr std::size_t places = std::size_t{1} << 16;
void* blocks[places];
std::atomic_flag busy = ATOMIC_FLAG_INIT;

struct Locked {
    Locked() {
        while (busy.test_and_set(std::memory_order_acquire)) {
        }
    }
    ~Locked() { busy.clear(std::memory_order_release); }
};

std::size_t home(void* block) { return (std::uintptr_t(block) >> 4) * 0x9E3779B97F4A7C15u >> 48; }

void* remember(void* block) {
    if (block == nullptr) return nullptr;
    const Locked locked;
    if (live.load() > long(places / 2)) std::abort();
    std::size_t at = home(block);
    while (blocks[at] != nullptr) at = (at + 1) % places;
    blocks[at] = block;
    live.fetch_add(1);
    return block;
}

bool forget(void* block) {  // whether it was one of them
    if (block == nullptr || live.load() == 0) return false;
    const Locked locked;
    std::size_t at = home(block);
    while (blocks[at] != block) {
        if (blocks[at] == nullptr) return false;
        at = (at + 1) % places;
    }
    live.fetch_sub(1);
    blocks[at] = nullptr;  // and whoever was pushed aside by it moves up
    for (std::size_t next = (at + 1) % places; blocks[next] != nullptr; next = (next + 1) % places) {
        const std::size_t wanted = home(blocks[next]);
        if ((next - wanted) % places >= (next - at) % places) {
            blocks[at] = blocks[next];
            blocks[next] = nullptr;
            at = next;
        }
    }
    return true;
}

template <class Allocate>
void* allocate(void* caller, const Allocate& real) {
    if (!is_watched(caller)) return real();
    if (fails()) {
        errno = ENOMEM;
        return nullptr;
    }
    return remember(real());
}

void* need(void* block) {
    if (block == nullptr) throw std::bad_alloc();
    return block;
}

}  // namespace

#define CALLER __builtin_return_address(0)
#define MALLOC(size) allocate(CALLER, [=] { return __libc_malloc(size == 0 ? 1 : size); })
#define MEMALIGN(alignment, size) allocate(CALLER, [=] { return __libc_memalign(alignment, size); })

extern "C" {

void* malloc(std::size_t size) { return MALLOC(size); }
void* calloc(std::size_t n, std::size_t size) {
    return allocate(CALLER, [=] { return __libc_calloc(n, size); });
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return MEMALIGN(alignment, size); }
void* memalign(std::size_t alignment, std::size_t size) { return MEMALIGN(alignment, size); }
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
    void* const got = MEMALIGN(alignment, size);
    if (got == nullptr) return ENOMEM;
    *block = got;
    return 0;
}
void* realloc(void* old, std::size_t size) {
    const bool known = forget(old);
    void* const block = allocate(CALLER, [=] { return __libc_realloc(old, size); });
    if (block == nullptr && size != 0 && known) remember(old);
    return block;
}
void free(void* block) {
    const int error = errno;
    forget(block);
    __libc_free(block);
    errno = error;
}

// ---------------------------------------------------------------------- for the test

// Watch the code of every loaded library whose path contains `name`. Gives the number of stretches.
int watch(const char* name) {
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* wanted) {
            if (std::strstr(info->dlpi_name, static_cast<const char*>(wanted)) == nullptr) return 0;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& part = info->dlpi_phdr[i];
                if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
                const auto begin = std::uintptr_t(info->dlpi_addr + part.p_vaddr);
                watched[n_watched.load()] = {begin, begin + std::uintptr_t(part.p_memsz)};
                n_watched.fetch_add(1);
            }
            return 0;
        },
        const_cast<char*>(name));
    return n_watched.load();
}

// The n-th allocation from now on fails (0: none), and if `all` every one after it. Gives how many have
// failed since the last call.
long fail_allocation(long n, int all) {
    left.store(0);
    const long before = failed.exchange(0);
    ever_after.store(all != 0);
    left.store(n);
    return before;
}

long live_blocks() { return live.load(); }
}

void* operator new(std::size_t size) { return need(MALLOC(size)); }
void* operator new[](std::size_t size) { return need(MALLOC(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return MALLOC(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return MALLOC(size); }
void* operator new(std::size_t size, std::align_val_t a) { return need(MEMALIGN(std::size_t(a), size)); }
void* operator new[](std::size_t size, std::align_val_t a) { return need(MEMALIGN(std::size_t(a), size)); }
void operator delete(void* block) noexcept { free(block); }
void operator delete[](void* block) noexcept { free(block); }
void operator delete(void* block, std::size_t) noexcept { free(block); }
void operator delete[](void* block, std::size_t) noexcept { free(block); }
void operator delete(void* block, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { free(block); }
