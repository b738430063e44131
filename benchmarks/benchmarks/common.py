"""Parameters and data shared by the benchmarks."""

import numpy as np

import pyfast_nn as fnn

DTYPES = ["float32", "float64"]
THREADS = [1, 2]
# features, hidden ..., classes: batch size
NETWORKS = {"64-64-10": 32, "784-512-512-10": 256, "1024-1024-1024-1024-10": 1024}
LOSS = "cross_entropy"


def make_model(network, dtype):
    """A built ReLU network."""
    features, *units = map(int, network.split("-"))
    layers = [fnn.Dense(units[0])]
    for size in units[1:]:
        layers += [fnn.ReLU(), fnn.Dense(size)]
    model = fnn.Sequential(layers, dtype=dtype, seed=0)
    model.build(features)
    return model


def make_data(network, dtype, rows):
    """Normal inputs (rows, features) and uniform labels (rows,)."""
    features, *_, classes = map(int, network.split("-"))
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, features)).astype(dtype), rng.integers(0, classes, rows)


class NetworkBenchmark:
    """A network and one batch of data for it, at each number of threads."""

    params = (list(NETWORKS), DTYPES, THREADS)
    param_names = ("network", "dtype", "threads")

    def setup(self, network, dtype, threads):
        fnn.set_num_threads(threads)
        self.model = make_model(network, dtype)
        self.x, self.y = make_data(network, dtype, NETWORKS[network])
