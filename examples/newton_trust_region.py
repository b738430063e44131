"""
Newton's method with exact Hessian products, by SciPy
=====================================================

Close to a minimum with a positive definite Hessian, Newton's method converges quadratically: it
squares the error in each step, while methods that know only gradients reduce it by a factor.
``scipy.optimize.minimize`` has a Newton method that needs no Hessian, only products with it:
``trust-ncg`` solves each step by conjugate gradients within a trust region, and leaves saddles
along directions of negative curvature (T. Steihaug 1983, https://doi.org/10.1137/0720042; J.
Nocedal, S. J. Wright 2006, "Numerical optimization", chapter 7). ``model.hvp`` is such a product,
exact, at the cost of about two gradients (B. A. Pearlmutter 1994,
https://doi.org/10.1162/neco.1994.6.1.147).

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
WIDTH = 16  # hidden units
C = 1e-3  # the penalty: C / 2 times the squared norm of the parameters
METHODS = {
    "trust-ncg": {"gtol": 1e-10, "maxiter": 500},
    "L-BFGS-B": {"gtol": 0, "ftol": 0, "maxiter": 5000, "maxfun": 5000},
    "CG": {"gtol": 1e-10, "maxiter": 5000},
}

X, y = fnn.datasets.load_digits()
X, y = X[:300] / 16, y[:300]

# %%
# A network with one hidden layer learns 300 digits, in float64. For each method we keep the norm
# of the gradient at every point it tries, and how many evaluations (of a gradient or a product) it
# took until then.


def train(method):
    """Minimise; return the network, the numbers of evaluations and the norms of the gradient."""
    layers = [fnn.Dense(WIDTH), fnn.Tanh(), fnn.Dense(10)]
    model = fnn.Sequential(layers, dtype="float64", seed=0).build(64)
    evaluations, norms, products = [], [], 0

    def loss_and_grad(w):
        model.parameters = w
        loss, grad = model.loss_and_grad(X, y, loss="cross_entropy")
        grad += C * w
        norms.append(np.linalg.norm(grad))
        evaluations.append(len(norms) + products)
        return loss + C / 2 * w @ w, grad

    def hessian_product(w, v):
        nonlocal products
        products += 1
        model.parameters = w
        return model.hvp(X, y, v, loss="cross_entropy") + C * v

    options = {"hessp": hessian_product} if method == "trust-ncg" else {}
    options |= {"jac": True, "method": method, "options": METHODS[method]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rounding ends a search
        result = minimize(loss_and_grad, model.parameters.copy(), **options)
    model.parameters = result.x
    return model, np.array(evaluations), np.array(norms)


# %%
# Printed are the norm at the end, and what it took to get there from 1e-5. The smallest eigenvalue
# of the Hessian where Newton's method ended is positive, so that this is a minimum.

paths, work = {}, {}
for method in METHODS:
    model, evaluations, norms = train(method)
    paths[method] = evaluations, norms
    last = np.flatnonzero(norms > 1e-5)[-1]
    work[method] = len(norms) - 1 - last, evaluations[-1] - evaluations[last]
    print(
        f"{method:>9}: ends at {norms[-1]:.0e}; from 1e-5 on {work[method][0]} points, "
        f"{work[method][1]} evaluations"
    )
    if method == "trust-ncg":
        H = fnn.curvature.Hessian(model, X, y, loss="cross_entropy", damping=C)
        smallest = np.linalg.eigvalsh(H @ np.eye(model.n_parameters))[0]
print(f"smallest eigenvalue at Newton's end: {smallest:.1e}")

# %%

figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
for (method, (evaluations, norms)), style, color in zip(
    paths.items(), (".-", "-", "-"), ("C0", "C1", "C2"), strict=True
):
    axes.semilogy(evaluations, norms, style, color=color, label=method)
axes.set(xlabel="evaluations of gradients and Hessian products", ylabel="norm of the gradient")
axes.set_title("Newton's method converges quadratically at the end")
axes.grid(alpha=0.3)
axes.legend()
figure.savefig("newton_trust_region.png", dpi=150)
