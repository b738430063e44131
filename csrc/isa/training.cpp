// Networks: epochs.
#include "isa/units.h"
#include "net/train.h"

namespace fnn::FNN_ISA {

namespace {

template <class T>
void fill(Functions<T>& to) {
    to.train = net::train<T>;
    to.train_stepwise = net::train_stepwise<T>;
}

}  // namespace

void fill_training(Table& to) {
    fill(to.float32);
    fill(to.float64);
}

}  // namespace fnn::FNN_ISA
