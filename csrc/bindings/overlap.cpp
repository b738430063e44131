#include "bindings/overlap.h"

#include <algorithm>
#include <cstdlib>

#include "bindings/message.h"

namespace fnn::bindings {

Span span_of(const py::array& x) {
    const char* const data = static_cast<const char*>(x.data());
    if (x.size() == 0) return {data, data};
    Span span{data, data + x.itemsize()};
    for (index d = 0; d < x.ndim(); ++d) {
        const index length = (x.shape(d) - 1) * x.strides(d);
        (length < 0 ? span.begin : span.end) += length;
    }
    return span;
}

bool may_overlap(const py::array& a, const py::array& b) {
    const Span x = span_of(a), y = span_of(b);
    return x.begin < y.end && y.begin < x.end;
}

void check_own_places(const py::array& x, const std::string& name) {
    if (x.size() <= 1) return;
    std::vector<std::pair<index, index>> axes;  // stride, length
    for (index d = 0; d < x.ndim(); ++d)
        if (x.shape(d) > 1) axes.emplace_back(std::abs(x.strides(d)), x.shape(d));
    std::sort(axes.begin(), axes.end());
    index extent = x.itemsize();
    for (const auto& [stride, length] : axes) {
        if (stride < extent)
            throw py::value_error(
                expected(name, "a place for each element", "elements that overlap in memory"));
        extent = stride * (length - 1) + extent;
    }
}

void check_apart(std::vector<NamedArray> arrays) {
    std::sort(arrays.begin(), arrays.end(), [](const NamedArray& a, const NamedArray& b) {
        return span_of(a.second).begin < span_of(b.second).begin;
    });
    for (std::size_t i = 0; i < arrays.size(); ++i)
        for (std::size_t j = i + 1; j < arrays.size(); ++j) {
            const auto& [name, array] = arrays[i];
            const auto& [other_name, other] = arrays[j];
            if (span_of(other).begin >= span_of(array).end) break;
            if (may_overlap(array, other) &&
                py::cast<bool>(py::module_::import("numpy").attr("shares_memory")(array, other)))
                throw py::value_error(
                    expected(name + " and " + other_name, "memory of their own", "arrays that overlap"));
        }
}

}  // namespace fnn::bindings
