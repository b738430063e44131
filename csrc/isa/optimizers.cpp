// Steps of optimizers over many tensors, and what stands around them.
#include "isa/units.h"
#include "optim/clip.h"
#include "optim/pass.h"
#include "optim/step.h"
#include "optim/units.h"
#include "optim/update.h"

namespace fnn::FNN_ISA {

template decltype(optim::update_of<float>) optim::update_of<float>;
template decltype(optim::update_of<double>) optim::update_of<double>;

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.update = optim::update<T>;
    to.step_scratch = optim::step_scratch<T>;
    to.step = optim::step_all<T>;
    to.pass = optim::pass_all<T>;
    to.clip_units = optim::clip_units<T>;
    to.gradient_norm = optim::gradient_norm<T>;
    to.clip_norm = optim::clip_norm<T>;
}

}  // namespace

void fill_optimizers(Table& to) {
    fill(to.float32);
    fill(to.float64);
}

}  // namespace fnn::FNN_ISA
