// Rows between the user's row-major arrays and panels.
#pragma once

#include <cstring>

#include "exec/panels.h"
#include "exec/range.h"

namespace fnn::FNN_ISA::exec {

// One number of type S at any address.
template <class S>
inline S read(const char* p) {
    S x;
    std::memcpy(&x, p, sizeof(S));
    return x;
}

// Row r of `to` = to.cols numbers of type S from `from` on, `stride` bytes apart; the padding becomes zero.
template <class S, class T>
inline void row_to_panels(Panels<T> to, index r, const char* from, index stride) {
    for (index p = 0; p < to.count(); ++p) {
        T* out = to.row(p, r);
        const index used = to.used(p), width = to.width(p);
        if (stride == index(sizeof(S))) {
            if (used == Panels<T>::full)  // a constant length, which is most of the work
                for (index j = 0; j < Panels<T>::full; ++j) out[j] = T(read<S>(from + j * index(sizeof(S))));
            else
                for (index j = 0; j < used; ++j) out[j] = T(read<S>(from + j * index(sizeof(S))));
        } else {
            for (index j = 0; j < used; ++j) out[j] = T(read<S>(from + j * stride));
        }
        for (index j = used; j < width; ++j) out[j] = 0;
        from += used * stride;
    }
}

// to.cols numbers from `to` on = row r of `from`.
template <class T>
inline void row_from_panels(T* to, Panels<const T> from, index r) {
    for (index p = 0; p < from.count(); ++p) {
        const index used = from.used(p);
        std::memcpy(to, from.row(p, r), std::size_t(used) * sizeof(T));
        to += used;
    }
}

// Zeros in the padding of the given rows.
template <class T>
inline void clear_padding(Panels<T> x, Range rows) {
    if (x.count() == 0) return;
    const index p = x.count() - 1;
    for (index r = rows.begin; r < rows.end; ++r)
        for (index j = x.used(p); j < x.width(p); ++j) x.row(p, r)[j] = 0;
}

}  // namespace fnn::FNN_ISA::exec
