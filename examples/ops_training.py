"""
A training loop of one's own learns what ``Sequential.fit`` learns
==================================================================

``fnn.ops`` has the pieces of which a network is made, as functions of arrays: each layer forward
and backward, each loss with its gradient. They are the kernels that a model runs. Who wants another
loop, another rule or another order of things writes it in NumPy, and every heavy line is one call.

Here that is back-propagation (D. E. Rumelhart, G. E. Hinton, R. J. Williams 1986,
https://doi.org/10.1038/323533a0) through a network of one hidden layer, with label smoothing (C.
Szegedy et al. 2016, https://arxiv.org/abs/1512.00567), the norm of the gradient clipped (R.
Pascanu, T. Mikolov, Y. Bengio 2013, https://arxiv.org/abs/1211.5063) and gradient descent with
momentum.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn
from pyfast_nn import ops

plt.style.use("tableau-colorblind10")
EPOCHS, SEEDS = 25, 5
LR, MOMENTUM, CLIP, BATCH, SMOOTHING = 0.1, 0.9, 1.0, 64, 0.1

# The digits that come with the package: 8 x 8 pixels, grey values from 0 to 16.
X, y = fnn.datasets.load_digits()
train, test = fnn.datasets.stratified_split(y, [0.8, 0.2], seed=0)
X, y, X_test, y_test = X[train] / 16, y[train], X[test] / 16, y[test]

# %%
# Forward and backward, in two functions. All gradients are written into arrays that exist
# (``out=``), so that after the first step nothing is allocated for them.


def forward(parameters, X):
    """Return what comes into the hidden units, what leaves them, and the outputs."""
    w1, b1, w2, b2 = parameters
    z1 = ops.dense_forward(X, w1, b1)
    a1 = ops.gelu(z1)
    return z1, a1, ops.dense_forward(a1, w2, b2)


def backward(parameters, X, y, gradients):
    """Return the loss; its derivatives in w1, b1, w2 and b2 go into `gradients`."""
    z1, a1, z2 = forward(parameters, X)
    loss, dz2 = ops.cross_entropy(z2, y, label_smoothing=SMOOTHING, out=z2)
    da1, *_ = ops.dense_backward(dz2, a1, parameters[2], out=(None, *gradients[2:]))
    dz1 = ops.gelu_backward(da1, z1, out=da1)
    ops.dense_backward(dz1, X, parameters[0], input_gradient=False, out=(None, *gradients[:2]))
    return loss


# %%
# A model gives the same gradient, to rounding.


def network(seed):
    """Return the same network as a model."""
    layers = [fnn.Dense(64), fnn.GELU(), fnn.Dense(10)]
    return fnn.Sequential(layers, dtype="float64", seed=seed).build(64)


model = network(seed=0)
parameters = list(model.named_parameters().values())
gradients = [np.empty_like(p) for p in parameters]
backward(parameters, X, y, gradients)
smoothed = fnn.losses.CrossEntropy(label_smoothing=SMOOTHING)
_, expected = model.loss_and_grad(X, y, loss=smoothed)
difference = np.abs(np.concatenate([g.ravel() for g in gradients]) - expected).max()
difference /= np.abs(expected).max()
print(f"largest difference from the model's gradient, relative: {difference:.1e}")

# %%
# The loop. After each epoch we look at the error on digits that it has not seen.


def loop(parameters, seed):
    """Train in place; return the loss and the error in per cent after each epoch, (EPOCHS, 2)."""
    rng, history = np.random.default_rng(seed), []
    gradients, velocities = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for _ in range(EPOCHS):
        losses = []
        for rows in np.array_split(rng.permutation(len(X)), len(X) // BATCH):
            losses.append(backward(parameters, X[rows], y[rows], gradients))
            ops.clip_grad_norm(gradients, CLIP)
            for p, g, v in zip(parameters, gradients, velocities, strict=True):
                v *= MOMENTUM
                v += g
                p -= LR * v
        wrong = forward(parameters, X_test)[2].argmax(axis=1) != y_test
        history.append((np.mean(losses), 100 * wrong.mean()))
    return history


# %%
# The same by ``fit``, of all seeds at once. The two draw their batches in different orders, so that
# they agree in distribution, over seeds, and not digit by digit.

sgd = fnn.optim.SGD(lr=LR, momentum=MOMENTUM, clip_norm=CLIP)
options = {"loss": smoothed, "optimizer": sgd, "epochs": EPOCHS, "batch_size": BATCH}
models = [network(s) for s in range(SEEDS)]
histories = fnn.fit_many(models, X, y, **options, validation_data=(X_test, y_test), verbose=0)

runs = {  # (SEEDS, EPOCHS, 2)
    "loop over fnn.ops": np.array(
        [loop(list(network(s).named_parameters().values()), s) for s in range(SEEDS)]
    ),
    "Sequential.fit": np.array(
        [np.column_stack([h["loss"], 100 - 100 * np.array(h["val_accuracy"])]) for h in histories]
    ),
}
ends = {name: each[:, -1, 1] for name, each in runs.items()}
for name, errors in ends.items():
    print(
        f"{name}: error on unseen digits {errors.mean():.2f} +- {errors.std(ddof=1):.2f} per cent"
    )

# %%
# Means over the seeds, with the range of all of them.

figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
epochs = np.arange(1, EPOCHS + 1)
for part, axes in enumerate(panels):
    for (name, each), color, style in zip(runs.items(), ("C0", "C1"), ("-", "--"), strict=True):
        values = each[:, :, part]
        axes.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
        axes.plot(epochs, values.mean(0), style, color=color, linewidth=2, label=name)
    axes.set(xlabel="epoch", xlim=(1, EPOCHS))
    axes.grid(alpha=0.3)
panels[0].set(ylabel="training loss (smoothed cross-entropy)", yscale="log")
panels[0].set_yticks([0.6, 0.8, 1, 1.5, 2], labels=[0.6, 0.8, 1, 1.5, 2])
panels[0].minorticks_off()
panels[0].set_title("The loop descends as fit does", fontsize=11)
panels[1].set(ylabel="error on unseen digits (per cent)", ylim=(0, 16))
panels[1].set_title("... and ends with the same error", fontsize=11)
panels[0].legend()
figure.savefig("ops_training.png", dpi=150)
