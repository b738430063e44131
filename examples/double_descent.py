"""
Double descent in the width of a model, in its rows and in its epochs
=====================================================================

Take hidden units with random weights (random features), and fit the output weights by least
squares; where many fit exactly, take the shortest, to which gradient descent from zero converges.
With more units the error on fresh data first falls, then rises to a peak at the *interpolation
threshold*, where there are as many units as rows: just one exact fit exists there, and its weights
explode with the noise in the labels. Beyond, there are more fits to choose from, the shortest gets
shorter, and the error falls again (M. Belkin et al. 2019, https://arxiv.org/abs/1812.11118), to
that of the kernel of infinitely many units (Y. Cho, L. Saul 2009, "Kernel methods for deep
learning", NeurIPS). A penalty that suits the noise removes the peak (P. Nakkiran et al. 2020,
https://arxiv.org/abs/2003.01897).

The threshold is met, too, where the units stay and the *rows* grow, so that more data are worse for
a while; and a second descent may come over the *epochs* of one training (P. Nakkiran et al. 2020,
"Deep double descent", ICLR, https://arxiv.org/abs/1912.02292). The latter has another reason, which
a linear model shows: some features are large and learned soon, and in the end fit mostly noise;
others are small and learned late, and worth it. The error is a sum of two curves, each of which
falls and rises at a time of its own. Where all features have the same size there is one fall and
one rise, and stopping early gets the best of both (R. Heckel, F. Yilmaz 2021, ICLR,
https://arxiv.org/abs/2007.10099).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
N, D, NOISE = 60, 6, 0.3  # rows, inputs, standard deviation of the noise in the labels
DRAWS, WIDEST, POINTS = 25, 50, 40  # random draws; most units per row; widths
PENALTY = 0.02
LARGE, SMALL = 40, 10  # features of the linear model of size 1, and of size 0.1
EPOCHS, RUNS = 5_000, 8


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
# The rows grow, and there are as many units as before rows.

rows = np.union1d(np.geomspace(10, 10 * N, POINTS).astype(int), [N])
by_rows = np.empty((2, len(rows), DRAWS))
for draw in range(DRAWS):
    rng = np.random.default_rng(draw)
    (X, y), (Xt, yt) = data(rows[-1], rng), data(500, rng)
    y = y + NOISE * rng.standard_normal(len(y))
    Z, Zt = features(X, N, draw), features(Xt, N, draw)
    for i, n in enumerate(rows):
        for j, c in enumerate((0.0, PENALTY)):
            by_rows[j, i, draw] = np.mean((Zt @ fit(Z[:n], y[:n], c) - yt) ** 2)
of_rows, ridge_of_rows = np.median(by_rows, axis=2)
worst = np.argmax(of_rows)
before = of_rows[rows < N].min()
enough = rows[worst:][of_rows[worst:] < before][0]
print(f"{N} units: worst with {rows[worst]} rows; as many as {enough} are needed to be better than")
print(
    f"with {rows[np.argmin(of_rows[:worst])]}; with the penalty more rows are worse by at most "
    f"{max(ridge_of_rows[1:] / ridge_of_rows[:-1]) - 1:.0%}"
)

# %%
# One training of a linear network by gradient descent, watched at geometric times. `Standardize`
# gives all features the same size, and each the same pace.

SIZES = np.repeat([1.0, 0.1], [LARGE, SMALL])
WEIGHTS = np.repeat([1.2, 25.0], [LARGE, SMALL])  # in deviations of what noise makes of a weight


def watched(layers, draw):
    """Return the error on fresh data at each of the times."""
    rng = np.random.default_rng(draw)
    X, Xt = (rng.standard_normal((n, len(SIZES))) * SIZES for n in (400, 2000))
    w = WEIGHTS / np.sqrt(len(X))
    y = X @ w + rng.standard_normal(len(X))
    linear = fnn.Sequential([*layers, fnn.Dense(1, init="zeros")], dtype="float64")
    sgd, errors = fnn.optim.SGD(lr=0.1), []
    for epochs in np.diff(times, prepend=0):
        linear.fit(*(X, y), loss="mse", optimizer=sgd, epochs=epochs, batch_size=len(X), verbose=0)
        errors.append(np.mean((linear.forward(Xt)[:, 0] - Xt @ w) ** 2))
    return errors


times = np.unique(np.geomspace(1, EPOCHS, POINTS).astype(int))
by_epochs = {
    "sizes 1 and 0.1": np.median([watched([], d) for d in range(RUNS)], axis=0),
    "standardized": np.median([watched([fnn.Standardize()], d) for d in range(RUNS)], axis=0),
}
two, one = by_epochs.values()
first = next(i for i in range(1, len(two)) if two[i] > two[i - 1]) - 1
hill = first + np.argmax(two[first : first + len(two) // 2])
print(
    f"epochs: error {two[0]:.3f}, falls to {two[first]:.3f} at {times[first]}, rises to "
    f"{two[hill]:.3f} at {times[hill]}, falls to {two[hill:].min():.3f}"
)
print(f"standardized: falls to {one.min():.3f} at {times[np.argmin(one)]}, ends at {one[-1]:.3f}")

# %%

figure, (axes, middle, right) = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
for ax, x, runs_of_two, middles in (
    (axes, widths / N, errors, (plain, ridge)),
    (middle, rows / N, by_rows, (of_rows, ridge_of_rows)),
):
    for runs, line, color, mark, name in zip(
        runs_of_two,
        middles,
        ("C0", "C1"),
        ("o-", "s-"),
        ("least squares, shortest weights", f"ridge, penalty {PENALTY}"),
        strict=True,
    ):
        low, high = np.quantile(runs, [0.25, 0.75], axis=1)
        ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
        ax.loglog(x, line, mark, color=color, markersize=4, label=name)
    ax.axvline(1, color="k", ls=":", linewidth=1, label="interpolation threshold")
axes.axhline(limit, color="k", ls="--", label="kernel: infinite width")
axes.set(xlabel="hidden units per row", ylabel="squared error on fresh data (median, quartiles)")
axes.set_title("Width: a peak where it equals rows", fontsize=11)
axes.legend(fontsize=8)
middle.set(xlabel="rows per hidden unit")
middle.set_title("Rows: more are worse for a while", fontsize=11)
for (name, line), style in zip(by_epochs.items(), ("C0-", "C2--"), strict=True):
    right.semilogx(times, line, style, label=name)
right.set(xlabel="epoch")
right.set_title("Epochs: features that are learned at two times", fontsize=11)
right.legend(fontsize=8)
figure.savefig("double_descent.png", dpi=150)
