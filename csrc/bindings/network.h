// A plan with its pool of workspaces, as Python holds it.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/isa.h"
#include "exec/threads.h"
#include "net/plan.h"

namespace fnn::bindings {

// Several calls may read a network at once, or one may train it.
class Gate {
   public:
    enum class As { reader, trainer };

    // Holds the gate while it lives. Throws std::runtime_error while another call trains; a call that trains
    // waits for those that read. To be made without the GIL, which those need to end.
    class Pass {
       public:
        Pass(Gate& gate, As as);
        ~Pass();
        Pass(const Pass&) = delete;
        Pass& operator=(const Pass&) = delete;

       private:
        Gate& gate_;
        As as_;
    };

   private:
    std::mutex mutex_;
    std::condition_variable left_;
    int readers_ = 0;
    bool training_ = false;
};

// Arenas that wait for the next call; those that find no place are freed.
class Pool {
   public:
    Arena take();
    void give(Arena arena);

   private:
    std::mutex mutex_;
    std::array<Arena, 4> free_;
    std::size_t waiting_ = 0;
};

class Network {
   public:
    Network(const std::string& dtype, index in_features,
            const std::vector<std::pair<std::string, index>>& layers);

    const bool is_float64;
    const Plan plan;
    Gate gate;
    Pool pool;
};

void register_network(py::module_& m);
void register_kernels(py::module_& m);
void register_runtime(py::module_& m);

// Ends a call that a signal asks to end.
void check_signals();

// The update that ("adam", {"beta1": ..., ...}) names.
UpdateSpec update_of(const py::tuple& update);

// The states of an update: as many arrays of n numbers as it needs.
template <class T>
void states_of(const UpdateSpec& spec, const py::list& state, index n, T** pointers) {
    const int expected = update_states(spec);
    if (int(py::len(state)) != expected)
        throw py::value_error("state has " + std::to_string(py::len(state)) + " arrays, expected " +
                              std::to_string(expected));
    for (int k = 0; k < expected; ++k) {
        py::array array = py::cast<py::array>(state[std::size_t(k)]);
        pointers[k] = to_write<T>(array, ("state[" + std::to_string(k) + "]").c_str(), {n});
    }
}

}  // namespace fnn::bindings
