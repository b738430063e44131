"""
Elbows of a ReLU network move as it trains
==========================================

A network with one input and one hidden layer of ReLUs is a broken line: unit i computes
``max(w_i x + b_i, 0)`` and bends the line at its *elbow* ``x = -b_i / w_i``; nothing else bends
it. Training moves the elbows to where the data bend. So the network can end with a better fit than
any output weights over the elbows it began with, the best of which are linear least squares: what
networks have, and fixed features lack, is that they adapt (A. R. Barron 1993, IEEE Trans. Inf.
Theory 39(3)). It is not a law: elbows may also wander off the data, never to return.

The picture shows the elbows over the epochs, and two fits: of the trained network, and the best
one with the elbows frozen where they began. The numbers are their errors, and the largest bends of
the trained network in the cells of a fine grid with and without an elbow.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


def elbows(model):
    """Return where the hidden units bend, (units,)."""
    p = model.named_parameters()
    return -p["0.bias"] / p["0.weight"][0]


def bends(model, grid):
    """Return the change of slope about each inner point of `grid`, and whether an elbow is near."""
    slope = np.diff(model.forward(grid[:, None])[:, 0]) / np.diff(grid)
    near = (elbows(model) > grid[:-2, None]) & (elbows(model) < grid[2:, None])
    return np.abs(np.diff(slope)), near.any(axis=1)


def main(quick=False):
    rng = np.random.default_rng(0)
    X = np.sort(rng.uniform(-1, 1, (256, 1)), axis=0)
    y = np.cos(5 * X[:, 0]) + 0.05 * rng.standard_normal(256)

    layers = [fnn.Dense(16, bias_init="he_normal"), fnn.ReLU(), fnn.Dense(1)]
    model = fnn.Sequential(layers, dtype="float64", seed=4).build(1)
    hidden = fnn.Sequential(layers[:2], dtype="float64", seed=4).build(1)  # the same first layer
    features = np.column_stack([hidden.forward(X), np.ones(256)])
    frozen = features @ np.linalg.lstsq(features, y, rcond=None)[0]

    adam = fnn.optim.Adam(lr=0.01)
    paths = [elbows(model)]
    for _ in range(50 if quick else 200):
        model.fit(X, y, loss="mse", optimizer=adam, epochs=10, batch_size=64, verbose=0)
        paths.append(elbows(model))
    error, frozen_error = np.sqrt([model.evaluate(X, y)["loss"], np.mean((frozen - y) ** 2)])
    bend, near = bends(model, np.linspace(-1, 1, 1001))

    figure, (left, right) = sheet(2)
    inside = np.where(np.abs(paths) < 1.5, paths, np.nan)  # one may jump through infinity, at w = 0
    left.plot(10 * np.arange(len(paths)), inside, linewidth=1)
    left.set(
        xlabel="epoch", ylabel="elbow $-b_i/w_i$", ylim=(-1.2, 1.2), title="Elbows in training"
    )
    right.plot(X, y, ".", color="0.75", label="data")
    right.plot(X, frozen, "--", color="C1", label=f"elbows frozen: error {frozen_error:.2f}")
    right.plot(X, model.forward(X), color="C0", label=f"trained: error {error:.2f}")
    right.plot(paths[0], np.full(16, -1.5), "|", color="C1", ms=9)
    right.plot(paths[-1], np.full(16, -1.35), "|", color="C0", ms=9)
    right.set(
        xlabel="x", ylabel="y", xlim=(-1.05, 1.05), ylim=(-1.6, 2.1), title="Fit, elbows below"
    )
    right.legend(fontsize=8, loc="upper center")
    return figure, {
        "error, elbows trained": error,
        "error, elbows frozen": frozen_error,
        "largest bend at an elbow": bend[near].max(),
        "largest bend elsewhere": bend[~near].max(),
    }


if __name__ == "__main__":
    run(main)
