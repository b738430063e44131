"""The promise about signals: Ctrl-C at any moment of a fit arrives soon, and what it leaves behind
is the model of the steps done. The core's side of it is in test_interrupt.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from conftest import FULL

pytestmark = [pytest.mark.once, pytest.mark.alone]

# What is interrupted. It tells the moment when the exception has arrived, and checks what is left.
INTERRUPTED = """
import signal, sys, time
import numpy as np
import pyfast_nn as fnn
from pyfast_nn import _core

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
rng = np.random.default_rng(0)
# columns, hidden units, rows, batch size: steps of microseconds on one thread, of a team, and long
# ones; data that are converted and standardized, and evaluated for a part of the time
shapes = [(8, 16, 30_000, 4), (64, 200, 12_000, 256), (784, 512, 4096, 512)]
data = [(rng.normal(size=(n, k)).astype("f2"), rng.integers(0, 5, n)) for k, _, n, _ in shapes]

def make(columns, hidden):
    layers = [fnn.Standardize(), fnn.Dense(hidden), fnn.Tanh(), fnn.Dense(5)]
    return fnn.Sequential(layers, seed=3).build(columns), fnn.optim.Adam()

def fit(model, optimizer, X, y, **options):
    model.fit(X, y, loss="cross_entropy", optimizer=optimizer, verbose=0, **options)

for kind in map(int, sys.stdin):
    (columns, hidden, n, batch_size), (X, y) = shapes[kind], data[kind]
    model, optimizer = make(columns, hidden)
    validation = (X[:2000], y[:2000]) if kind else None
    try:
        print("running", flush=True)
        fit(model, optimizer, X, y, epochs=10**9, batch_size=batch_size, validation_data=validation)
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)

    # the same steps, and no more: whole epochs, and the first batches of one
    again, optimizer_again = make(columns, hidden)
    steps = -(-n // batch_size)
    epochs, rest = divmod(optimizer.step_count, steps)
    if model.history is not None:  # else it came before the first step
        again.state = model.state
        if epochs:
            fit(again, optimizer_again, X, y, epochs=epochs, batch_size=batch_size)
        if rest:
            order = _core.permutation(3, 2**32 + epochs, n)[: rest * batch_size]
            part = X[order], y[order]
            fit(again, optimizer_again, *part, epochs=1, batch_size=batch_size, shuffle=False)
    assert np.isfinite(model.parameters).all()
    for _ in range(2):  # the second time after one more fit
        assert model.parameters.tobytes() == again.parameters.tobytes(), "parameters"
        assert optimizer.step_count == optimizer_again.step_count, "steps"
        for actual, right in zip(optimizer.state, optimizer_again.state, strict=True):
            assert actual.tobytes() == right.tobytes(), "state"
        for one, its_optimizer in ((model, optimizer), (again, optimizer_again)):
            fit(one, its_optimizer, X, y, epochs=1, batch_size=batch_size, shuffle=False)
    print(optimizer.step_count, flush=True)
"""


def test_ctrl_c_at_random_moments():
    count = 300 if FULL else 8
    delays = random.Random(0)
    latencies = []
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as child:
        try:
            for k in range(count):
                print(k % 3, file=child.stdin)
                assert child.stdout.readline() == "running\n"
                time.sleep(delays.uniform(0, 0.15))
                sent = time.monotonic()
                os.kill(child.pid, signal.SIGINT)
                arrived = child.stdout.readline()
                assert arrived, "it ended"
                latencies.append(float(arrived) - sent)
                assert child.stdout.readline(), "what it left behind is wrong"
            child.stdin.close()
            assert child.wait(60) == 0
        except (AssertionError, subprocess.TimeoutExpired) as error:
            child.kill()
            pytest.fail(f"interrupt {len(latencies)}: {error}\n{child.stderr.read()}")
    print("Ctrl-C to KeyboardInterrupt, ms:", end="")
    for percent in (50, 90, 99, 100):
        print(f" {percent}% {1e3 * np.percentile(latencies, percent):.1f}", end="")
    assert max(latencies) < (1 if FULL else 30)
    if FULL:
        assert np.mean(np.array(latencies) < 0.25) >= 0.99
