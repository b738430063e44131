// The one crossing between the bindings and the code compiled for an instruction set: a table of functions.
#pragma once

#include "exec/gemm/spec.h"
#include "exec/threads.h"
#include "net/call.h"
#include "optim/spec.h"

namespace fnn {

enum class Elementary { exp, log, log1p, tanh, erf };

// The functions of net/, optim/, exec/ and rules/ for one scalar type; what they do stands there.
template <class T>
struct Functions {
    void (*outputs)(const Context&, const T* parameters, const Source& x, const Order&, Link, T* out);
    void (*evaluate)(const Context&, const T* parameters, const Source& x, const Targets<T>& y, const Order&,
                     const LossSpec&, Score*);
    void (*loss_and_gradient)(const Context&, const T* parameters, const Source& x, const Targets<T>& y,
                              const LossSpec&, T* gradient, Score*);
    void (*outputs_for_pullback)(const Context&, const T* parameters, const Source& x, T* out);
    void (*pull_back)(const Context&, index rows, const T* dout, T* gradient, T* dx);
    void (*push_forward)(const Context&, const T* parameters, const T* direction, const Source& x, T* out,
                         T* dout);
    void (*hessian_product)(const Context&, const T* parameters, const T* direction, const Source& x,
                            const Targets<T>& y, const LossSpec&, T* product);
    void (*train)(const Context&, const Source& x, const Targets<T>& y, const LossSpec&, const Epoch<T>&,
                  Score*);

    index (*first_non_finite_row)(const Source& x, index columns, int threads, Interrupt, Arena&);

    void (*update)(const UpdateSpec&, T* parameters, const T* gradient, T* const* states, index n, index step,
                   int threads);
    void (*gemm)(const Gemm<T>&, int threads, Interrupt interrupt, Arena&);
    void (*elementary)(Elementary, const T* x, T* y, index n);
    void (*uniform)(std::uint64_t seed, std::uint64_t stream, T* out, index n);
    void (*normal)(std::uint64_t seed, std::uint64_t stream, T* out, index n);
};

struct Table {
    Functions<float> float32;
    Functions<double> float64;
    void (*column_statistics)(const Source& x, const std::int64_t* order, index rows, index columns,
                              int threads, Interrupt, Arena&, double* mean, double* deviation);
    void (*permutation)(std::uint64_t seed, std::uint64_t stream, std::int64_t* out, index n);
    double (*fma_peak)(double seconds, int threads);
    double (*memory_bandwidth)(double seconds, int threads);
};

namespace avx512 {
const Table& table();
}
namespace avx2 {
const Table& table();
}
namespace portable {
const Table& table();
}

}  // namespace fnn
