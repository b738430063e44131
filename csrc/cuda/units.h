// The units that fill the table of a device.
#pragma once

#include "isa/table.h"

namespace fnn::FNN_ISA::device {

template <class T>
void fill_evaluation(Functions<T>&);
template <class T>
void fill_training(Functions<T>&);
template <class T>
void fill_curvature(Functions<T>&);

}  // namespace fnn::FNN_ISA::device
