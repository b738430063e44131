"""
Large batches end in sharper minima, unless the rate grows with them
====================================================================

N. S. Keskar et al. (2017, https://arxiv.org/abs/1609.04836) trained networks with small and with
large batches and found that the latter end in sharper minima, which do worse on new data: the
*generalisation gap*. S. Jastrzębski et al. (2017, https://arxiv.org/abs/1711.04623) say what
decides: the ratio of learning rate and batch size, which scales the noise of SGD. With the *linear
scaling rule*, a rate in proportion to the batch, the gap closes (P. Goyal et al. 2017,
https://arxiv.org/abs/1706.02677). Here that even overshoots; one reason is that gradient descent is
not stable where the sharpness exceeds 2 / rate (J. Cohen et al. 2021,
https://arxiv.org/abs/2103.00065), which at the largest rate is 2.5.

Here networks with two hidden layers learn 1,000 of MNIST's digits by plain SGD, until the training
loss is 0.02, from five different starts: with one rate for batches of 16 to all 1,000 rows, and
with rates in proportion to the batch. Set the variable PYFAST_NN_MNIST to a folder with the four
files of MNIST; where it is not set, this runs on the digits that come with the package. They are
easier: the sharpness differs there as much, but the errors, 2 to 3 per cent of 797 rows, scatter
too much to tell the batches apart.

That sharp minima do worse does not say that sharpness is why: the same function can be written with
parameters at which the loss is as sharp as one likes (L. Dinh et al. 2017,
https://arxiv.org/abs/1703.04933).

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
SEEDS = 5
BATCHES = [16, 64, 256, 1000]
SCALED = [16, 64, 256]  # with rates of LR / 4, LR, 4 LR; 16 LR would diverge
LR, TARGET = 0.2, 0.02  # the rate; the training loss at which all stop
MNIST = os.environ.get("PYFAST_NN_MNIST")
NAME = "1,000 of MNIST's digits" if MNIST else "1,000 of the small digits"


def digits():
    """Return the small digits, 8 x 8 pixels, shuffled."""
    X, y = fnn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(y))
    return X[order] / 16, y[order]


def mnist(part):
    """Return MNIST's digits, from 28 x 28 to 14 x 14 pixels."""
    images = fnn.datasets.read_idx(Path(MNIST) / f"{part}-images-idx3-ubyte.gz")
    labels = fnn.datasets.read_idx(Path(MNIST) / f"{part}-labels-idx1-ubyte.gz")
    return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255, labels


X, y = mnist("train") if MNIST else digits()
X_new, y_new = mnist("t10k") if MNIST else (X[1000:], y[1000:])
X, X_new, y = X[:1000].astype(np.float32), X_new.astype(np.float32), y[:1000]

# %%
# All stop at the first epoch at whose end the loss on the training rows is low enough. Measured are
# the sharpness, which is the largest eigenvalue of the Hessian of the training loss, and the error
# on new rows.


def network(seed):
    """Return a new network."""
    layers = [fnn.Dense(64), fnn.ReLU(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)]
    return fnn.Sequential(layers, seed=seed)


def low_enough(number, model, epoch, record, outputs):
    """Tell whether a fit may end."""
    return record["train_loss"] <= TARGET


def measure(model):
    """Return the sharpness, and the error on new rows in per cent."""
    error = 100 - 100 * model.evaluate(X_new, y_new)["accuracy"]
    return fnn.curvature.sharpness(model, X, y), error


pairs = dict.fromkeys([*((b, LR) for b in BATCHES), *((b, LR * b / 64) for b in SCALED)])
models = {pair: [network(seed) for seed in range(SEEDS)] for pair in pairs}
fnn.fit_many(
    [model for each in models.values() for model in each],
    *(X, y),
    loss="cross_entropy",
    epochs=5000,
    each=[
        {"batch_size": b, "optimizer": fnn.optim.SGD(lr=lr)}
        for b, lr in models
        for seed in range(SEEDS)
    ],
    train_metrics=True,  # the loss on the training rows after each epoch
    on_epoch_end=low_enough,
    verbose=0,
)
measured = {key: np.array([measure(m) for m in each]) for key, each in models.items()}

print(f"{NAME}: mean +- standard deviation of {SEEDS} seeds")
for (b, lr), values in measured.items():
    (sharpness, error), (ds, de) = values.mean(axis=0), values.std(axis=0, ddof=1)
    print(
        f"batches of {b:4}, rate {lr:4}: sharpness {sharpness:.2f} +- {ds:.2f}, "
        f"error {error:.2f} +- {de:.2f} per cent"
    )

# %%
# Keskar's picture: the loss along the straight line through the two ends of networks that began at
# the same parameters, 0 for the smallest batch and 1 for the largest.

steps = np.linspace(-1, 2, 61)
lines = {"training rows": [], "new rows": []}
for small, large in zip(models[BATCHES[0], LR], models[BATCHES[-1], LR], strict=True):
    way = large.parameters - small.parameters
    for rows, name in (((X, y), "training rows"), ((X_new, y_new), "new rows")):
        lines[name].append(fnn.inspect.loss_landscape(small, *rows, way, steps).losses)

# %%
# Means over the seeds with standard deviations; on the right, with the range.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
scaled = [LR * b / 64 for b in SCALED]
curves = [
    (BATCHES, [LR] * len(BATCHES), {"fmt": "C0o-", "label": f"rate {LR}"}),
    (SCALED, scaled, {"fmt": "C1s--", "label": f"rate {LR} · batch / 64"}),
]
for part, axes in enumerate((left, middle)):
    for shift, (sizes, lrs, look) in zip((1, 1.1), curves, strict=True):
        values = [measured[key][:, part] for key in zip(sizes, lrs, strict=True)]
        mean, deviation = np.mean(values, axis=1), np.std(values, axis=1, ddof=1)
        axes.errorbar(np.multiply(sizes, shift), mean, deviation, capsize=4, **look)
    axes.set(xlabel="rows in a batch", xscale="log")
    axes.set_xticks(BATCHES, labels=BATCHES)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
left.set(ylabel=r"sharpness $\lambda_{\max}$", ylim=(0, None))
left.set_title("Sharper, unless the rate grows, too", fontsize=11)
left.legend(loc="lower center")
middle.set(ylabel="error on new rows (per cent)")
middle.set_title(
    "... and worse, unless it grows" if MNIST else "Too few rows to tell errors apart", fontsize=11
)
for (name, losses), color, style in zip(lines.items(), ("C0", "C1"), ("-", "--"), strict=True):
    right.fill_between(steps, *np.quantile(losses, [0, 1], axis=0), color=color, alpha=0.2, lw=0)
    right.semilogy(steps, np.mean(losses, axis=0), style, color=color, label=name)
for end in (0, 1):
    right.axvline(end, color="k", linestyle=":", linewidth=1)
right.set_xticks([0, 1], labels=[f"0\nbatches\nof {BATCHES[0]}", f"1\nbatches\nof {BATCHES[-1]}"])
right.set(ylabel="loss on the line through both")
right.set_title("The valley of the large is narrower", fontsize=11)
right.grid(alpha=0.3)
right.legend()
figure.suptitle(f"At one rate large batches end in sharper minima ({NAME}, {SEEDS} seeds)")
figure.savefig("sharp_minima.png", dpi=150)
