"""
Moved digits are more digits
============================

A digit is the same one a pixel further on. A network that has seen few of them does not know that,
and may be told: moving each example at random in each step, as by `RandomShift`, is training on
the mean of the loss over all places, and asks for more only where the digits themselves change. So
it helps most where there are few: what augmentation wins is what more examples would (P. Simard, D.
Steinkraus, J. Platt 2003, "Best practices for convolutional neural networks applied to visual
document analysis"). Mix-up knows nothing of images: it trains on pairs of examples, mixed in random
shares, and asks for as much of both labels (H. Zhang et al. 2018). That adds no knowledge of where
digits stay the same, and wins nothing here.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
SIZES = (50, 100, 200, 400)
SEEDS = 2
STEPS = 400

X, y = fnn.datasets.load_digits()
X = X.reshape(-1, 8, 8, 1) / np.float32(16)
order = np.random.default_rng(0).permutation(len(X))
X, y = X[order], y[order]
X_test, y_test = X[900:], y[900:]


def network(augmentation, seed):
    """Return a small residual network, with layers in front that act in training alone."""
    block = [fnn.Conv2d(16, 3, padding="same"), fnn.BatchNorm(), fnn.ReLU()]
    layers = [
        *augmentation,
        *(fnn.Conv2d(16, 3, padding="same"), fnn.BatchNorm(), fnn.ReLU()),
        fnn.Residual([*block, fnn.Conv2d(16, 3, padding="same"), fnn.BatchNorm()]),
        *(fnn.ReLU(), fnn.Flatten(), fnn.Dense(10)),
    ]
    return fnn.Sequential(layers, seed=seed)


def error(augmentation, mixup, n, seed):
    """Return the share of test digits that are misread after training on n, seen so many times."""
    first = seed * (900 - n) // max(SEEDS - 1, 1)
    model = network(augmentation, seed)
    rows = slice(first, first + n)
    schedule = fnn.schedules.Cosine(3e-3, STEPS)
    model.fit(
        *(X[rows], y[rows]),
        loss="cross_entropy",
        mixup=mixup,
        epochs=STEPS * 50 // n,
        batch_size=50,
        optimizer=fnn.optim.Adam(lr=schedule),
        verbose=0,
    )
    return 1 - model.evaluate(X_test, y_test)["accuracy"]


# %%
# The same number of steps, with and without.

WAYS = {
    "as they are": ([], 0),
    "mixed": ([], 0.2),
    "moved": ([fnn.RandomShift(1)], 0),
    "flipped": ([fnn.RandomFlip()], 0),
}
errors = {
    name: np.array([[error(*way, n, seed) for seed in range(SEEDS)] for n in SIZES])
    for name, way in WAYS.items()
}
print("errors of", " ".join(f"{n:>6d}" for n in SIZES), "examples")
for name, each in errors.items():
    print(f"{name:>12s}", " ".join(f"{100 * e:5.1f}%" for e in each.mean(axis=1)))

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name, each in errors.items():
    left.loglog(SIZES, 100 * each.mean(axis=1), "o-", label=name)
left.set(xlabel="examples", ylabel="error on other digits [%]")
left.set_xticks(SIZES, [str(n) for n in SIZES])
left.minorticks_off()
left.legend()

shown = fnn.Sequential([fnn.RandomShift(1)], seed=0).build((8, 8, 1))
tiles = [shown.forward(X[:4], training=True, seed=seed)[..., 0] for seed in range(4)]
right.imshow(np.block([[tile for tile in row] for row in tiles]), cmap="gray_r")
right.set_title("four digits in four steps")
right.axis("off")
figure.savefig("augmentation.png")
