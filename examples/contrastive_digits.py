"""
Digits without names teach to read
==================================

A network learns much of what a digit is before anybody tells it a name. It sees two views of each
image, turned, stretched and with thicker or thinner strokes, and is to tell which of all views in
the batch belong together (InfoNCE: A. van den Oord et al. 2018, https://arxiv.org/abs/1807.03748;
T. Chen et al. 2020, https://arxiv.org/abs/2002.05709). What it has to forget for that does not
matter for reading, and what tells images apart does. So a linear layer on its features, the *linear
probe*, misreads less than half as many digits of MNIST after the names of 100 as the whole network
that learns from these 100 images alone.

Much of that is what views say of digits, which may be said in training, too: the network from
scratch that sees views of its 100 images is about as good as the probe; from 20 images it is not.
*Fine-tuning*, which goes on with all parameters and sees views, has both, and wins. It takes some
care: it begins with the probe's layer, as gradients of a random one would spoil the features first
(A. Kumar et al. 2022, https://arxiv.org/abs/2202.10054), and makes small steps.

Set the variable PYFAST_NN_MNIST to a folder with the four files of MNIST; where it is not set, this
runs on the digits that come with the package, with a frame around them. All settings, for all
readers, were chosen on 10,000 images of MNIST's training part that are not used here; the test part
had no say.

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
IMAGES, EPOCHS = 10_000, 8  # without names, and how often they are seen
NAMES = (2, 10)  # of each digit
SEEDS, STEPS = 3, 200  # of a reader
BATCH = 256  # images, of which there are two views each
SHOWN = 300  # images whose features are taken apart
MNIST = os.environ.get("PYFAST_NN_MNIST")
NAME = "MNIST" if MNIST else "the small digits"


def mnist(part):
    """Return MNIST's digits, from 28 x 28 to 14 x 14 pixels."""
    images = fnn.datasets.read_idx(Path(MNIST) / f"{part}-images-idx3-ubyte.gz")
    labels = fnn.datasets.read_idx(Path(MNIST) / f"{part}-labels-idx1-ubyte.gz")
    return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255, labels


def digits():
    """Return the small digits, 8 x 8 pixels and a frame of 3 around them, shuffled."""
    X, y = fnn.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(y))
    return np.pad(X[order].reshape(-1, 8, 8) / 16, ((0, 0), (3, 3), (3, 3))), y[order]


X, y = mnist("train") if MNIST else digits()
X_test, y_test = mnist("t10k") if MNIST else (X[1000:], y[1000:])
X, y = X[: IMAGES if MNIST else 1000], y[: IMAGES if MNIST else 1000]
X, X_test = (images.astype(np.float32)[..., np.newaxis] for images in (X, X_test))


# %%
# A view is the image under a random affine map around its middle, and with a random power of its
# grey levels, which makes strokes thicker or thinner.


def views(images, rng):
    """Return a view of each image (n, height, width, 1)."""
    n, height, width, _ = images.shape
    turn, wide, high, slant = rng.uniform(-1, 1, (4, n)) * [[0.35], [0.2], [0.2], [0.2]]
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    stretched = np.array([[1 + high, slant], [np.zeros(n), 1 + wide]]).transpose(2, 0, 1)
    grid = np.indices((height, width)).reshape(2, -1)
    middle = np.array([[(height - 1) / 2], [(width - 1) / 2]])
    shift = rng.uniform(-1.5, 1.5, (n, 2, 1))
    places = turned @ stretched @ (grid - middle) + middle + shift  # (n, 2, height width)
    framed = np.pad(images[..., 0], ((0, 0), (1, 1), (1, 1))).reshape(n, -1)
    row, column = np.clip(places + 1, 0, [[height + 0.99], [width + 0.99]]).transpose(1, 0, 2)
    first = (row.astype(int) * (width + 2) + column.astype(int)).astype(int)
    down, right = (row % 1).astype(np.float32), (column % 1).astype(np.float32)
    at = [np.take_along_axis(framed, first + i, axis=1) for i in (0, 1, width + 2, width + 3)]
    upper, lower = (a + right * (b - a) for a, b in (at[:2], at[2:]))
    grey = (upper + down * (lower - upper)).reshape(images.shape)
    power = np.exp(rng.uniform(-0.5, 0.5, (n, 1, 1, 1))).astype(np.float32)
    return grey.clip(0, 1) ** power


# %%
# Both views of an image have its number as their label. What is learned is the encoder; the layers
# behind it, which the loss bends to its own ends, are left out afterwards: ``whole[:-3]`` shares
# its parameters with the whole.


def trunk():
    """Return the layers that make features of an image."""
    return [
        *(fnn.Conv2d(16, 3, padding=1), fnn.BatchNorm(), fnn.ReLU()),
        *(fnn.Conv2d(32, 3, stride=2, padding=1), fnn.BatchNorm(), fnn.ReLU()),
        *(fnn.Conv2d(64, 3, stride=2, padding=1), fnn.BatchNorm(), fnn.ReLU()),
        *(fnn.Flatten(), fnn.Dense(128), fnn.BatchNorm(), fnn.ReLU()),
    ]


def pretrained(seed):
    """Return an encoder that has seen no name, and the losses of its epochs."""
    whole = fnn.Sequential([*trunk(), fnn.Dense(128), fnn.ReLU(), fnn.Dense(64)], seed=seed)
    rng = np.random.default_rng(seed)

    def batches():
        for rows in np.split(rng.permutation(len(X)), range(BATCH, len(X), BATCH)):
            yield np.concatenate([views(X[rows], rng), views(X[rows], rng)]), np.tile(rows, 2)

    steps = EPOCHS * -(-len(X) // BATCH)
    history = whole.fit(
        batches,
        loss=fnn.losses.InfoNCE(0.2),
        epochs=EPOCHS,
        optimizer=fnn.optim.Adam(lr=fnn.schedules.Cosine(3e-3, steps)),
        verbose=0,
    )
    return whole[:-3], history["loss"]


encoders, losses = zip(*(pretrained(seed) for seed in range(SEEDS)), strict=True)
chance = np.log(2 * BATCH - 1)
print(f"InfoNCE from {losses[0][0]:.2f} to {losses[0][-1]:.2f}; by chance {chance:.2f}")

# %%
# Readers that are told few names. A linear probe learns nothing but its own layer, of the features
# that the encoder makes of the images. Fine-tuning begins with the encoder's parameters and the
# probe's, and goes on with all of them, in small steps. Batch norm keeps means and variances of
# what it has seen in training, which are few images, or their views; so each network takes those of
# images without names at the end (`Sequential.calibrate`).


def taught(model, inputs, labels, lr, seed, moves=False, decay=0.0):
    """Return the model after so many steps of 50 examples, or of views of them."""
    rng = np.random.default_rng(seed)

    def batches():
        for _ in range(STEPS):
            rows = rng.choice(len(labels), min(50, len(labels)), replace=False)
            yield views(inputs[rows], rng) if moves else inputs[rows], labels[rows]

    adam = fnn.optim.AdamW(lr=fnn.schedules.Cosine(lr, STEPS), weight_decay=decay)
    model.fit(batches, loss="cross_entropy", epochs=1, optimizer=adam, verbose=0)
    return model


def error(model, inputs):
    """Return the share of test digits that are misread, in per cent."""
    return 100 - 100 * model.evaluate(inputs, y_test)["accuracy"]


def read(names, seed):
    """Return what each reader misreads who is told so many names of each digit."""
    encoder, draw = encoders[seed], np.random.default_rng(seed).permutation(len(X))
    rows = np.concatenate([draw[y[draw] == digit][:names] for digit in range(10)])
    pixels = fnn.Sequential([fnn.Flatten(), fnn.Dense(10)], seed=seed)
    probe = fnn.Sequential([fnn.Dense(10)], seed=seed)
    taught(pixels, X[rows], y[rows], 1e-2, seed, decay=1)
    taught(probe, encoder.forward(X[rows]), y[rows], 1e-2, seed, decay=1)
    scratch, moved, tuned = (fnn.Sequential([*trunk(), fnn.Dense(10)], seed=seed) for _ in range(3))
    tuned.build(X.shape[1:])
    for part, learned in ((tuned[:-1], encoder), (tuned[-1], probe)):
        part.parameters, part.state = learned.parameters, learned.state
    taught(scratch, X[rows], y[rows], 1e-3, seed).calibrate(X[:2000])
    taught(moved, X[rows], y[rows], 1e-3, seed, moves=True).calibrate(X[:2000])
    taught(tuned, X[rows], y[rows], 3e-4, seed, moves=True).calibrate(X[:2000])
    return {
        "linear on pixels": error(pixels, X_test),
        "from scratch": error(scratch, X_test),
        "from scratch, views": error(moved, X_test),
        "linear probe": error(probe, encoder.forward(X_test)),
        "fine-tuned, views": error(tuned, X_test),
    }


runs = {names: [read(names, seed) for seed in range(SEEDS)] for names in NAMES}
errors = {
    reader: np.array([[run[reader] for run in runs[names]] for names in NAMES])
    for reader in runs[NAMES[0]][0]
}
print(
    f"{NAME}, errors on {len(X_test):,} test digits: mean +- deviation of {SEEDS} seeds, per cent"
)
print(f"{'names of each digit':>20s}", " ".join(f"{names:12d}" for names in NAMES))
for reader, each in errors.items():
    shown = zip(each.mean(axis=1), each.std(axis=1, ddof=SEEDS > 1), strict=True)
    print(f"{reader:>20s}", " ".join(f"{mean:5.1f} +- {std:3.1f}" for mean, std in shown))

# %%
# Why a linear layer is enough. Of 300 images that are not trained on, the features that come into
# the last layer are a matrix, and a linear layer first learns along its leading singular vectors.
# How much of the names, of what varies of them, lies within the first so many? Most of it within
# those of the encoder, about half within those of pixels, and less within those of a network that
# has learned nothing. The same of *local features*, the derivatives of all outputs in all
# parameters, along which fine-tuning learns at first: their spectra decay more slowly, and names
# are further up in them after pre-training, too.

FIRST = 20
some, names = X_test[:SHOWN], np.eye(10)[y_test[:SHOWN]]


def share(features, targets):
    """Return the share of the targets within the span of each number of leading features."""
    targets = targets - targets.mean(axis=0)
    within = (features.synthetic.T @ targets.reshape(len(features.synthetic), -1)) ** 2
    return np.cumsum(within.sum(axis=1)) / np.sum(targets**2)


networks = {"before": fnn.Sequential([*trunk(), fnn.Dense(10)], seed=0).build(X.shape[1:])}
networks["before"].calibrate(X[:2000])
networks["pre-trained"] = fnn.Sequential([*trunk(), fnn.Dense(10)], seed=0).build(X.shape[1:])
networks["pre-trained"][:-1].parameters = encoders[0].parameters
networks["pre-trained"][:-1].state = encoders[0].state
penultimate = {
    name: fnn.inspect.penultimate_features(model, some) for name, model in networks.items()
}
local = {
    name: fnn.inspect.local_features(model, some[: SHOWN // 5], FIRST)
    for name, model in networks.items()
}
flat = fnn.Sequential([fnn.Flatten(), fnn.Dense(10)]).build(X.shape[1:])
penultimate["pixels"] = fnn.inspect.penultimate_features(flat, some)
shares = {name: share(each, names) for name, each in penultimate.items()}
local_shares = {name: share(each, names[: SHOWN // 5]) for name, each in local.items()}
for name, each in shares.items():
    print(f"names within {FIRST} leading features, {name}: {each[FIRST - 1]:.2f}")
for name, each in local_shares.items():
    print(f"names within {FIRST} leading local features, {name}: {each[-1]:.2f}")

# %%

figure, axes = plt.subplots(2, 2, figsize=(9, 7.2), layout="constrained")
(left, right), (lower_left, lower_right) = axes
for (reader, each), shift in zip(errors.items(), np.linspace(0.92, 1.09, len(errors)), strict=True):
    left.errorbar(
        np.multiply(NAMES, shift),
        each.mean(axis=1),
        each.std(axis=1, ddof=SEEDS > 1),
        fmt="o-",
        capsize=3,
        label=reader,
    )
left.set(
    xlabel="names of each digit", ylabel="error on other digits [%]", xscale="log", ylim=(0, None)
)
left.set_xticks(NAMES, [str(names) for names in NAMES])
left.minorticks_off()
left.legend(fontsize="small")
left.set_title(f"{NAME}: few names, {SEEDS} seeds", fontsize=11)
rng = np.random.default_rng(0)
tiles = [X[:6, ..., 0], *(views(X[:6], rng)[..., 0] for _ in range(4))]
right.imshow(np.block([list(row) for row in tiles]), cmap="gray_r")
right.axhline(X.shape[1] - 0.5, color="C1", lw=2)
right.set_title("Images, and four views of each", fontsize=11)
right.axis("off")
for name, each in shares.items():
    lower_left.plot(np.arange(1, len(each) + 1), each, label=name)
lower_left.set(
    xlabel="leading features", ylabel="share of the names within", xscale="log", ylim=(0, 1)
)
lower_left.set_title("Names are in the leading features", fontsize=11)
lower_left.legend()
for name, each in penultimate.items():
    each.plot(lower_right, label=name)
for name, each in local.items():
    each.plot(lower_right, label=f"{name}, local")
lower_right.legend(fontsize="small")
lower_right.set_title("Spectra of features", fontsize=11)
figure.savefig("contrastive_digits.png", dpi=150)
