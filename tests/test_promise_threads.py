"""The promise about threads, kept by whole fits: the same bits on any number of them, beside other
threads of Python, in children by fork, and in any company. The kernels are in test_threads.py."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy import sparse

import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import _core

pytestmark = pytest.mark.alone

COUNTS = range(1, 17) if FULL else (1, 2, 7, 16)


def labels(rng, n, classes):
    return rng.integers(0, classes, n)


def whole_fits():
    """name: (layers, X, y, options of fit). Steps are done by one thread or by a team, shared by
    rows, by columns, or both, in one chunk or several, from all kinds of inputs."""
    rng = np.random.default_rng(0)
    D = fnn.Dense

    def normal(*shape):
        return rng.normal(size=shape)

    one_row = [D(600), fnn.Tanh(), D(2)]
    deep = [layer for _ in range(6) for layer in (D(160), fnn.SiLU())]
    adam, sgd = fnn.optim.Adam, fnn.optim.SGD
    some = normal(400, 70)
    weights = rng.integers(0, 4, 400)
    return {
        "alone": ([D(16), fnn.ReLU(), D(3)], normal(50, 8), labels(rng, 50, 3), {"batch_size": 4}),
        "rows and columns": (
            [D(256), fnn.ReLU(), D(259), fnn.GELU(), D(10)],
            some,
            labels(rng, 400, 10),
            {"batch_size": 150, "validation_split": 0.2, "metrics": ["top_5_accuracy"]},
        ),
        "one row": (one_row, normal(3, 500), labels(rng, 3, 2), {"batch_size": 1}),
        "several chunks": (
            [fnn.Standardize(), D(19), fnn.Softplus(), D(3)],
            normal(4000, 12).astype("f2"),
            normal(4000, 3),
            {"batch_size": 2500, "loss": fnn.losses.Huber(delta=0.5)},
        ),
        "one column": (
            [D(1)],
            normal(2400, 300),
            normal(2400),
            {"batch_size": 1200, "loss": "mae"},
        ),
        "accumulated": (
            [D(200), fnn.ELU(), D(4)],
            some,
            labels(rng, 400, 4),
            {"batch_size": 60, "gradient_accumulation_steps": 3, "optimizer": adam(lr=0.01)},
        ),
        "weights": (
            [D(200), fnn.Softmax(), D(5)],
            some,
            labels(rng, 400, 5),
            {
                "batch_size": 130,
                "loss": "multi_margin",
                "sample_weight": weights,
                "class_weight": "balanced",
                "optimizer": sgd(lr=0.01, momentum=0.9, nesterov=True),
            },
        ),
        "several labels": (
            [D(150), fnn.Hardtanh(), D(6)],
            rng.integers(0, 256, (300, 90), dtype=np.uint8),
            rng.integers(0, 2, (300, 6)),
            {"batch_size": 120, "loss": "binary_cross_entropy", "patience": 1, "monitor": "loss"},
        ),
        "sparse": (
            [D(150), fnn.LeakyReLU(), D(2)],
            sparse.csr_array(normal(500, 80) * (rng.random((500, 80)) < 0.2)),
            rng.integers(0, 5, (500, 2)),
            {"batch_size": 250, "loss": "poisson", "optimizer": fnn.optim.AdamW(weight_decay=0.1)},
        ),
        "deep": ([*deep, D(1)], some, normal(400), {"batch_size": 100, "loss": "quantile"}),
    }


def fit_all(name):
    """Fit, and return all that there is to see."""
    layers, X, y, options = whole_fits()[name]
    optimizer = options.pop("optimizer", None) or fnn.optim.Adam()
    options = {"loss": "cross_entropy", "epochs": 2, "verbose": 0, **options}
    model = fnn.Sequential(layers, seed=4)
    history = model.fit(X, y, optimizer=optimizer, **options)
    columns = [key for key in history if key != "seconds"]
    return [
        *(model.parameters, model.state, *optimizer.state, model.forward(X), model.predict(X)),
        np.array([history[key] for key in columns]),
    ]


@pytest.mark.parametrize("name", whole_fits())
def test_whole_fits(isa, restore_threads, name):
    expected = None
    for count in COUNTS:
        _core.set_num_threads(count)
        found = fit_all(name)
        expected = expected or found
        for actual, right in zip(found, expected, strict=True):
            assert np.isfinite(right).all()
            assert_same_bits(actual, right)


@pytest.mark.parametrize("name", whole_fits())
def test_fits_are_shared(restore_threads, name):
    """All but one of them, so that the test above says something."""
    _core.set_num_threads(2)
    _core.fail_in_team(1)
    try:
        if name == "alone":
            fit_all(name)
        else:
            with pytest.raises(RuntimeError):
                fit_all(name)
    finally:
        _core.fail_in_team(-1)


# ------------------------------------------------------------------------------ threads of Python


@pytest.mark.once
def test_predicting_at_once(restore_threads):
    _core.set_num_threads(3)
    rng = np.random.default_rng(1)
    model = fnn.Sequential([fnn.Dense(300), fnn.Tanh(), fnn.Dense(7)]).build(60)
    model.loss = "cross_entropy"
    inputs = [rng.normal(size=(rows, 60)) for rows in (1, 9, 70, 150, 300, 700, 1100, 2000)]
    calls = [(call, X, call(X)) for X in inputs for call in (model.predict, model.predict_proba)]
    wrong, start = [], threading.Barrier(len(calls))

    def work(call, X, right):
        start.wait()
        for _ in range(200 if FULL else 10):
            if call(X).tobytes() != right.tobytes():
                wrong.append((call.__name__, len(X)))

    workers = [threading.Thread(target=work, args=call) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.once
def test_fitting_at_once(restore_threads):
    """The second fit of a model raises, from another thread and from a callback, and the first one
    ends as if nothing had been."""
    _core.set_num_threads(2)
    X, y = np.random.default_rng(1).normal(size=(300, 60)), np.arange(300) % 4
    options = {"loss": "cross_entropy", "epochs": 3, "verbose": 0}

    class Intruder(fnn.Callback):
        def __init__(self):
            self.errors = []

        def on_epoch_end(self, model, epoch, record):
            def intrude():
                try:
                    model.fit(X, y, **options)
                except RuntimeError as error:
                    self.errors.append(str(error))

            threads = [threading.Thread(target=intrude) for _ in range(3)]
            for thread in threads:
                thread.start()
            intrude()
            for thread in threads:
                thread.join()

    intruder, found = Intruder(), []
    for callbacks in ([], [intruder]):
        model = fnn.Sequential([fnn.Dense(200), fnn.Tanh(), fnn.Dense(4)], seed=1)
        model.fit(X, y, callbacks=callbacks, **options)
        found.append(model.parameters)
    assert len(intruder.errors) == 12
    assert all("within a fit" in error for error in intruder.errors)
    assert_same_bits(*found)


# ------------------------------------------------------------------------------------------- forks

FORKS = """
import os, signal, sys, threading, time
import numpy as np
import pyfast_nn as fnn

fnn.set_num_threads(4)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(300, 70)), rng.integers(0, 4, 300)
layers = [fnn.Dense(200), fnn.ReLU(), fnn.Dense(4)]
used = fnn.Sequential(layers)
used.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)

def results():
    model = fnn.Sequential(layers, seed=1)
    model.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
    return model.parameters.tobytes() + model.forward(X).tobytes() + used.forward(X).tobytes()

expected, over = results(), threading.Event()

def keep_busy():
    while not over.is_set():
        used.forward(X)

busy = threading.Thread(target=keep_busy)
busy.start()
try:
    for k in range({count}):
        child = os.fork()
        if child == 0:
            grandchild = os.fork() if k % 4 == 0 else None
            right = results() == expected
            if grandchild == 0:
                os._exit(0 if right else 1)
            if grandchild is not None:
                right = right and os.waitpid(grandchild, 0)[1] == 0
            os._exit(0 if right else 1)
        for _ in range(12_000):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.005)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit("fork %d hangs" % k)
        if status != 0:
            sys.exit("fork %d ended with status %d" % (k, status))
finally:
    over.set()
    busy.join()
assert results() == expected  # the parent's threads live on
print("all right")
"""


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks():
    """Children and grandchildren, forked while another thread is in the midst of a call, fit with
    the bits of their parent."""
    script = FORKS.format(count=1000 if FULL else 12)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=7200 if FULL else 300)
    assert done.stdout.strip() == "all right", done.stderr


# ----------------------------------------------------------------------------------------- company

COMPANY = """
import hashlib, importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)

import numpy as np
import pyfast_nn as fnn

def keep_others_busy():
    "So that the other libraries have threads of their own, too."
    a = np.ones((300, 300))
    (a @ a).sum()
    if "scipy.linalg" in sys.argv:
        sys.modules["scipy.linalg"].solve(a + np.eye(300), a)
    if "sklearn.cluster" in sys.argv:
        sys.modules["sklearn.cluster"].KMeans(2, n_init=1, random_state=0).fit(a + np.eye(300))
    if "torch" in sys.argv:
        torch = sys.modules["torch"]
        t = torch.ones(300, 300, requires_grad=True)
        (t @ t).relu().sum().backward()

fnn.set_num_threads(4)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(300, 70)), rng.integers(0, 4, 300)
for _ in range(2):  # before and after the others have computed
    model = fnn.Sequential([fnn.Dense(200), fnn.Tanh(), fnn.Dense(4)], seed=1)
    model.fit(X, y, loss="cross_entropy", epochs=2, verbose=0)
    print(hashlib.sha256(model.parameters.tobytes() + model.forward(X).tobytes()).hexdigest())
    keep_others_busy()
"""
OTHERS = ("numpy", "scipy.linalg", "sklearn.cluster", "torch", "pyfast_nn")
ORDERS = [
    ("torch", "pyfast_nn", "sklearn.cluster", "scipy.linalg", "numpy"),
    ("pyfast_nn", "sklearn.cluster", "torch", "numpy", "scipy.linalg"),
    ("scipy.linalg", "sklearn.cluster", "pyfast_nn", "numpy"),
]
if FULL:
    ORDERS = list(itertools.permutations(OTHERS))


@functools.cache
def digests(order):
    command = [sys.executable, "-c", COMPANY, *order]
    environment = {**os.environ, "PYFAST_NN_ISA": _core.isa()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.once
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_imports_in_any_order(order):
    """No crash, and the bits of a process of our own."""
    if "torch" in order:
        pytest.importorskip("torch", reason="torch is one of the libraries in company")
    alone = digests(("pyfast_nn",))
    assert len(alone) == 1 and digests(tuple(order)) == alone
