"""pyfast_nn: one `fit`, and `predict_proba`."""

import numpy as np

import pyfast_nn as fnn
from contestants import networks

NAME = "pyfast_nn"
KINDS = networks.ALL
LAYERS = {
    "dense": lambda inputs, outputs: fnn.Dense(outputs),
    "relu": fnn.ReLU,
    "dropout": fnn.Dropout,
    "batch_norm": lambda features: fnn.BatchNorm(),
    "layer_norm": lambda features: fnn.LayerNorm(),
    "residual": lambda layers: fnn.Residual(translate(layers)),
}


def translate(layers):
    return [LAYERS[kind](*numbers) for kind, *numbers in layers]


def network(layers):
    return fnn.Sequential(translate(layers), dtype="float32", seed=0)


def predictor(layers, x):
    model = network(layers)
    model.build(x.shape[1])
    labels = np.arange(len(x)) % model.out_features
    model.fit(x, labels, loss="cross_entropy", epochs=1, verbose=0)

    def run(count):
        for _ in range(count):
            model.predict_proba(x)

    return run


def trainer(layers, x, y, batch_size):
    model = network(layers)
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
