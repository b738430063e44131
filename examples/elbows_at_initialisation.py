"""
Where elbows fall at initialisation, and when ReLUs die
=======================================================

With one input, unit i of a ReLU layer bends at its elbow ``-b_i / w_i``. If weights and biases are
drawn from centred normals of the same width, that ratio follows the Cauchy law, of density
``1 / (pi (1 + x^2))``: half of the elbows lie outside (-1, 1), some very far.

A unit that is zero on all data is *dead*: it has no gradient and stays so. On data that fill
(-1, 1) that means ``b <= -|w|``: a quarter of the units of this draw, and, for a constant b < 0 and
w ~ N(0, 2) (K. He et al. 2015, https://arxiv.org/abs/1502.01852), the fraction ``erf(|b| / 2)``.
Steps that are too long kill units as well: gradient descent is stable for learning rates below
``2 / lambda_max``, lambda_max the largest eigenvalue of the Hessian; beyond, it overshoots, and not
far beyond it throws the elbows off the data.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
UNITS, POINTS = 50_000, 29  # units of a layer; points along each curve
NORMAL = {"init": "he_normal", "bias_init": "he_normal"}

X = np.linspace(-1, 1, 201)[:, None]
y = np.cos(3 * X)

# %%
# Elbows of a fresh layer. Their Kolmogorov-Smirnov distance from the Cauchy law, times the root of
# their number, exceeds 1.63 by chance in one draw of a hundred.


def elbows(units):
    """Return the elbows (units,) of a fresh layer with normal weights and biases."""
    p = fnn.Sequential([fnn.Dense(units, **NORMAL)], seed=0).build(1).named_parameters()
    return -p["0.bias"] / p["0.weight"][0]


def distance(sample):
    """Return the Kolmogorov-Smirnov distance between `sample` and the Cauchy law."""
    cdf = 0.5 + np.arctan(np.sort(sample)) / np.pi
    steps = np.arange(len(sample) + 1) / len(sample)
    return max(np.max(steps[1:] - cdf), np.max(cdf - steps[:-1]))


sample = elbows(UNITS)
ks = math.sqrt(UNITS) * distance(sample)
print(f"sqrt(n) * KS distance from Cauchy: {ks:.2f}")

# %%
# Dead units by the bias that all units start with.


def dead(layer, parameters=()):
    """Return the fraction of units of `layer` that are zero on all of X."""
    hidden = fnn.Sequential([layer, fnn.ReLU()], seed=0).build(1)
    hidden.parameters[: len(parameters)] = parameters
    return np.mean(np.all(hidden.forward(X) == 0, axis=0))


biases = np.linspace(-3, 0.5, POINTS)
by_bias = np.array([dead(fnn.Dense(UNITS, init="he_normal", bias_init=float(b))) for b in biases])
formula = np.array([math.erf(max(-b, 0) / 2) for b in biases])
normal = dead(fnn.Dense(UNITS, **NORMAL))
constant = np.abs(by_bias - formula).max()
print(f"dead, normal biases: {normal:.3f} (theory 1/4)")
print(f"dead, constant bias: within {constant:.3f} of the formula")

# %%
# Dead units after 30 steps of gradient descent, by learning rate, from a start without any. The
# largest eigenvalue of the Hessian is found by power iteration: products with a vector suffice.


def network():
    """Return a network without dead units."""
    layers = [fnn.Dense(200, bias_init=0.1), fnn.ReLU(), fnn.Dense(1)]
    return fnn.Sequential(layers, seed=0).build(1)


def longest_stable_step(model):
    """Return 2 / lambda_max."""
    v = np.ones(model.n_parameters)
    for _ in range(50):
        v = model.hvp(X, y, v / np.linalg.norm(v), loss="mse")
    return 2 / np.linalg.norm(v)


rates = np.geomspace(0.005, 0.5, POINTS)
models = [network() for _ in rates]
steps = [{"optimizer": fnn.optim.SGD(lr=lr)} for lr in rates]
fnn.fit_many(models, X, y, loss="mse", epochs=30, batch_size=len(X), each=steps, verbose=0)
by_rate = np.array([dead(model.layers[0], model.parameters[:400]) for model in models])
stable = longest_stable_step(network())
print(f"dead after stable steps: at most {by_rate[rates < stable].max():.2f}")
print(f"dead after steps five times too long: at least {by_rate[rates > 5 * stable].min():.2f}")

# %%
# Theory is dashed.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
grid = np.linspace(-6, 6, 241)
left.hist(sample, grid[::4], weights=np.full(UNITS, 5 / UNITS), color="C2", label="elbows")
left.plot(grid, 1 / (np.pi * (1 + grid**2)), "k--", label="Cauchy")
left.set(xlabel="elbow $-b/w$", ylabel="density", ylim=(0, 0.42))
left.set_title("Elbows follow the Cauchy law", fontsize=11)
middle.plot(biases, by_bias, "o", markersize=4, label="measured")
middle.plot(biases, formula, "k--", label="erf(|b| / 2)")
middle.set(xlabel="bias b of all units", ylabel="dead fraction of units", ylim=(-0.05, 1.4))
middle.set_title("A negative bias kills units", fontsize=11)
right.semilogx(rates, by_rate, "o-", markersize=4, label="measured")
right.axvline(stable, color="k", ls="--", label=r"2 / $\lambda_{\max}$")
right.set(xlabel="learning rate", ylabel="dead fraction after 30 steps", ylim=(-0.05, 1.4))
right.set_title("So do steps that are too long", fontsize=11)
for axes in (left, middle, right):
    axes.legend()
figure.savefig("elbows_at_initialisation.png", dpi=150)
