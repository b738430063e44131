"""
A convolution finds a pattern wherever it lies
==============================================

A convolution computes the same local features at every place, so that those of a shifted signal are
the shifted features of the signal, and what is pooled over all places does not change: the network
need not see a pattern at each of them. A dense layer has weights of its own for each place, and
where it has never seen a pattern they have learned nothing (Y. LeCun et al. 1998, "Gradient-based
learning applied to document recognition", https://doi.org/10.1109/5.726791).

Here a signal is noise in which one of four short waves is hidden. While the networks learn, the
waves begin in the left half of the signals; then they are looked for everywhere.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
LENGTH, WAVE, CLASSES, NOISE = 96, 16, 4, 0.4  # of a signal, of a wave; deviation of the noise
ROWS, EPOCHS, SEEDS = 1000, 40, 3
SEEN = 40  # waves begin before this place while networks learn

WAVES = np.random.default_rng(1).standard_normal((CLASSES, WAVE)) * np.hanning(WAVE)
WAVES *= 2 / WAVES.std(axis=1, keepdims=True) / np.sqrt(3)


def signals(rows, places, rng):
    """Return signals (rows, LENGTH, 1), which wave is in each, and where it begins."""
    X = NOISE * rng.standard_normal((rows, LENGTH, 1))
    y, begin = rng.integers(0, CLASSES, rows), rng.integers(0, places, rows)
    X[np.arange(rows)[:, None], begin[:, None] + np.arange(WAVE), 0] += WAVES[y]
    return X, y, begin


def convolutional():
    """Return the layers of local features, the best of which count wherever they are."""
    local = [fnn.Conv1d(16, 9), fnn.ReLU(), fnn.Conv1d(16, 9), fnn.ReLU()]
    return [*local, fnn.GlobalMaxPool(), fnn.Dense(CLASSES)]


def dense():
    return [fnn.Flatten(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(CLASSES)]


# %%
# Both learn from the same signals; all is measured on fresh ones, over several draws.

places = LENGTH - WAVE + 1
right = {"convolutional": [], "dense": []}
sizes, begins = {}, []
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    X, y, _ = signals(ROWS, SEEN, rng)
    Xt, yt, begin = signals(20 * places, places, rng)
    begins.append(begin)
    for name, layers in (("convolutional", convolutional()), ("dense", dense())):
        model = fnn.Sequential(layers, seed=seed)
        adam = fnn.optim.Adam(lr=3e-3)
        model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=EPOCHS, batch_size=50)
        right[name].append(model.predict(Xt) == yt)
        sizes[name] = model.n_parameters
        if name == "convolutional":
            learned = model
begins = np.concatenate(begins)
right = {name: np.concatenate(of) for name, of in right.items()}
accuracy = {
    name: (of[begins < SEEN].mean(), of[begins >= SEEN + WAVE].mean()) for name, of in right.items()
}
for name, (seen, unseen) in accuracy.items():
    print(
        f"{name}, {sizes[name]:,} parameters: {seen:.1%} right where waves were seen, {unseen:.1%} "
        "where there never was one"
    )
print(f"by chance: {1 / CLASSES:.0%}")

# %%
# Exactly so: features of a signal that is shifted are shifted, and the outputs stay. The signals
# are zero around their waves here, as what is shifted out would be missed.

X = np.zeros((CLASSES, LENGTH, 1))
X[:, 30 : 30 + WAVE, 0] = WAVES
features = learned[:4].forward(X)
outputs = learned.forward(X)
moved, changed = 0.0, 0.0
for shift in range(-10, 30):
    there = np.roll(X, shift, axis=1)
    moved = max(moved, np.abs(learned[:4].forward(there) - np.roll(features, shift, axis=1)).max())
    changed = max(changed, np.abs(learned.forward(there) - outputs).max())
print(f"features of shifted signals, from shifted features: {moved:.1e}")
print(f"outputs of shifted signals, from those of the signals: {changed:.1e}")

# %%

figure, (upper, lower) = plt.subplots(
    2, 1, figsize=(8, 5.6), height_ratios=(1, 1.6), sharex=True, layout="constrained"
)
X, y, begin = signals(1, SEEN, np.random.default_rng(5))
upper.plot(X[0, :, 0], color="C0", lw=1)
upper.plot(begin[0] + np.arange(WAVE), WAVES[y[0]], color="C1", lw=2, label="the wave in it")
upper.set(ylabel="a signal")
upper.legend()
for (name, of), mark in zip(right.items(), "os", strict=True):
    by_place = [of[begins == place].mean() for place in range(places)]
    lower.plot(by_place, mark, markersize=4, label=f"{name}, {sizes[name]:,} parameters")
lower.axvspan(0, SEEN - 1, color="k", alpha=0.08, lw=0, label="where waves began in training")
lower.axhline(1 / CLASSES, color="k", ls=":", label="by chance")
lower.set(xlabel="where the wave begins", ylabel="part that is right", ylim=(0, 1.03))
lower.set_title("A convolution has learned for all places at once")
lower.legend(loc="upper right", bbox_to_anchor=(1, 0.94))
figure.savefig("shifted_signals.png", dpi=150)
