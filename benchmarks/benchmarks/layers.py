"""`fit` and `forward` with what stands between Dense layers."""

import pyfast_nn as fnn

from .common import LOSS, THREADS, make_data

BETWEEN = {
    "nothing": list,
    "dropout": lambda: [fnn.Dropout(0.5)],
    "gaussian noise": lambda: [fnn.GaussianNoise(0.1)],
    "batch norm": lambda: [fnn.BatchNorm()],
    "layer norm": lambda: [fnn.LayerNorm()],
    "scale": lambda: [fnn.Scale()],
    "residual": lambda: [fnn.Residual([fnn.Dense(256), fnn.ReLU(), fnn.Dense(256)])],
}


class Layers:
    """An epoch of four steps of 256-256-256-10, with one more kind of layer."""

    params = (list(BETWEEN), THREADS)
    param_names = ("layer", "threads")
    batch, steps = 128, 4

    def setup(self, layer, threads):
        fnn.set_num_threads(threads)
        layers = []
        for _ in range(2):
            layers += [fnn.Dense(256), fnn.ReLU(), *BETWEEN[layer]()]
        self.model = fnn.Sequential([*layers, fnn.Dense(10)], seed=0)
        self.x, self.y = make_data("256-10", "float32", self.batch * self.steps)
        self.model.build(256)
        self.adam = fnn.optim.Adam(lr=1e-3)

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
        self.model.forward(self.x)
