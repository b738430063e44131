"""Branches, lists and models as layers, frozen layers, parts of models, random passes."""

import numpy as np

import pyfast_nn as fnn

rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)

body = fnn.Sequential([fnn.Dense(6), fnn.ReLU()])
model = fnn.Sequential(
    [
        [fnn.Dense(6), fnn.ReLU()],
        fnn.Residual([body, [fnn.Dense(6)]]),
        fnn.Residual(body, shortcut=body),
        fnn.Add(fnn.Dense(6), [fnn.Dense(6), fnn.Dropout(0.5)], body),
        body,
        fnn.Concatenate(fnn.Identity(), [fnn.Dense(3)]),
        fnn.Dense(3, trainable=False),
    ]
)
chain: list[fnn.layers.Layer] = [fnn.Dense(6), fnn.ReLU()]
fnn.Sequential(chain)
fnn.Sequential(layer for layer in chain)

model.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
model.layers[0].trainable = False
outputs: dict[str, np.ndarray] = model[:-1].activations(X)
part: fnn.Sequential = model[2]

sample: np.ndarray = model.forward(X, training=True, seed=3)
mean: np.ndarray = model.predict_proba(X, samples=4, seed=np.uint64(1))
labels: np.ndarray = model.predict(X, samples=4)
loss, grad = model.loss_and_grad(X, y, training=True, seed=3)
H = fnn.curvature.Hessian(model, X, y, restrict="1.0", training=True, seed=3)
