// Columns from one value to another, whose panels lie elsewhere.
#pragma once

#include "exec/convert.h"
#include "net/ops/stretches.h"

namespace fnn::FNN_ISA::net {

// Columns of `to` from a first one on (+)= so many of `from` (without data: zero).
template <class T>
inline void copy_columns(const Panels<T>& to, index to_first, const Panels<T>& from, index from_first,
                         index count, Range rows, bool add) {
    constexpr index full = Panels<T>::full;
    for (index done = 0, some; done < count; done += some) {
        const index i = to_first + done, j = from_first + done;
        some = exec::min(count - done, full - exec::max(i % full, j % full));
        for (index r = rows.begin; r < rows.end; ++r) {
            T* const y = to.row(i / full, r) + i % full;
            if (from.data == nullptr) {
                if (!add) exec::elementwise({0, some}, Clear<T>{y});
                continue;
            }
            const T* const x = from.row(j / full, r) + j % full;
            if (add)
                exec::elementwise({0, some}, AddTo<T>{y, x});
            else
                exec::elementwise({0, some}, Copy<T>{y, x});
        }
    }
}

}  // namespace fnn::FNN_ISA::net
