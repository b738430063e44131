// Networks: products with operators of curvature, their traces and diagonals.
#include "net/curvature.h"
#include "isa/units.h"
#include "net/traces.h"

namespace fnn::FNN_ISA {

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.chunks_within = net::chunks_within<T>;
    to.shelf_bytes = net::shelf_bytes<T>;
    to.keep = net::keep<T>;
    to.curvature_products = net::curvature_products<T>;
    to.quadratic_forms = net::quadratic_forms<T>;
    to.jacobian_products = net::jacobian_products<T>;
    to.jacobian_transposed_products = net::jacobian_transposed_products<T>;
    to.traces = net::traces<T>;
    to.diagonal = net::diagonal<T>;
    to.example_gradients = net::example_gradients<T>;
}

}  // namespace

void fill_curvature(Table& to) {
    fill(to.float32);
    fill(to.float64);
}

}  // namespace fnn::FNN_ISA
