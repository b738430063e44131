// What the library of a device hands over: a table of functions, as an instruction set does. The module that
// opens the library neither links nor needs it.
#pragma once

#include <cstddef>
#include <string>

#include "isa/table.h"

namespace fnn {

// What crosses between the two looks the same to both if they are of one version and this is equal.
inline constexpr std::size_t layout = sizeof(Table) + sizeof(Plan) * 3 + sizeof(Node) * 5 +
                                      sizeof(OpSpec) * 7 + sizeof(Context) * 11 + sizeof(Epoch<float>) * 13 +
                                      sizeof(CurvatureOf<float>) * 17 + sizeof(UpdateSpec) * 19 +
                                      sizeof(Step<float>) * 23;

struct Device {
    const char* name;   // as a network's `device`
    const char* build;  // the version
    std::size_t layout;
    bool emulated;  // compiled for the processor, for tests

    // What computes, as its maker calls it. Throws std::runtime_error, with what the run-time library says,
    // where there is nothing that does.
    std::string (*model)();

    // Memory of the device. All work that was queued before is done when these return. `allocate` throws
    // std::bad_alloc.
    void* (*allocate)(std::size_t bytes);
    void (*release)(void*);
    void (*upload)(void* to, const void* from, std::size_t bytes);
    void (*download)(void* to, const void* from, std::size_t bytes);

    // Has products of wide matrices whose operands are rounded computed by NVIDIA's library at that path;
    // with `always`, those of float32 and float64, too. Throws std::runtime_error.
    void (*use_cublaslt)(const char* path, bool always);

    Table table;  // a function that it lacks is null
};

// The one function that the library exports.
using DeviceOfLibrary = const Device* (*)();
inline constexpr const char* device_of_library = "pyfast_nn_device";

}  // namespace fnn
