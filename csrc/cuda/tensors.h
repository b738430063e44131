// Steps of optimizers on tensors of the caller's that lie on the device.
#pragma once

#include "isa/table.h"

namespace fnn::FNN_ISA::device {

// step_scratch and step, of elementwise rules.
template <class T>
void fill_steps(LoopsOf<T>&);

extern template void fill_steps(LoopsOf<float>&);
extern template void fill_steps(LoopsOf<double>&);

}  // namespace fnn::FNN_ISA::device
