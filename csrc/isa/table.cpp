#include "isa/table.h"

#include "isa/units.h"

namespace fnn::FNN_ISA {

const Table& table() {
    static const Table all = [] {
        Table filled{};
        fill_products(filled);
        fill_functions(filled);
        fill_evaluation(filled);
        fill_training(filled);
        fill_curvature(filled);
        fill_optimizers(filled);
        return filled;
    }();
    return all;
}

}  // namespace fnn::FNN_ISA
