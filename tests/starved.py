"""Calls that run out of memory, for test_promise_memory.py.

    LD_PRELOAD=failing_memory.so python starved.py CALL FOLDER

fails the n-th allocation of the compiled module (and of the C++ library on its behalf), n rising
until the call succeeds; then every allocation from the n-th on. Prints how many attempts failed.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import gc
import os
import sys
from pathlib import Path

import numpy as np

import pyfast_nn as fnn
from pyfast_nn import _core

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 60))
labels = rng.integers(0, 7, 300)
LAYERS = (fnn.Dense(120), fnn.Tanh(), fnn.Dense(80), fnn.ReLU(), fnn.Dense(7))


@functools.cache
def trained_model():
    model = fnn.Sequential(LAYERS, dtype="float32", seed=3)
    model.fit(X, labels, loss="cross_entropy", epochs=1, batch_size=64, verbose=0)
    model.history = None  # whose seconds differ
    return model


def new_model():
    return copy.deepcopy(trained_model())


class Call:
    """A call that leaves its model as it was."""

    def __init__(self, run):
        self.run = run
        self.expected = self.results(new_model())

    def results(self, model):
        return [np.copy(result) for result in self.run(model)]

    def attempt(self):
        """Run once; the model is right afterwards, whatever happened. Return whether it failed."""
        model = new_model()
        try:
            with starving:
                results = self.run(model)
        except MemoryError:
            self.check(self.results(model))
            return True
        self.check(results)
        return False

    def check(self, results):
        for actual, expected in zip(results, self.expected, strict=True):
            np.testing.assert_array_equal(actual, expected, strict=True)


class Fit:
    """Two epochs: those done before memory fails count, and the next fit goes on from there."""

    epochs = 2

    def __init__(self):
        self.expected = {}
        model, optimizer = new_model(), fnn.optim.Adam()
        for _ in range(self.epochs):
            self.expected[model.epochs_trained] = model.parameters.copy()
            self.fit(model, optimizer, 1)
        self.expected[model.epochs_trained] = model.parameters.copy()

    def fit(self, model, optimizer, epochs):
        model.fit(X, labels, optimizer=optimizer, epochs=epochs, batch_size=128, verbose=0)

    def check(self, model):
        expected = self.expected[model.epochs_trained]
        np.testing.assert_array_equal(model.parameters, expected)

    def attempt(self):
        model, optimizer = new_model(), fnn.optim.Adam()
        try:
            with starving:
                self.fit(model, optimizer, self.epochs)
            failed = False
        except MemoryError:
            failed = True
            self.check(model)
            missing = 1 + self.epochs - model.epochs_trained
            if missing:
                self.fit(model, optimizer, missing)
        assert model.epochs_trained == 1 + self.epochs
        self.check(model)
        return failed


def pullback(model):
    dout = np.ones((len(X), 7), np.float32)
    out, pull = model.vjp(X)
    return [out, *pull(dout)]


def landscape(model):
    directions = np.ones((model.n_parameters, 2))
    return [fnn.inspect.loss_landscape(model, X, labels, directions, [-1.0, 0.0, 1.0]).losses]


def save(model):
    model.save(FILE)
    return [np.frombuffer(FILE.read_bytes(), np.uint8)]


def load(model):
    save(model)
    return [fnn.load(FILE).parameters]


def gemm(_):
    c = np.empty((90, 80))
    _core.gemm(np.ones((90, 70)), np.ones((70, 80)), c)
    return [c]


def ops(_):
    x, w = np.ones((90, 70)), np.ones((70, 80))
    z = fnn.ops.dense_forward(x, w, w[0])
    p, g = fnn.ops.softmax(z), np.ones(90)
    return [z, p, *fnn.ops.dense_backward(p, x, w), fnn.ops.clip_grad_norm([g], 1.0), g]


def update(_):
    parameters = np.ones(1000)
    sgd = {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}
    _core.update(("sgd", sgd), parameters, np.ones(1000), [], 0.1, 0)
    return [parameters]


CALLS = {
    "fit": Fit,
    "build": lambda: Call(lambda _: [fnn.Sequential(LAYERS).build(60).parameters]),
    "forward": lambda: Call(lambda model: [model.forward(X)]),
    "predict": lambda: Call(lambda model: [model.predict(X), model.predict_proba(X)]),
    "evaluate": lambda: Call(lambda model: list(model.evaluate(X, labels).values())),
    "loss_landscape": lambda: Call(landscape),
    "loss_and_grad": lambda: Call(lambda model: list(model.loss_and_grad(X, labels))),
    "vjp": lambda: Call(pullback),
    "jvp": lambda: Call(lambda model: list(model.jvp(X, np.ones_like(model.parameters)))),
    "hvp": lambda: Call(lambda model: [model.hvp(X, labels, np.ones_like(model.parameters))]),
    "gemm": lambda: Call(gemm),
    "ops": lambda: Call(ops),
    "update": lambda: Call(update),
    "save": lambda: Call(save),
    "load": lambda: Call(load),
}


class Starving:
    """While entered, allocation `n` of the compiled module fails, and those after it if `all`."""

    def __init__(self):
        self.shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.shim.fail_allocation.argtypes = ctypes.c_long, ctypes.c_int
        self.shim.fail_allocation.restype = self.shim.live_blocks.restype = ctypes.c_long
        assert self.shim.watch(Path(_core.__file__).name.encode()) > 0
        assert self.shim.watch(b"libstdc++.so") > 1
        self.n, self.all, self.failed = 0, False, 0

    def __enter__(self):
        self.shim.fail_allocation(self.n, self.all)

    def __exit__(self, *_):
        self.failed += self.shim.fail_allocation(0, False)

    def live_blocks(self):
        gc.collect()
        return self.shim.live_blocks()


def fail_each_in_turn(call):
    """Return how many allocations there were."""
    for n in range(1, 10_000):
        starving.n, starving.failed = n, 0
        failed = call.attempt()
        if not starving.failed:
            assert not failed, "MemoryError, but no allocation of ours had failed"
            return n - 1
        assert failed, "an allocation failed, and the call returned"
    raise AssertionError("there is no end to it")


def main(name):
    call = CALLS[name]()
    counts, live = [], []
    for starving.all in (False, True, False, True):
        counts.append(fail_each_in_turn(call))
        live.append(starving.live_blocks())
    # The first round may leave what is made once and kept.
    assert live[2:] == live[:2] and live[0] == live[1], f"a leak: {live} blocks"
    assert len(set(counts)) == 1, counts
    print(counts[0])


if __name__ == "__main__":
    _core.set_num_threads(2)
    starving, FILE = Starving(), Path(sys.argv[2]) / "m.safetensors"
    main(sys.argv[1])
