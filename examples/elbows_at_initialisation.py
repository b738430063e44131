"""
Where elbows fall at initialisation, and dead ReLUs
===================================================

With one input, unit i of a ReLU layer bends at ``-b_i / w_i``. If weights and biases are drawn
from centred normals of the same width, that ratio follows the Cauchy law, of density
``1 / (pi (1 + x^2))``: half of the elbows lie outside (-1, 1), some very far. A unit that is zero
on all data is *dead*: it has no gradient and stays so. On data that fill (-1, 1) that means
``b <= -|w|``: a quarter of the units of this draw, and, for a constant b < 0 and w ~ N(0, 2) (K.
He et al. 2015), the fraction ``erf(|b| / 2)``. Steps that are too long kill units as well: beyond
2 / (largest eigenvalue of the Hessian) they overshoot, and not far beyond they throw the elbows
off the data.

The picture shows the histogram of the elbows beside Cauchy's density, the dead fraction by bias
beside its formula, and the dead fraction after 30 steps by learning rate. The numbers are the
Kolmogorov-Smirnov distance of the elbows from the law times the root of their number (it exceeds
1.63 by chance in one draw of a hundred), and dead fractions.
"""

import math

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

X = np.linspace(-1, 1, 201)[:, None]
y = np.cos(3 * X)
NORMAL = {"init": "he_normal", "bias_init": "he_normal"}


def elbows(units):
    """Return the elbows (units,) of a fresh layer with normal weights and biases."""
    p = fnn.Sequential([fnn.Dense(units, **NORMAL)], seed=0).build(1).named_parameters()
    return -p["0.bias"] / p["0.weight"][0]


def distance(sample):
    """Return the Kolmogorov-Smirnov distance between `sample` and the Cauchy law."""
    cdf = 0.5 + np.arctan(np.sort(sample)) / np.pi
    steps = np.arange(len(sample) + 1) / len(sample)
    return max(np.max(steps[1:] - cdf), np.max(cdf - steps[:-1]))


def dead(layer, parameters=()):
    """Return the fraction of units of `layer` that are zero on all of X."""
    hidden = fnn.Sequential([layer, fnn.ReLU()], seed=0).build(1)
    hidden.parameters[: len(parameters)] = parameters
    return np.mean(np.all(hidden.forward(X) == 0, axis=0))


def network():
    """Return a network without dead units."""
    return fnn.Sequential([fnn.Dense(200, bias_init=0.1), fnn.ReLU(), fnn.Dense(1)], seed=0).build(
        1
    )


def longest_stable_step(model):
    """Return 2 / (largest eigenvalue of the Hessian), by power iteration."""
    v = np.ones(model.n_parameters)
    for _ in range(50):
        v = model.hvp(X, y, v / np.linalg.norm(v), loss="mse")
    return 2 / np.linalg.norm(v)


def dead_after_training(lr):
    """Return the dead fraction after 30 full-batch steps of that length."""
    model, sgd = network(), fnn.optim.SGD(lr=lr)
    model.fit(X, y, loss="mse", optimizer=sgd, epochs=30, batch_size=len(X), verbose=0)
    return dead(model.layers[0], model.parameters[:400])


def main(quick=False):
    n = 5_000 if quick else 50_000
    sample = elbows(n)
    biases = np.linspace(-3, 0.5, 15 if quick else 29)
    by_bias = np.array([dead(fnn.Dense(n, init="he_normal", bias_init=float(b))) for b in biases])
    formula = np.array([math.erf(max(-b, 0) / 2) for b in biases])
    rates = np.geomspace(0.005, 0.5, 9 if quick else 21)
    by_rate = np.array([dead_after_training(lr) for lr in rates])
    stable = longest_stable_step(network())

    figure, (left, middle, right) = sheet(3, 3.2)
    grid = np.linspace(-6, 6, 241)
    left.hist(sample, grid[::8], weights=np.full(n, 2.5 / n), color="0.8", label="elbows")
    left.plot(grid, 1 / (np.pi * (1 + grid**2)), "k--", label="Cauchy")
    left.set(xlabel="elbow $-b/w$", ylabel="density", title="Elbows at the start")
    middle.plot(biases, by_bias, "o", ms=4, label="measured")
    middle.plot(biases, formula, "k--", label="erf(|b| / 2)")
    middle.set(xlabel="bias of all units", ylabel="dead fraction", title="Dead by bias")
    right.semilogx(rates, by_rate, "o-", ms=4, label="measured")
    right.axvline(stable, color="k", ls="--", label=r"2 / $\lambda_{max}$")
    right.set(xlabel="learning rate", ylabel="dead fraction", title="Dead after 30 steps")
    for axes in (left, middle, right):
        axes.legend(fontsize=8)
    return figure, {
        "sqrt(n) * KS distance from Cauchy": math.sqrt(n) * distance(sample),
        "dead, normal biases (1/4)": dead(fnn.Dense(n, **NORMAL)),
        "dead, constant bias: largest error of the formula": np.abs(by_bias - formula).max(),
        "dead after stable steps": by_rate[rates < stable].max(),
        "dead after steps five times too long": by_rate[rates > 5 * stable].min(),
    }


if __name__ == "__main__":
    run(main)
