"""
Early stopping is a path through models, close to ridge's
=========================================================

Gradient descent on least squares, from zero, multiplies the least squares solution along the i-th
principal direction, of curvature h_i, by ``1 - (1 - lr h_i)^t``. Ridge multiplies it by
``h_i / (h_i + c)``. Both keep the directions of large curvature and shrink the others, and the two
regularisation paths run side by side at ``c = 1 / (lr t)``: the time at which one stops is a
penalty. The expected error of gradient flow is at most 1.69 times ridge's there (A. Ali, J. Z.
Kolter, R. J. Tibshirani 2019, https://arxiv.org/abs/1810.10082).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
STEPS = 20_000
SCALE = np.geomspace(1, 0.1, 50)  # the standard deviations of the inputs


def problem(n=60):
    """Return centred X (n, d) and y (n,), so that the bias stays zero, and the true weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, len(SCALE))) * SCALE
    w = rng.standard_normal(len(SCALE))
    y = X @ w + 2 * rng.standard_normal(n)
    return X - X.mean(axis=0), y - y.mean(), w


X, y, w = problem()
h, V = np.linalg.eigh(2 / len(X) * X.T @ X)  # the curvatures of "mse", its principal directions
lr = 0.2 / h[-1]
times = np.unique(np.geomspace(1, STEPS, 60).astype(int))

# %%
# Full-batch training of a linear network, and both formulas.

model = fnn.Sequential([fnn.Dense(1, init="zeros")], dtype="float64")
sgd, trained = fnn.optim.SGD(lr=lr), []
for epochs in np.diff(times, prepend=0):
    model.fit(X, y, loss="mse", optimizer=sgd, epochs=epochs, batch_size=len(X), verbose=0)
    trained.append(model.named_parameters()["0.weight"][:, 0].copy())
trained = np.array(trained)

least_squares = V.T @ np.linalg.lstsq(X, y, rcond=None)[0]
formula = ((1 - (1 - lr * h) ** times[:, None]) * least_squares) @ V.T
ridge = (h / (h + 1 / (lr * times[:, None])) * least_squares) @ V.T
deviation = np.abs(trained - formula).max()
print(f"training against its formula, largest difference: {deviation:.1e}")

# %%
# The expected error on fresh data, less that of the noise, turns on both paths: whoever trains on
# fits the noise.

risk, ridge_risk = (np.sum(((path - w) * SCALE) ** 2, axis=1) for path in (trained, ridge))
best = np.argmin(risk)
ratio = np.max(risk / ridge_risk)
print(f"least error {risk[best]:.2f} after {times[best]} steps; at the end {risk[-1]:.2f}")
print(f"least error of ridge {ridge_risk.min():.2f}")
print(f"error over ridge's, at most {ratio:.2f} (bound 1.69)")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for color, i in zip(("C0", "C1", "C3", "C4", "C5"), (0, 4, 8, 12, 24), strict=True):
    left.semilogx(lr * times, trained[:, i], color=color)
    left.semilogx(lr * times, ridge[:, i], "--", color=color)
left.plot([], [], "k", label="stopped after t steps")
left.plot([], [], "k--", label="ridge, c = 1 / (lr t)")
left.set(xlabel="lr t = 1 / c", ylabel="five of the weights")
left.set_title("Two paths run side by side", fontsize=11)
left.legend(fontsize=9)
right.semilogx(lr * times, risk, label="stopped after t steps")
right.semilogx(lr * times, ridge_risk, "--", color="C1", label="ridge, c = 1 / (lr t)")
right.plot(lr * times[best], risk[best], "o", color="C0")
right.annotate(f"stop here, t = {times[best]}", (lr * times[best], risk[best]), (0.3, 0.9))
right.set(xlabel="lr t = 1 / c", ylabel="expected error, less the noise's", ylim=(0, None))
right.set_title("Stopping early is best, as is a penalty", fontsize=11)
right.legend(fontsize=9)
figure.savefig("early_stopping_path.png", dpi=150)
