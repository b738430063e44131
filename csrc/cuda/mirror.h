// Numbers of the host that a device works with, and changes.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/runtime.h"

namespace fnn::FNN_ISA::device {

// The host's numbers, as they were sent or fetched last: what the device has already is not sent again.
template <class U>
class Mirror {
   public:
    // There is room for so many; where that is, somebody else knows.
    Mirror(Stream& stream, U* there, index room) : there(there), room(room), stream_(stream) {}

    void send(const U* from, index n) {
        const std::size_t count = std::size_t(n);
        if (seen_.size() == count && (n == 0 || std::memcmp(seen_.data(), from, count * sizeof(U)) == 0))
            return;
        seen_.clear();  // if this fails, nobody knows what is there
        stream_.upload(there, from, n);
        seen_.assign(from, from + n);
    }

    // What the device has made of them: on its way until the stream has been waited for.
    void fetch() { stream_.download(seen_.data(), there, index(seen_.size())); }
    void give(U* to) const { std::copy(seen_.begin(), seen_.end(), to); }

    U* const there;
    const index room;

   private:
    Stream& stream_;
    std::vector<U> seen_;
};

}  // namespace fnn::FNN_ISA::device
