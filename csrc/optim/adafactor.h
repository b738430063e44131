// Adafactor: Shazeer and Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost", as
// torch computes it.
#pragma once

#include <cmath>
#include <limits>

#include "optim/whole.h"
#include "rules/adafactor.h"

namespace fnn::FNN_ISA::optim {

// A tensor of two axes or more as its last two see it: matrices, one after another, with what is known of
// their rows and columns. Fortran order is turned into C order: a matrix by taking rows for columns, which
// the rule does not mind; more axes are read as if they were strided.
template <class T>
class Matrices {
   public:
    explicit Matrices(const Segment<T>& s) : tensor(s) {
        const int last = s.dims - 1;
        const bool swapped = s.fortran && s.dims == 2, reversed = s.fortran && s.dims > 2;
        row_state = s.states[swapped ? 1 : 0];
        column_state = s.states[swapped ? 0 : 1];
        if (reversed) count_in_c_order(s);
        rows = tensor.shape[last - 1];
        columns = tensor.shape[last];
        count = rows * columns == 0 ? 0 : s.length / (rows * columns);
    }
    Matrices(const Matrices&) = delete;
    Matrices& operator=(const Matrices&) = delete;

    Segment<T> tensor;
    index count, rows, columns;
    T *row_state, *column_state;  // (count, rows), (count, columns)

   private:
    void count_in_c_order(const Segment<T>& s) {
        index stride = sizeof(T);
        for (int d = 0; d < s.dims; ++d) shape_[d] = s.shape[s.dims - 1 - d];
        for (int d = 0; d < s.dims; ++d) {  // the first axis is the fastest
            const int other = s.dims - 1 - d;
            parameter_strides_[d] = stride;
            gradient_strides_[d] = s.gradient_places.dims != 0 ? s.gradient_places.strides[other] : stride;
            stride *= shape_[d];
        }
        tensor.fortran = false;
        tensor.shape = shape_;
        tensor.parameter_places = {s.dims, shape_, parameter_strides_};
        tensor.gradient_places = {s.dims, shape_, gradient_strides_};
    }

    index shape_[max_dims], parameter_strides_[max_dims], gradient_strides_[max_dims];
};

template <class T>
class Adafactor {
   public:
    static std::size_t scratch(const GroupStep<T>& now, int threads) {
        index n = threads * widest(now);
        for (index i = 0; i < now.count; ++i) n += memory(now.tensors[i]);
        return std::size_t(n) * sizeof(double);
    }

    Adafactor(const GroupStep<T>& now, void* scratch, int threads)
        : now_(now),
          widest_(widest(now)),
          columns_(static_cast<double*>(scratch)),
          sums_(columns_ + threads * widest_) {
        const UpdateSpec& u = now.update;
        const double eps = u.eps1 < 0 ? double(std::numeric_limits<T>::epsilon()) : u.eps1;
        const double t = double(now.step + 1);
        rule_ = {T(std::pow(t, u.beta2_decay)), T(eps), T(eps * eps), T(u.lr * u.weight_decay)};
        relative_step_ = u.lr < 1 / std::sqrt(t) ? u.lr : 1 / std::sqrt(t);
    }

    // A tensor of one piece is done by one thread at once; the others wait for each other as seldom as they
    // can: all tensors walk through the phases together.
    void step(Exec& exec) const {
        each_piece(exec, [&](const Segment<T>& s, Parts parts, index piece) {
            if (s.dims < 2)
                begin_vector(s, parts, piece);
            else if (has_large_matrices(s))
                begin_block(s, parts, piece);
            else
                begin_matrices(exec, s, parts, piece);
            if (parts.pieces == 1) finish(s, parts, piece);
        });
        bool whole = true, large = false;
        for (index i = 0; i < now_.count; ++i) {
            whole = whole && pieces(now_.tensors[i]) <= 1;
            large = large || has_large_matrices(now_.tensors[i]);
        }
        if (whole) return;
        exec.barrier();
        if (large) {
            each_piece(exec, [&](const Segment<T>& s, Parts parts, index piece) {
                if (has_large_matrices(s)) average_block(s, parts, piece);
            });
            exec.barrier();
            each_piece(exec, [&](const Segment<T>& s, Parts parts, index piece) {
                if (has_large_matrices(s)) measure_block(s, parts, piece);
            });
            exec.barrier();
        }
        each_piece(exec, [&](const Segment<T>& s, Parts parts, index piece) {
            if (parts.pieces > 1) finish(s, parts, piece);
        });
    }

   private:
    // ---- how tensors are cut ------------------------------------------------------------------------------
    // A vector in stretches; small matrices so many at a time; large ones in blocks of rows and columns.

    static bool has_large_matrices(const Segment<T>& s) {
        if (s.dims < 2 || s.length <= piece_length) return false;
        const Matrices<T> m(s);
        return m.rows * m.columns > piece_length;
    }

    struct Block {
        index matrix;
        Range rows, columns;
    };
    // The blocks of a large matrix.
    struct Grid {
        explicit Grid(const Matrices<T>& m) : m(m) {
            width = exec::min(m.columns, tile_length);
            height = piece_length / width;
            across = exec::divide_up(m.columns, width);
            down = exec::divide_up(m.rows, height);
        }
        index size() const { return m.count * down * across; }
        index row_of(index piece) const { return piece / across % down; }  // of blocks
        index column_of(index piece) const { return piece % across; }
        Block operator[](index piece) const {
            const index r = row_of(piece) * height, c = column_of(piece) * width;
            return {piece / (down * across),
                    {r, exec::min(r + height, m.rows)},
                    {c, exec::min(c + width, m.columns)}};
        }

        const Matrices<T>& m;
        index width, height, across, down;
    };

    // The most columns of matrices that one thread computes whole.
    static index widest(const GroupStep<T>& now) {
        index most = 0;
        for (index i = 0; i < now.count; ++i) {
            const Segment<T>& s = now.tensors[i];
            if (s.dims < 2 || s.length == 0 || has_large_matrices(s)) continue;
            const index columns = Matrices<T>(s).columns;
            most = columns > most ? columns : most;
        }
        return most;
    }

    static index matrices_of_piece(const Matrices<T>& m) { return piece_length / (m.rows * m.columns); }

    static index pieces(const Segment<T>& s) {
        if (s.dims < 2 || s.length <= piece_length) return exec::divide_up(s.length, piece_length);
        const Matrices<T> m(s);
        return has_large_matrices(s) ? Grid(m).size() : exec::divide_up(m.count, matrices_of_piece(m));
    }

    // The sums of a tensor's pieces, in the scratch memory; those behind the first two of large matrices
    // only.
    struct Parts {
        index pieces;
        double *parameters, *directions;  // (pieces,), squares of p and of u
        double *rows, *columns;           // (count, across, rows), (count, down, columns), squares of g
        double* row_states;               // (count, down), the states themselves
    };
    static Parts parts_of(const Segment<T>& s, index pieces, double* memory) {
        Parts parts{pieces, memory, memory + pieces, memory + 2 * pieces, nullptr, nullptr};
        if (!has_large_matrices(s)) return parts;
        const Matrices<T> m(s);
        const Grid grid(m);
        parts.columns = parts.rows + m.count * grid.across * m.rows;
        parts.row_states = parts.columns + m.count * grid.down * m.columns;
        return parts;
    }
    static index memory(const Segment<T>& s) {
        if (!has_large_matrices(s)) return 2 * pieces(s);
        const Matrices<T> m(s);
        const Grid grid(m);
        return 2 * grid.size() + m.count * (grid.across * m.rows + grid.down * (m.columns + 1));
    }

    template <class F>
    void each_piece(const Exec& exec, const F& f) const {
        for_own_pieces(exec, now_, pieces, memory, [&](const Segment<T>& s, index piece, index n, index at) {
            f(s, parts_of(s, n, sums_ + at), piece);
        });
    }

    // f(tile, where in it the stretch begins, row, its columns) for each row of a block; a tile holds many
    // rows if they are short.
    template <class F, class After>
    void for_rows(const Matrices<T>& m, const Block& block, const F& f, const After& after) const {
        const bool full = block.columns.size() == m.columns && m.columns <= tile_length;
        const index at_once = full ? tile_length / m.columns : 1;
        for (index r = block.rows.begin; r < block.rows.end; r += at_once) {
            const index end = exec::min(r + at_once, block.rows.end);
            for (index c = block.columns.begin; c < block.columns.end; c += tile_length) {
                const Range columns{c, exec::min(c + tile_length, block.columns.end)};
                const index first = (block.matrix * m.rows + r) * m.columns;
                Tile<T> tile(m.tensor, {first + c, first + (end - 1 - r) * m.columns + columns.end},
                             now_.gradient);
                for (index row = r; row < end; ++row) f(tile, (row - r) * m.columns, row, columns);
                after(tile);
            }
        }
    }

    // ---- first phase: the squares of gradients and parameters ---------------------------------------------

    // Adds squares to those of the columns; returns their sum, in 16 partial ones.
    static double add_squares(const T* g, index n, double* columns) {
        constexpr index w = 16;
        double sums[w] = {};
        index i = 0;
        for (; i + w <= n; i += w)
            for (index j = 0; j < w; ++j) {
                const double square = double(g[i + j]) * double(g[i + j]);
                columns[i + j] += square;
                sums[j] += square;
            }
        for (index j = 0; i + j < n; ++j) {
            const double square = double(g[i + j]) * double(g[i + j]);
            columns[i + j] += square;
            sums[j] += square;
        }
        return add_up(sums, n < w ? n : w);
    }

    struct Vector {
        rules::Adafactor<T> rule;
        const T* g;
        T *v, *u;
        void operator()(index i) const {
            T a = v[i];  // see Apply in update.h
            rule.average(g[i] * g[i], a);
            u[i] = rule.direction(g[i], a);
            v[i] = a;
        }
    };

    void begin_vector(const Segment<T>& s, const Parts& parts, index piece) const {
        SumOfSquares of_parameters{1}, of_directions{1};
        for_tiles(s, numbers_of_piece(s, piece), now_.gradient, [&](Tile<T>& tile, index at) {
            alignas(64) T u[tile_length];
            exec::elementwise({0, tile.size()}, Vector{rule_, tile.gradient(), s.states[0] + at, u});
            of_parameters.add(tile.parameters(), tile.size());
            of_directions.add(u, tile.size());
        });
        parts.parameters[piece] = of_parameters.result();
        parts.directions[piece] = of_directions.result();
    }

    // Some whole matrices; each is read again at once for its directions.
    void begin_matrices(const Exec& exec, const Segment<T>& s, const Parts& parts, index piece) const {
        const Matrices<T> m(s);
        double* const columns = columns_ + exec.rank * widest_;
        double of_parameters = 0, of_directions = 0;
        for_matrices(m, piece, [&](index matrix) {
            const Block all{matrix, {0, m.rows}, {0, m.columns}};
            double row = 0;
            for (index c = 0; c < m.columns; ++c) columns[c] = 0;
            for_rows(
                m, all,
                [&](Tile<T>& tile, index at, index r, Range c) {
                    if (c.begin == 0) row = 0;
                    row += add_squares(tile.gradient() + at, c.size(), columns + c.begin);
                    if (c.end == m.columns)
                        rule_.average(T(row / double(m.columns)), m.row_state[matrix * m.rows + r]);
                },
                [&](Tile<T>& tile) {
                    SumOfSquares squares{1};
                    squares.add(tile.parameters(), tile.size());
                    of_parameters += squares.result();
                });
            for (index c = 0; c < m.columns; ++c)
                rule_.average(T(columns[c] / double(m.rows)), m.column_state[matrix * m.columns + c]);
            of_directions += measure(m, all, mean_of_rows(m, matrix));
        });
        parts.parameters[piece] = of_parameters;
        parts.directions[piece] = of_directions;
    }

    void begin_block(const Segment<T>& s, const Parts& parts, index piece) const {
        const Matrices<T> m(s);
        const Grid grid(m);
        const Block block = grid[piece];
        double* const rows = parts.rows + (block.matrix * grid.across + grid.column_of(piece)) * m.rows;
        double* const columns = parts.columns + (block.matrix * grid.down + grid.row_of(piece)) * m.columns;
        double of_parameters = 0;
        for (index c = block.columns.begin; c < block.columns.end; ++c) columns[c] = 0;
        for_rows(
            m, block,
            [&](Tile<T>& tile, index at, index r, Range c) {
                rows[r] = add_squares(tile.gradient() + at, c.size(), columns + c.begin);
            },
            [&](Tile<T>& tile) {
                SumOfSquares squares{1};
                squares.add(tile.parameters(), tile.size());
                of_parameters += squares.result();
            });
        parts.parameters[piece] = of_parameters;
    }

    // ---- large matrices: the running averages, then the squares of the directions
    // --------------------------

    // A block in the first column of blocks takes the averages of its rows, one in the first row those of its
    // columns.
    void average_block(const Segment<T>& s, const Parts& parts, index piece) const {
        const Matrices<T> m(s);
        const Grid grid(m);
        const Block block = grid[piece];
        if (block.columns.begin == 0) {
            const double* const rows = parts.rows + block.matrix * grid.across * m.rows;
            double states = 0;
            for (index r = block.rows.begin; r < block.rows.end; ++r) {
                double sum = 0;
                for (index k = 0; k < grid.across; ++k) sum += rows[k * m.rows + r];
                T& state = m.row_state[block.matrix * m.rows + r];
                rule_.average(T(sum / double(m.columns)), state);
                states += double(state);
            }
            parts.row_states[block.matrix * grid.down + grid.row_of(piece)] = states;
        }
        if (block.rows.begin == 0) {
            const double* const columns = parts.columns + block.matrix * grid.down * m.columns;
            for (index c = block.columns.begin; c < block.columns.end; ++c) {
                double sum = 0;
                for (index k = 0; k < grid.down; ++k) sum += columns[k * m.columns + c];
                rule_.average(T(sum / double(m.rows)), m.column_state[block.matrix * m.columns + c]);
            }
        }
    }

    void measure_block(const Segment<T>& s, const Parts& parts, index piece) const {
        const Matrices<T> m(s);
        const Grid grid(m);
        const Block block = grid[piece];
        parts.directions[piece] = measure(m, block, mean_of_rows(m, grid, parts, block.matrix));
    }

    struct Direction {
        rules::Adafactor<T> rule;
        const T *g, *column;
        T row, *u;
        void operator()(index i) const { u[i] = rule.direction(g[i], row * column[i]); }
    };

    // The squares of a block's directions.
    double measure(const Matrices<T>& m, const Block& block, T mean) const {
        double sum = 0;
        alignas(64) T u[tile_length];
        for_rows(
            m, block,
            [&](Tile<T>& tile, index at, index r, Range c) {
                const T row = rule_.row_factor(m.row_state[block.matrix * m.rows + r], mean);
                exec::elementwise(
                    {0, c.size()},
                    Direction{rule_, tile.gradient() + at,
                              m.column_state + block.matrix * m.columns + c.begin, row, u + at});
            },
            [&](Tile<T>& tile) {
                SumOfSquares squares{1};
                squares.add(u, tile.size());
                sum += squares.result();
            });
        return sum;
    }

    T mean_of_rows(const Matrices<T>& m, index matrix) const {
        double sum = 0;
        for (index r = 0; r < m.rows; ++r) sum += double(m.row_state[matrix * m.rows + r]);
        return T(sum / double(m.rows));
    }
    T mean_of_rows(const Matrices<T>& m, const Grid& grid, const Parts& parts, index matrix) const {
        return T(add_up(parts.row_states + matrix * grid.down, grid.down) / double(m.rows));
    }

    template <class F>
    void for_matrices(const Matrices<T>& m, index piece, const F& f) const {
        const index n = matrices_of_piece(m), end = exec::min((piece + 1) * n, m.count);
        for (index matrix = piece * n; matrix < end; ++matrix) f(matrix);
    }

    // ---- last phase: the parameters -----------------------------------------------------------------------

    struct MoveVector {
        rules::Adafactor<T> rule;
        T* p;
        const T *g, *v;
        void operator()(index i) const {
            T a = p[i];
            rule.move(a, rule.direction(g[i], v[i]));
            p[i] = a;
        }
    };

    struct Move {
        rules::Adafactor<T> rule;
        T row;
        T* p;
        const T *g, *column;
        void operator()(index i) const {
            T a = p[i];
            rule.move(a, rule.direction(g[i], row * column[i]));
            p[i] = a;
        }
    };

    void finish(const Segment<T>& s, const Parts& parts, index piece) const {
        const UpdateSpec& u = now_.update;
        const double n = double(s.length);
        const double size = std::sqrt(add_up(parts.parameters, parts.pieces) / n);
        const double excess = std::sqrt(add_up(parts.directions, parts.pieces) / n) / u.d;
        const double alpha = (size < u.eps2 ? u.eps2 : size) * relative_step_;  // NaN stays
        rules::Adafactor<T> rule = rule_;
        rule.step_size = T(alpha / (excess < 1 ? 1 : excess));
        if (s.dims < 2) {
            for_tiles(s, numbers_of_piece(s, piece), now_.gradient, [&](Tile<T>& tile, index at) {
                exec::elementwise({0, tile.size()},
                                  MoveVector{rule, tile.parameters(), tile.gradient(), s.states[0] + at});
                tile.write();
            });
            return;
        }
        const Matrices<T> m(s);
        const auto move = [&](const Block& block, T mean) {
            for_rows(
                m, block,
                [&](Tile<T>& tile, index at, index r, Range c) {
                    const T row = rule.row_factor(m.row_state[block.matrix * m.rows + r], mean);
                    exec::elementwise({0, c.size()},
                                      Move{rule, row, tile.parameters() + at, tile.gradient() + at,
                                           m.column_state + block.matrix * m.columns + c.begin});
                },
                [](Tile<T>& tile) { tile.write(); });
        };
        if (has_large_matrices(s)) {
            const Grid grid(m);
            move(grid[piece], mean_of_rows(m, grid, parts, grid[piece].matrix));
        } else {
            for_matrices(m, piece, [&](index matrix) {
                move({matrix, {0, m.rows}, {0, m.columns}}, mean_of_rows(m, matrix));
            });
        }
    }

    const GroupStep<T>& now_;
    const index widest_;
    double* const columns_;  // (threads, widest), sums of one thread's
    double* const sums_;     // of all tensors, see Parts
    rules::Adafactor<T> rule_;
    double relative_step_;
};

}  // namespace fnn::FNN_ISA::optim
