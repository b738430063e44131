#include "cuda/examples.h"

#include <cstring>
#include <vector>

#include "cuda/kernels/elementwise.h"
#include "net/gather.h"

namespace fnn::FNN_ISA::device {

// Number i of rows that are stored as numbers of type S.
template <class T, class S>
struct Convert {
    T* to;
    const S* from;
    ColumnMapOnDevice map;
    index columns;
    FNN_HD void operator()(index i) const {
        const index j = i % columns;
        to[i] = map.scale == nullptr ? T(from[i])
                                     : T((double(from[i]) - map.center[j]) * map.scale[j] + map.shift[j]);
    }
};

namespace {

// f(S{}) with the type of stored numbers; not of float16, which the host converts.
template <class F>
void with_stored(DType dtype, const F& f) {
    switch (dtype) {
        case DType::float32:
            return f(float{});
        case DType::float64:
            return f(double{});
        case DType::int8:
            return f(std::int8_t{});
        case DType::int16:
            return f(std::int16_t{});
        case DType::int32:
            return f(std::int32_t{});
        case DType::int64:
            return f(std::int64_t{});
        case DType::uint8:
            return f(std::uint8_t{});
        case DType::uint16:
            return f(std::uint16_t{});
        case DType::uint32:
            return f(std::uint32_t{});
        case DType::uint64:
            return f(std::uint64_t{});
        case DType::float16:
            return;
    }
}

index bytes_of(DType dtype) {
    index bytes = 0;
    with_stored(dtype, [&](auto number) { bytes = index(sizeof(number)); });
    return bytes;
}

// From the columns of X to what the first layer reads; of affine layers, too, which a CPU composes to one
// map.
std::vector<InputWay> ways_of(const Plan& plan) {
    if (plan.input_layers.empty() || !plan.input_ways.empty()) return plan.input_ways;
    std::vector<InputWay> ways;
    for (index j = 0; j < plan.in_features(); ++j) {
        InputWay way;
        way.column = way.first = j;
        for (int layer = 0; layer < int(plan.input_layers.size()); ++layer)
            way.steps.push_back({layer, j, 0});
        ways.push_back(way);
    }
    return ways;
}

}  // namespace

template <class T>
bool lies_ready(const Plan& plan, const Source& x) {
    constexpr DType same = sizeof(T) == sizeof(float) ? DType::float32 : DType::float64;
    return plan.input_layers.empty() && x.starts == nullptr && x.mapping == nullptr && x.dtype == same &&
           !x.swapped && x.col_stride == index(sizeof(T)) &&
           x.row_stride == plan.in_features() * index(sizeof(T)) &&
           reinterpret_cast<std::uintptr_t>(x.data) % sizeof(T) == 0;
}

bool can_be_raw(const Plan& plan, const Source& x) {
    const index each = bytes_of(x.dtype);
    return plan.input_ways.empty() && x.starts == nullptr && x.mapping == nullptr && !x.swapped && each > 0 &&
           x.col_stride == each;
}

index raw_bytes(const Plan& plan, const Source& x) { return plan.in_features() * bytes_of(x.dtype); }

const char* raw_rows(char* staged, const Plan& plan, const Source& x, const std::int64_t* order, index first,
                     index count) {
    const index bytes = raw_bytes(plan, x);
    if (order == nullptr && x.row_stride == bytes) return x.data + first * bytes;
    for (index r = 0; r < count; ++r) {
        const index example = order != nullptr ? order[first + r] : first + r;
        std::memcpy(staged + r * bytes, x.data + example * x.row_stride, std::size_t(bytes));
    }
    return staged;
}

ColumnMapOnDevice column_map(Memory& memory, const Context& call) {
    const index columns = call.plan.in_features();
    if (call.plan.input_layers.empty()) return {};
    std::vector<double> numbers(std::size_t(3 * columns));
    exec::ColumnMap map;
    map.center = numbers.data(), map.scale = map.center + columns, map.shift = map.scale + columns;
    net::compose_input_layers(call.plan, call.state, map, {0, columns});
    const double* const there = memory.copy_of(numbers.data(), 3 * columns);
    return {there, there + columns, there + 2 * columns};
}

template <class T>
void convert_rows(Stream& stream, T* to, const char* raw, DType dtype, const ColumnMapOnDevice& map,
                  index count, index columns) {
    with_stored(dtype, [&](auto number) {
        using S = decltype(number);
        elementwise(stream, count * columns,
                    Convert<T, S>{to, reinterpret_cast<const S*>(raw), map, columns});
    });
}

template <class T>
void read_rows(T* to, const Context& call, const Source& x, const std::int64_t* order, index first,
               index count) {
    const Plan& plan = call.plan;
    const index columns = plan.values.front().features();
    if (plan.input_layers.empty() && x.starts == nullptr) {
        net::Reading reading(x, columns);
        const exec::Reader<T> read = net::reader_of<T>(x);
        for (index r = 0; r < count; ++r) {
            const index example = order != nullptr ? order[first + r] : first + r;
            read(to + r * columns, x.data + example * x.row_stride, x.col_stride, columns);
            reading.row(example);
        }
        return;
    }
    const std::vector<InputWay> ways = ways_of(plan);
    net::for_input_blocks(plan, x, order, first, {0, count}, [&](exec::Range some, net::ColumnReader& read) {
        T* const rows = to + some.begin * columns;
        std::memset(rows, 0, std::size_t(some.size() * columns) * sizeof(T));
        const auto put = [&](index i, index column, double number) {
            rows[i * columns + column] = T(number);
        };
        if (!ways.empty()) return net::encode(plan, ways, call.state, some.size(), read, put);
        std::vector<double> row(static_cast<std::size_t>(columns));  // of a sparse matrix
        for (index i = 0; i < some.size(); ++i) {
            read(i, 0, columns, row.data());
            for (index j = 0; j < columns; ++j) put(i, j, row[std::size_t(j)]);
        }
    });
}

template <class T>
void input_gradient(const Context& call, const Source& x, const T* d, T* dx) {
    const Plan& plan = call.plan;
    const index in = plan.in_features(), width = plan.values.front().features();
    const std::vector<InputWay> ways = ways_of(plan);
    if (ways.empty()) {
        std::memcpy(dx, d, std::size_t(x.rows * in) * sizeof(T));
        return;
    }
    std::memset(dx, 0, std::size_t(x.rows * in) * sizeof(T));
    const auto take_back = [&](exec::Range some, auto& read) {
        const T* const from = d + some.begin * width;
        T* const to = dx + some.begin * in;
        net::encode_back(
            plan, ways, call.state, some.size(), read,
            [&](index i, index column) { return double(from[i * width + column]); },
            [&](index i, index column, double number) { to[i * in + column] += T(number); });
    };
    if (x.data != nullptr) return net::for_input_blocks(plan, x, nullptr, 0, {0, x.rows}, take_back);
    const auto nothing = [](index, index, index count, double* to) { std::fill(to, to + count, 0.0); };
    exec::for_pieces({0, x.rows}, net::InputBlock::rows, [&](exec::Range some) { take_back(some, nothing); });
}

template void read_rows(float*, const Context&, const Source&, const std::int64_t*, index, index);
template void read_rows(double*, const Context&, const Source&, const std::int64_t*, index, index);
template void input_gradient(const Context&, const Source&, const float*, float*);
template void input_gradient(const Context&, const Source&, const double*, double*);
template bool lies_ready<float>(const Plan&, const Source&);
template bool lies_ready<double>(const Plan&, const Source&);
template void convert_rows(Stream&, float*, const char*, DType, const ColumnMapOnDevice&, index, index);
template void convert_rows(Stream&, double*, const char*, DType, const ColumnMapOnDevice&, index, index);

}  // namespace fnn::FNN_ISA::device
