"""
Training moves the elbows of a ReLU network to where the target bends
=====================================================================

A network with one input and one hidden layer of ReLUs is piecewise linear: unit i computes
``max(w_i x + b_i, 0)`` and bends the output at its *elbow* (a knot of a linear spline)
``x = -b_i / w_i``; nothing else bends it. Training moves the elbows to where the target bends. So
the network can end with a better fit than any output weights over the elbows it began with, the
best of which are linear least squares: what networks have, and fixed features lack, is that they
adapt (A. R. Barron 1993, "Universal approximation bounds for superpositions of a sigmoidal
function", IEEE Trans. Inf. Theory 39(3)). It is not a law: elbows may also wander off the data,
never to return.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
UNITS, ROUNDS = 16, 200  # rounds of ten epochs each

rng = np.random.default_rng(0)
X = np.sort(rng.uniform(-1, 1, (256, 1)), axis=0)
y = np.cos(5 * X[:, 0]) + 0.05 * rng.standard_normal(256)


def elbows(model):
    """Return where the hidden units bend, (units,)."""
    p = model.named_parameters()
    return -p["0.bias"] / p["0.weight"][0]


# %%
# A network, trained by Adam. After every ten epochs we look where its elbows are.

layers = [fnn.Dense(UNITS, bias_init="he_normal"), fnn.ReLU(), fnn.Dense(1)]
model = fnn.Sequential(layers, dtype="float64", seed=4).build(1)
adam = fnn.optim.Adam(lr=0.01)
paths = [elbows(model)]
for _ in range(ROUNDS):
    model.fit(X, y, loss="mse", optimizer=adam, epochs=10, batch_size=64, verbose=0)
    paths.append(elbows(model))
error = np.sqrt(model.evaluate(X, y)["loss"])

# %%
# For comparison, the best output weights over the elbows of the start: least squares on the hidden
# units of the same network, untrained.

hidden = fnn.Sequential(layers[:2], dtype="float64", seed=4)
features = np.column_stack([hidden.forward(X), np.ones(len(X))])
frozen = features @ np.linalg.lstsq(features, y, rcond=None)[0]
frozen_error = np.sqrt(np.mean((frozen - y) ** 2))
print(f"root mean squared error: elbows trained {error:.3f}, frozen {frozen_error:.3f}")

# %%
# And a test of "nothing else bends it": the change of slope in the cells of a fine grid, with and
# without an elbow nearby. Away from elbows it is rounding.

grid = np.linspace(-1, 1, 1001)
slope = np.diff(model.forward(grid[:, None])[:, 0]) / np.diff(grid)
bend = np.abs(np.diff(slope))
near = ((paths[-1] > grid[:-2, None]) & (paths[-1] < grid[2:, None])).any(axis=1)
print(f"largest change of slope: {bend[near].max():.2g} at an elbow, {bend[~near].max():.2g} else")

# %%
# The cosine bends most at its three extrema, and that is where elbows gather.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
inside = np.where(np.abs(paths) < 1.5, paths, np.nan)  # one may jump through infinity, at w = 0
left.plot(10 * np.arange(len(paths)), inside, color="C0", linewidth=1)
for extremum in (-np.pi / 5, 0, np.pi / 5):
    line = left.axhline(extremum, color="C1", linestyle="--", linewidth=1)
line.set_label("extrema of the target")
left.set(xlabel="epoch", ylabel="elbow $-b_i/w_i$", ylim=(-1.5, 1.2))
left.set_title("Elbows move to where the target bends", fontsize=11)
left.legend(loc="lower right")

right.plot(X, y, ".", color="0.8", label="data")
right.plot(X, frozen, "--", color="C1", label=f"elbows frozen: RMSE {frozen_error:.2f}")
right.plot(X, model.forward(X), color="C0", label=f"elbows trained: RMSE {error:.2f}")
right.plot(paths[0], np.full(UNITS, -1.55), "|", color="C1", markersize=9)
right.plot(paths[-1], np.full(UNITS, -1.4), "|", color="C0", markersize=9)
right.set(xlabel="x (elbows are marked below)", ylabel="y", xticks=[-1, -0.5, 0, 0.5, 1])
right.set(xlim=(-1.05, 1.05), ylim=(-1.65, 2.2))
right.set_title("A network that moves its elbows fits better", fontsize=11)
right.legend(loc="upper center")
figure.savefig("relu_elbows.png", dpi=150)
