"""pyfast_nn: one `fit`, and `predict_proba`."""

import numpy as np

import pyfast_nn as fnn
from contestants import networks

NAME = "pyfast_nn"
KINDS = networks.ALL


def convolution(name):
    return lambda kernel, inputs, outputs, stride, padding: getattr(fnn, name)(
        outputs, kernel, stride, padding
    )


LAYERS = {
    "dense": lambda inputs, outputs: fnn.Dense(outputs),
    "relu": fnn.ReLU,
    "dropout": fnn.Dropout,
    "batch_norm": lambda features: fnn.BatchNorm(),
    "layer_norm": lambda features: fnn.LayerNorm(),
    "residual": lambda layers: fnn.Residual(translate(layers)),
    "gelu": fnn.GELU,
    "conv1d": convolution("Conv1d"),
    "conv2d": convolution("Conv2d"),
    "max_pool1d": lambda size: fnn.MaxPool1d(size),
    "max_pool2d": lambda size: fnn.MaxPool2d(size),
    "mean_pool": lambda: fnn.GlobalAvgPool(),
    "sum_pool": lambda: fnn.SetPool("sum"),
    "flatten": lambda *shape: fnn.Flatten(),
    "lstm": lambda inputs, units: fnn.LSTM(units, outputs="last"),
    "gru": lambda inputs, units: fnn.GRU(units, outputs="last"),
    "embedding": lambda categories, units: fnn.Embedding(categories, units),
    "positions": lambda *shape: fnn.LearnedPositions(),
    "attention": lambda units, heads: fnn.MultiHeadAttention(heads, causal=True),
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


def gradient(layers, weights, x, y):
    """The loss of all rows, and its gradient by arrays, at these weights."""
    model = network(layers).build(x.shape[1:])
    for parameter, array in zip(model.named_parameters().values(), weights, strict=True):
        parameter[...] = array.reshape(parameter.shape)
    loss, gradient = model.loss_and_grad(x, y, loss="cross_entropy", training=True)
    ends = np.cumsum([array.size for array in weights])
    parts = np.split(gradient, ends[:-1])
    return loss, [part.reshape(array.shape) for part, array in zip(parts, weights, strict=True)]


def trainer(layers, x, y, batch_size):
    model = network(layers).build(x.shape[1:])
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
