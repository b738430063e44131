"""
Universal approximation of x^2, xy and parity
=============================================

A ReLU network of one input is a broken line, and N chords of x^2 on (0, 1) are off by
``1 / (4 N^2)``. A layer of N units makes N pieces, but layers fold: m tent maps on each other make
2^m pieces from 3 m units, with an error of ``4^-(m + 1)`` (D. Yarotsky 2017,
https://arxiv.org/abs/1610.01145). Products follow from ``xy = ((x + y) / 2)^2 - ((x - y) / 2)^2``.
The parity of n bits is a zigzag in their sum, exact with n units. But that a network exists does
not say that training finds it: parity is learned by heart, and on rows left out the network does
no better than a coin (S. Shalev-Shwartz et al. 2017, https://arxiv.org/abs/1703.07950).

The picture shows the largest errors of networks made by hand, theory dashed, and the accuracy of
networks trained on one half of all rows of 8 bits. The numbers are the largest relative deviation
of the errors from the theory, the error of the parity network made by hand, and the two accuracies
of a trained one.
"""

import itertools

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


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


def train_parity(bits, odd, units):
    """Return a network with one hidden layer, trained on these rows."""
    layers = [fnn.Dense(units, bias_init="he_normal"), fnn.ReLU(), fnn.Dense(2)]
    model, adam = fnn.Sequential(layers, seed=0), fnn.optim.Adam(lr=0.01)
    model.fit(bits, odd, loss="cross_entropy", optimizer=adam, epochs=300, batch_size=32, verbose=0)
    return model


def error(model, X, y):
    """Return the largest error."""
    return np.abs(model.forward(X)[:, 0] - y).max()


def main(quick=False):
    ms = np.arange(1, 6)
    theory = 0.25 / 4**ms  # also of chords with 2^m pieces
    x = np.linspace(0, 1, 2049)
    X = np.array(list(itertools.product(np.linspace(0, 1, 65), repeat=2)))
    curves = {
        "x², one layer": (2**ms, lambda m: error(chords(2**m), x[:, None], x**2)),
        "x², m layers": (3 * ms, lambda m: error(network(*square(m)), x[:, None], x**2)),
        "xy, m + 1 layers": (3 + 6 * ms, lambda m: error(network(*product(m)), X, X.prod(axis=1))),
    }
    bits, odd = fnn.datasets.make_parity(n_features=8)
    fresh = np.random.default_rng(0).permutation(256) < 128
    widths = [4, 16, 64] if quick else [2, 4, 8, 16, 32, 64, 128, 256]
    models = [train_parity(bits[~fresh], odd[~fresh], n) for n in widths]
    seen, left_out = (
        [model.evaluate(bits[rows], odd[rows])["accuracy"] for model in models]
        for rows in (~fresh, fresh)
    )

    figure, (left, right) = sheet(2)
    deviation = 0
    for name, (units, build) in curves.items():
        errors = np.array([build(m) for m in ms])
        deviation = max(deviation, np.abs(errors / theory - 1).max())
        left.loglog(units, errors, "o", ms=5, label=name)
        left.loglog(units, theory, "k--", linewidth=1)
    left.set_xticks([2, 4, 8, 16, 32], labels=[2, 4, 8, 16, 32])
    left.minorticks_off()
    left.set(xlabel="hidden units", ylabel="largest error", title="x² and xy, made by hand")
    right.semilogx(widths, seen, "o-", label="rows trained on")
    right.semilogx(widths, left_out, "s-", label="rows left out")
    right.axhline(0.5, color="k", ls="--", linewidth=1)
    right.set_xticks(widths, labels=widths)
    right.minorticks_off()
    right.set(
        xlabel="hidden units", ylabel="accuracy", ylim=(0, 1.05), title="Parity of 8 bits, trained"
    )
    left.legend(fontsize=8)
    right.legend(fontsize=8, loc="lower right")
    return figure, {
        "x^2 and xy: largest relative deviation from theory": deviation,
        "parity by hand: largest error": error(parity(8), bits, odd),
        "parity trained: accuracy on the rows": seen[-1],
        "parity trained: accuracy on rows left out": left_out[-1],
    }


if __name__ == "__main__":
    run(main)
