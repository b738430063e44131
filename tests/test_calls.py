"""Calls at their edges: who may end them, what they hold, and what forks and handlers meet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import oracle
from problems import core_network
from pyfast_nn import _core

pytestmark = pytest.mark.alone

SGD = ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.0})


@pytest.fixture
def alarm():
    """alarm(seconds, handler) calls the handler once."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(seconds, handler):
        signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def network(in_features=784, units=512):
    net = core_network(
        "float32", in_features, [("dense", units, ()), ("relu", 0, ()), ("dense", 10, ())]
    )
    return net, np.full(net.n_parameters, 1e-3, np.float32)


def train(net, parameters, X, batch_size, state=None, steps=1, report=None):
    order = np.tile(np.arange(len(X)), steps)
    lr = np.zeros(-(-len(order) // batch_size))
    state = [np.zeros_like(parameters)] if state is None else state
    y = np.zeros(len(X), np.int64)
    report = np.zeros(3) if report is None else report
    epoch = {"order": order, "batch_size": batch_size, "lr": lr, "update": SGD, "state": state}
    net.train(parameters, X, y, oracle.CROSS_ENTROPY, **epoch, step=0, report=report)
    return report


def test_ctrl_c_when_thread_0_has_no_rows(alarm, restore_threads):
    """Of one row, two threads give thread 0 none; it is the one that looks for signals."""
    _core.set_num_threads(2)
    net, parameters = network(784, 2048)

    def stop():
        raise KeyboardInterrupt

    alarm(0.2, stop)
    report = np.zeros(3)
    with pytest.raises(KeyboardInterrupt):
        train(net, parameters, np.ones((1, 784), np.float32), 1, steps=20_000, report=report)
    assert 0 < report[2] < 20_000  # seen within the epoch, and not when it was over


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_on_the_way_through_many_points(alarm, restore_threads, threads):
    _core.set_num_threads(threads)
    net, parameters = network(8, 64)
    X, y = np.ones((4000, 8), np.float32), np.zeros(4000, np.int64)
    steps, losses = np.ones((10_000_000, 1)), np.empty(10_000_000)

    def stop():
        raise KeyboardInterrupt

    alarm(0.2, stop)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        net.losses_along(parameters, parameters[None], steps, X, y, oracle.CROSS_ENTROPY, losses)
    assert time.monotonic() - began < 30  # hours, if nobody looked


def test_handlers_run_without_flush_to_zero(alarm, restore_threads):
    _core.set_num_threads(1)
    net, parameters = network()
    seen = []
    alarm(0.1, lambda: seen.append(np.float32(1e-40) * np.float32(2)))
    X = np.broadcast_to(np.ones((1, 784), np.float32), (200_000, 784))
    out = np.empty((len(X), 10), np.float32)
    while not seen:
        net.forward(parameters, X, out)
    assert seen[0] > 0


def test_a_handler_may_not_train_the_network_it_interrupts(alarm, restore_threads):
    _core.set_num_threads(1)
    net, parameters = network()
    X = np.broadcast_to(np.ones((1, 784), np.float32), (200_000, 784))
    out = np.empty((len(X), 10), np.float32)
    alarm(0.1, lambda: train(net, parameters.copy(), X[:4], 4))
    with pytest.raises(RuntimeError, match="from within another call"):
        for _ in range(100):
            net.forward(parameters, X, out)
    train(net, parameters, X[:4], 4)


@pytest.mark.parametrize("wrong", [[0.0] * 35, None, 1.0])
def test_states_must_be_arrays(wrong):
    """A converted copy would be written to, and lost."""
    net = core_network("float64", 4, [("dense", 7, ())])
    examples = np.ones((3, 4)), np.zeros((3, 7)), oracle.MSE
    epoch = {"order": np.arange(3), "batch_size": 2, "lr": 0.0, "update": SGD, "step": 0}
    with pytest.raises(TypeError, match=r"state\[0\]: expected an array, got"):
        net.train(np.zeros(35), *examples, **epoch, state=[wrong], report=np.zeros(3))


def test_native_byte_order_by_another_name():
    net = core_network("float32", 4, [("dense", 2, ())])
    X = np.ones((3, 4), np.float32)
    named = X.view(X.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))
    parameters, out, same = np.ones(10, np.float32), np.empty((3, 2), "f4"), np.empty((3, 2), "f4")
    net.forward(parameters, X, out)
    net.forward(parameters, named, same)
    np.testing.assert_array_equal(out, same)


@pytest.mark.parametrize("sizes", [(2**62, 1), (2**31 + 1, 1), (1, 2**31 + 1), (2**31, 2**31)])
def test_impossible_sizes(sizes):
    with pytest.raises(ValueError, match=r"expected 1 to|expected at most"):
        core_network("float32", sizes[0], [("dense", sizes[1], ())])


def test_training_waits_for_those_who_read(restore_threads):
    """A predictor in the background does not end a fit between two epochs."""
    _core.set_num_threads(1)
    net, parameters = network()
    X = np.ones((2000, 784), np.float32)
    done = threading.Event()
    refused = []

    def predict():
        out = np.empty((len(X), 10), np.float32)
        while not done.is_set():
            try:
                net.forward(parameters, X, out)
            except RuntimeError:  # an epoch is running
                refused.append(1)
                time.sleep(1e-3)

    reader = threading.Thread(target=predict)
    reader.start()
    try:
        for _ in range(20):
            assert train(net, parameters, X[:64], 32)[2] == 2
    finally:
        done.set()
        reader.join()


FORK = """
import os, sys, threading, time
import numpy as np
from pyfast_nn import _core

_core.set_num_threads(2)
layers = [{"kind": "dense", "units": 512}, {"kind": "relu"}, {"kind": "dense", "units": 10}]
net = _core.Network("float32", 784, layers)
parameters = np.full(net.n_parameters, 1e-3, np.float32)
X = np.broadcast_to(np.ones((1, 784), np.float32), (100_000, 784))
out = np.empty((len(X), 10), np.float32)
reader = threading.Thread(target=lambda: net.forward(parameters, X, out))
reader.start()
time.sleep(0.05)
child = os.fork()
if child == 0:  # the reader is not in this process
    sgd = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
    y, order = np.zeros(4, np.int64), np.arange(4)
    loss = ("cross_entropy", {"label_smoothing": 0.0, "confidence_penalty": 0.0})
    epoch = {"order": order, "batch_size": 4, "lr": 0.0, "update": sgd, "state": [], "step": 0}
    net.train(parameters, X[:4], y, loss, **epoch, report=np.zeros(3))
    os._exit(0 if _core.fma_peak(1e-3, 2) > 0 else 1)
reader.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fork_while_another_thread_reads():
    """The child trains, and measures, and does not wait for a thread that it does not have."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK], timeout=120, check=False
    )
    assert done.returncode == 0


EXIT = """
import sys, threading, time
import numpy as np
from pyfast_nn import _core

class AtTheEnd:
    def __del__(self, sleep=time.sleep):
        sleep(0.2)  # the interpreter has begun to end, and lets others have the GIL

layers = [{{"kind": "dense", "units": 512}}, {{"kind": "relu"}}, {{"kind": "dense", "units": 10}}]
net = _core.Network("float32", 784, layers)
parameters = np.full(net.n_parameters, 1e-3, np.float32)
X = np.broadcast_to(np.ones((1, 784), np.float32), ({rows}, 784))
out = np.empty((len(X), 10), np.float32)
net.forward(parameters, X[:1], out[:1])  # what pybind11 does at its first array
sys.at_the_end = AtTheEnd()  # this module's dictionary lives as long as the thread
threading.Thread(target=lambda: net.forward(parameters, X, out), daemon=True).start()
sys.setswitchinterval(60)  # whoever asks for the GIL now waits until the end
until = time.perf_counter() + 0.3
while time.perf_counter() < until:
    pass
"""


@pytest.mark.parametrize("rows", [400_000, 1000], ids=["while it computes", "when it returns"])
def test_exit_while_a_daemon_thread_calls(rows):
    """The process ends with the daemon's call in the middle; that call does not abort it."""
    code = EXIT.format(rows=rows)
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert done.returncode == 0
