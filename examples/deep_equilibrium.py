"""
A deep equilibrium is its unrolled twin of infinite depth
=========================================================

A deep equilibrium model puts out the fixed point ``z = f(z, x)`` of one layer that reads its own
output and the input, found by a solver, and its gradient follows from the implicit function
theorem: the way back solves ``u = d + J' u`` (S. Bai, J. Z. Kolter, V. Koltun 2019,
https://arxiv.org/abs/1909.01377), and memory does not grow with iterations. Its twin applies the
same layer k times, from z = 0 on, and goes back through all of them. Where f draws points together
by a factor q, outputs and gradients of the twin approach those of the equilibrium as q to the
power k: the linear rate of the plain iteration, which is the spectral radius of J at the fixed
point. Anderson's method needs fewer evaluations.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
UNITS, INPUTS, EXAMPLES, DEPTHS = 16, 4, 40, [1, 2, 4, 6, 8, 12, 16, 20, 24, 32]
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((EXAMPLES, INPUTS)), rng.standard_normal((EXAMPLES, 2))
layer, last = [fnn.Dense(UNITS, init="xavier_uniform"), fnn.Tanh()], fnn.Dense(2)

# %%
# One set of layers for the equilibrium and for all twins: a layer that stands in several places has
# one set of parameters. What the twin reads at each depth is z beside x, and at first z = 0.


def equilibrium(**options):
    """Return the equilibrium model."""
    deep = fnn.DeepEquilibrium(layer, **options)
    return fnn.Sequential([deep, last], dtype="float64", seed=0).build(INPUTS)


def twin(depth):
    """Return the same layer `depth` times."""
    start = fnn.Dense(UNITS, init="zeros", trainable=False)
    beside = fnn.Concatenate(start, fnn.Identity())
    for _ in range(depth - 1):
        beside = fnn.Concatenate([beside, *layer], fnn.Identity())
    return fnn.Sequential([beside, *layer, last], dtype="float64", seed=0).build(INPUTS)


def shared(model, vector):
    """Return the parts of a vector of a model that belong to what both have, side by side."""
    frozen = UNITS * (INPUTS + 1) if model.n_parameters > n_shared else 0
    return vector[frozen:]


model = equilibrium(tol=1e-14, max_iter=200)
n_shared, parameters = model.n_parameters, model.parameters.copy()
parameters[: UNITS * (UNITS + INPUTS)] *= 0.7  # of f, so that it draws points together
model.parameters = parameters
print(f"distance from a fixed point: {fnn.inspect.equilibrium_distances(model, X)['0'].max():.0e}")

# %%
# The gradient of the equilibrium beside differences of its loss, and beside the gradients of twins.

loss, gradient = model.loss_and_grad(X, Y, loss="mse")
way, h = rng.standard_normal(n_shared), 1e-5
along = [
    model.evaluate(X, Y, loss="mse")["loss"]
    for model.parameters in (parameters + h * way, parameters - h * way)
]
model.parameters = parameters
difference = abs((along[0] - along[1]) / (2 * h) / (gradient @ way) - 1)
print(f"gradient against differences: relative error {difference:.0e}")
output_error, gradient_error = [], []
for depth in DEPTHS:
    deep = twin(depth)
    shared(deep, deep.parameters)[:] = parameters
    output_error.append(np.abs(deep.forward(X) - model.forward(X)).max())
    other = shared(deep, deep.loss_and_grad(X, Y, loss="mse")[1])
    gradient_error.append(np.linalg.norm(other - gradient) / np.linalg.norm(gradient))

# %%
# The rate of theory: the largest spectral radius of J, over the examples.

w = model.named_parameters()["0.0.weight"]
z = model[:1].forward(X)
radii = [np.abs(np.linalg.eigvals((1 - each**2)[:, None] * w[:UNITS].T)).max() for each in z]
rate = (output_error[-1] / output_error[4]) ** (1 / (DEPTHS[-1] - DEPTHS[4]))
gradient_rate = (gradient_error[-1] / gradient_error[4]) ** (1 / (DEPTHS[-1] - DEPTHS[4]))
print(
    f"factor per layer: outputs {rate:.3f}, gradient {gradient_rate:.3f}, theory {max(radii):.3f}"
)

# %%
# How near the solver is after so many evaluations, and the plain iteration after as many.

counts = list(range(2, 25, 2))
plain, near = [], {"anderson": [], "broyden": []}
for count in counts:
    z = np.zeros((EXAMPLES, UNITS))
    for _ in range(count):
        before, z = z, np.tanh(np.hstack([z, X]) @ w + model.named_parameters()["0.0.bias"])
    plain.append((np.linalg.norm(z - before, axis=1) / np.linalg.norm(z, axis=1)).max())
    for solver, distances in near.items():
        short = equilibrium(solver=solver, tol=1e-14, max_iter=count)
        short.parameters = parameters
        distances.append(fnn.inspect.equilibrium_distances(short, X)["0"].max())

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.semilogy(DEPTHS, output_error, "o-", label="outputs")
left.semilogy(DEPTHS, gradient_error, "s-", label="gradient")
theory = gradient_error[4] * max(radii) ** (np.array(DEPTHS) - DEPTHS[4])
left.semilogy(DEPTHS, theory, "k--", linewidth=1, label="spectral radius")
left.set(xlabel="layers of the twin", ylabel="difference from the equilibrium")
left.set_title("The twin of infinite depth", fontsize=11)
left.legend()
right.semilogy(counts, plain, "k--", linewidth=1, label="the layer again and again")
for solver, distances in near.items():
    right.semilogy(counts, distances, "o-", markersize=4, label=solver.capitalize())
right.set(xlabel="evaluations of the layer", ylabel="distance from a fixed point")
right.set_title("Solvers need fewer evaluations", fontsize=11)
right.legend()
figure.savefig("deep_equilibrium.png", dpi=150)
