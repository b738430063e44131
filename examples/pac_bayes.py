"""
A bound on the error of a trained network that says something
=============================================================

Counting parameters, theory bounds the error of a network on new examples by more than 1, which
nobody doubted. G. K. Dziugaite and D. M. Roy (2017, https://arxiv.org/abs/1703.11008) let the
network be random: its parameters are drawn around the trained ones from a normal law Q. With
probability 1 - delta over the m examples (D. McAllester 1999; A. Maurer 2004,
https://arxiv.org/abs/cs/0411099)

    kl(error of Q on them, error of Q on new ones) <= (KL(Q | P) + log(2 sqrt(m) / delta)) / m

for a law P that does not know the examples: here around the parameters before training. Q is
learned, by gradients of such a bound: it is as wide as the errors allow, for what is wide costs few
nats. There are thousands of parameters, but the examples fix few of them.

If labels are random, a network learns them by heart in time, and no bound can be better than
guessing. If half of the examples are spent on P, which is a network trained on them, the others
need to say little, and the bound comes close to the error (A. Ambroladze, E. Parrado-Hernández, J.
Shawe-Taylor 2007, "Tighter PAC-Bayes bounds", NeurIPS).

The task is to tell digits below 5 from others. Set the variable PYFAST_NN_MNIST to a folder with
the four files of MNIST for its 60,000; where it is not set, this runs on the digits that come with
the package. (MNIST: the bounds are 0.14, 0.55 and 0.05, at errors of 0.03, 0.5 and 0.03.)
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WIDTH, EPOCHS, STEPS = 100, 200, 10_000
MNIST = os.environ.get("PYFAST_NN_MNIST")


def digits():
    """Return the small digits, 8 x 8 pixels: 1,400 examples, and 397 new ones."""
    X, y = fnn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order].astype(np.float32) / 16, y[order]
    return X[:1400], y[:1400], X[1400:], y[1400:]


def mnist(part):
    """Return MNIST's digits, from 28 x 28 to 14 x 14 pixels."""
    images = fnn.datasets.read_idx(Path(MNIST) / f"{part}-images-idx3-ubyte.gz")
    labels = fnn.datasets.read_idx(Path(MNIST) / f"{part}-labels-idx1-ubyte.gz")
    pixels = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255
    return pixels.astype(np.float32), labels


X, y, X_new, y_new = (*mnist("train"), *mnist("t10k")) if MNIST else digits()
y, y_new = (y > 4).astype(int), (y_new > 4).astype(int)
if MNIST:
    EPOCHS //= 40
half = len(X) // 2

# %%
# Three tasks: the labels as they are; random labels; and the labels of the second half, with a
# network that was trained on the first half as the centre of P.


def trained(X, y):
    """Return a network that has learned these examples."""
    model = fnn.Sequential([fnn.Dense(WIDTH), fnn.ReLU(), fnn.Dense(1)], seed=0)
    model.fit(X, y, loss="binary_cross_entropy", epochs=EPOCHS, batch_size=32, verbose=0)
    return model


random = np.random.default_rng(1).permutation(y)  # as many of each
model, by_heart, first = trained(X, y), trained(X, random), trained(X[:half], y[:half])
bounds = {
    "P: before training": fnn.inspect.pac_bayes_bound(model, X, y, steps=STEPS),
    "random labels": fnn.inspect.pac_bayes_bound(by_heart, X, random, steps=STEPS),
    "P: first half": fnn.inspect.pac_bayes_bound(
        first, X[half:], y[half:], prior=first.parameters, steps=STEPS
    ),
}

# %%
# Beside each bound the error on new examples of ten networks drawn from Q, which it is about.


def error_of_draws(found, draws=10):
    """Return the mean error of networks of this posterior on new examples."""
    rng = np.random.default_rng(0)
    drawn = fnn.Sequential(model.layers).build(model.in_features)
    errors = []
    for _ in range(draws):
        drawn.parameters = found.mean + found.std * rng.standard_normal(drawn.n_parameters)
        errors.append(1 - drawn.evaluate(X_new, y_new, loss=model.loss)["accuracy"])
    return np.mean(errors)


print(f"{model.n_parameters:,} parameters, {len(X):,} examples")
on_rows = 1 - by_heart.evaluate(X, random)["accuracy"]
print(f"the network's error on random labels, which it has seen: {on_rows:.3f}")
new_errors = {name: error_of_draws(found) for name, found in bounds.items()}
new_errors["random labels"] = 0.5  # of labels that were drawn
for name, found in bounds.items():
    print(
        f"{name:>20}: bound {found.bound:.3f} at confidence {found.confidence:g}, with an error of "
        f"{found.error:.3f} on the examples and {found.kl:.0f} nats; on new ones "
        f"{new_errors[name]:.3f}"
    )

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
places = np.arange(len(bounds))
for shift, values, color, label in (
    (-0.27, [found.error for found in bounds.values()], "C1", "on its examples"),
    (0.0, list(new_errors.values()), "C2", "on new ones"),
    (0.27, [found.bound for found in bounds.values()], "C0", "the bound"),
):
    left.bar(places + shift, values, 0.25, color=color, label=label)
left.axhline(0.5, color="k", linestyle=":", linewidth=1, label="guessing")
left.set_xticks(places, list(bounds))
left.set(ylabel="error of the random network")
left.set_title("Below guessing, but for random labels", fontsize=11)
left.legend(fontsize=8)
bounds["P: before training"].plot(right)
right.set_title("How Q is found", fontsize=11)
figure.savefig("pac_bayes.png", dpi=150)
