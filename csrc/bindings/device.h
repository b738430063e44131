// Devices besides the processor: libraries that are opened when somebody asks for one.
#pragma once

#include <stdexcept>
#include <string>

#include "isa/device.h"

namespace fnn::bindings {

// What a device has no function for: NotImplementedError in Python.
struct Lacking : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Null for "cpu". What it points to stays. Throws std::invalid_argument where no library for it was opened.
const Device* device_named(const std::string& name);

}  // namespace fnn::bindings
