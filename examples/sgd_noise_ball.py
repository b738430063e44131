"""
With a constant step SGD ends in a noise ball, with a decaying one it goes on
=============================================================================

Linear regression with noise of variance s^2, one fresh example per step, a step of size m: with p
inputs of +-1 (one of them the constant) the squared distance from the true weights follows,
exactly, ``E|e|^2 <- (1 - 2 m + m^2 p) E|e|^2 + m^2 p s^2``. With m constant it falls geometrically
and then stays at ``m p s^2 / (2 - m p)``: a ball whose squared radius is proportional to m,
however long one trains. With ``m = 1 / (k + p)`` in step k it goes on falling like ``p s^2 / k``,
as fast as least squares (H. Robbins, S. Monro 1951, "A stochastic approximation method", Ann. Math.
Stat. 22(3); L. Bottou, F. Curtis, J. Nocedal 2018, https://arxiv.org/abs/1606.04838, section 4).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
STEPS = 30_000
P, S = 16, 0.5  # inputs, the constant among them; noise's standard deviation
RUNS = 100  # regressions side by side, one per output of the network, each with noise of its own

schedules = {
    "m = 0.04": lambda k: 0.04,
    "m = 0.01": lambda k: 0.01,
    "m = 1 / (k + p)": lambda k: 1 / (k + P),
}
shown = np.unique(np.geomspace(1, STEPS, 60).astype(int))
record = np.union1d(shown, np.linspace(STEPS // 2, STEPS, 100, dtype=int))  # to average over, too

# %%
# The learning rate of an optimizer may be a function of the step. The loss "mse" is the mean over
# the outputs, too, so the step for each of them is 2 lr / RUNS.


def measure(step_size):
    """Train on fresh rows; return |e|^2 of all runs after `record` steps, (len(record), RUNS)."""
    rng = np.random.default_rng(0)
    model = fnn.Sequential([fnn.Dense(RUNS, init="zeros")], dtype="float64")
    sgd = fnn.optim.SGD(lr=lambda k: step_size(k) * RUNS / 2)
    true = rng.standard_normal(P)
    true /= np.linalg.norm(true)
    distance = []
    for rows in np.diff(record, prepend=0):
        X = rng.choice([-1.0, 1.0], (rows, P - 1))
        y = (X @ true[:-1] + true[-1])[:, None] + S * rng.standard_normal((rows, RUNS))
        model.fit(X, y, loss="mse", optimizer=sgd, epochs=1, batch_size=1, shuffle=False, verbose=0)
        error = model.parameters.reshape(P, RUNS) - true[:, None]
        distance.append(np.sum(error**2, axis=0))
    return np.array(distance)


def predict(step_size):
    """Return the mean of the same from the recursion, (len(record),)."""
    distance = [1.0]
    for k in range(record[-1]):
        m = step_size(k)
        distance.append((1 - 2 * m + m**2 * P) * distance[-1] + m**2 * P * S**2)
    return np.array(distance)[record]


# %%
# The mean over the runs, with the middle 80 per cent of them; the recursion dashed. With the
# decaying step the last distance times ``k / (p s^2)`` tends to 1.

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
drawn, late = np.isin(record, shown), record >= STEPS // 2
radii = []
for color, (name, step_size) in zip(("C0", "C1", "C3"), schedules.items(), strict=True):
    runs, predicted = measure(step_size), predict(step_size)
    low, high = np.quantile(runs[drawn], [0.1, 0.9], axis=1)
    axes.fill_between(shown, low, high, color=color, alpha=0.2, lw=0)
    axes.loglog(shown, runs[drawn].mean(axis=1), color=color, label=name)
    axes.loglog(shown, predicted[drawn], "k--", linewidth=1)
    radii.append(runs[late].mean())
    if name != "m = 1 / (k + p)":
        print(f"{name}: squared radius {radii[-1]:.4f} (theory {predicted[-1]:.4f})")
decaying = STEPS * runs[-1].mean() / (P * S**2)
print(f"{name}: k |e|^2 / (p s^2) at the end {decaying:.2f} (theory: to 1)")
axes.plot([], [], "k--", linewidth=1, label="theory")
axes.set(xlabel="step k", ylabel="squared distance from the true weights, $|w - w^*|^2$")
axes.set_title("A constant step m ends in a ball of squared radius ~ m; 1 / k goes on")
axes.legend(loc="lower left")
figure.savefig("sgd_noise_ball.png", dpi=150)
