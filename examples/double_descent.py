"""
Double descent in the width of a model
======================================

Take hidden units with random weights (random features), and fit the output weights by least
squares; where many fit exactly, take the shortest, to which gradient descent from zero converges.
With more units the error on fresh data first falls, then rises to a peak at the *interpolation
threshold*, where there are as many units as rows: just one exact fit exists there, and its weights
explode with the noise in the labels. Beyond, there are more fits to choose from, the shortest gets
shorter, and the error falls again (M. Belkin et al. 2019, https://arxiv.org/abs/1812.11118), to
that of the kernel of infinitely many units (Y. Cho, L. Saul 2009, "Kernel methods for deep
learning", NeurIPS). A penalty that suits the noise removes the peak (P. Nakkiran et al. 2020,
https://arxiv.org/abs/2003.01897).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
N, D, NOISE = 60, 6, 0.3  # rows, inputs, standard deviation of the noise in the labels
DRAWS, WIDEST, POINTS = 25, 50, 40  # random draws; most units per row; widths
PENALTY = 0.02


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


def fit(Z, y, penalty):
    """Return the output weights of ridge, or of least squares: the shortest, if there are many."""
    n, width = Z.shape
    if width < n:
        return np.linalg.solve(Z.T @ Z + penalty * np.eye(width), Z.T @ y)
    return Z.T @ np.linalg.solve(Z @ Z.T + penalty * np.eye(n), y)


# %%
# Fresh data and fresh hidden units in each draw; all errors are on 500 fresh rows without noise.

widths = np.union1d(np.geomspace(3, WIDEST * N, POINTS).astype(int), [N])
errors, limits = np.empty((2, len(widths), DRAWS)), np.empty(DRAWS)
for draw in range(DRAWS):
    rng = np.random.default_rng(draw)
    (X, y), (Xt, yt) = data(N, rng), data(500, rng)
    y = y + NOISE * rng.standard_normal(N)
    limits[draw] = np.mean((kernel(Xt, X) @ np.linalg.solve(kernel(X, X), y) - yt) ** 2)
    for i, width in enumerate(widths):
        Z, Zt = features(X, width, draw), features(Xt, width, draw)
        for j, c in enumerate((0.0, PENALTY)):
            errors[j, i, draw] = np.mean((Zt @ fit(Z, y, c) - yt) ** 2)
plain, ridge = np.median(errors, axis=2)
limit = np.median(limits)

# %%
# Where the peak is, how far it stands out on both sides, how close the widest network comes to the
# kernel, and how flat the error with penalty is from the threshold on (medians).

peak = np.argmax(plain)
over_before, over_after = plain[peak] / plain[widths < N].min(), plain[peak] / plain[-1]
over_kernel, over_ridge = plain[-1] / limit, ridge[widths >= N].max() / ridge.min()
print(f"peak at {widths[peak] / N:.2f} units per row")
print(
    f"peak over the least error before it {over_before:.0f}, over that at the end {over_after:.0f}"
)
print(f"error at the largest width over the kernel's {over_kernel:.2f}")
print(f"ridge: largest error from the threshold on, over its least {over_ridge:.2f}")

# %%

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
for runs, middle, color, mark, name in (
    (errors[0], plain, "C0", "o-", "least squares, shortest weights"),
    (errors[1], ridge, "C1", "s-", f"ridge, penalty {PENALTY}"),
):
    low, high = np.quantile(runs, [0.25, 0.75], axis=1)
    axes.fill_between(widths / N, low, high, color=color, alpha=0.2, lw=0)
    axes.loglog(widths / N, middle, mark, color=color, markersize=4, label=name)
axes.axhline(limit, color="k", ls="--", label="kernel: infinite width")
axes.axvline(1, color="k", ls=":", linewidth=1, label="interpolation threshold")
axes.set(xlabel="hidden units per row", ylabel="squared error on fresh data (median, quartiles)")
axes.set_title("The error peaks where width equals rows, and falls again")
axes.legend()
figure.savefig("double_descent.png", dpi=150)
