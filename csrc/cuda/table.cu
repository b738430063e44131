#include "isa/table.h"

#include "cuda/tensors.h"
#include "cuda/units.h"

namespace fnn::FNN_ISA {

const Table& table() {
    static const Table all = [] {
        Table filled{};
        device::fill_evaluation(filled.float32);
        device::fill_evaluation(filled.float64);
        device::fill_training(filled.float32);
        device::fill_training(filled.float64);
        device::fill_curvature(filled.float32);
        device::fill_curvature(filled.float64);
        device::fill_steps(filled.float32);
        device::fill_steps(filled.float64);
        return filled;
    }();
    return all;
}

}  // namespace fnn::FNN_ISA
