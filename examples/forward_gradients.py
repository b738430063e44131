"""
Gradients without a way back, and what they cost
================================================

The derivative of the loss along a random direction v comes with a pass forward. It makes (v'g) v,
an unbiased estimate of the gradient g that needs nothing to be kept for a way back (A. G. Baydin et
al. 2022, https://arxiv.org/abs/2202.08587). Its price is variance: of P parameters the mean of
``|(v'g) v|^2`` is ``(P + 2) |g|^2``, so that P + 1 directions tell the gradient as well as its own
length.

Noise in what the units put out, rather than in weights, moves the same losses by fewer numbers (M.
Ren, S. Kornblith, R. Liao, G. Hinton 2023, https://arxiv.org/abs/2210.03310). Each example may have
noise of its own, and the mean over n of them is that of n independent estimates. Let s be the
derivative of an example's loss along all noise u: s u_l stands for the derivative d_l in what
layer l puts out, and of N_l units the mean of ``|s u_l|^2`` is ``N_l |d|^2 + 2 |d_l|^2``, where
``|d|^2`` is the sum over all layers.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WIDTHS = (4, 8, 16, 32, 64, 128)
PROBES = 400
EPOCHS = 60

X, y = fnn.datasets.load_digits()
X = X / np.float32(16)
X_few, y_few = X[:100], y[:100]


def network(width):
    return fnn.Sequential([fnn.Dense(width), fnn.Tanh(), fnn.Dense(10)], dtype="float64", seed=0)


# %%
# How large estimates are, relative to the gradient, by width: measured, and as they should be.


def by_theory(model):
    """Return the mean squared lengths of both estimates, through that of the gradient."""
    _, g = model.loss_and_grad(X_few, y_few, loss="cross_entropy")
    w1, b1, w2, b2 = model.named_parameters().values()
    h = np.tanh(X_few @ w1 + b1)
    z = h @ w2 + b2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    d = [(p - np.eye(10)[y_few]) / len(X_few)]  # of the last layer, then of the first
    d.append(d[0] @ w2.T * (1 - h**2))
    squares = [(each**2).sum(axis=1) for each in d]
    activity = g @ g
    for each, square, read in zip(d, squares, (h, X_few), strict=True):
        spread = sum(squares) * each.shape[1] + square
        activity += (((read**2).sum(axis=1) + 1) * spread).sum()
    return {"weight": len(g) + 2, "activity": activity / (g @ g)}


kinds = ("weight", "activity")
measured, theory = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
for width in WIDTHS:
    model = network(width).build(64)
    _, exact = model.loss_and_grad(X_few, y_few, loss="cross_entropy")
    of_theory = by_theory(model)
    for kind in kinds:
        grads = [
            fnn.forward_gradient(model, X_few, y_few, "cross_entropy", kind=kind, seed=seed)[1]
            for seed in range(PROBES)
        ]
        size = np.mean([grad @ grad for grad in grads]) / (exact @ exact)
        measured[kind].append(size)
        theory[kind].append(of_theory[kind])
    print(
        f"width {width:3d}: "
        + ", ".join(
            f"by {kind} {measured[kind][-1]:7.0f} (theory {theory[kind][-1]:7.0f})"
            for kind in kinds
        )
    )

# %%
# Training by them: the same network and steps, with the gradient, and with estimates by noise in
# units, anew in each step.

curves, accuracies = {}, {}
for gradient in ("backward", "forward"):
    model = network(32)
    history = model.fit(
        *(X[:1400], y[:1400]),
        loss="cross_entropy",
        optimizer=fnn.optim.Adam(lr=fnn.schedules.Cosine(3e-3, EPOCHS * 14)),
        gradient=gradient,
        epochs=EPOCHS,
        batch_size=100,
        verbose=0,
    )
    curves[gradient] = history["loss"]
    accuracies[gradient] = model.evaluate(X[1400:], y[1400:])["accuracy"]
    print(
        f"trained {gradient}: loss {curves[gradient][-1]:.3f}, accuracy {accuracies[gradient]:.3f}"
    )

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for i, kind in enumerate(kinds):
    left.loglog(WIDTHS, measured[kind], f"C{i}o", label=f"noise by {kind}")
    left.loglog(WIDTHS, theory[kind], f"C{i}-", lw=1)
left.set(xlabel="width", title="mean squared length over that of the gradient")
left.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
left.minorticks_off()
left.legend()
for name, curve in curves.items():
    right.semilogy(curve, label=name)
right.set(xlabel="epoch", title="loss in training")
right.legend()
figure.savefig("forward_gradients.png")
