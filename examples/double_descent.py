"""
Double descent in the width of a model
======================================

Take hidden units with random weights, and fit the output weights by least squares; where many fit
exactly, take the shortest, to which gradient descent from zero converges. With more units the
error on fresh data first falls, then rises to a peak where there are as many units as rows: just
one exact fit exists there, and its weights explode with the noise in the labels. Beyond, there are
more fits to choose from, the shortest gets shorter, and the error falls again (M. Belkin et al.
2019, https://arxiv.org/abs/1812.11118), to that of the kernel of infinitely many units (Y. Cho, L.
Saul 2009). A penalty that suits the noise removes the peak (P. Nakkiran et al. 2020,
https://arxiv.org/abs/2003.01897).

The picture shows the error over the width, median of several draws, without and with a penalty,
and the kernel's. The numbers are where the peak is, how far it stands out on both sides, how close
the widest network comes to the kernel, and how flat the error with penalty is from the peak on.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

N, D, NOISE = 60, 6, 0.3  # rows, inputs, standard deviation of the noise in the labels


def data(rows, rng):
    """Return inputs on the sphere (rows, D) and a smooth function of them (rows,)."""
    X = rng.standard_normal((rows, D))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2]


def features(X, width, seed):
    """Return the hidden units (len(X), width) of a fresh network."""
    hidden = [fnn.Dense(width, init="he_normal"), fnn.ReLU()]
    return fnn.Sequential(hidden, dtype="float64", seed=seed).forward(X) / np.sqrt(width)


def kernel(X, Z):
    """Return the mean product of two rows' features over infinitely many units (Cho, Saul)."""
    cos = np.clip(X @ Z.T, -1, 1)
    angle = np.arccos(cos)
    return 2 / D * (np.sin(angle) + (np.pi - angle) * cos) / (2 * np.pi)


def fit(Z, y, penalty=0.0):
    """Return the output weights of ridge, or of least squares: the shortest, if there are many."""
    n, width = Z.shape
    if width < n:
        return np.linalg.solve(Z.T @ Z + penalty * np.eye(width), Z.T @ y)
    return Z.T @ np.linalg.solve(Z @ Z.T + penalty * np.eye(n), y)


def main(quick=False):
    draws = 5 if quick else 25
    widest = 20 * N if quick else 50 * N
    widths = np.union1d(np.geomspace(3, widest, 15 if quick else 40).astype(int), [N])
    penalty = 0.02
    errors = np.empty((draws, len(widths), 2))
    limit = np.empty(draws)
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        (X, y), (Xt, yt) = data(N, rng), data(500, rng)
        y = y + NOISE * rng.standard_normal(N)
        limit[draw] = np.mean((kernel(Xt, X) @ np.linalg.solve(kernel(X, X), y) - yt) ** 2)
        for i, width in enumerate(widths):
            Z, Zt = features(X, width, draw), features(Xt, width, draw)
            for j, c in enumerate((0.0, penalty)):
                errors[draw, i, j] = np.mean((Zt @ fit(Z, y, c) - yt) ** 2)
    plain, ridge = np.median(errors, axis=0).T
    limit = np.median(limit)
    peak = np.argmax(plain)

    figure, axes = sheet(1, 4.2)
    axes.loglog(widths / N, plain, "o-", ms=4, label="least squares, shortest weights")
    axes.loglog(widths / N, ridge, "s-", ms=4, label=f"ridge, penalty {penalty}")
    axes.axhline(limit, color="k", ls="--", label="kernel: infinite width")
    axes.axvline(1, color="0.7", ls=":")
    axes.set(
        xlabel="hidden units / rows", ylabel="squared error on fresh data", title="Double descent"
    )
    axes.legend()
    return figure, {
        "peak at width / n": widths[peak] / N,
        "peak / least error below n": plain[peak] / plain[widths < N].min(),
        "peak / error at the largest width": plain[peak] / plain[-1],
        "error at the largest width / kernel's": plain[-1] / limit,
        "ridge: largest error from n on / least": ridge[widths >= N].max() / ridge.min(),
    }


if __name__ == "__main__":
    run(main)
