// What a step of Lanczos' method leaves for the next, as it crosses into an instruction set's library.
#pragma once

namespace fnn {

struct LanczosState {
    double beta = 0;     // beside the diagonal of T in the last row: the length that the newest vector had
    double scale = 0;    // the length of the longest product
    double noise = 0;    // of products: the longest part along vectors where it should be 0
    bool loose = false;  // whether the newest vector has still to be made orthogonal to those before
};

}  // namespace fnn
