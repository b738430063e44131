"""
Newton's method with exact Hessian products, by SciPy
=====================================================

Close to a minimum with a positive definite Hessian, Newton's method squares the error in each step,
while methods that know only gradients reduce it by a factor. ``scipy.optimize.minimize`` has a
Newton method that needs no Hessian, only products with it: ``trust-ncg`` solves each step by
conjugate gradients within a trust region, and leaves saddles along directions of negative curvature
(T. Steihaug 1983, https://doi.org/10.1137/0720042; J. Nocedal, S. J. Wright 2006, "Numerical
optimization", chapter 7). ``model.hvp`` is such a product.

A network with one hidden layer learns 300 digits with a penalty of c / 2 times the squared norm of
its parameters, in float64. The picture shows the norm of the gradient over the evaluations (of a
gradient or a product), beside L-BFGS and nonlinear conjugate gradients, which start from the same
point. The numbers are the norm at the end of each; how many points each tried, with how many
evaluations, after the norm was last above 1e-5; and the smallest eigenvalue of the Hessian where
Newton's method ended: it is positive, so that this is a minimum.
"""

import warnings

import numpy as np
from scipy.optimize import minimize

import pyfast_nn as fnn
from _gallery import run, sheet

C = 1e-3  # the penalty
METHODS = {
    "trust-ncg": {"gtol": 1e-10, "maxiter": 500},
    "L-BFGS-B": {"gtol": 0, "ftol": 0, "maxiter": 5000, "maxfun": 5000},
    "CG": {"gtol": 1e-10, "maxiter": 5000},
}


def problem(width):
    """Return the network and its rows."""
    X, y = fnn.datasets.load_digits()
    layers = [fnn.Dense(width), fnn.Tanh(), fnn.Dense(10)]
    model = fnn.Sequential(layers, dtype="float64", seed=0).build(64)
    return model, X[:300] / 16, y[:300]


def train(method, model, X, y):
    """Minimise; return norms of the gradient, each with the evaluations until then."""
    record, products = [], [0]

    def loss_and_grad(w):
        model.parameters = w
        loss, grad = model.loss_and_grad(X, y, loss="cross_entropy")
        grad += C * w
        record.append((len(record) + products[0] + 1, np.linalg.norm(grad)))
        return loss + C / 2 * w @ w, grad

    def hessian_product(w, v):
        model.parameters = w
        products[0] += 1
        return model.hvp(X, y, v, loss="cross_entropy") + C * v

    options = {"hessp": hessian_product} if method == "trust-ncg" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rounding ends a search
        start = model.parameters.copy()
        result = minimize(
            loss_and_grad, start, jac=True, method=method, options=METHODS[method], **options
        )
    model.parameters = result.x
    return np.array(record).T


def main(quick=False):
    figure, ax = sheet(1, 4.2)
    ends, steps = {}, {}
    for method in METHODS:
        model, X, y = problem(width=8 if quick else 16)
        evaluations, norms = train(method, model, X, y)
        ax.semilogy(evaluations, norms, ".-" if method == "trust-ncg" else "-", label=method)
        ends[f"{method}: norm of the gradient at the end"] = norms[-1]
        last = np.flatnonzero(norms > 1e-5)[-1]
        steps |= {
            f"{method}: points after the last above 1e-5": len(norms) - 1 - last,
            f"{method}: evaluations for these": evaluations[-1] - evaluations[last],
        }
        if method == "trust-ncg":
            H = fnn.curvature.Hessian(model, X, y, loss="cross_entropy", damping=C)
            smallest = np.linalg.eigvalsh(H @ np.eye(model.n_parameters))[0]
    ax.set(xlabel="evaluations of gradients and products", ylabel="norm of the gradient")
    ax.set(title="Newton's method squares the error at the end")
    ax.grid(alpha=0.3)
    ax.legend()
    return figure, ends | steps | {"smallest eigenvalue at Newton's end": smallest}


if __name__ == "__main__":
    run(main)
