"""`fit`: one step, and a whole epoch of a small data set."""

import pyfast_nn as fnn

from .common import LOSS, NETWORKS, NetworkBenchmark, make_data


class Fit(NetworkBenchmark):
    epoch_steps = 4

    def setup(self, network, dtype, threads):
        super().setup(network, dtype, threads)
        self.batch = NETWORKS[network]
        self.adam = fnn.optim.Adam(lr=1e-3)
        self.x_epoch, self.y_epoch = make_data(network, dtype, self.epoch_steps * self.batch)

    def fit(self, x, y):
        self.model.fit(
            x, y, loss=LOSS, optimizer=self.adam, epochs=1, batch_size=self.batch, verbose=0
        )

    def time_step(self, *_):
        self.fit(self.x, self.y)

    def time_epoch(self, *_):
        self.fit(self.x_epoch, self.y_epoch)


class SmallEpochs:
    """Many small steps in one call, where whatever surrounds the arithmetic shows."""

    params = ("sgd", "adam")
    param_names = ("optimizer",)
    steps = 1000

    def setup(self, optimizer):
        fnn.set_num_threads(1)
        self.model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], seed=0)
        self.x, self.y = make_data("64-64-10", "float32", 32 * self.steps)
        optimizers = {"sgd": fnn.optim.SGD(lr=1e-2), "adam": fnn.optim.Adam(lr=1e-3)}
        self.optimizer = optimizers[optimizer]

    def time_epoch(self, _):
        self.model.fit(
            self.x, self.y, loss=LOSS, optimizer=self.optimizer, epochs=1, batch_size=32, verbose=0
        )


class Pack:
    """Many small networks on the same data: how whole networks are shared out over threads."""

    params = (1, 2)
    param_names = ("threads",)
    networks = 8

    def setup(self, threads):
        fnn.set_num_threads(threads)
        self.models = [
            fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], seed=seed)
            for seed in range(self.networks)
        ]
        self.x, self.y = make_data("64-64-10", "float32", 3200)

    def time_epoch(self, _):
        fnn.fit_many(self.models, self.x, self.y, loss=LOSS, epochs=1, batch_size=32, verbose=0)
