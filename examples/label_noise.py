"""
Of wrong labels cross-entropy learns all, the absolute error of probabilities few
=================================================================================

Two of five labels in the training set are wrong, drawn among the other nine digits. A network that
minimises cross-entropy reads new digits well at first, and then learns the wrong labels by heart,
one after the other, as it pays without bound for each that it finds unlikely (C. Zhang, S. Bengio,
M. Hardt, B. Recht, O. Vinyals 2017, https://arxiv.org/abs/1611.03530).

The mean absolute error between probabilities and one-hot labels, ``2 (1 - p_y)``, is at most 2. And
it is *symmetric*: the sum over all k labels that an example might have is ``2 (k - 1)``, whatever
is predicted. So where a share r of labels is wrong at random, the expected loss is ``(1 - r k / (k
- 1))`` times that on the right ones, plus a constant: as long as ``r < 1 - 1 / k`` both have the
same minima (A. Ghosh, H. Kumar, P. S. Sastry 2017, "Robust loss functions under label noise for
deep neural networks", AAAI, https://arxiv.org/abs/1712.09482). The price: the gradient vanishes
where a network is wrong and sure, so it is slow, and in some runs gives a digit up.

The *confidence penalty*, which rewards entropy of the predictions (G. Pereyra et al. 2017,
https://arxiv.org/abs/1701.06548), is no cure for wrong labels: they are learned as well. But the
network is less sure of what it says: in the end cross-entropy gives its answers a probability that
is on average far above the share of them that is right, and the penalty does not.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WRONG, ROWS, SEEDS = 0.4, 1000, 3
ROUNDS, EPOCHS = 20, 10  # how often one looks, and the epochs between

X, y = fnn.datasets.load_digits()
order = np.random.default_rng(0).permutation(len(y))
X, y = X[order].astype(np.float32) / 16, y[order]
X_new, y_new, X, y = X[ROWS:], y[ROWS:], X[:ROWS], y[:ROWS]
rng = np.random.default_rng(1)
wrong = rng.random(ROWS) < WRONG
labels = np.where(wrong, (y + rng.integers(1, 10, ROWS)) % 10, y)

# %%
# A loss of values takes the probabilities that `Softmax` puts out, and rows of zeros and a one.
# Each is trained by Adam; looked at are the digits that it has not seen, and the wrong labels.

LOSSES = {
    "cross-entropy": "cross_entropy",
    "confidence penalty": fnn.losses.CrossEntropy(confidence_penalty=0.3),
    "absolute error": "mae",
}


def probabilities(model, X):
    """Return the probabilities of the ten digits."""
    out = model.forward(X)
    return out if isinstance(model.layers[-1], fnn.Softmax) else fnn.ops.softmax(out)


def trained(loss, seed):
    """Return how good, how sure and how misled a network is after each round.

    The share of new digits that it has right; by how much its mean probability of what it says of
    them is above that; and the share of wrong labels that it says.
    """
    layers = [fnn.Dense(256), fnn.ReLU(), fnn.Dense(256), fnn.ReLU(), fnn.Dense(10)]
    of_values = loss == "mae"
    model = fnn.Sequential([*layers, *[fnn.Softmax()] * of_values], seed=seed)
    targets = np.eye(10)[labels] if of_values else labels
    adam, seen = fnn.optim.Adam(lr=1e-3), []
    for _ in range(ROUNDS):
        options = {"epochs": EPOCHS, "batch_size": 50, "verbose": 0}
        model.fit(X, targets, loss=loss, optimizer=adam, **options)
        p = probabilities(model, X_new)
        learned = probabilities(model, X).argmax(axis=1)[wrong] == labels[wrong]
        right = np.mean(p.argmax(axis=1) == y_new)
        seen.append([right, p.max(axis=1).mean() - right, learned.mean()])
    return seen


runs = {name: np.array([trained(loss, s) for s in range(SEEDS)]) for name, loss in LOSSES.items()}

# %%
# The sum that makes the absolute error symmetric, of random predictions; and the ends of all runs.

p = rng.dirichlet(np.ones(10), 100)
sums = np.abs(p[:, None, :] - np.eye(10)).sum(axis=(1, 2))
print(f"absolute errors of a prediction over all ten labels: {sums.min():.6f} to {sums.max():.6f}")
print(f"{ROWS} digits, {wrong.sum()} of them with wrong labels; means of {SEEDS} runs")
for name, each in runs.items():
    best, (right, over, learned) = each[:, :, 0].max(axis=1).mean(), each[:, -1].mean(axis=0)
    print(
        f"{name:>18}: on new digits right {right:.3f} (at best {best:.3f}), surer than that by "
        f"{over:+.2f}; learned of the wrong labels {learned:.2f}"
    )

# %%

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
epochs = EPOCHS * np.arange(1, ROUNDS + 1)
titles = ("Right on new digits", "Surer than right, on new digits", "Wrong labels learned")
for part, (ax, title) in enumerate(zip(axes, titles, strict=True)):
    for (name, each), style in zip(runs.items(), ("C0-", "C1--", "C2-"), strict=True):
        ax.plot(epochs, each[:, :, part].T, style, alpha=0.25, linewidth=1)
        ax.plot(epochs, each[:, :, part].mean(axis=0), style, label=name)
    ax.set_title(title, fontsize=11)
    ax.set(xlabel="epoch")
    ax.grid(alpha=0.3)
axes[1].axhline(0, color="k", linestyle=":", linewidth=1)
axes[0].legend(fontsize=8)
figure.suptitle(f"{WRONG:.0%} of the labels are wrong")
figure.savefig("label_noise.png", dpi=150)
