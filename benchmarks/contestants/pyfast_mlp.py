"""pyfast_nn: one `fit`, and `predict_proba`."""

import numpy as np

import pyfast_nn as fnn

NAME = "pyfast_nn"


def network(sizes):
    layers = [fnn.Dense(sizes[1])]
    for size in sizes[2:]:
        layers += [fnn.ReLU(), fnn.Dense(size)]
    return fnn.Sequential(layers, dtype="float32", seed=0)


def predictor(sizes, x):
    model = network(sizes)
    labels = np.arange(len(x)) % sizes[-1]
    model.fit(x, labels, loss="cross_entropy", epochs=1, verbose=0)

    def run(count):
        for _ in range(count):
            model.predict_proba(x)

    return run


def trainer(sizes, x, y, batch_size):
    model = network(sizes)
    adam = fnn.optim.Adam(lr=1e-3)

    def run(epochs):
        model.fit(
            x,
            y,
            loss="cross_entropy",
            optimizer=adam,
            epochs=epochs,
            batch_size=batch_size,
            verbose=0,
        )

    return run
