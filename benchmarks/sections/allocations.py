"""Allocations by our C++ during `fit`: the number may not depend on the number of steps."""

import numpy as np

import pyfast_nn as fnn
from pyfast_nn import _core
from sections.table import markdown_table

BATCH = 32


def allocations_of_fit(model, steps, epochs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH * steps, 64), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    before = _core.allocations()
    model.fit(x, y, loss="cross_entropy", epochs=epochs, batch_size=BATCH, verbose=0)
    return _core.allocations() - before


def run(arguments):
    fnn.set_num_threads(arguments.threads)
    model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], dtype="float32", seed=0)
    allocations_of_fit(model, 10, 1)  # fixes the classes, fills the pool
    rows = []
    for steps in (10, 100, 1000):
        one, three = (allocations_of_fit(model, steps, epochs) for epochs in (1, 3))
        rows.append([steps, one, (three - one) / 2])
    header = ["steps of an epoch", "allocations of `fit`, one epoch", "each further epoch"]
    return f"Allocations (64-64-10, batch {BATCH}).\n\n{markdown_table(header, rows)}"
