// The units that an instruction set's library is compiled in. Each fills its part of the table.
#pragma once

#include "isa/table.h"

namespace fnn::FNN_ISA {

void fill_products(Table&);
void fill_functions(Table&);
void fill_evaluation(Table&);
void fill_training(Table&);
void fill_curvature(Table&);
void fill_optimizers(Table&);

}  // namespace fnn::FNN_ISA
