#include "bindings/gil.h"

#include <chrono>
#include <thread>
#include <utility>

namespace fnn::bindings {

namespace {

thread_local std::shared_ptr<Stop> obeyed;

void check_stop() {
    if (obeyed == nullptr || !obeyed->is_set()) return;
    const py::gil_scoped_acquire gil;
    obeyed.reset();  // whoever cleans up may compute
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
}

void check_signals() {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

bool in_main_thread() {
    const auto threading = py::module_::import("threading");
    return threading.attr("get_ident")().equal(threading.attr("main_thread")().attr("ident"));
}

}  // namespace

WithoutGil::~WithoutGil() {
    try {
        PyEval_RestoreThread(thread_);
    } catch (...) {  // pthread_exit
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

Interrupt interrupt_of_thread() {
    thread_local int generation = -1;  // the thread that forks is its child's main thread
    thread_local bool is_main = false;
    if (generation != forks()) {
        is_main = in_main_thread();
        generation = forks();
    }
    if (is_main) return check_signals;
    return obeyed == nullptr ? nullptr : check_stop;
}

void obey(std::shared_ptr<Stop> stop) { obeyed = std::move(stop); }

}  // namespace fnn::bindings
