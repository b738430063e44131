// What a step of Lanczos' method leaves for the next, as it crosses into an instruction set's library.
#pragma once

namespace fnn {

struct LanczosState {
    double beta = 0;    // beside the diagonal of T in the last row: the length that the newest vector had
    double scale = 0;   // the length of the longest product
    double noise = 0;   // of products: the longest part along vectors where it should be 0
    double growth = 0;  // what the newest vector may have along those before, by noise; 0 if made orthogonal
    bool backwards = false;  // whether the next reading of all rows begins with the last ones
};

}  // namespace fnn
