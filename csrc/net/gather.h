// Rows of the user's array into the first buffer of a workspace, converted as they are read; and rows back
// out.
#pragma once

#include "exec/convert.h"
#include "net/call.h"
#include "net/inputs.h"

namespace fnn::FNN_ISA::net {

// How the numbers of a source are read as T.
template <class T>
inline exec::Reader<T> reader_of(const Source& x) {
    using exec::read_numbers;
    using exec::Stored;
    const auto in_either_order = [&](auto zero) -> exec::Reader<T> {
        using S = decltype(zero);
        if (x.swapped) return read_numbers<Stored<S, true>, T>;
        return read_numbers<Stored<S>, T>;
    };
    switch (x.dtype) {
        case DType::float16:
            return in_either_order(exec::Half{});
        case DType::float32:
            return in_either_order(float{});
        case DType::float64:
            return in_either_order(double{});
        case DType::int8:
            return read_numbers<Stored<std::int8_t>, T>;
        case DType::int16:
            return in_either_order(std::int16_t{});
        case DType::int32:
            return in_either_order(std::int32_t{});
        case DType::int64:
            return in_either_order(std::int64_t{});
        case DType::uint8:
            return read_numbers<Stored<std::uint8_t>, T>;
        case DType::uint16:
            return in_either_order(std::uint16_t{});
        case DType::uint32:
            return in_either_order(std::uint32_t{});
        case DType::uint64:
            return in_either_order(std::uint64_t{});
    }
    return nullptr;
}

// Where the numbers of an example of a sparse matrix lie.
template <class Integer>
struct SparseRow {
    index begin, end;

    SparseRow(const Source& from, index example) {
        const Integer* starts = static_cast<const Integer*>(from.starts) + example;
        begin = starts[0], end = starts[1];
        if (begin < 0 || begin > end || end > from.stored)
            throw std::invalid_argument("X: expected places from 0 to " + std::to_string(from.stored) +
                                        " in the indptr of a sparse matrix, got " + std::to_string(begin) +
                                        " to " + std::to_string(end) + " in row " + std::to_string(example));
    }
};

// Row r of `to` = an example of a sparse matrix.
template <class Integer, class T>
inline void gather_sparse(exec::Panels<T> to, index r, const Source& from, index example,
                          exec::ColumnMap map) {
    const SparseRow<Integer> row(from, example);
    const index begin = row.begin, end = row.end;
    const char* numbers = from.data + begin * from.col_stride;
    const Integer* columns = static_cast<const Integer*>(from.columns) + begin;
    if (map)
        exec::sparse_row_to_panels(to, r, numbers, from.col_stride, reader_of<double>(from), columns,
                                   end - begin, [&](double x, index column) { return T(map(x, column)); });
    else
        exec::sparse_row_to_panels(to, r, numbers, from.col_stride, reader_of<T>(from), columns, end - begin,
                                   [](T x, index) { return x; });
}

// Counts what is read of an array in a file, row by row.
class Reading {
   public:
    Reading(const Source& from, index columns) : mapping_(from.mapping) {
        if (mapping_ == nullptr) return;
        const auto width = [&](index stride) { return std::size_t(stride < 0 ? -stride : stride); };
        constexpr std::size_t around = Mapping::around;
        next_ = std::size_t(columns) * exec::min(width(from.col_stride), width(from.row_stride));
        jump_ = width(from.col_stride) > around ? std::size_t(columns) * around : next_ + around;
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() {
        if (mapping_ != nullptr) mapping_->read(bytes_);
    }

    void row(index example) {
        if (mapping_ == nullptr) return;
        bytes_ += example == last_ + 1 ? next_ : jump_;
        last_ = example;
        if (bytes_ < few) return;
        mapping_->read(bytes_);
        bytes_ = 0;
    }

   private:
    static constexpr std::size_t few = std::size_t{1} << 20;
    Mapping* mapping_;
    std::size_t next_ = 0, jump_ = 0;  // bytes of a row after the one before it, and of any other
    std::size_t bytes_ = 0;
    index last_ = -2;
};

// Numbers of some examples, a few columns after the other.
class ColumnReader {
   public:
    ColumnReader(const Source& from, index columns)
        : from_(from), columns_(columns), read_(reader_of<double>(from)) {}

    // The examples that are read from now on. Places in a sparse matrix are checked here.
    void begin(index rows, const index* examples) {
        for (index i = 0; i < rows; ++i) {
            examples_[i] = examples[i];
            if (from_.starts == nullptr) continue;
            if (from_.wide)
                begin_sparse<std::int64_t>(i);
            else
                begin_sparse<std::int32_t>(i);
        }
    }

    // `count` columns of example i, from the first on; these rise from call to call.
    void operator()(index i, index first, index count, double* out) {
        if (from_.starts == nullptr)
            read_(out, from_.data + examples_[i] * from_.row_stride + first * from_.col_stride,
                  from_.col_stride, count);
        else if (from_.wide)
            read_sparse<std::int64_t>(i, first, count, out);
        else
            read_sparse<std::int32_t>(i, first, count, out);
    }

   private:
    template <class Integer>
    void begin_sparse(index i) {
        const SparseRow<Integer> row(from_, examples_[i]);
        next_[i] = row.begin, end_[i] = row.end;
        const Integer* columns = static_cast<const Integer*>(from_.columns);
        for (index k = row.begin, before = -1; k < row.end; ++k) {
            const index column = columns[k];
            if (column <= before || column >= columns_)
                throw std::invalid_argument(
                    "X: expected indices of a sparse matrix that rise and are below " +
                    std::to_string(columns_) + ", got " + std::to_string(column));
            before = column;
        }
    }
    template <class Integer>
    void read_sparse(index i, index first, index count, double* out) {
        const Integer* columns = static_cast<const Integer*>(from_.columns);
        for (index j = 0; j < count; ++j) out[j] = 0;
        for (; next_[i] < end_[i] && columns[next_[i]] < first + count; ++next_[i]) {
            const index j = columns[next_[i]] - first;
            if (j >= 0 && j < count)
                read_(out + j, from_.data + next_[i] * from_.col_stride, from_.col_stride, 1);
        }
    }

    const Source& from_;
    index columns_;
    exec::Reader<double> read_;
    index examples_[InputBlock::rows], next_[InputBlock::rows], end_[InputBlock::rows];
};

// f(block of the rows, reader of their columns of X), in double precision.
template <class F>
inline void for_input_blocks(const Plan& plan, const Source& from, const std::int64_t* order, index first,
                             exec::Range rows, const F& f) {
    Reading reading(from, plan.in_features());
    ColumnReader read(from, plan.in_features());
    exec::for_pieces(rows, InputBlock::rows, [&](exec::Range some) {
        index examples[InputBlock::rows];
        for (index i = 0; i < some.size(); ++i) {
            const index r = first + some.begin + i;
            examples[i] = order ? order[r] : r;
            reading.row(examples[i]);
        }
        read.begin(some.size(), examples);
        f(some, read);
    });
}

// Row r of `to` = row order[first + r] of `from`, or row first + r; mapped, if there is a map.
template <class T>
void gather(exec::Panels<T> to, const Source& from, const std::int64_t* order, index first, exec::Range rows,
            const InputMap& inputs = {}) {
    if (inputs.plan != nullptr) {
        constexpr index full = exec::Panels<T>::full;
        const Plan& plan = *inputs.plan;
        return for_input_blocks(plan, from, order, first, rows, [&](exec::Range some, ColumnReader& read) {
            for (index p = 0; p < to.count(); ++p)
                std::memset(to.row(p, some.begin), 0, std::size_t(some.size() * to.width(p)) * sizeof(T));
            encode(plan, plan.input_ways, inputs.state, some.size(), read,
                   [&](index i, index column, double x) {
                       to.row(column / full, some.begin + i)[column % full] = T(x);
                   });
        });
    }
    const exec::ColumnMap& map = inputs.columns;
    constexpr DType same = sizeof(T) == sizeof(float) ? DType::float32 : DType::float64;
    Reading reading(from, to.cols);
    const auto for_rows = [&](const auto& put) {
        for (index r = rows.begin; r < rows.end; ++r) {
            const index example = order ? order[first + r] : first + r;
            put(r, example);
            reading.row(example);
        }
    };
    const auto row = [&](index example) { return from.data + example * from.row_stride; };
    if (from.starts != nullptr && from.wide)
        for_rows([&](index r, index example) { gather_sparse<std::int64_t>(to, r, from, example, map); });
    else if (from.starts != nullptr)
        for_rows([&](index r, index example) { gather_sparse<std::int32_t>(to, r, from, example, map); });
    else if (map)
        for_rows([&, read = reader_of<double>(from)](index r, index example) {
            exec::row_to_panels(to, r, row(example), from.col_stride, read, map);
        });
    else if (from.dtype == same && !from.swapped)
        for_rows([&](index r, index example) { exec::row_to_panels(to, r, row(example), from.col_stride); });
    else
        for_rows([&, read = reader_of<T>(from)](index r, index example) {
            exec::row_to_panels(to, r, row(example), from.col_stride, read);
        });
}

extern template decltype(gather<float>) gather<float>;
extern template decltype(gather<double>) gather<double>;

}  // namespace fnn::FNN_ISA::net
