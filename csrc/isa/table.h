// The one crossing between the bindings and the code compiled for an instruction set: a table of functions.
#pragma once

#include "exec/gemm/spec.h"
#include "exec/lanczos_state.h"
#include "exec/threads.h"
#include "net/call.h"
#include "net/plan.h"
#include "optim/loops.h"

namespace fnn {

// The functions of net/, optim/, exec/ and rules/ for one scalar type; what they do stands there.
template <class T>
struct Functions : LoopsOf<T> {
    void (*outputs)(const Context&, const T* parameters, const Source& x, const Order&, Link, T* out);
    void (*values)(const Context&, const T* parameters, const Source& x, T* const* outs);
    void (*evaluate)(const Context&, const T* parameters, const Source& x, const Targets<T>& y, const Order&,
                     const LossSpec&, Score*, Link, T* out);
    void (*losses_along)(const Context&, const T* parameters, const T* directions, index k,
                         const double* steps, index m, const Source& x, const Targets<T>& y, const Order&,
                         const LossSpec&, double* losses);
    void (*loss_and_gradient)(const Context&, const T* parameters, const Source& x, const Targets<T>& y,
                              const Order&, const LossSpec&, T* gradient, Score*);
    void (*activity_gradient)(const Context&, const T* parameters, const Source& x, const Targets<T>& y,
                              const Order&, const LossSpec&, T* gradient, Score*);
    void (*loss_and_slope)(const Context&, const T* parameters, const T* direction, const Source& x,
                           const Targets<T>& y, const Order&, const LossSpec&, Score*, double* slope);
    void (*outputs_for_pullback)(const Context&, const T* parameters, const Source& x, T* out);
    void (*pull_back)(const Context&, index rows, const T* dout, T* gradient, T* dx);
    void (*input_gradient)(const Context&, const Source& x, const T* d, T* dx);
    void (*push_forward)(const Context&, const T* parameters, const T* direction, const Source& x, T* out,
                         T* dout);
    void (*calibrate)(const Context&, const T* parameters, const Source& x);
    index (*chunks_within)(const Context&, const CurvatureOf<T>&, double bytes);
    std::size_t (*shelf_bytes)(const Context&, const CurvatureOf<T>&, index chunks);
    void (*keep)(const Context&, const CurvatureOf<T>&, const T* parameters);
    void (*curvature_products)(const Context&, const CurvatureOf<T>&, const T* v, index k, T* out);
    void (*quadratic_forms)(const Context&, const CurvatureOf<T>&, const T* v, index k, double* out);
    void (*jacobian_products)(const Context&, const CurvatureOf<T>&, const T* v, index k, T* out);
    void (*jacobian_transposed_products)(const Context&, const CurvatureOf<T>&, const T* u, index k, T* out);
    void (*traces)(const Context&, const CurvatureOf<T>&, const T* signs, double* traces, double* of_rows);
    void (*diagonal)(const Context&, const CurvatureOf<T>&, const T* signs, T* out);
    void (*example_gradients)(const Context&, const CurvatureOf<T>&, T* out);
    void (*train)(const Context&, const Source& x, const Targets<T>& y, const LossSpec&, const Epoch<T>&,
                  Score*);
    void (*train_stepwise)(const Context&, const Source& x, const Targets<T>& y, const LossSpec&,
                           const Epoch<T>&, Score*);

    index (*first_non_finite_row)(const Source& x, const Order&, index columns, int threads, Interrupt,
                                  Arena&);

    void (*update)(const UpdateSpec&, T* parameters, const T* gradient, T* const* states, index n, index step,
                   int threads);
    void (*gemm)(const Gemm<T>&, int threads, Interrupt interrupt, Arena&);
    void (*dense_forward)(const Source& x, const Source& w, const T* b, index out, T* z, int threads,
                          Interrupt interrupt, Arena&);
    void (*dense_backward)(const Source& dz, const Source& x, const Source& w, index out, T* dx, T* dw, T* db,
                           int threads, Interrupt interrupt, Arena&);
    void (*softmax)(bool logarithm, const T* z, index rows, index cols, T* p, int threads,
                    Interrupt interrupt, Arena&);
    void (*softmax_backward)(const T* da, const T* z, index rows, index cols, T* dz, int threads,
                             Interrupt interrupt, Arena&);
    void (*activate)(const ActivationSpec&, const T* z, index n, T* a, int threads, Interrupt interrupt);
    void (*activate_backward)(const ActivationSpec&, const T* da, const T* z, index n, T* dz, int threads,
                              Interrupt interrupt);
    double (*loss_and_output_gradient)(const LossSpec&, const T* z, const Targets<T>& y, index rows,
                                       index cols, T* dz, int threads, Interrupt interrupt, Arena&);
    double (*clip_norm)(const Segments<T>&, double max_norm, int threads, Interrupt interrupt, Arena&);
    void (*transpose_matrix)(T* to, const T* from, index rows, index columns, int threads, Interrupt);
    double (*lanczos_step)(T* Q, index m, index n, index stride, const T* Aq, T factor, double negligible,
                           LanczosState*, int threads, Interrupt, Arena&);
    void (*elementary)(Elementary, const T* x, T* y, index n);
    void (*uniform)(std::uint64_t seed, std::uint64_t stream, T* out, index n);
    void (*normal)(std::uint64_t seed, std::uint64_t stream, T* out, index n);
};

struct Table {
    Functions<float> float32;
    Functions<double> float64;
    void (*input_columns)(const Context&, const Source& x, const Order&, int input, index first, index count,
                          double* out);
    void (*column_statistics)(const Source& x, const Order&, index columns, int threads, Interrupt, Arena&,
                              double* mean, double* deviation);
    void (*permutation)(std::uint64_t seed, std::uint64_t stream, std::int64_t* out, index n);
    void (*beta)(double alpha, std::uint64_t seed, std::uint64_t stream, double* out, index n);
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
