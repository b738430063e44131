// Networks: outputs, losses, gradients.
#include "isa/units.h"
#include "net/calibrate.h"
#include "net/evaluate.h"
#include "net/forward_gradient.h"
#include "net/landscape.h"

namespace fnn::FNN_ISA {

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.outputs = net::outputs<T>;
    to.values = net::values<T>;
    to.evaluate = net::evaluate<T>;
    to.losses_along = net::losses_along<T>;
    to.loss_and_gradient = net::loss_and_gradient<T>;
    to.activity_gradient = net::activity_gradient<T>;
    to.loss_and_slope = net::loss_and_slope<T>;
    to.outputs_for_pullback = net::outputs_for_pullback<T>;
    to.pull_back = net::pull_back<T>;
    to.input_gradient = net::input_gradient<T>;
    to.push_forward = net::push_forward<T>;
    to.calibrate = net::calibrate<T>;
}

}  // namespace

void fill_evaluation(Table& to) {
    fill(to.float32);
    fill(to.float64);
    to.input_columns = net::input_columns;
}

}  // namespace fnn::FNN_ISA
