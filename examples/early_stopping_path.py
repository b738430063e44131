"""
Early stopping is a path through models, close to ridge's
=========================================================

Gradient descent on least squares, from zero, multiplies the least squares solution along the i-th
principal direction, of curvature h_i, by ``1 - (1 - lr h_i)^t``. Ridge multiplies it by
``h_i / (h_i + c)``. Both keep the directions of large curvature and hold back the others, and the
two paths run side by side at ``c = 1 / (lr t)``: the time at which one stops is a penalty. The
expected error of gradient flow is at most 1.69 times ridge's there (A. Ali, J. Z. Kolter, R. J.
Tibshirani 2019, https://arxiv.org/abs/1810.10082).

The picture shows weights along both paths, and the error on fresh data, which turns on both:
whoever trains on fits the noise. The numbers are how far training is from its formula, the step at
which the error is least, the error there, at the end, and at ridge's best, and the largest ratio
of the errors of the two paths.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


def problem(n=60, d=50):
    """Return centred X (n, d) and y (n,), so that the bias stays zero, and the true weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)
    w = rng.standard_normal(d)
    y = X @ w + 2 * rng.standard_normal(n)
    return X - X.mean(axis=0), y - y.mean(), w


def train(X, y, times, lr):
    """Return the weights of full-batch training after `times` steps, (len(times), d)."""
    model = fnn.Sequential([fnn.Dense(1, init="zeros")], dtype="float64")
    sgd, weights = fnn.optim.SGD(lr=lr), []
    for epochs in np.diff(times, prepend=0):
        model.fit(X, y, loss="mse", optimizer=sgd, epochs=epochs, batch_size=len(X), verbose=0)
        weights.append(model.named_parameters()["0.weight"][:, 0].copy())
    return np.array(weights)


def main(quick=False):
    X, y, w = problem()
    n, d = X.shape
    h, V = np.linalg.eigh(2 / n * X.T @ X)  # the curvatures of "mse", its principal directions
    lr = 0.2 / h[-1]
    times = np.unique(np.geomspace(1, 1_000 if quick else 20_000, 60).astype(int))
    least_squares = V.T @ np.linalg.lstsq(X, y, rcond=None)[0]
    trained = train(X, y, times, lr)
    formula = ((1 - (1 - lr * h) ** times[:, None]) * least_squares) @ V.T
    ridge = (h / (h + 1 / (lr * times[:, None])) * least_squares) @ V.T

    scale = np.geomspace(1, 0.1, d)  # the standard deviations of the inputs
    risk, ridge_risk = (np.sum(((p - w) * scale) ** 2, axis=1) for p in (trained, ridge))
    best = np.argmin(risk)

    figure, (left, right) = sheet(2)
    for k in range(8):
        left.semilogx(lr * times, trained[:, 4 * k], color=f"C{k}")
        left.semilogx(lr * times, ridge[:, 4 * k], "--", color=f"C{k}", linewidth=1)
    left.set(xlabel="lr t = 1 / c", ylabel="eight of the weights", title="Paths (ridge dashed)")
    right.semilogx(lr * times, risk, label="stopped after t steps")
    right.semilogx(lr * times, ridge_risk, "k--", label="ridge, c = 1 / (lr t)")
    right.plot(lr * times[best], risk[best], "o", color="C0")
    right.set(xlabel="lr t = 1 / c", ylabel="error on fresh data - noise", title="Where to stop")
    right.legend()
    return figure, {
        "training against its formula, largest difference": np.abs(trained - formula).max(),
        "least error, at step": times[best],
        "error there": risk[best],
        "error at the end": risk[-1],
        "least error of ridge": ridge_risk.min(),
        "largest error / ridge's (bound 1.69)": np.max(risk / ridge_risk),
    }


if __name__ == "__main__":
    run(main)
