// A plan with its pool of workspaces, as Python holds it.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/device.h"
#include "bindings/gil.h"
#include "bindings/isa.h"
#include "bindings/updates.h"
#include "exec/crew.h"
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
        Pass(Gate& gate, As as, Interrupt interrupt);
        ~Pass();
        Pass(const Pass&) = delete;
        Pass& operator=(const Pass&) = delete;

       private:
        Gate& gate_;
        As as_;
        const Pass* outer_;  // of the same thread: a signal handler may call from within a call
    };

   private:
    std::mutex mutex_;
    std::condition_variable left_;
    int readers_ = 0;
    bool training_ = false;
    int forks_ = forks();  // after another fork, those who were inside are not in this process
};

// Arenas that wait for the next call; those that find no place are freed, and large ones unless calls follow
// each other.
class Pool {
   public:
    Arena take();
    void give(Arena arena);
    void keep_large(bool keeps);

   private:
    bool keeps_large_ = false;
    std::mutex mutex_;
    std::array<Arena, 4> free_;
    std::size_t waiting_ = 0;
};

// An arena of a pool for one call.
class Borrowed {
   public:
    explicit Borrowed(Pool& pool) : arena(pool.take()), pool_(pool) {}
    ~Borrowed() { pool_.give(std::move(arena)); }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    Arena arena;

   private:
    Pool& pool_;
};

// What Python holds by a shared_ptr that std::make_shared made. If pybind11 finds no memory to register such
// an object, it hands it to its class's `operator delete`, although the shared_ptr owns it: so this does
// nothing.
struct Shared {
    static void operator delete(void*) {}
};

// Examples that calls name again and again while memory is kept, and that do not change meanwhile: the
// objects that Python has, by which they are known, and what the device has of them.
struct StandingExamples {
    explicit StandingExamples(const Device* device) : kept(device) {}

    py::object X, y, rows;  // rows of X, or None: all
    std::vector<std::int64_t> places;
    KeptOnDevice kept;
    std::mutex mutex;  // of `kept`
};
using Standing = std::vector<std::shared_ptr<StandingExamples>>;

// How layers act in a call.
struct SharedRun : public Run, public Shared {
    SharedRun() = default;
    explicit SharedRun(const Run& run) : Run(run) {}
};

class Network : public Shared {
   public:
    // On a device that is `missing`, for that reason, what it would ask of that is refused.
    Network(const std::string& dtype, index in_features, const std::vector<LayerSpec>& layers, bool fused,
            const std::string& device, const std::optional<std::string>& compute_dtype, std::string missing);

    // That of the device, or of the present instruction set. Throws std::runtime_error where the device is
    // missing.
    const Table& table() const {
        if (!missing.empty()) throw std::runtime_error(missing);
        return device != nullptr ? device->table : current_table();
    }

    // Whether memory is kept for calls that follow each other, as the epochs of a fit do; on a device with
    // what it has of these examples, (X, y, rows) each.
    void keep_memory(bool keeps, const py::list& examples);

    // Those of a call on these objects; of these rows alone, if any are named. Null: they do not stay.
    std::shared_ptr<StandingExamples> standing_of(const py::object& X, const py::object& y,
                                                  const py::object* rows) const;

    const bool is_float64;
    const Plan plan;
    const std::string missing;   // why the device is not here; "": it is
    const Device* const device;  // null: the processor
    const ComputeType compute_type;
    Gate gate;
    Pool pool;
    Crew crew;          // of those that train, and advice for the others
    Standing standing;  // with the GIL
};

// f(true), or, where there is no memory for that, f(false) without the examples that stay on a device.
template <class F>
void make_room(const Standing& standing, const F& f) {
    try {
        return f(true);
    } catch (const std::bad_alloc&) {
        if (standing.empty()) throw;
    }
    for (const auto& examples : standing) {
        const std::unique_lock<std::mutex> lock(examples->mutex, std::try_to_lock);
        if (lock) examples->kept.there = nullptr;
    }
    f(false);
}

// f(T{}) for the network's type.
template <class F>
auto with_type(const Network& net, const F& f) {
    return net.is_float64 ? f(double{}) : f(float{});
}

// The numbers that layers keep besides parameters; None for a network without any. Written to by a run that
// learns them.
double* state_of(const Network& net, const py::object& model_state, const Run& run = {});

// Throws py::value_error for a mean over no examples.
void need_rows(index n);

// Throws py::value_error where layers are to take statistics of one row. Of none there is nothing to compute.
void need_batch(const Network& net, const Run& run, index n, const char* argument = "X");

// The product of the Hessian of the mean loss with v (n_parameters,), into hv.
void hvp(const std::shared_ptr<Network>& net, const py::array& parameters, const py::array& v,
         const py::object& X, const py::array& y, const py::tuple& loss, py::array hv,
         const MaybeArray& weights, const py::object& model_state, const MaybeArray& order,
         const SharedRun& run);

void register_network(py::module_& m);
void register_curvature(py::module_& m);
void register_kernels(py::module_& m);
void register_ops(py::module_& m);
void register_tensors(py::module_& m);
void register_updater(py::module_& m);
void register_around(py::module_& m);
void register_runtime(py::module_& m);
void register_device(py::module_& m);

}  // namespace fnn::bindings
