// The grammar of every message to a caller: `name: expected this, got that`. Python's sources write the same.
#pragma once

#include <string>

namespace fnn {

inline std::string expected(const std::string& name, const std::string& what, const std::string& came) {
    return name + ": expected " + what + ", got " + came;
}

}  // namespace fnn
