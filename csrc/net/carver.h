// Cuts a block of memory into arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "common.h"

namespace fnn::FNN_ISA::net {

// Hands out stretches of a block of memory; without a block it only counts.
class Carver {
   public:
    explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

    template <class U>
    U* take(index n) {
        const std::size_t at = used_;
        std::size_t bytes;
        if (n < 0 || __builtin_mul_overflow(std::size_t(n), sizeof(U), &bytes) || bytes > most - used_)
            throw std::bad_alloc();
        used_ += (bytes + 63) / 64 * 64;
        return base_ ? reinterpret_cast<U*>(base_ + at) : nullptr;
    }
    std::size_t used() const { return used_; }

   private:
    static constexpr std::size_t most = SIZE_MAX / 4;

    char* base_;
    std::size_t used_ = 0;
};

}  // namespace fnn::FNN_ISA::net
