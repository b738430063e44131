"""
Initialisation keeps or loses the variance, layer by layer
==========================================================

A layer of ``width`` inputs of mean square m, with weights N(0, s / width), has outputs of mean
square ``E[f(sqrt(s m) z)^2]``, z ~ N(0, 1). On the way back it multiplies the mean square of the
gradient by ``s E[f'(sqrt(s m) z)^2]``: the mean field theory of wide networks (B. Poole et al.
2016, https://arxiv.org/abs/1606.05340; S. Schoenholz et al. 2017,
https://arxiv.org/abs/1611.01232). For ReLU both are a factor s / 2: Xavier's s = 1 (X. Glorot, Y.
Bengio 2010, AISTATS) halves the variance 30 times over, He's s = 2 (K. He et al. 2015,
https://arxiv.org/abs/1502.01852) keeps it, and a fixed standard deviation of 0.01 loses everything.
Tanh, which is near the identity for small inputs, does better with Xavier; with He its gradients
slowly explode.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WIDTH, DEPTH = 512, 30
f = {"ReLU": lambda x: np.maximum(x, 0), "tanh": np.tanh}
df = {"ReLU": lambda x: (x > 0).astype(float), "tanh": lambda x: 1 - np.tanh(x) ** 2}
LAYERS = {"ReLU": fnn.ReLU(), "tanh": fnn.Tanh()}
INITS = {  # the name of each, and its s
    "he_normal": ("He", 2),
    "xavier_normal": ("Xavier", 1),
    "small_normal": ("std 0.01", WIDTH * 0.01**2),
}

# %%
# A network of 30 layers is walked through block by block, so that we see what is between them:
# forward with ``vjp``, and back with the pullbacks that it returns.


def measure(activation, init, batch=64):
    """Return the mean squares of the activations and of the gradients, each (DEPTH + 1,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, WIDTH))
    forward, pullbacks = [np.mean(x**2)], []
    for k in range(DEPTH):
        block = [fnn.Dense(WIDTH, init=init), LAYERS[activation]]
        x, pullback = fnn.Sequential(block, dtype="float64", seed=k).vjp(x)
        forward.append(np.mean(x**2))
        pullbacks.append(pullback)
    g = rng.standard_normal((batch, WIDTH))
    backward = [np.mean(g**2)]
    for pullback in reversed(pullbacks):
        g = pullback(g)[1]
        backward.append(np.mean(g**2))
    return np.array(forward), np.array(backward[::-1])


# %%
# The theory is that of infinite width; its means over N(0, 1) by Gauss-Hermite quadrature.


def predict(activation, s):
    """Return what the theory says of the same."""
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    forward, factors = [1.0], []
    for _ in range(DEPTH):
        x = np.sqrt(forward[-1] * s) * z
        forward.append(weights @ f[activation](x) ** 2)
        factors.append(s * (weights @ df[activation](x) ** 2))
    return np.array(forward), np.append(np.cumprod(factors[::-1])[::-1], 1)


# %%
# Layers of a few hundred units scatter about it by a few per cent. Printed are the factors per
# layer for ReLU, with the theory's in brackets. Seen from the last layer back, the factor of the
# gradients says whether the first layers learn at all.

figure, panels = plt.subplots(
    2, 2, figsize=(9, 6.4), sharex=True, sharey=True, layout="constrained"
)
factors, errors = {}, []
for row, activation in zip(panels, f, strict=True):
    for color, (init, (name, s)) in zip(("C0", "C1", "C3"), INITS.items(), strict=True):
        measured, predicted = measure(activation, init), predict(activation, s)
        for axes, m, p, way in zip(row, measured, predicted, ("forward", "back"), strict=True):
            axes.semilogy(m, color=color, linewidth=2, label=name)
            axes.semilogy(p, "k--", linewidth=1)
            start, end = (0, -1) if way == "forward" else (-1, 0)
            factor, theory = ((v[end] / v[start]) ** (1 / DEPTH) for v in (m, p))
            errors.append(abs(np.log(factor / theory)))
            if activation == "ReLU":
                factors[name, way] = factor
                print(f"{way:>7}, {name:>8}: {factor:.4f} ({theory:.4f})")
    row[0].set(ylabel="mean square", ylim=(1e-12, 1e3), title=f"{activation}: activations")
    row[1].set_title(f"{activation}: gradients")
print(f"largest relative error of the theory, of the twelve: {max(errors):.3f}")
for axes in panels[1]:
    axes.set_xlabel("layer")
panels[0, 0].plot([], [], "k--", linewidth=1, label="theory")
panels[0, 0].legend()
figure.suptitle("He keeps the variances of ReLU networks, Xavier nearly those of tanh")
figure.savefig("variances_over_layers.png", dpi=150)
