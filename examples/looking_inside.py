"""
Looking into a network: the pictures of fnn.inspect
===================================================

Each function of ``fnn.inspect`` returns numbers and draws them with ``.plot(ax)``. From left to
right, top to bottom:

1. Units of ReLU layers that are dead, always linear, or bend, on the digits: before training, with
   biases of -0.5, which kill more units from layer to layer.
2. Variances of activations and gradients over ten layers of ReLU, initialised by He: the size is
   kept (K. He et al. 2015, https://arxiv.org/abs/1502.01852).
3. Singular values of the local features (the Jacobian in the parameters), beside those of the
   features in front of the last layer, each through the first: there are many more of the former.
4. The leading synthetic features of a network of one number: smooth ones come first, which is why
   they are learned first (A. Jacot et al. 2018, https://arxiv.org/abs/1806.07572).
5. The factor per step along the leading eigenvectors of a trained network, with and without
   momentum: stable below ``2 (1 + momentum) / lambda_max``.
6. The eigenvalues of heavy-ball momentum's iteration, most of them on a circle of radius
   ``sqrt(momentum)`` (B. T. Polyak 1964).
7. The loss along the first eigenvector of the Hessian, with its parabola.
8. The loss in a plane of two random directions, filter-normalised (H. Li et al. 2018,
   https://arxiv.org/abs/1712.09913).

The numbers are the shares of dead units in both layers, the factors of the variances per layer, the
tenth singular value through the first of both kinds of features, and the curvature of the line in 7
through its eigenvalue.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


def network(*widths, bias=0.0, **options):
    """Return a network of ReLU layers of these widths with a linear one at the end."""
    layers = [layer for w in widths[:-1] for layer in (fnn.Dense(w, bias_init=bias), fnn.ReLU())]
    return fnn.Sequential([*layers, fnn.Dense(widths[-1])], **options)


def units(X, axes):
    activity = fnn.inspect.unit_activity(network(64, 64, 10, bias=-0.5), X)
    activity.plot(axes)
    first, second = (mask.mean() for mask in activity.dead)
    return {"dead units, first layer": first, "dead units, second layer": second}


def variances(X, y, axes, depth=10):
    deep = network(*[128] * depth, 10)
    result = fnn.inspect.layer_variances(deep, X, y, loss="cross_entropy")
    result.plot(axes)
    before, back = result.activations[1:-1:2], result.gradients[1:-1:2]  # in front of each ReLU
    return {
        "variance of activations, factor per layer": (before[-1] / before[0]) ** (1 / (depth - 1)),
        "variance of gradients, factor per layer": (back[0] / back[-1]) ** (1 / (depth - 1)),
    }


def features(model, X, axes):
    local = fnn.inspect.local_features(model, X, 100)
    penultimate = fnn.inspect.penultimate_features(model, X)
    penultimate.plot(local.plot(axes, label="local"), label="penultimate")
    axes.legend(fontsize=8)
    return {
        f"tenth singular value / first, {name}": f.singular_values[9] / f.singular_values[0]
        for name, f in (("local", local), ("penultimate", penultimate))
    }


def synthetic(axes):
    x = np.linspace(-1, 1, 200)[:, None]
    layers = [fnn.Dense(300, bias_init="one_more_input"), fnn.ReLU(), fnn.Dense(1)]
    model = fnn.Sequential(layers, seed=1)
    fnn.inspect.local_features(model, x, 4).plot_synthetic(x, ax=axes)
    return {}


def modes(H, eigenvalues, axes, in_the_plane):
    lr = fnn.inspect.max_stable_lr(H) / 2
    for momentum in (0.0, 0.8):
        result = fnn.inspect.convergence_modes(eigenvalues, lr, momentum=momentum)
        result.plot(axes)
    axes.set_ylim(0, 1.5)
    result.plot_roots(in_the_plane)
    return {}


def line(model, X, y, eigenvalue, vector, axes):
    landscape = fnn.inspect.loss_landscape(model, X, y, vector, np.linspace(-1, 1, 41))
    landscape.plot(axes)
    steps, losses = landscape.coordinates[0], landscape.losses
    gradient = model.loss_and_grad(X, y)[1] @ vector
    axes.plot(steps, losses[20] + gradient * steps + eigenvalue * steps**2 / 2, "k--", linewidth=1)
    close = fnn.inspect.loss_landscape(model, X, y, vector, [-1e-5, 0, 1e-5])
    curvature = close.losses @ [1, -2, 1] / 1e-10
    return {"curvature along the first eigenvector / eigenvalue": curvature / eigenvalue}


def plane(model, X, y, axes):
    directions = fnn.inspect.random_directions(model, 2, seed=0)
    fnn.inspect.loss_landscape(model, X, y, directions, np.linspace(-1, 1, 17)).plot(axes)
    return {}


def main(quick=False):
    X, y = fnn.datasets.load_digits()
    rows = 400 if quick else len(X)
    X, y = X[:rows] / 16, y[:rows]
    model = network(32, 10, dtype="float64")
    model.fit(X, y, loss="cross_entropy", epochs=20, batch_size=32, verbose=0)
    H = fnn.curvature.Hessian(model, X, y)
    eigenvalues, vectors = fnn.curvature.top_eigenpairs(H, 12, tol=1e-4)

    figure, axes = sheet(2, 13, rows=4)
    axes = axes.ravel()
    numbers = units(X, axes[0])
    numbers |= variances(X, y, axes[1])
    numbers |= features(model, X[:60], axes[2])
    numbers |= synthetic(axes[3])
    numbers |= modes(H, eigenvalues, axes[4], axes[5])
    numbers |= line(model, X, y, eigenvalues[0], vectors[:, 0], axes[6])
    numbers |= plane(model, X, y, axes[7])
    return figure, numbers


if __name__ == "__main__":
    run(main)
