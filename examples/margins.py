"""
Normalised margins tell what was learned from what was learned by heart
=======================================================================

Four networks of one kind have learned 1,000 digits without a mistake; but a share of the labels was
drawn at random: none, a quarter, half, all. None of that shows in their training errors, and little
in their *margins*, by how much the output of the right digit exceeds the others: they grow with
the weights. P. L. Bartlett, D. J. Foster and M. Telgarsky (2017, https://arxiv.org/abs/1706.08498)
bound the error on new examples by the share of margins below any number, and by the *spectral
complexity* of the network, over that number: the product of the spectral norms of its weights,
times how far these have moved. Divided by this complexity, margins are the smaller the less the
labels have to do with the digits: what has no rule takes large weights to be told.

The bound itself is far above 1, as are those of other norms, such as the path norm (B. Neyshabur,
R. Tomioka, N. Srebro 2015, https://arxiv.org/abs/1503.00036); it is the order that they tell.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
SHARES = [0.0, 0.25, 0.5, 1.0]  # of the labels that are drawn at random
ROWS, WIDTH, EPOCHS = 1000, 256, 300

X, y = fnn.datasets.load_digits()
order = np.random.default_rng(0).permutation(len(y))
X, y = X[order].astype(np.float32) / 16, y[order]
X_new, y_new, X, y = X[ROWS:], y[ROWS:], X[:ROWS], y[:ROWS]


def trained(labels):
    """Return a network that has learned these labels of the digits."""
    layers = [fnn.Dense(WIDTH), fnn.ReLU(), fnn.Dense(WIDTH), fnn.ReLU(), fnn.Dense(10)]
    model = fnn.Sequential(layers, seed=0)
    rate = fnn.schedules.Cosine(0.1, EPOCHS * ROWS // 50)
    sgd = fnn.optim.SGD(lr=rate, momentum=0.9)
    options = {"epochs": EPOCHS, "batch_size": 50, "verbose": 0}
    model.fit(X, labels, loss="cross_entropy", optimizer=sgd, **options)
    return model


# %%
# Margins and norms of each, and its error on new digits.

rng = np.random.default_rng(1)
raw, normalized, norms, mistakes, errors = [], [], [], [], []
for share in SHARES:
    labels = np.where(rng.random(ROWS) < share, rng.integers(0, 10, ROWS), y)
    model = trained(labels)
    raw.append(fnn.inspect.margins(model, X, labels))
    normalized.append(fnn.inspect.margins(model, X, labels, normalized=True))
    norms.append(fnn.inspect.norm_measures(model))
    mistakes.append(1 - model.evaluate(X, labels)["accuracy"])
    errors.append(1 - model.evaluate(X_new, y_new)["accuracy"])

medians, small = (np.array([np.median(m.values) for m in each]) for each in (raw, normalized))
print("random  mistakes  error on    median margin          spectral    path")
print("labels  in training    new    raw    normalised    complexity    norm")
for row in zip(SHARES, mistakes, errors, medians, small, norms, strict=True):
    share, mistake, error, margin, divided, norm = row
    print(
        f"{share:6.0%} {mistake:11.3f} {error:8.3f} {margin:6.1f} {divided:13.5f} "
        f"{norm.spectral_complexity:13.0f} {norm.path_norm:7.1f}"
    )

# %%

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, found in zip(axes, (raw, normalized), strict=False):
    for share, each in zip(SHARES, found, strict=True):
        values = np.sort(each.values)
        ax.plot(values, np.arange(1, ROWS + 1) / ROWS, label=f"{share:.0%} random labels")
    ax.set(ylabel="share of the digits with less")
axes[0].set(xlabel="margin", xlim=(0, None))
axes[0].set_title("Raw margins hardly differ ...", fontsize=11)
axes[0].legend(fontsize=8)
axes[1].set(xlabel="normalized margin", xscale="log")
axes[1].set_title("... normalised ones do", fontsize=11)
axes[2].loglog([n.spectral_complexity for n in norms], errors, "o-", label="spectral complexity")
axes[2].loglog([n.path_norm for n in norms], errors, "s--", label="path norm")
axes[2].set(xlabel="norm of the network", ylabel="error on new digits")
axes[2].set_title("Norms grow with what has no rule", fontsize=11)
axes[2].legend(fontsize=8)
figure.savefig("margins.png", dpi=150)
