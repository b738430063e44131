"""
Large batches end in sharper minima
===================================

N. S. Keskar et al. (2017, https://arxiv.org/abs/1609.04836) trained networks with small and with
large batches and found that the latter end in sharper minima, which do worse on new data. Here two
networks start from the same parameters and learn by SGD with the same constant rate, until the
training loss is 0.02: with batches of 32 and of 1000 rows on 10,000 of MNIST's, if the variable
PYFAST_NN_MNIST names a folder with its files, and with batches of 16 and 500 on 1,000 of the small
digits otherwise.

The numbers are, for each, the largest eigenvalue of the Hessian, Keskar's sharpness (how much worse
the loss gets in a small box, in per cent) and the error on new rows. For the large batch on MNIST
the first is about three times as large, the second four times, and the error is higher; on the
digits, where the network has more than enough room, only the eigenvalue tells the two apart.

The picture shows the largest eigenvalue on the way down, and the loss along the straight line
through both ends, 0 and 1: the valley is wider on the left. That does not say that sharpness is why
they differ: the same function can be written with sharper parameters (L. Dinh et al. 2017,
https://arxiv.org/abs/1703.04933).
"""

import os
from pathlib import Path

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

TARGET = 0.02  # the training loss at which both stop


class StopAt(fnn.Callback):
    """Ends a fit when the loss on these rows is low enough."""

    def __init__(self, X, y, target):
        self.rows, self.target = (X, y), target

    def on_epoch_end(self, model, epoch, record):
        record["train_loss"] = model.evaluate(*self.rows)["loss"]
        return record["train_loss"] <= self.target


def digits():
    """Return training rows, new rows, batch sizes, epochs between two eigenvalues, and a width."""
    X, y = fnn.datasets.load_digits()
    X = X / 16
    return (X[:1000], y[:1000]), (X[1000:], y[1000:]), {16: 1, 500: 25}, 64


def mnist(folder):
    """Return the same of MNIST."""

    def read(name):
        images = fnn.datasets.read_idx(folder / f"{name}-images-idx3-ubyte.gz")
        labels = fnn.datasets.read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
        return images.reshape(len(images), -1) / np.float32(255), labels

    X, y = read("train")
    return (X[:10_000], y[:10_000]), read("t10k"), {32: 1, 1000: 10}, 128


def train(rows, batch_size, every, width):
    """Return a network, trained, and its history."""
    layers = [fnn.Dense(width), fnn.ReLU(), fnn.Dense(width), fnn.ReLU(), fnn.Dense(10)]
    model = fnn.Sequential(layers, seed=0)
    monitor = fnn.CurvatureMonitor(*rows, every=every)
    history = model.fit(
        *rows,
        loss="cross_entropy",
        optimizer=fnn.optim.SGD(lr=0.1),
        epochs=2000,
        batch_size=batch_size,
        callbacks=[monitor, StopAt(*rows, TARGET)],
        verbose=0,
    )
    return model, history


def main(quick=False):
    folder = os.environ.get("PYFAST_NN_MNIST")
    use_mnist = folder is not None and not quick
    rows, new, sizes, width = mnist(Path(folder)) if use_mnist else digits()
    figure, (left, right) = sheet(2, 3.8)
    models, numbers = [], {}
    for batch_size, every in sizes.items():
        model, history = train(rows, batch_size, every, width)
        models.append(model)
        loss, eigenvalue = np.array([history["train_loss"], history["max_eigenvalue"]])
        seen = np.isfinite(eigenvalue)
        left.loglog(loss[seen], eigenvalue[seen], ".-", label=f"batches of {batch_size}")
        some = tuple(part[:2000] for part in rows)
        numbers |= {
            f"batches of {batch_size}: {name}": value
            for name, value in {
                "largest eigenvalue": fnn.curvature.sharpness(model, *some),
                "Keskar's sharpness in per cent": fnn.curvature.sharpness(model, *some, "box"),
                "error on new rows in per cent": 100 - 100 * model.evaluate(*new)["accuracy"],
            }.items()
        }
    small, large = models
    way = large.parameters - small.parameters
    for name, (X, y), style in (("training", rows, "C0-"), ("new", new, "C0--")):
        line = fnn.inspect.loss_landscape(small, X, y, way, np.linspace(-1, 2, 61))
        right.semilogy(line.coordinates[0], line.losses, style, label=f"{name} rows")
    left.invert_xaxis()
    left.xaxis.set_minor_formatter("")
    left.set(xlabel="training loss", ylabel="largest eigenvalue", title="On the way down")
    right.axvline(0, color="0.6", linewidth=0.8)
    right.axvline(1, color="0.6", linewidth=0.8)
    right.set(xlabel="from small (0) to large (1) batches", ylabel="loss", title="Between the ends")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend()
    return figure, numbers


if __name__ == "__main__":
    run(main)
