"""
Ridge regression three ways, and its kernel form
================================================

Ridge minimises ``|X w - y|^2 + c |w|^2``. Plain least squares gives the same w from *fake data*
(data augmentation), rows ``sqrt(c) I`` with target zero below X. So do *fake features*, columns
``sqrt(c) I`` beside X: many weights then fit y, gradient descent from zero finds the shortest, and
their part for X is ridge's. That last view is the kernel (dual) form
``w = X' (X X' + c I)^-1 y``, equal to ``(X' X + c I)^-1 X' y`` (A. E. Hoerl, R. W. Kennard 1970,
"Ridge regression", Technometrics 12(1); C. Saunders, A. Gammerman, V. Vovk 1998, "Ridge regression
learning algorithm in dual variables", ICML).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
PENALTIES = 8


def problem(n=20, d=8):
    """Return X (n, d) and y (n,), centred, which keeps the bias at zero."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.linspace(0.5, 2, d)
    y = X @ rng.standard_normal(d) + rng.standard_normal(n)
    return X - X.mean(axis=0), y - y.mean()


# %%
# Three of the four are linear networks trained with momentum, whose best setting for a quadratic is
# known (B. T. Polyak 1964).


def train(X, y, weight_decay=0.0):
    """Return the weights of a linear network trained from zero until they stand still."""
    h = np.linalg.eigvalsh(2 / len(X) * X.T @ X) + weight_decay  # the curvatures
    low, high = np.sqrt(h[h > 1e-9 * h[-1]][0]), np.sqrt(max(h[-1], 2 + weight_decay))
    sgd = fnn.optim.SGD(
        lr=4 / (low + high) ** 2,
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


# %%
# The weights over c: lines from the kernel form, marks from the networks.

X, y = problem()
cs = np.geomspace(0.3, 1000, PENALTIES)
weights = {way: np.array([way(X, y, c) for c in cs]) for way in (penalty, fake_data, fake_features)}
weights[kernel] = np.array([kernel(X, y, c) for c in cs])
difference = np.ptp(list(weights.values()), axis=0).max()
print(f"largest difference between any two of the four: {difference:.1e}")

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
grid = np.geomspace(cs[0], cs[-1], 200)
axes.semilogx(grid, [kernel(X, y, c) for c in grid], color="C2", linewidth=1)
axes.plot([], [], color="C2", linewidth=1, label="kernel form")
for way, color, mark, size in (
    (penalty, "C0", "o", 11),
    (fake_data, "C1", "s", 7),
    (fake_features, "k", "x", 5),
):
    marks = axes.semilogx(cs, weights[way], mark, color=color, markersize=size, mfc="none")
    marks[0].set_label(way.__name__.replace("_", " "))
axes.set(xlabel="penalty c", ylabel="the eight weights")
axes.set_title("Penalty, fake data, fake features and kernel form give the same weights")
axes.legend()
figure.savefig("ridge_three_ways.png", dpi=150)
