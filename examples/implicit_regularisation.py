"""
Gradient descent prefers small solutions, though nobody asks for them
=====================================================================

Where there are fewer equations than unknowns, infinitely many weights fit exactly. Gradient descent
from zero moves within the span of the rows only, and so ends at the fit with the least Euclidean
norm, ``pinv(X) y``; started elsewhere, it keeps what was outside that span. No penalty is written
anywhere: it is the algorithm that chooses. Another one, such as Adam, which divides each coordinate
by its own gradients, ends at another fit (S. Gunasekar, J. Lee, D. Soudry, N. Srebro 2018,
"Characterizing implicit bias in terms of optimization geometry", ICML,
https://arxiv.org/abs/1802.08246).

What is small depends on how the unknowns are written. If a matrix is the product ``U V`` of two
layers of a linear network, which may have any rank, gradient descent from *small* weights ends
close to the least *nuclear* norm, the sum of the singular values, and so at a low rank (S.
Gunasekar, B. Woodworth, S. Bhojanapalli, B. Neyshabur, N. Srebro 2017, "Implicit regularization in
matrix factorization", NeurIPS, https://arxiv.org/abs/1705.09280, who conjecture it and prove a
case; with more layers the rank becomes lower still, S. Arora, N. Cohen, W. Hu, Y. Luo 2019,
https://arxiv.org/abs/1905.13655). From large weights it does not.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
N, D = 20, 50  # equations and unknowns of the linear model
SIZE, RANK, SEEN = 16, 2, 110  # of the matrix, and how many of its elements are given
SCALES = [1e-3, 1e-2, 0.1, 0.2, 0.4, 0.6]  # standard deviations of the initial weights
STEPS = 20_000

# %%
# A linear model. All three networks fit the equations; one of them has the least norm.

rng = np.random.default_rng(0)
X = rng.standard_normal((N, D)) / np.sqrt(D)
y = X @ rng.standard_normal(D)


def fitted(optimizer, init):
    """Return the weights of a linear model after many steps, and its largest residual."""
    linear = fnn.Sequential([fnn.Dense(1, init=init)], dtype="float64", seed=0).build(D)
    weight = linear.named_parameters()["0.weight"]  # a view; the bias stays 0
    optimizer = optimizer(weight)
    for _ in range(STEPS // 10):
        out, pullback = linear.vjp(X)
        gradient, _ = pullback(out - y[:, None])
        optimizer.step(gradient[:D, None])
    return weight[:, 0].copy(), np.abs(X @ weight[:, 0] - y).max()


def descent(weight):
    """Return plain gradient descent."""
    return fnn.optim.SGD(weight, lr=0.5)


def adam(weight):
    """Return Adam, whose steps end."""
    return fnn.optim.Adam(weight, lr=fnn.schedules.Cosine(0.01, STEPS // 10))


shortest = np.linalg.pinv(X) @ y
ways = {
    "descent from zero": fitted(descent, "zeros"),
    "descent from elsewhere": fitted(descent, fnn.initializers.Normal(1.0)),
    "Adam from zero": fitted(adam, "zeros"),
}
print(f"linear model: {N} equations, {D} unknowns, least norm {np.linalg.norm(shortest):.4f}")
for name, (w, residual) in ways.items():
    print(
        f"{name:>23}: norm {np.linalg.norm(w):.4f}, distance from the shortest "
        f"{np.linalg.norm(w - shortest):.1e}, largest residual {residual:.1e}"
    )

# %%
# A matrix of low rank, of which some elements are given. What has the least nuclear norm among all
# that agree with them is a convex problem, solved by Douglas and Rachford's splitting: in turn,
# singular values are shrunk, and the given elements are restored. What it is restored by, Y, shows
# that it is the least: if no singular value of Y is above 1, and Y is zero where nothing is given,
# ``sum(Y * A)`` is the same for all A that agree, and at most their nuclear norm.

low_rank = rng.standard_normal((SIZE, RANK)) @ rng.standard_normal((RANK, SIZE))
low_rank /= np.linalg.norm(low_rank, 2)
seen = np.zeros(SIZE * SIZE, bool)
seen[rng.choice(SIZE * SIZE, SEEN, replace=False)] = True
seen = seen.reshape(SIZE, SIZE)


def nuclear(A):
    """Return the sum of the singular values."""
    return np.linalg.svd(A, compute_uv=False).sum()


def least_nuclear(target, seen, rounds=5000, threshold=0.05):
    """Return the matrix of the least nuclear norm that agrees where seen, and a bound on that."""
    z = np.where(seen, target, 0)
    for _ in range(rounds):
        agrees = np.where(seen, target, z)
        U, s, Vt = np.linalg.svd(2 * agrees - z)
        z += U * np.maximum(s - threshold, 0) @ Vt - agrees
    agrees = np.where(seen, target, z)
    Y = agrees - z
    return agrees, np.sum(Y * target) / np.linalg.norm(Y, 2)


def factorised(scale):
    """Return the product of two layers after gradient descent, from weights of that size."""
    layers = [fnn.Dense(SIZE, init=fnn.initializers.Normal(scale)) for _ in range(2)]
    network = fnn.Sequential(layers, dtype="float64", seed=0).build(SIZE)
    parameters = network.named_parameters()
    weights = [parameters["0.weight"], parameters["1.weight"]]  # views; biases stay 0
    sgd = fnn.optim.SGD(weights, lr=0.05)
    for _ in range(STEPS):
        out, pullback = network.vjp(np.eye(SIZE))  # the product, row by row
        gradient = pullback(np.where(seen, out - low_rank, 0))[0]
        U, V = np.split(gradient, [SIZE * (SIZE + 1)])
        sgd.step([each[: SIZE * SIZE].reshape(SIZE, SIZE) for each in (U, V)])
    return weights[0] @ weights[1]


oracle, bound = least_nuclear(low_rank, seen)
products = [factorised(scale) for scale in SCALES]
residuals = [np.abs(A - low_rank)[seen].max() for A in products]
norms = np.array([nuclear(A) for A in products]) / nuclear(oracle)
differences = np.array([np.linalg.norm(A - oracle) for A in products]) / np.linalg.norm(oracle)
print(f"matrix of {SIZE} x {SIZE}, {SEEN} elements given; nuclear norms of what agrees with them:")
print(f"the least {nuclear(oracle):.6f} (at least {bound:.6f}), the matrix {nuclear(low_rank):.4f}")
for scale, A, residual, norm, difference in zip(
    SCALES, products, residuals, norms, differences, strict=True
):
    third = np.linalg.svd(A, compute_uv=False)[RANK]
    print(
        f"initial weights of {scale:5g}: {norm:6.3f} times the least, relative distance from it "
        f"{difference:.3f}, singular value {RANK + 1} {third:.4f}, largest residual {residual:.0e}"
    )

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.plot(shortest, shortest, color="k", linewidth=1, label="the shortest fit")
for (name, (w, _)), mark in zip(ways.items(), "ox+", strict=True):
    left.plot(shortest, w, mark, markersize=5, mfc="none", label=name)
left.set(xlabel="weight of the shortest fit", ylabel="weight of the network")
left.set_title("From zero, gradient descent ends at the shortest fit", fontsize=11)
left.legend(fontsize=8)
right.loglog(SCALES, norms, "o-", label="nuclear norm over the least")
right.loglog(SCALES, differences, "s--", label="distance from the least, relative")
right.axhline(1, color="k", linestyle=":", linewidth=1)
right.set(xlabel="size of the initial weights of both layers")
right.set_title("Small factors end near the least nuclear norm", fontsize=11)
right.legend(fontsize=8)
figure.savefig("implicit_regularisation.png", dpi=150)
