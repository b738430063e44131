#include "bindings/isa.h"

#include <atomic>
#include <cstring>
#include <stdexcept>

#include "bindings/message.h"

namespace fnn::bindings {

namespace {

struct Library {
    const char* name;
    const Table& (*table)();
    bool (*runs_here)();
};

// The features that the build asks the compiler for, and that the operating system saves the registers.
const Library libraries[] = {
#ifdef FNN_HAVE_AVX512
    {"avx512", avx512::table,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2");
     }},
#endif
#ifdef FNN_HAVE_AVX2
    {"avx2", avx2::table,
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2");
     }},
#endif
#ifdef FNN_HAVE_PORTABLE
    {"portable", portable::table, [] { return true; }},
#endif
};

// Throws if there is a function that no unit of the library has filled in.
void check_complete(const Library& library) {
    using Function = void (*)();
    constexpr std::size_t n = sizeof(Table) / sizeof(Function);
    Function all[n];
    static_assert(sizeof(all) == sizeof(Table), "functions and nothing else");
    std::memcpy(all, &library.table(), sizeof(all));
    for (std::size_t i = 0; i < n; ++i)
        if (all[i] == nullptr)
            throw std::logic_error(std::string("table of ") + library.name + ": no unit fills in function " +
                                   std::to_string(i) + " of " + std::to_string(n));
}

std::atomic<const Library*> current{nullptr};  // chosen when the module is loaded

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Library& library : libraries)
        if (library.runs_here()) names.push_back(library.name);
    return names;
}

std::string current_isa() { return current.load()->name; }

const Table& current_table() { return current.load()->table(); }

void use_isa(const std::string& name) {
    std::string all;
    for (const Library& library : libraries) {
        if (!library.runs_here()) continue;
        if (name == library.name) {
            check_complete(library);
            return current.store(&library);
        }
        all += (all.empty() ? "" : ", ") + std::string(library.name);
    }
    throw std::invalid_argument(
        expected("isa", "one of " + all + ", which this build and this processor have", "'" + name + "'"));
}

}  // namespace fnn::bindings
