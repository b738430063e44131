"""
Ridge regression three ways, and its kernel form
================================================

Ridge minimises ``|X w - y|^2 + c |w|^2``. Plain least squares gives the same w from *fake data*,
rows ``sqrt(c) I`` with target zero below X. So do *fake features*, columns ``sqrt(c) I`` beside X:
many weights then fit y, gradient descent from zero finds the shortest, and their part for X is
ridge's. That last view is the kernel form ``w = X' (X X' + c I)^-1 y``, equal to
``(X' X + c I)^-1 X' y`` (A. E. Hoerl, R. W. Kennard 1970, Technometrics 12(1); C. Saunders et al.
1998, ICML).

The picture shows the weights over c: lines from the kernel form, marks from linear networks
trained with momentum on centred data, which keep the bias at zero. The number is the largest
difference between any two of the four.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


def problem(n=20, d=8):
    """Return X (n, d) and y (n,), centred."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.linspace(0.5, 2, d)
    y = X @ rng.standard_normal(d) + rng.standard_normal(n)
    return X - X.mean(axis=0), y - y.mean()


def train(X, y, weight_decay=0.0):
    """Return the weights of a linear network trained from zero until they stand still."""
    h = np.linalg.eigvalsh(2 / len(X) * X.T @ X) + weight_decay  # the curvatures
    low, high = np.sqrt(h[h > 1e-9 * h[-1]][0]), np.sqrt(max(h[-1], 2 + weight_decay))
    sgd = fnn.optim.SGD(
        lr=4 / (low + high) ** 2,  # Polyak's best for a quadratic
        momentum=((high - low) / (high + low)) ** 2,
        weight_decay=weight_decay,
    )
    model = fnn.Sequential([fnn.Dense(1, init="zeros")], dtype="float64")
    steps = int(40 * high / low)
    model.fit(X, y, loss="mse", optimizer=sgd, epochs=steps, batch_size=len(X), verbose=0)
    return model.named_parameters()["0.weight"][:, 0]


def penalty(X, y, c):
    """The optimizer adds weight_decay * w to the gradient of |X w - y|^2 / n."""
    return train(X, y, weight_decay=2 * c / len(X))


def fake_data(X, y, c):
    """Each row twice, with both signs and c / 2, so that the columns stay centred."""
    rows = np.sqrt(c / 2) * np.eye(X.shape[1])
    return train(np.vstack([X, rows, -rows]), np.append(y, np.zeros(2 * len(rows))))


def fake_features(X, y, c):
    """One more column for each row: the noise of which it may blame its residual on."""
    return train(np.hstack([X, np.sqrt(c) * np.eye(len(X))]), y)[: X.shape[1]]


def kernel(X, y, c):
    """No training."""
    return X.T @ np.linalg.solve(X @ X.T + c * np.eye(len(X)), y)


def main(quick=False):
    X, y = problem()
    cs = np.geomspace(0.3, 1000, 4 if quick else 8)
    figure, axes = sheet(1, 4.2)
    grid = np.geomspace(cs[0], cs[-1], 200)
    axes.semilogx(grid, [kernel(X, y, c) for c in grid], "0.6", linewidth=1)
    weights = [[kernel(X, y, c) for c in cs]]
    for way, style in ((penalty, "C0s"), (fake_data, "C1x"), (fake_features, "C2+")):
        weights.append([way(X, y, c) for c in cs])
        marks = axes.semilogx(cs, weights[-1], style, ms=8, mfc="none")
        marks[0].set_label(way.__name__.replace("_", " "))
    axes.plot([], [], "0.6", label="kernel form")
    axes.set(xlabel="penalty c", ylabel="weights", title="Ridge three ways, and its kernel form")
    axes.legend()
    return figure, {"largest difference": np.ptp(weights, axis=0).max()}


if __name__ == "__main__":
    run(main)
