// Calls into the core run without the GIL, and ask Python now and then whether a signal ends them.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>

#include "exec/threads.h"

namespace fnn::bindings {

namespace py = pybind11;

// Without the GIL while it lives. When the interpreter ends meanwhile, the thread stays here until the
// process does: before 3.14 Python ends such a thread by pthread_exit, whose unwinding would give references
// back without the GIL.
class WithoutGil {
   public:
    WithoutGil() : thread_(PyEval_SaveThread()) {}
    ~WithoutGil();
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

   private:
    PyThreadState* thread_;
};

// By which one thread ends the calls of others.
class Stop {
   public:
    void set() { set_.store(true); }
    bool is_set() const { return set_.load(std::memory_order_relaxed); }

   private:
    std::atomic<bool> set_{false};
};

// From here on the first call of this thread, which is not the main one, that goes on while that is set ends
// with KeyboardInterrupt, as Ctrl-C ends one of the main thread; null: no longer.
void obey(std::shared_ptr<Stop> stop);

// What calls of this thread run between their tiles, to be asked for with the GIL: Python runs handlers of
// signals in its main thread only, so all others have nothing to ask but whether they are stopped, and do not
// wait for the GIL.
Interrupt interrupt_of_thread();

}  // namespace fnn::bindings
