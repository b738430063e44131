"""
Whoever predicts what comes later learns what changes slowly
============================================================

Of a signal, what will be there in a while can be told only as far as it depends on what stays:
noise and phases are forgotten by then. In contrastive predictive coding a network reads a signal up
to some place and says where an encoder will put pieces that come later; it is to tell them from the
pieces of other signals (A. van den Oord, Y. Li, O. Vinyals 2018, https://arxiv.org/abs/1807.03748).
Nothing else is asked for, and nobody tells it what stays.

Here that is the pitch, which drifts slowly, of tones whose phase wanders under noise. A linear
layer reads the pitch off what the network makes of a signal, after it has been told that of 25.
From samples a linear layer learns nothing, however many it is told, as a tone of any pitch is zero
in the mean; from the logarithms of their spectrum it learns less; and the same network from scratch
comes as far only with some hundred signals. Where 400 are told, it is as good.

The settings were chosen on signals of another seed.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
PIECE, READ, SKIPPED, LATER = 12, 12, 1, 3  # samples in a piece; pieces
SIGNALS, EPOCHS, SEEDS = 4_000, 20, 4
TOLD = (25, 100, 400)  # signals whose pitch is told
CODE, BATCH = 16, 200  # numbers for a piece; signals
LENGTH = PIECE * (READ + SKIPPED + LATER)
HEARD = PIECE * READ  # samples up to the place


def signals(n, rng):
    """Return n signals (n, LENGTH), and their pitch at the place, which has variance 1."""
    stays = np.exp(-1 / 1500)
    pitch = np.empty((n, LENGTH))
    pitch[:, 0] = rng.standard_normal(n)
    for t in range(1, LENGTH):
        drift = np.sqrt(1 - stays**2) * rng.standard_normal(n)
        pitch[:, t] = stays * pitch[:, t - 1] + drift
    frequency = 0.085 * 2 ** (0.75 * pitch.clip(-2, 2))  # periods in a sample
    steps = 2 * np.pi * frequency + 0.25 * rng.standard_normal((n, LENGTH))
    phase = rng.uniform(0, 2 * np.pi, (n, 1)) + steps.cumsum(axis=1)
    noise = 0.6 * rng.standard_normal((n, LENGTH))
    return (np.sin(phase) + noise).astype(np.float32), pitch[:, HEARD - 1]


# %%
# The network has two parts that share an encoder of pieces. One reads the first pieces, one after
# the other, and puts out a prediction for each of the later ones; the other encodes these. Both
# stand one above the other as rows of one output, and what belongs together has one label: the
# targets are numbers of pieces. Then the loss is one of pairs of rows, that of CLIP, with all other
# pieces of the batch as negatives.


def coder(seed):
    """Return a network for signals, which puts out predictions and codes of the later pieces."""
    encoder = [fnn.Dense(32), fnn.ReLU(), fnn.Dense(CODE)]
    reader = [fnn.Reshape((READ, PIECE)), *encoder, fnn.GRU(32, outputs="last")]
    later = [fnn.Reshape((LATER, PIECE)), *encoder, fnn.Flatten()]
    both = fnn.Columns(
        [
            (slice(HEARD), [*reader, fnn.Dense(LATER * CODE)]),
            (slice(LENGTH - LATER * PIECE, LENGTH), later),
        ]
    )
    return fnn.Sequential([both, fnn.Reshape((2 * LATER, CODE))], seed=seed).build(LENGTH)


def context(model, X):
    """Return what the network has made of signals up to the place."""
    return model.activations(X)["0.0.4"].astype(np.float64)  # of the GRU


def rate(fits):
    """Return a rate that falls to 0 over so many examples in batches."""
    return fnn.optim.Adam(lr=fnn.schedules.Cosine(3e-3, fits))


# %%
# Linear readers are ridge regressions, of features of mean 0 and variance 1; their penalty is the
# best of four by a fifth of the signals that they are told. Measured is the share of the variance
# of pitch that is explained (R2), on signals that nobody has seen.


def explained(of, pitch):
    return 1 - np.mean((of - pitch) ** 2) / np.var(pitch)


def ridge(features, pitch, penalty, of):
    """Return what a ridge regression says of the features `of`."""
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-9
    Z, Q = (features - mean) / std, (of - mean) / std
    gram = Z.T @ Z + penalty * np.eye(Z.shape[1])
    return pitch.mean() + Q @ np.linalg.solve(gram, Z.T @ (pitch - pitch.mean()))


def linear(features, pitch, of):
    cut = len(pitch) * 4 // 5
    parts = features[:cut], pitch[:cut]
    scores = [
        (explained(ridge(*parts, penalty, features[cut:]), pitch[cut:]), penalty)
        for penalty in (0.3, 3, 30, 300)
    ]
    return ridge(features, pitch, max(scores)[1], of)


def spectrum(X):
    """Return the logarithms of the powers of the samples up to the place."""
    return np.log(np.abs(np.fft.rfft(X[:, :HEARD] * np.hanning(HEARD))) ** 2 + 1e-3)


def run(seed):
    """Return R2 of each reader by the number of signals told; losses; a trained network."""
    rng = np.random.default_rng(seed)
    X, pitch = signals(SIGNALS, rng)
    X_new, pitch_new = signals(2_000, rng)
    model = coder(seed)
    untrained = context(model, X), context(model, X_new)
    pieces = np.tile(np.arange(SIGNALS * LATER).reshape(SIGNALS, LATER), 2)
    history = model.fit(
        *(X, pieces),
        loss=fnn.losses.NPair(0.5, normalize=True),
        batch_size=BATCH,
        epochs=EPOCHS,
        optimizer=rate(EPOCHS * -(-SIGNALS // BATCH)),
        verbose=0,
    )
    features = {
        "predictive coding": (context(model, X), context(model, X_new)),
        "not trained": untrained,
        "spectrum": (spectrum(X), spectrum(X_new)),
        "samples": (X[:, :HEARD].astype(np.float64), X_new[:, :HEARD].astype(np.float64)),
    }
    found = {
        name: [explained(linear(of[:n], pitch[:n], of_new), pitch_new) for n in TOLD]
        for name, (of, of_new) in features.items()
    }
    found["from scratch"] = []
    for n in TOLD:
        layers = [fnn.Reshape((READ, PIECE)), fnn.Dense(32), fnn.ReLU(), fnn.Dense(CODE)]
        layers += [fnn.GRU(32, outputs="last"), fnn.Dense(1)]
        alone = fnn.Sequential(layers, seed=seed)
        told = X[:n, :HEARD], pitch[:n]
        alone.fit(*told, loss="mse", batch_size=25, epochs=20_000 // n, optimizer=rate(800))
        found["from scratch"].append(explained(alone.predict(X_new[:, :HEARD]), pitch_new))
    said = linear(
        features["predictive coding"][0][: TOLD[0]], pitch[: TOLD[0]], context(model, X_new)
    )
    return found, history["loss"], (X_new, pitch_new, said)


runs = [run(seed) for seed in range(1, 1 + SEEDS)]
losses = runs[0][1]
chance = np.log(BATCH * LATER)
print(f"loss from {losses[0]:.2f} to {losses[-1]:.2f}; by chance {chance:.2f}")
found = {name: np.array([of[name] for of, _, _ in runs]) for name in runs[0][0]}
print(f"R2 on new signals, mean +- deviation of {SEEDS} seeds")
print(f"{'signals told':>18s}", " ".join(f"{n:13d}" for n in TOLD))
for name, each in found.items():
    shown = zip(each.mean(axis=0), each.std(axis=0, ddof=SEEDS > 1), strict=True)
    print(f"{name:>18s}", " ".join(f"{mean:5.2f} +- {std:4.2f}" for mean, std in shown))

# %%

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
left, middle, right = axes
X_new, pitch_new, said = runs[0][2]
for row, offset in zip(np.argsort(pitch_new)[[200, 1000, 1800]], (0, 4, 8), strict=True):
    left.plot(X_new[row] + offset, lw=0.8)
    left.text(0, offset + 1.7, f"pitch {pitch_new[row]:.1f}", fontsize="small")
left.axvspan(HEARD, LENGTH - LATER * PIECE, color="k", alpha=0.15, lw=0)
left.set(xlabel="samples: read, skipped, to be told", yticks=[])
left.set_title("Signals", fontsize=11)
for name, each in found.items():
    mean, std = each.mean(axis=0), each.std(axis=0, ddof=SEEDS > 1)
    middle.errorbar(TOLD, mean, std, fmt="o-", capsize=3, label=name)
middle.set(
    xlabel="signals whose pitch is told", ylabel="R2 on new ones", xscale="log", ylim=(-0.5, 1)
)
middle.set_xticks(TOLD, [str(n) for n in TOLD])
middle.minorticks_off()
middle.legend(fontsize="small", loc="lower right")
middle.set_title("Readers of pitch", fontsize=11)
right.plot(pitch_new, said, ".", markersize=2)
right.plot([-3, 3], [-3, 3], "k:", lw=1)
right.set(xlabel="pitch", ylabel=f"as read by one who was told {TOLD[0]}")
right.set_title("Off what predicts", fontsize=11)
figure.savefig("predictive_coding.png", dpi=150)
