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

// Null for "cpu"; "cuda" is "cuda:0". What it points to stays. Throws std::invalid_argument where no library
// for it was opened, or there are not so many, std::runtime_error where nothing computes.
const Device* device_named(const std::string& name);

// The name, with its number, of the device in whose memory an address lies; "" if in that of none of this
// kind.
std::string owner_of(const std::string& kind, const void* address);

// While it lives, what this thread asks of a device is done by that one; null: the processor, and nothing
// happens.
class On {
   public:
    explicit On(const Device* device) : device_(device) {
        if (device_ != nullptr) device_->enter(device_->number);
    }
    ~On() {
        try {
            if (device_ != nullptr) device_->leave();
        } catch (const std::exception&) {  // of a device that has failed, which all that follows will say
        }
    }
    On(const On&) = delete;
    On& operator=(const On&) = delete;

   private:
    const Device* const device_;
};

// What is let go on the device that it is kept on.
struct KeptOnDevice : OnDevice {
    explicit KeptOnDevice(const Device* device) : device_(device) {}
    ~KeptOnDevice() {
        if (there == nullptr) return;
        try {
            const On on(device_);
            there.reset();
        } catch (const std::exception&) {  // as above
        }
    }
    KeptOnDevice(const KeptOnDevice&) = delete;
    KeptOnDevice& operator=(const KeptOnDevice&) = delete;

   private:
    const Device* const device_;
};

}  // namespace fnn::bindings
