// Devices besides the processor: libraries that are opened when somebody asks for one.
#pragma once

#include <stdexcept>
#include <string>

#include "isa/device.h"

namespace fnn::bindings {

// What a device does not compute: NotImplementedError in Python.
struct Lacking : std::runtime_error {
    explicit Lacking(const std::string& what);
};

// Null for "cpu". What it points to stays. Throws std::invalid_argument where no library for it was opened.
const Device* device_named(const std::string& name);

}  // namespace fnn::bindings
