"""Optimizers on arrays of the user's own: one step."""

import numpy as np

import pyfast_nn as fnn

from .common import DTYPES, THREADS

TENSORS = {  # tensors, numbers in each
    "1 x 20,000,000": (1, 20_000_000),
    "1 x 1,000,000": (1, 1_000_000),
    "200 x 500": (200, 500),
    "1 x 10,000": (1, 10_000),
    "1 x 1": (1, 1),
}


class Step:
    """What the arithmetic costs, what memory does, and what a call does."""

    params = (["SGD", "Adam"], list(TENSORS), DTYPES, THREADS)
    param_names = ("optimizer", "tensors", "dtype", "threads")

    def setup(self, optimizer, tensors, dtype, threads):
        fnn.set_num_threads(threads)
        count, size = TENSORS[tensors]
        rng = np.random.default_rng(0)
        params, self.grads = (
            [rng.standard_normal(size).astype(dtype) for _ in range(count)] for _ in range(2)
        )
        self.optimizer = getattr(fnn.optim, optimizer)(params)

    def time_step(self, *_):
        self.optimizer.step(self.grads)
