"""
Digits without names teach to read
==================================

A network learns much of what a digit is before anybody tells it a name. It sees two views of each
image, moved and with a hole, and is to tell which of all views in the batch belong together
(InfoNCE: A. van den Oord et al. 2018; T. Chen et al. 2020, "A simple framework for contrastive
learning of visual representations"). What it has to forget for that, place and holes, does not
matter for reading, and what tells images apart does. So afterwards a linear layer on its features
reads with a handful of names for each digit about as well as a whole network that has learned from
these alone, and the same network that starts from the encoder reads better.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
NAMES = (1, 2, 5, 10)  # of each digit
SEEDS = 3
EPOCHS = 60

X, y = fnn.datasets.load_digits()
X = X.reshape(-1, 8, 8, 1) / np.float32(16)
order = np.random.default_rng(0).permutation(len(X))
X, y = X[order], y[order]
half = len(X) // 2
X_test, y_test = X[half:], y[half:]
X, y = X[:half], y[:half]


def trunk():
    """Return the layers that make features of an image; the first two act in training alone."""
    return [
        *(fnn.RandomShift(1), fnn.CutOut(4)),
        *(fnn.Conv2d(16, 3, padding=1), fnn.BatchNorm(), fnn.ReLU()),
        *(fnn.Conv2d(32, 3, stride=2, padding=1), fnn.BatchNorm(), fnn.ReLU()),
        *(fnn.Flatten(), fnn.Dense(64), fnn.ReLU()),
    ]


# %%
# Both views of an image are rows of one batch: they are a group, whose number is their label. The
# last layers, which the loss bends to its own ends, are left out afterwards.

whole = fnn.Sequential([*trunk(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(32)], seed=0)
views, image = np.repeat(X, 2, axis=0), np.repeat(np.arange(len(X)), 2)
history = whole.fit(
    *(views, image),
    loss=fnn.losses.InfoNCE(0.2),
    groups=image,
    batch_size=256,
    epochs=EPOCHS,
    optimizer=fnn.optim.Adam(lr=3e-3),
    verbose=0,
)
encoder = whole[: len(trunk())]
chance = np.log(255)
print(f"InfoNCE from {history['loss'][0]:.2f} to {history['loss'][-1]:.2f}; by chance {chance:.2f}")

# %%
# Readers that are told few names. A linear probe learns nothing but its own layer, from what the
# encoder makes of the images, of which directions matter; fine-tuning begins with the encoder's
# parameters and goes on with all of them.


def directions(images):
    """Return the features of images, all of one length."""
    features = encoder.forward(images)
    return 8 * features / np.linalg.norm(features, axis=1, keepdims=True)


def trained(model, inputs, labels, lr, steps=400):
    """Return the model after so many steps of about 50 examples."""
    model.fit(
        *(inputs, labels),
        loss="cross_entropy",
        batch_size=50,
        epochs=steps * 50 // max(len(labels), 50),
        optimizer=fnn.optim.Adam(lr=fnn.schedules.Cosine(lr, steps)),
        verbose=0,
    )
    return model


features, features_test = directions(X), directions(X_test)


def errors(names, seed):
    """Return the share of test digits that each reader misreads."""
    draw = np.random.default_rng(seed).permutation(half)
    rows = np.concatenate([draw[y[draw] == digit][:names] for digit in range(10)])
    probe = trained(fnn.Sequential([fnn.Dense(10)], seed=seed), features[rows], y[rows], 1e-2)
    result = {"linear probe": 1 - probe.evaluate(features_test, y_test)["accuracy"]}
    for name in ("fine-tuned", "from scratch"):
        model = fnn.Sequential([*trunk(), fnn.Dense(10)], seed=seed).build(X.shape[1:])
        if name == "fine-tuned":
            for mine, its in (
                (model.named_parameters(), encoder.named_parameters()),
                (model.named_state(), encoder.named_state()),
            ):
                for path, values in its.items():
                    mine[path][...] = values
        trained(model, X[rows], y[rows], 3e-3)
        result[name] = 1 - model.evaluate(X_test, y_test)["accuracy"]
    return result


each = {names: [errors(names, seed) for seed in range(SEEDS)] for names in NAMES}
means = {
    reader: np.array([np.mean([one[reader] for one in each[names]]) for names in NAMES])
    for reader in ("linear probe", "fine-tuned", "from scratch")
}
print("names of each digit", " ".join(f"{names:6d}" for names in NAMES))
for reader, mean in means.items():
    print(f"{reader:>19s}", " ".join(f"{100 * error:5.1f}%" for error in mean))

# %%
# Nobody has told the encoder a name, and yet digits of one name lie near each other: the nearest
# neighbour of an image of the test half is mostly one of its kind.

cosines = features_test @ features_test.T
np.fill_diagonal(cosines, -np.inf)
same = (y_test[cosines.argmax(axis=1)] == y_test).mean()
print(f"nearest neighbours of one name: {100 * same:.1f}%")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for reader, mean in means.items():
    left.loglog(NAMES, 100 * mean, "o-", label=reader)
left.set(xlabel="names of each digit", ylabel="error on other digits [%]")
left.set_xticks(NAMES, [str(names) for names in NAMES])
left.minorticks_off()
left.legend()
around_mean = features_test - features_test.mean(axis=0)
plane = around_mean @ np.linalg.svd(around_mean, full_matrices=False)[2][:2].T
for digit in range(10):
    right.scatter(*plane[y_test == digit].T, s=6, color=plt.cm.tab10(digit), label=str(digit))
right.set_title("features of digits that nobody named")
right.legend(ncols=2, markerscale=2, fontsize="small")
right.set_xticks([])
right.set_yticks([])
figure.savefig("contrastive_digits.png")
