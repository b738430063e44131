"""
The noise ball of SGD, and a step that decays
=============================================

Linear regression with noise of variance s^2, one fresh example per step, a step of size m: with p
inputs of +-1 (one of them the constant) the squared distance from the true weights follows,
exactly, ``E|e|^2 <- (1 - 2 m + m^2 p) E|e|^2 + m^2 p s^2``. With m constant it falls geometrically
and then stays at ``m p s^2 / (2 - m p)``: a ball whose squared radius is proportional to m,
however long one trains. With ``m = 1 / (k + p)`` in step k it goes on falling like ``p s^2 / k``,
as fast as least squares (H. Robbins, S. Monro 1951, Ann. Math. Stat. 22(3); L. Bottou et al. 2018,
https://arxiv.org/abs/1606.04838, section 4).

The picture shows mean squared distances over the steps, the recursion dashed. The numbers are the
squared radii beside the theory's, and the last distance of the decaying step times
``k / (p s^2)``, which tends to 1.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

P, S = 16, 0.5  # inputs, the constant among them; noise's standard deviation
RUNS = 100  # regressions side by side, one per output of the network, each with noise of its own


def measure(step_size, record):
    """Train on fresh rows; return the mean of |e|^2 after `record` steps, (len(record),).

    "mse" is the mean over the outputs too, so the step for each of them is 2 lr / RUNS.
    """
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
        distance.append(np.mean(np.sum(error**2, axis=0)))
    return np.array(distance)


def predict(step_size, record):
    """Return the same from the recursion."""
    distance = [1.0]
    for k in range(record[-1]):
        m = step_size(k)
        distance.append((1 - 2 * m + m**2 * P) * distance[-1] + m**2 * P * S**2)
    return np.array(distance)[record]


def main(quick=False):
    steps = 3_000 if quick else 30_000
    record = np.unique(np.geomspace(1, steps, 60).astype(int))
    record = np.union1d(record, np.linspace(steps // 2, steps, 100, dtype=int))  # to average over
    schedules = {
        "m = 0.04": lambda k: 0.04,
        "m = 0.01": lambda k: 0.01,
        "m = 1 / (k + p)": lambda k: 1 / (k + P),
    }
    figure, axes = sheet(1, 4.2)
    numbers = {}
    for color, (name, m) in enumerate(schedules.items()):
        measured, predicted = measure(m, record), predict(m, record)
        axes.loglog(record, measured, color=f"C{color}", label=name)
        axes.loglog(record, predicted, "k--", linewidth=1)
        late = record >= steps // 2
        if color < 2:
            radius = f"{name}: squared radius (theory {predicted[-1]:.4f})"
            numbers[radius] = measured[late].mean()
        else:
            numbers[f"{name}: k |e|^2 / (p s^2) at the last"] = steps * measured[-1] / (P * S**2)
    axes.plot([], [], "k--", linewidth=1, label="theory")
    axes.set(
        xlabel="step k", ylabel="mean of |w - w*|²", title="SGD's noise ball, and a decaying step"
    )
    axes.legend()
    return figure, numbers


if __name__ == "__main__":
    run(main)
