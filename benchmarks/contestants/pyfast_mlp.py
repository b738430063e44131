"""pyfast_nn: one `fit`."""

import pyfast_nn as fnn

NAME = "pyfast_nn"


def trainer(sizes, x, y, batch_size):
    layers = [fnn.Dense(sizes[1])]
    for size in sizes[2:]:
        layers += [fnn.ReLU(), fnn.Dense(size)]
    model = fnn.Sequential(layers, dtype="float32", seed=0)
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
