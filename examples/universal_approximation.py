"""
Universal approximation of x^2, xy and parity: networks exist, training may not find them
=========================================================================================

A ReLU network of one input is piecewise linear, and N chords of x^2 on (0, 1) are off by
``1 / (4 N^2)``. A layer of N units makes N pieces, but layers fold: m tent maps on each other make
2^m pieces from 3 m units, with an error of ``4^-(m + 1)`` (D. Yarotsky 2017,
https://arxiv.org/abs/1610.01145). Products follow from ``xy = ((x + y) / 2)^2 - ((x - y) / 2)^2``.
The parity of n bits is a zigzag in their sum, exact with n units. But that a network exists does
not say that training finds it: parity is memorised, and on rows left out the network does no better
than a coin (S. Shalev-Shwartz, O. Shamir, S. Shammah 2017, https://arxiv.org/abs/1703.07950).
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WIDTHS = [2, 4, 8, 16, 32, 64, 128, 256]
SEEDS = 10


# %%
# Networks whose parameters are set by hand.


def network(*maps):
    """Return the network with these (weight, bias), ReLU between them."""
    layers = [layer for weight, _ in maps for layer in (fnn.Dense(len(weight[0])), fnn.ReLU())]
    model = fnn.Sequential(layers[:-1], dtype="float64").build(len(maps[0][0]))
    model.parameters = np.concatenate([np.ravel(values) for pair in maps for values in pair])
    return model


def chords(pieces):
    """Return the network of one hidden layer that joins points of x^2 on (0, 1)."""
    bend = np.full((pieces, 1), 2 / pieces)
    bend[0] /= 2
    return network(([[1] * pieces], -np.arange(pieces) / pieces), (bend, [0]))


def square(m):
    """Return the maps of x^2 by m tents: units relu(t), relu(t - 1/2) and what is left of x."""
    tent = np.array([[2.0], [-4], [0]])
    left = [np.array([[0.0], [0], [1]]) - tent / 4**k for k in range(1, m + 1)]
    bias = np.array([0, -0.5, 0])
    inner = [(np.hstack([tent, tent, rest]), bias) for rest in left[:-1]]
    return [(np.ones((1, 3)), bias), *inner, (left[-1], np.zeros(1))]


def product(m):
    """Return the maps of xy: (x + y) / 2 and the two parts of |x - y| / 2, then squares."""
    first, *inner, last = [(np.kron(np.eye(2), w), np.tile(b, 2)) for w, b in square(m)]
    halves = np.array([[1, 1, -1], [1, -1, 1]]) / 2
    merge = np.array([[1, 0], [0, 1], [0, 1]])
    difference = np.array([[1], [-1]])
    return [
        (halves, np.zeros(3)),
        (merge @ first[0], first[1]),
        *inner,
        (last[0] @ difference, np.zeros(1)),
    ]


def parity(n):
    """Return the network for the parity of n bits: a zigzag in their sum."""
    bend = 2.0 * (-1.0) ** np.arange(n)[:, None]
    bend[0] = 1
    return network((np.ones((n, n)), -np.arange(n)), (bend, [0]))


def error(model, X, y):
    """Return the largest error."""
    return np.abs(model.forward(X)[:, 0] - y).max()


# %%
# Their errors are those of the theory.

ms = np.arange(1, 6)
theory = 0.25 / 4**ms  # also of chords with 2^m pieces
x = np.linspace(0, 1, 2049)
X = np.array(list(itertools.product(np.linspace(0, 1, 65), repeat=2)))
bits, odd = fnn.datasets.make_parity(n_features=8)
curves = {  # hidden units, errors
    "x², one layer": (2**ms, [error(chords(2**m), x[:, None], x**2) for m in ms]),
    "x², m layers": (3 * ms, [error(network(*square(m)), x[:, None], x**2) for m in ms]),
    "xy, m + 1 layers": (3 + 6 * ms, [error(network(*product(m)), X, X.prod(axis=1)) for m in ms]),
}
deviation = max(np.abs(errors / theory - 1).max() for _, errors in curves.values())
parity_error = error(parity(8), bits, odd)
print(f"x² and xy: largest relative deviation from the theory {deviation:.1e}")
print(f"parity by hand: largest error {parity_error:.1e}")

# %%
# Parity of 8 bits, trained on a random half of the 256 rows: for each network another one, as rows
# of weight 0 are as if they were not there.


def network_of_parity(units, seed):
    """Return a new network."""
    layers = [fnn.Dense(units, bias_init="he_normal"), fnn.ReLU(), fnn.Dense(2)]
    return fnn.Sequential(layers, seed=seed)


runs = [(units, seed) for units in WIDTHS for seed in range(SEEDS)]
trained = [network_of_parity(*run) for run in runs]
halves = [np.random.default_rng(seed).permutation(256) >= 128 for _, seed in runs]
adam = fnn.optim.Adam(lr=0.01)
options = {"loss": "cross_entropy", "optimizer": adam, "epochs": 300, "batch_size": 32}
fnn.fit_many(
    trained, bits, odd, **options, each=[{"sample_weight": half} for half in halves], verbose=0
)
accuracy = np.array(
    [
        [model.evaluate(bits[rows], odd[rows])["accuracy"] for rows in (half, ~half)]
        for model, half in zip(trained, halves, strict=True)
    ]
).reshape(len(WIDTHS), SEEDS, 2)
seen, left_out = accuracy[-1].mean(axis=0)
print(f"parity trained, {WIDTHS[-1]} units: accuracy {seen:.2f}, on rows left out {left_out:.2f}")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for (name, (units, errors)), color, mark in zip(
    curves.items(), ("C0", "C1", "C3"), "os^", strict=True
):
    left.loglog(units, errors, mark, color=color, markersize=6, label=name)
    left.loglog(units, theory, "k--", linewidth=1)
left.plot([], [], "k--", linewidth=1, label="theory")
left.set_xticks([2, 4, 8, 16, 32], labels=[2, 4, 8, 16, 32])
left.minorticks_off()
left.set(xlabel="hidden units", ylabel="largest error")
left.set_title("Made by hand: depth beats width", fontsize=11)
left.legend(loc="lower left")

for part, (name, color, mark) in enumerate(
    (("rows trained on", "C0", "o-"), ("rows left out", "C1", "s-"))
):
    low, middle, high = np.quantile(accuracy[:, :, part], [0, 0.5, 1], axis=1)
    right.fill_between(WIDTHS, low, high, color=color, alpha=0.2, lw=0)
    right.semilogx(WIDTHS, middle, mark, color=color, label=name)
right.axhline(0.5, color="k", ls="--", linewidth=1, label="a coin")
right.set_xticks(WIDTHS, labels=WIDTHS)
right.minorticks_off()
right.set(xlabel="hidden units", ylabel=f"accuracy (median and range, {SEEDS} seeds)")
right.set(ylim=(0, 1.05))
right.set_title("Trained: parity is memorised, not learned", fontsize=11)
right.legend(loc="lower right")
figure.savefig("universal_approximation.png", dpi=150)
