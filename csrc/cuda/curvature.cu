// Operators of curvature on a device: what net/curvature.h and net/traces.h do. The pass of the examples is
// not kept from call to call, as going forward again is cheap there; many directions go along with one pass.
#include <algorithm>

#include "cuda/call.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/rows.h"
#include "cuda/product.h"
#include "cuda/units.h"

namespace fnn::FNN_ISA::device {

template <class T>
struct AddSquare {
    T* to;
    const T* from;
    bool add;
    FNN_HD void operator()(index i) const { to[i] = add ? to[i] + from[i] * from[i] : from[i] * from[i]; }
};

// What a row adds to the trace of a matrix, |delta|^2 |a|^2; or to that of a vector of factor u, |u delta|^2.
template <class T>
struct TraceOfRows {
    const T *squares, *a, *u;  // squares of the deltas; null: no such factor
    index cols, in;
    double* to;
    __device__ void operator()(index row, const Warp& warp) const {
        const T* const own = squares + row * cols;
        T sum = 0, inputs = 0;
        warp.each(cols, [&](index j) {
            sum += (u != nullptr ? u[row * cols + j] * u[row * cols + j] : T(1)) * own[j];
        });
        sum = warp.sum(sum);
        if (a != nullptr) {
            warp.each(in, [&](index j) { inputs += a[row * in + j] * a[row * in + j]; });
            sum *= warp.sum(inputs);
        }
        if (warp.lane == 0) to[row] = double(sum);
    }
};

// Of some rows, a matrix's part of the gradient of each example: to (rows, n) from a column on; or that of a
// vector, whose factor is u, or ones.
template <class T>
struct ExampleGradient {
    T* to;
    index n, offset;
    const T *a, *u, *d;  // of the first row
    index in, cols;      // in: 1 of a vector
    FNN_HD void operator()(index i) const {
        const index r = i / (in * cols), k = i / cols % in, j = i % cols;
        T own = d[r * cols + j];
        if (a != nullptr) own = a[r * in + k] * own;
        if (u != nullptr) own = u[r * cols + j] * own;
        to[r * n + offset + i % (in * cols)] = own;
    }
};

// Column sums of squares times u^2.
template <class T>
struct SquareTerms {
    const T *squares, *u;
    T* to;
    bool add;
    FNN_HD void operator()(index i, T (&terms)[1]) const {
        terms[0] = u != nullptr ? u[i] * u[i] * squares[i] : squares[i];
    }
    FNN_HD void put(index j, const T (&sums)[1]) const { to[j] = add ? to[j] + sums[0] : sums[0]; }
};

namespace {

Needs needs_of(Curvature kind, bool parameters) {
    Needs needs;
    needs.parameters = parameters;
    needs.gradient = needs.tangent = true;
    needs.loss = kind != Curvature::jacobian;
    return needs;
}

// What an operator has on the device, if its budget allows: the examples and the parameters, but no pass.
template <class T>
struct Snapshot {
    Snapshot(const Context& call, const CurvatureOf<T>& of, const T* from)
        : set(call, of.x, of.y, of.order),
          memory(stream),
          parameters(memory.copy_of(from, call.plan.n_parameters)) {
        set.weigh(of.y.weights);
        stream.wait();
    }
    static const Snapshot* find(const Context& call) {
        return call.kept != nullptr ? static_cast<const Snapshot*>(call.kept->there.get()) : nullptr;
    }

    DataSet<T> set;
    Stream stream;
    Memory memory;
    T* const parameters;
};

// All chunks, or none.
template <class T>
index chunks_within(const Context& call, const CurvatureOf<T>& of, double bytes) {
    const double each = double(call.plan.values.front().features() + call.plan.out_features() + 1);
    const double all = (double(of.order.rows) * each + double(call.plan.n_parameters)) * sizeof(T);
    return all <= bytes ? exec::divide_up(of.order.rows, chunk_limit(call, of.order.rows)) : 0;
}
template <class T>
std::size_t shelf_bytes(const Context& call, const CurvatureOf<T>&, index) {
    return std::size_t(exec::max(call.plan.n_parameters, 1)) * sizeof(T);
}
template <class T>
void keep(const Context& call, const CurvatureOf<T>& of, const T* parameters) {
    need_known_layers(call.plan);
    std::copy_n(parameters, call.plan.n_parameters, static_cast<T*>(of.shelf));
    if (of.kept_chunks == 0) return;
    try {
        call.kept->there = std::make_shared<Snapshot<T>>(call, of, parameters);
    } catch (const std::bad_alloc&) {  // each product brings them along
    }
}

// A call on an operator, and the pass of its examples.
template <class T>
class Operator : public Call<T> {
   public:
    using Call<T>::stream, Call<T>::memory, Call<T>::plan, Call<T>::ws;

    Operator(const Context& context, const CurvatureOf<T>& of)
        : Operator(context, of, Snapshot<T>::find(context)) {}

    // f(workspace of a chunk that has gone forward, and back for a Hessian; its examples, the first of them)
    template <class F>
    void for_passes(const F& f) {
        this->for_chunks([&](Workspace<T>& chunk, index first, index) {
            this->load(chunk, of_.x, of_.order.examples, first);
            Walks<T>::forward(chunk);
            Examples<T> examples;
            examples.now = chunk.now;
            if (of_.kind != Curvature::jacobian) {
                examples = this->load(chunk, of_.y, of_.order.examples, first);
                Losses<T>::forward(chunk, of_.loss, examples, factor_);
            }
            if (of_.kind == Curvature::hessian) Walks<T>::backward(chunk);
            f(chunk, examples, first);
        });
    }

    // rd = H ra in the outputs, where H is that of the operator.
    void curve_outputs(Workspace<T>& chunk, const Examples<T>& examples) {
        if (of_.kind == Curvature::empirical_fisher)
            Losses<T>::outer(chunk, examples, factor_, Losses<T>::Of::matrix);
        else
            Losses<T>::tangent(chunk, of_.loss, examples, factor_);
    }

    T factor() const { return factor_; }

   private:
    Operator(const Context& context, const CurvatureOf<T>& of, const Snapshot<T>* there)
        : Call<T>(context, of.order.rows, needs_of(of.kind, there == nullptr),
                  static_cast<const T*>(of.shelf), there != nullptr ? &there->set : nullptr),
          of_(of) {
        if (there != nullptr) ws.parameters = there->parameters;
        if (of.kind != Curvature::jacobian)
            factor_ = net::mean_factor<T>(
                net::total_weight(net::batch_of(plan, of.y, of.order.examples, 0), of.order.rows));
    }

    const CurvatureOf<T>& of_;
    T factor_ = 1;
};

// f(first, how many) for k directions, as many at a time as memory is taken for.
constexpr index probes_at_once = 16;
template <class F>
void for_probes(index k, const F& f) {
    for (index first = 0; first < k; first += probes_at_once) f(first, exec::min(probes_at_once, k - first));
}

// out (k, n_parameters): along(workspace of a direction, its examples, the first of them, its number) leaves
// derivatives for the parameters; with those of the pass too for a Hessian. v (k, n_parameters), or null.
template <class T, class Along>
void to_parameters(const Context& context, const CurvatureOf<T>& of, const T* v, index k, T* out,
                   const Along& along) {
    Operator<T> call(context, of);
    const index n = call.plan.n_parameters, most = exec::min(k, probes_at_once);
    T* const gradients = call.memory.template take<T>(most * n);
    T* const directions = call.memory.template take<T>(v != nullptr ? most * n : 0);
    for_probes(k, [&](index first_probe, index probes) {
        for (index i = 0; i < probes && v != nullptr; ++i)
            call.load_direction(directions + i * n, v + (first_probe + i) * n);
        call.stream.clear(gradients, probes * n);
        call.for_passes([&](Workspace<T>& chunk, const Examples<T>& examples, index first) {
            for (index i = 0; i < probes; ++i) {
                Workspace<T> now = chunk;
                now.gradient = gradients + i * n;
                if (v != nullptr) now.direction = directions + i * n;
                along(call, now, examples, first, first_probe + i);
                if (of.kind == Curvature::hessian) {
                    Walks<T>::gradient_tangent(now, first > 0);
                } else {
                    Workspace<T> cotangents = now.of_cotangents();
                    Walks<T>::backward(cotangents);
                    Walks<T>::gradient(cotangents, first > 0);
                }
            }
        });
        call.stream.download(out + first_probe * n, gradients, probes * n);
        call.stream.wait();
    });
}

template <class T>
void curvature_products(const Context& context, const CurvatureOf<T>& of, const T* v, index k, T* out) {
    to_parameters<T>(context, of, v, k, out,
                     [&](Operator<T>& call, Workspace<T>& now, const Examples<T>& examples, index, index) {
                         Walks<T>::tangent_forward(now);
                         call.curve_outputs(now, examples);
                         if (of.kind == Curvature::hessian) Walks<T>::tangent_backward(now);
                     });
}

// J' times each row of u (k, rows, out_features).
template <class T>
void jacobian_transposed_products(const Context& context, const CurvatureOf<T>& of, const T* u, index k,
                                  T* out) {
    const index last = context.plan.out_features(), per_probe = of.order.rows * last;
    to_parameters<T>(context, of, nullptr, k, out,
                     [&](Operator<T>& call, Workspace<T>& now, const Examples<T>&, index first, index probe) {
                         call.stream.upload(now.rd(now.plan.output()), u + probe * per_probe + first * last,
                                            now.rows * last);
                     });
}

// J times each row of v (k, n_parameters), to out (k, rows, out_features).
template <class T>
void jacobian_products(const Context& context, const CurvatureOf<T>& of, const T* v, index k, T* out) {
    Operator<T> call(context, of);
    const index n = call.plan.n_parameters, most = exec::min(k, probes_at_once);
    const index last = call.plan.out_features(), per_probe = of.order.rows * last;
    T* const directions = call.memory.template take<T>(most * n);
    for_probes(k, [&](index first_probe, index probes) {
        for (index i = 0; i < probes; ++i) call.load_direction(directions + i * n, v + (first_probe + i) * n);
        call.for_passes([&](Workspace<T>& chunk, const Examples<T>&, index first) {
            for (index i = 0; i < probes; ++i) {
                Workspace<T> now = chunk;
                now.direction = directions + i * n;
                Walks<T>::tangent_forward(now);
                call.stream.download(out + (first_probe + i) * per_probe + first * last,
                                     now.ra(now.plan.output()), now.rows * last);
            }
        });
    });
    call.stream.wait();
}

template <class T>
void quadratic_forms(const Context& context, const CurvatureOf<T>& of, const T* v, index k, double* out) {
    const index n = context.plan.n_parameters;
    std::vector<T> products(std::size_t(exec::min(k, probes_at_once) * n));
    for_probes(k, [&](index first, index probes) {
        curvature_products(context, of, v + first * n, probes, products.data());
        for (index i = 0; i < probes; ++i) {
            out[first + i] = 0;
            for (const Parameters& own : context.plan.parameters)
                for (index j = own.offset; own.trainable && j < own.offset + own.size(); ++j)
                    out[first + i] +=
                        double(v[(first + i) * n + j]) * double(products[std::size_t(i * n + j)]);
        }
    });
}

// f(parameters, node) for those that are trained, each of which one node uses.
template <class F>
void for_learning(const Plan& plan, const F& f) {
    for (const Parameters& own : plan.parameters)
        if (own.trainable) f(own, plan.nodes[std::size_t(own.nodes.front())]);
}

// The squared deltas of all columns of a root of the matrix in the outputs, summed, into ra of each node that
// learns; with signs (rows, out_features) of one column, their sum with these.
template <class T>
void sum_squared_deltas(Operator<T>& call, const CurvatureOf<T>& of, Workspace<T>& chunk,
                        Examples<T> examples, const T* signs, T* device_signs, index first) {
    const index out = call.plan.out_features();
    const bool empirical = of.kind == Curvature::empirical_fisher;
    if (signs != nullptr) call.stream.upload(device_signs, signs + first * out, chunk.rows * out);
    const index columns = empirical || signs != nullptr ? 1 : out;
    Workspace<T> cotangents = chunk.of_cotangents();
    for (index column = 0; column < columns; ++column) {
        if (empirical)
            Losses<T>::outer(chunk, examples, call.factor(), Losses<T>::Of::root);
        else
            Losses<T>::root(chunk, of.loss, examples, call.factor(),
                            signs != nullptr ? device_signs : nullptr, column);
        Walks<T>::backward(cotangents);
        for_learning(call.plan, [&](const Parameters&, const Node& node) {
            elementwise(call.stream, chunk.size(node.output),
                        AddSquare<T>{chunk.ra(node.output), cotangents.d(node.output), column > 0});
        });
    }
}

template <class T>
void traces(const Context& context, const CurvatureOf<T>& of, const T* signs, double* traces,
            double* of_rows) {
    Operator<T> call(context, of);
    const Plan& plan = call.plan;
    const index rows = call.ws.rows;
    double* const sums = call.memory.template take<double>(rows);
    T* const device_signs = call.memory.template take<T>(signs != nullptr ? rows * plan.out_features() : 0);
    index n = 0;
    for (const Parameters& own : plan.parameters) n += own.tensors();
    std::fill_n(traces, n, 0.0);
    if (of_rows != nullptr) std::fill_n(of_rows, of.order.rows, 0.0);
    std::vector<double> of_chunk(static_cast<std::size_t>(rows));
    call.for_passes([&](Workspace<T>& chunk, const Examples<T>& examples, index first) {
        sum_squared_deltas(call, of, chunk, examples, signs, device_signs, first);
        const auto add = [&](const Node& node, const T* a, const T* u, double& trace) {
            for_rows(call.stream, chunk.rows,
                     TraceOfRows<T>{chunk.ra(node.output), a, u, chunk.features(node.output),
                                    chunk.features(node.input()), sums});
            call.stream.download(of_chunk.data(), sums, chunk.rows);
            call.stream.wait();
            for (index r = 0; r < chunk.rows; ++r) {
                trace += of_chunk[std::size_t(r)];
                if (of_rows != nullptr) of_rows[first + r] += of_chunk[std::size_t(r)];
            }
        };
        index k = 0;
        for (const Parameters& own : plan.parameters) {
            const Node& node = plan.nodes[std::size_t(own.nodes.front())];
            if (own.trainable && own.rows > 0) add(node, chunk.a(node.input()), nullptr, traces[k]);
            k += own.rows > 0 ? 1 : 0;
            for (index i = 0; i < own.count(); ++i, ++k)
                if (own.trainable) add(node, nullptr, Walks<T>::factor(chunk, node, i), traces[k]);
        }
    });
}

template <class T>
void diagonal(const Context& context, const CurvatureOf<T>& of, const T* signs, T* out) {
    Operator<T> call(context, of);
    const Plan& plan = call.plan;
    T* const device_signs =
        call.memory.template take<T>(signs != nullptr ? call.ws.rows * plan.out_features() : 0);
    call.for_passes([&](Workspace<T>& chunk, const Examples<T>& examples, index first) {
        sum_squared_deltas(call, of, chunk, examples, signs, device_signs, first);
        for_learning(plan, [&](const Parameters& own, const Node& node) {
            const T* const squares = chunk.ra(node.output);
            if (own.rows > 0) {
                elementwise(call.stream, chunk.size(node.input()),
                            AddSquare<T>{chunk.scratch, chunk.a(node.input()), false});
                product<T>(call.stream, chunk.rounding, own.rows, own.cols, chunk.rows, {chunk.scratch, true},
                           {squares}, first > 0, chunk.gradient + own.offset);
            }
            for (index k = 0; k < own.count(); ++k)
                for_columns<T, 1>(call.stream, chunk.rows, own.cols,
                                  SquareTerms<T>{squares, Walks<T>::factor(chunk, node, k),
                                                 chunk.gradient + own.vector_offset(k), first > 0});
        });
    });
    call.stream.download(out, call.ws.gradient, plan.n_parameters);
    call.stream.wait();
}

// out (rows, n_parameters): of the empirical Fisher matrix, the gradient of each example's loss.
template <class T>
void example_gradients(const Context& context, const CurvatureOf<T>& of, T* out) {
    constexpr index numbers = index{1} << 24;  // at a time
    Operator<T> call(context, of);
    const Plan& plan = call.plan;
    const index n = plan.n_parameters,
                most = exec::max(exec::min(call.ws.rows, numbers / exec::max(n, 1)), 1);
    T* const gradients = call.memory.template take<T>(most * n);
    call.for_passes([&](Workspace<T>& chunk, const Examples<T>& examples, index first) {
        Losses<T>::outer(chunk, examples, call.factor(), Losses<T>::Of::example);
        Workspace<T> cotangents = chunk.of_cotangents();
        Walks<T>::backward(cotangents);
        for (index begin = 0; begin < chunk.rows; begin += most) {
            const index rows = exec::min(most, chunk.rows - begin);
            call.stream.clear(gradients, rows * n);
            for_learning(plan, [&](const Parameters& own, const Node& node) {
                const T* const d = cotangents.d(node.output) + begin * own.cols;
                const auto put = [&](index offset, const T* a, const T* u, index in) {
                    elementwise(call.stream, rows * in * own.cols,
                                ExampleGradient<T>{gradients, n, offset, a, u, d, in, own.cols});
                };
                if (own.rows > 0)
                    put(own.offset, chunk.a(node.input()) + begin * own.rows, nullptr, own.rows);
                for (index k = 0; k < own.count(); ++k) {
                    const T* const u = Walks<T>::factor(chunk, node, k);
                    put(own.vector_offset(k), nullptr, u != nullptr ? u + begin * own.cols : nullptr, 1);
                }
            });
            call.stream.download(out + (first + begin) * n, gradients, rows * n);
        }
    });
    call.stream.wait();
}

}  // namespace

template <class T>
void fill_curvature(Functions<T>& to) {
    to.chunks_within = chunks_within<T>;
    to.shelf_bytes = shelf_bytes<T>;
    to.keep = keep<T>;
    to.curvature_products = curvature_products<T>;
    to.quadratic_forms = quadratic_forms<T>;
    to.jacobian_products = jacobian_products<T>;
    to.jacobian_transposed_products = jacobian_transposed_products<T>;
    to.traces = traces<T>;
    to.diagonal = diagonal<T>;
    to.example_gradients = example_gradients<T>;
}

template void fill_curvature(Functions<float>&);
template void fill_curvature(Functions<double>&);

}  // namespace fnn::FNN_ISA::device
