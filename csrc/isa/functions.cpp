// The parts of a network, one at a time; random numbers; what looks into data.
#include "net/functions.h"
#include "isa/units.h"
#include "net/inspect.h"
#include "net/random.h"

namespace fnn::FNN_ISA {

template decltype(net::gather<float>) net::gather<float>;
template decltype(net::gather<double>) net::gather<double>;
template decltype(net::activation_forward<float>) net::activation_forward<float>;
template decltype(net::activation_forward<double>) net::activation_forward<double>;
template decltype(net::activation_backward<float>) net::activation_backward<float>;
template decltype(net::activation_backward<double>) net::activation_backward<double>;
template decltype(net::activation_tangent_forward<float>) net::activation_tangent_forward<float>;
template decltype(net::activation_tangent_forward<double>) net::activation_tangent_forward<double>;
template decltype(net::activation_tangent_backward<float>) net::activation_tangent_backward<float>;
template decltype(net::activation_tangent_backward<double>) net::activation_tangent_backward<double>;
template decltype(net::loss_forward<float>) net::loss_forward<float>;
template decltype(net::loss_forward<double>) net::loss_forward<double>;
template decltype(net::loss_factor<float>) net::loss_factor<float>;
template decltype(net::loss_factor<double>) net::loss_factor<double>;
template decltype(net::loss_tangent<float>) net::loss_tangent<float>;
template decltype(net::loss_tangent<double>) net::loss_tangent<double>;

template class net::Pairs<float>;
template class net::Pairs<double>;

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.dense_forward = net::dense_forward<T>;
    to.dense_backward = net::dense_backward<T>;
    to.softmax = net::softmax<T>;
    to.softmax_backward = net::softmax_backward<T>;
    to.activate = net::activate<T>;
    to.activate_backward = net::activate_backward<T>;
    to.loss_and_output_gradient = net::loss_and_output_gradient<T>;
    to.elementary = net::elementary<T>;
    to.uniform = net::uniform<T>;
    to.normal = net::normal<T>;
    to.first_non_finite_row = net::first_non_finite_row<T>;
}

}  // namespace

void fill_functions(Table& to) {
    fill(to.float32);
    fill(to.float64);
    to.column_statistics = net::column_statistics;
    to.permutation = net::permutation;
    to.beta = net::beta;
}

}  // namespace fnn::FNN_ISA
