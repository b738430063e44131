// What the library of a device hands over: a table of functions, as an instruction set does. The module that
// opens the library neither links nor needs it.
#pragma once

#include <cstddef>
#include <string>

#include "isa/table.h"

namespace fnn {

// One of a kind of devices, of which a machine may have several. What its functions do, those of the table
// among them, they do on the device that the calling thread has entered.
struct Device {
    const char* name;   // of the kind, as of a network's `device`
    const char* build;  // the version
    std::size_t layout;
    bool emulated;  // compiled for the processor, for tests
    int number;     // which of them: 0 of what the library hands over, which whoever opens it changes

    // How many there are. Throws std::runtime_error, with what the run-time library says, where there is
    // none.
    int (*count)();
    // What its maker calls it. Throws std::runtime_error where the library has no code for that model.
    std::string (*model)(int number);
    // From then on until it leaves, the calling thread computes there. What was there before is there again
    // afterwards: whoever else uses devices in this thread sees no difference.
    void (*enter)(int number);
    void (*leave)();
    // The number of the device in whose memory an address lies; -1: in that of none.
    int (*owner)(const void* address);

    // Memory of the device. `allocate` throws std::bad_alloc. All work that was queued on the device before,
    // by whoever, is done when these return.
    void* (*allocate)(std::size_t bytes);
    void (*release)(void*);
    void (*upload)(void* to, const void* from, std::size_t bytes);
    void (*download)(void* to, const void* from, std::size_t bytes);
    void (*wait)();

    // Has products of wide matrices whose operands are rounded computed by NVIDIA's library at that path;
    // with `always`, those of float32 and float64, too. Throws std::runtime_error.
    void (*use_cublaslt)(const char* path, bool always);

    Table table;  // a function that it lacks is null
};

// What crosses between the two looks the same to both if they are of one version and this is equal.
inline constexpr std::size_t layout = sizeof(Table) + sizeof(Plan) * 3 + sizeof(Node) * 5 +
                                      sizeof(OpSpec) * 7 + sizeof(Context) * 11 + sizeof(Epoch<float>) * 13 +
                                      sizeof(CurvatureOf<float>) * 17 + sizeof(UpdateSpec) * 19 +
                                      sizeof(Step<float>) * 23 + sizeof(Device) * 29;

// The one function that the library exports.
using DeviceOfLibrary = const Device* (*)();
inline constexpr const char* device_of_library = "pyfast_nn_device";

}  // namespace fnn
