// What every room of the house may use: the index type and the host/device marker.
#pragma once

#include <cstdint>

// The instruction set that the including file is compiled for is the name of an inner namespace
// (fnn::avx512, fnn::avx2, fnn::portable), so that no two libraries define the same inline function:
// the linker would keep one copy for all, and an older processor might be handed AVX-512 code.
#ifndef FNN_ISA
#define FNN_ISA baseline
#endif

#ifdef __CUDACC__
#define FNN_HD __host__ __device__
#else
#define FNN_HD
#endif

namespace fnn {

using index = std::int64_t;

}  // namespace fnn
