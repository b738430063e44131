"""
Looking into a network: the pictures of fnn.inspect
===================================================

Each function of ``fnn.inspect`` returns numbers, and draws them with ``.plot(ax)``. This page goes
through them, each with what it should show: dead units, variances through depth, features, the
modes of gradient descent, and the loss around a minimum.

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
ROWS, GRID = 1797, 41  # of the digits; points along each direction of a landscape

X, y = fnn.datasets.load_digits()
X, y = X[:ROWS] / 16, y[:ROWS]


def network(*widths, bias=0.0, **options):
    """Return a network of ReLU layers of these widths with a linear one at the end."""
    layers = [layer for w in widths[:-1] for layer in (fnn.Dense(w, bias_init=bias), fnn.ReLU())]
    return fnn.Sequential([*layers, fnn.Dense(widths[-1])], **options)


# %%
# Dead units, and variances
# -------------------------
#
# A ReLU that is zero on all data has no gradient and stays so. With biases of -0.5 a fresh network
# loses units, the more the deeper, as less and less comes through. Biases of zero and weights of
# variance 2 / inputs keep the second moments from layer to layer, forward and back (K. He et al.
# 2015, https://arxiv.org/abs/1502.01852). The variances of a layer and its ReLU differ, hence the
# zigzag; what matters is that it stays level. Printed are the factors per layer.

activity = fnn.inspect.unit_activity(network(64, 64, 64, 64, 10, bias=-0.5, seed=0), X)
dead = [mask.mean() for mask in activity.dead]
print("dead units, layer by layer:", *(f"{share:.2f}" for share in dead))

DEPTH = 10
variances = fnn.inspect.layer_variances(
    network(*[128] * DEPTH, 10, seed=0), X, y, loss="cross_entropy"
)
ahead, back = variances.activations[1:-1:2], variances.gradients[1:-1:2]  # in front of each ReLU
ahead_factor = (ahead[-1] / ahead[0]) ** (1 / (DEPTH - 1))
back_factor = (back[0] / back[-1]) ** (1 / (DEPTH - 1))
print(f"variance per layer: activations times {ahead_factor:.2f}, gradients {back_factor:.2f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
activity.plot(left).set_title("Negative biases kill, the more the deeper", fontsize=11, pad=24)
variances.plot(right).set(ylim=(1e-4, 1e1))
right.set_title("He keeps the variances", fontsize=11)
figure.savefig("looking_inside_units.png", dpi=150)

# %%
# Features
# --------
#
# Close to its parameters a network is linear in them; its *local features* are the rows of the
# Jacobian, and their Gram matrix is the neural tangent kernel (A. Jacot, F. Gabriel, C. Hongler
# 2018, https://arxiv.org/abs/1806.07572). Left: their singular values decay slowly, which leaves
# many directions to learn in, while those of the features that the last layer sees decay fast.
# Right: the singular vectors of a network of one input, at the points where it is trained. Gradient
# descent learns along the first ones first, and these are the smooth ones.

model = network(32, 10, dtype="float64", seed=0)
model.fit(X, y, loss="cross_entropy", epochs=20, batch_size=32, verbose=0)
local = fnn.inspect.local_features(model, X[:60], 100)
penultimate = fnn.inspect.penultimate_features(model, X[:60])
tenths = [f.singular_values[9] / f.singular_values[0] for f in (local, penultimate)]
print("tenth singular value over first: local {:.2f}, penultimate {:.2f}".format(*tenths))

x = np.linspace(-1, 1, 200)[:, None]
layers = [fnn.Dense(300, bias_init="one_more_input"), fnn.ReLU(), fnn.Dense(1)]
of_one_input = fnn.inspect.local_features(fnn.Sequential(layers, seed=1), x, 4)
sign_changes = [int(np.sum(np.diff(np.sign(feature)) != 0)) for feature in of_one_input.synthetic.T]
print("sign changes of the first four:", *sign_changes)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
penultimate.plot(local.plot(left, label="local"), label="penultimate")
left.set_title("Local features are many", fontsize=11)
left.legend()
of_one_input.plot_synthetic(x, ax=right).set_title("Smooth features come first", fontsize=11)
figure.savefig("looking_inside_features.png", dpi=150)

# %%
# Stability
# ---------
#
# On a quadratic, gradient descent multiplies the error along an eigenvector of the Hessian by
# ``1 - lr * eigenvalue`` in each step. Heavy-ball momentum has two roots for each, on a circle of
# radius ``sqrt(momentum)`` where they are complex; it is stable up to
# ``2 (1 + momentum) / lambda_max`` (B. T. Polyak 1964,
# https://doi.org/10.1016/0041-5553(64)90137-5). Here for the twelve leading eigenvalues of the
# Hessian of the network above, and a rate of half the longest stable step.

H = fnn.curvature.Hessian(model, X, y)
eigenvalues, vectors = fnn.curvature.top_eigenpairs(H, 12, tol=1e-4)
lr = fnn.inspect.max_stable_lr(H) / 2
plain, momentum = (fnn.inspect.convergence_modes(eigenvalues, lr, momentum=b) for b in (0.0, 0.8))
slowest = plain.rates.max(), momentum.rates.max()
print("slowest of the twelve: times {:.3f} per step, with momentum {:.3f}".format(*slowest))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
momentum.plot(plain.plot(left)).set(ylim=(0, 1.5))
left.set_title("Momentum: all modes alike, and longer steps", fontsize=11)
momentum.plot_roots(right).set_title("Its roots are on a circle", fontsize=11)
figure.savefig("looking_inside_stability.png", dpi=150)

# %%
# The loss around a minimum
# -------------------------
#
# Left: the loss along the first eigenvector of the Hessian, with the parabola of its eigenvalue: so
# far reaches what second derivatives know. Right: in a plane of two random directions, scaled unit
# by unit to the weights (filter normalisation), without which pictures of networks cannot be
# compared (H. Li et al. 2018, https://arxiv.org/abs/1712.09913).

steps = np.linspace(-1, 1, 41)
line = fnn.inspect.loss_landscape(model, X, y, vectors[:, 0], steps)
loss, gradient = model.loss_and_grad(X, y)
parabola = loss + gradient @ vectors[:, 0] * steps + eigenvalues[0] * steps**2 / 2
close = fnn.inspect.loss_landscape(model, X, y, vectors[:, 0], [-1e-5, 0, 1e-5])
curvature = close.losses @ [1, -2, 1] / 1e-10
print(f"second difference of the loss: {curvature:.4f}; eigenvalue {eigenvalues[0]:.4f}")

directions = fnn.inspect.random_directions(model, 2, seed=0)
plane = fnn.inspect.loss_landscape(model, X, y, directions, np.linspace(-1, 1, GRID))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
line.plot(left).plot(steps, parabola, "k--", linewidth=1, label="parabola of the eigenvalue")
left.legend()
left.set_title("A parabola fits close to the minimum only", fontsize=11)
plane.plot(right).set_title("A plane of two random directions", fontsize=11)
figure.savefig("looking_inside_landscape.png", dpi=150)
