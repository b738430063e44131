"""
Xavier and He against exploding and vanishing variances
=======================================================

A layer of ``width`` inputs of mean square m, with weights N(0, s / width), has outputs of mean
square ``E[f(sqrt(s m) z)^2]``, z ~ N(0, 1). On the way back it multiplies the mean square of the
gradient by ``s E[f'(sqrt(s m) z)^2]`` (B. Poole et al. 2016, https://arxiv.org/abs/1606.05340; S.
Schoenholz et al. 2017, https://arxiv.org/abs/1611.01232). For ReLU both are a factor s / 2:
Xavier's s = 1 (X. Glorot, Y. Bengio 2010) halves the variance 30 times over, He's s = 2 (K. He et
al. 2015) keeps it, and a fixed standard deviation of 0.01 loses everything. Tanh, which is near
the identity for small inputs, does better with Xavier; with He its gradients slowly explode.

The picture shows the mean squares of activations and gradients at every depth, theory dashed. The
numbers are the factors per layer for ReLU, and the largest error of the theory in any of the
twelve: it is that of infinite width, and layers of a few hundred units scatter about it by a few
per cent.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

DEPTH = 30
f = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}
df = {"relu": lambda x: (x > 0).astype(float), "tanh": lambda x: 1 - np.tanh(x) ** 2}
LAYERS = {"relu": fnn.ReLU(), "tanh": fnn.Tanh()}
INITS = {"he_normal": ("He", 2), "xavier_normal": ("Xavier", 1), "small_normal": ("0.01", None)}


def measure(activation, init, width, batch=64):
    """Return the mean squares of the activations and of the gradients, each (DEPTH + 1,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, width))
    forward, pullbacks = [np.mean(x**2)], []
    for k in range(DEPTH):
        block = fnn.Sequential([fnn.Dense(width, init=init), activation], dtype="float64", seed=k)
        x, pullback = block.vjp(x)
        forward.append(np.mean(x**2))
        pullbacks.append(pullback)
    g = rng.standard_normal((batch, width))
    backward = [np.mean(g**2)]
    for pullback in reversed(pullbacks):
        g = pullback(g)[1]
        backward.append(np.mean(g**2))
    return np.array(forward), np.array(backward[::-1])


def predict(activation, s):
    """Return what the theory of infinite width says of the same."""
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()  # means over N(0, 1)
    forward, factors = [1.0], []
    for _ in range(DEPTH):
        x = np.sqrt(forward[-1] * s) * z
        forward.append(weights @ f[activation](x) ** 2)
        factors.append(s * (weights @ df[activation](x) ** 2))
    return np.array(forward), np.append(np.cumprod(factors[::-1])[::-1], 1)


def main(quick=False):
    width = 128 if quick else 512
    figure, axes = sheet(4, 3)
    numbers, errors = {}, []
    for column, activation in enumerate(f):
        for color, (init, (name, s)) in enumerate(INITS.items()):
            measured = measure(LAYERS[activation], init, width)
            predicted = predict(activation, width * 0.01**2 if s is None else s)
            for side, direction in enumerate(("activations", "gradients")):
                ax, m, p = axes[2 * column + side], measured[side], predicted[side]
                ax.semilogy(m, color=f"C{color}", label=name)
                ax.semilogy(p, "k--", linewidth=1)
                ax.set(xlabel="layer", ylim=(1e-16, 1e6), title=f"{activation}, {direction}")
                start, end = (-1, 0) if side else (0, -1)
                factor, theory = ((v[end] / v[start]) ** (1 / DEPTH) for v in (m, p))
                errors.append(abs(np.log(factor / theory)))
                if activation == "relu":
                    numbers[f"{direction}, {name}: factor per layer ({theory:.4g})"] = factor
    axes[0].legend(fontsize=8)
    axes[0].set(ylabel="mean square")
    return figure, numbers | {"largest relative error of the theory": max(errors)}


if __name__ == "__main__":
    run(main)
