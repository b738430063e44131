"""Networks that know positions: `fit`, `forward` and a Hessian product."""

import numpy as np

import pyfast_nn as fnn

from .common import LOSS, THREADS


def lenet():
    return [
        *(fnn.Conv2d(6, 5, padding=2), fnn.ReLU(), fnn.MaxPool2d(2)),
        *(fnn.Conv2d(16, 5), fnn.ReLU(), fnn.MaxPool2d(2), fnn.Flatten()),
        *(fnn.Dense(120), fnn.ReLU(), fnn.Dense(84), fnn.ReLU(), fnn.Dense(10)),
    ]


def convolutions(stride):
    layers = []
    for channels, by in ((32, 1), (64, stride), (64, 1)):
        convolution = fnn.Conv2d(channels, 3, stride=by, padding=1)
        layers += [convolution, fnn.BatchNorm(), fnn.ReLU()]
    return [*layers, fnn.GlobalAvgPool(), fnn.Dense(10)]


def signals():
    layers = []
    for pool in (fnn.MaxPool1d(2), fnn.MaxPool1d(2), fnn.GlobalAvgPool()):
        layers += [fnn.Conv1d(64, 5, padding=2), fnn.ReLU(), pool]
    return [*layers, fnn.Dense(10)]


def transformer():
    blocks = [fnn.TransformerBlock(4, causal=True) for _ in range(2)]
    return [fnn.Embedding(64, 64), fnn.LearnedPositions(), *blocks, fnn.LayerNorm(), fnn.Dense(64)]


def deep_set():
    between = (fnn.ReLU(), fnn.Dense(64), fnn.ReLU())
    return [fnn.Dense(64), *between, fnn.SetPool("sum"), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)]


# shape of an example, layers, batch size
NETWORKS = {
    "lenet": ((28, 28, 1), lenet, 64),
    "convolutions, stride 2": ((32, 32, 3), lambda: convolutions(2), 64),
    "convolutions, stride 1": ((32, 32, 3), lambda: convolutions(1), 64),
    "signals": ((128, 9), signals, 64),
    "lstm": ((128, 9), lambda: [fnn.LSTM(64, outputs="last"), fnn.Dense(10)], 64),
    "gru": ((128, 9), lambda: [fnn.GRU(64, outputs="last"), fnn.Dense(10)], 64),
    "transformer": ((64,), transformer, 32),
    "deep set": ((50, 3), deep_set, 64),
}


class Positions:
    """An epoch of two steps, a pass forward and a Hessian product of one batch."""

    params = (list(NETWORKS), THREADS)
    param_names = ("network", "threads")

    def setup(self, network, threads):
        fnn.set_num_threads(threads)
        shape, layers, batch = NETWORKS[network]
        rng, rows = np.random.default_rng(0), 2 * batch
        if network == "transformer":
            self.x, self.y = rng.integers(0, 64, (2, rows, *shape))
        else:
            self.x = rng.standard_normal((rows, *shape), dtype=np.float32)
            self.y = rng.integers(0, 10, rows)
        self.batch, self.adam = batch, fnn.optim.Adam(lr=1e-3)
        self.model = fnn.Sequential(layers(), seed=0)
        self.model.build(shape)
        self.v = np.ones_like(self.model.parameters)

    def time_epoch(self, *_):
        self.model.fit(
            *(self.x, self.y),
            loss=LOSS,
            optimizer=self.adam,
            epochs=1,
            batch_size=self.batch,
            verbose=0,
        )

    def time_forward(self, *_):
        self.model.forward(self.x[: self.batch])

    def time_hvp(self, *_):
        x, y = self.x[: self.batch], self.y[: self.batch]
        self.model.hvp(x, y, self.v, loss=LOSS)
