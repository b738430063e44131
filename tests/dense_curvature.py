"""Models with data, and their curvature as dense float64 matrices: by the formulas of
`oracle.Network`, one unit vector after the other, and by torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import autodiff
import oracle
import problems
import pyfast_nn as fnn
from pyfast_nn.losses import Loss, from_config
from test_losses import CASES, draw_targets

PIECEWISE_LINEAR = {
    "identity": fnn.Identity(),
    "relu": fnn.ReLU(),
    "leaky_relu": fnn.LeakyReLU(0.3),
    "hardtanh": fnn.Hardtanh(-0.5, 1.5),
    "step": fnn.Step(),
    "sign": fnn.Sign(),
}
SMOOTH = {
    "elu": fnn.ELU(0.7),
    "softplus": fnn.Softplus(2.0),
    "gelu": fnn.GELU(),
    "gelu_tanh": fnn.GELU("tanh"),
    "silu": fnn.SiLU(),
    "tanh": fnn.Tanh(),
    "sigmoid": fnn.Sigmoid(),
    "softmax": fnn.Softmax(),
}
ACTIVATIONS = PIECEWISE_LINEAR | SMOOTH
PENALISED = [case for case, (loss, _) in CASES.items() if loss[1].get("confidence_penalty")]


def network(activation, widths=(5, 4, 3)):
    """Layers of a network with `activation` (a Layer) between its dense ones."""
    layers = [layer for width in widths for layer in (fnn.Dense(width), activation)]
    return layers[:-1]


@dataclass
class Example:
    """A model with data; weights of examples are None or float64."""

    model: fnn.Sequential
    network: oracle.Network
    X: np.ndarray  # (rows, in_features) of the model's dtype
    y: np.ndarray
    loss: Loss
    weights: np.ndarray | None

    def operator(self, kind, **arguments):
        """Return the operator of class `kind`, Jacobian and NTK without what they do not take."""
        if kind.__name__ in ("Jacobian", "NTK"):
            return kind(self.model, self.X, **arguments)
        arguments.setdefault("sample_weight", self.weights)
        return kind(self.model, self.X, self.y, self.loss, **arguments)

    def dense(self, kind):
        """Return the float64 matrix that an operator of class `kind` stands for."""
        names = {
            "Hessian": "hessian",
            "GaussNewton": "gauss_newton",
            "Fisher": "gauss_newton",
            "EmpiricalFisher": "empirical_fisher",
            "Jacobian": "flat_jacobian",
            "NTK": "ntk",
        }
        return getattr(self, names[kind.__name__])

    @property
    def rows(self):
        return len(self.X)

    @property
    def n(self):
        return self.network.n_parameters

    @property
    def inner(self):
        """Length of the longest sum in a product, for tolerances."""
        return max(self.rows, self.n)

    def vectors(self, rng, k):
        """Random vectors (n, k) of the model's dtype."""
        return rng.standard_normal((self.n, k)).astype(self.model.dtype)

    @cached_property
    def parameters(self):
        return self.model.parameters.astype(np.float64)

    @cached_property
    def shares(self):
        """What each example counts (rows,), of sum 1."""
        weights = np.ones(self.rows) if self.weights is None else self.weights
        return weights / weights.sum()

    @property
    def _spec(self):
        return self.loss.name, self.loss.get_config()

    @cached_property
    def outputs(self):
        """(rows, out)"""
        return self.network.forward(self.parameters, self.X)

    @cached_property
    def jacobian(self):
        """Of the outputs in the parameters (rows, out, n)."""
        columns = [self.network.jvp(self.parameters, e, self.X)[1] for e in np.eye(self.n)]
        return np.stack(columns, axis=2)

    @cached_property
    def flat_jacobian(self):
        """(rows * out, n)"""
        return self.jacobian.reshape(-1, self.n)

    @cached_property
    def ntk(self):
        return self.flat_jacobian @ self.flat_jacobian.T

    @cached_property
    def hessian(self):
        call = (self.X, self.y, self._spec, self.weights)
        columns = [self.network.hvp(self.parameters, e, *call) for e in np.eye(self.n)]
        return np.stack(columns, axis=1)

    @cached_property
    def gauss_newton(self):
        z, out = self.outputs, self.outputs.shape[1]
        directions = np.broadcast_to(np.eye(out)[:, None], (out, *z.shape))
        call = (self.y, self._spec, self.weights)
        in_outputs = np.stack([oracle.loss_hvp(z, d, *call) for d in directions], axis=2)
        product = np.einsum("iab,ibq->iaq", in_outputs, self.jacobian).reshape(-1, self.n)
        return self.flat_jacobian.T @ product

    @cached_property
    def gradients(self):
        """Of the loss of each example alone (rows, n)."""
        in_outputs = self.rows * oracle.loss_gradient(self.outputs, self.y, self._spec)
        return np.einsum("ia,iap->ip", in_outputs, self.jacobian)

    @cached_property
    def empirical_fisher(self):
        return self.gradients.T @ (self.shares[:, None] * self.gradients)

    def by_torch(self):
        """Return the same matrices by automatic differentiation, {name of the class: matrix}."""
        torch = autodiff.torch()
        functional = torch.autograd.functional
        X, y = torch.tensor(self.X.astype(np.float64)), torch.tensor(self.y)
        parameters, shares = torch.tensor(self.parameters), torch.tensor(self.shares)

        def outputs(p):
            return autodiff.forward(self.network, p, X)

        def losses(z):
            one = (slice(i, i + 1) for i in range(self.rows))
            return torch.stack([_torch_loss(z[i], y[i], self._spec) for i in one])

        jacobian = functional.jacobian(outputs, parameters).reshape(-1, self.n)
        in_outputs = functional.hessian(lambda z: shares @ losses(z), outputs(parameters))
        in_outputs = in_outputs.reshape(len(jacobian), len(jacobian))
        gradients = functional.jacobian(lambda p: losses(outputs(p)), parameters)
        hessian = functional.hessian(lambda p: shares @ losses(outputs(p)), parameters)
        matrices = {
            "Hessian": hessian,
            "GaussNewton": jacobian.T @ in_outputs @ jacobian,
            "EmpiricalFisher": gradients.T @ (shares[:, None] * gradients),
            "Jacobian": jacobian,
        }
        return {name: matrix.numpy() for name, matrix in matrices.items()}


def _torch_loss(z, y, spec):
    """autodiff.loss_of, where torch differentiates that twice."""
    if spec[0] != "multi_margin":
        return autodiff.loss_of(z, y, spec)
    slack = spec[1]["margin"] - z.gather(1, y[:, None]) + z
    return (slack.relu().sum() - spec[1]["margin"] * len(z)) / z.numel()


def draw(
    rng, layers, case="cross_entropy", *, in_features=3, rows=9, dtype="float64", weighted=False
):
    """Draw an Example with a loss of test_losses.CASES, at a distance from kinks of activations."""
    core = [(layer.kind, layer.units, layer.values) for layer in layers]
    problem = problems.draw(rng, in_features, core, rows, dtype, margin=1e-4)
    model = fnn.Sequential(layers, dtype=dtype).build(in_features)
    model.parameters = problem.parameters
    (name, parameters), kind = CASES[case]
    y = draw_targets(rng, rows, model.out_features, kind, dtype)
    weights = rng.uniform(0.1, 3, rows) if weighted else None
    loss = from_config({"type": name, **parameters})
    return Example(model, problem.reference, problem.X, y, loss, weights)
