// Cuts a block of memory into arrays.
#pragma once

#include <cstddef>

#include "common.h"

namespace fnn::FNN_ISA::net {

// Hands out stretches of a block of memory; without a block it only counts.
class Carver {
   public:
    explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

    template <class U>
    U* take(index n) {
        const std::size_t at = used_;
        used_ += (std::size_t(n) * sizeof(U) + 63) / 64 * 64;
        return base_ ? reinterpret_cast<U*>(base_ + at) : nullptr;
    }
    std::size_t used() const { return used_; }

   private:
    char* base_;
    std::size_t used_ = 0;
};

}  // namespace fnn::FNN_ISA::net
