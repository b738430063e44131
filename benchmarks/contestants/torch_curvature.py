"""Hessian products in PyTorch: by its own transforms, by curvlinops, by PyHessian."""

import numpy as np
import torch

from contestants.torch_mlp import network

_LOSS = torch.nn.CrossEntropyLoss()


class Transforms:
    """``torch.func``: the derivative of the gradient along a direction."""

    def __init__(self, layers, x, y):
        model = network(layers)
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        self._parameters = {k: p.detach() for k, p in model.named_parameters()}

        def loss(parameters):
            return _LOSS(torch.func.functional_call(model, parameters, (x,)), y)

        self._loss = loss
        self._gradient = torch.func.grad(loss)

    def direction(self, v):
        """Return the pieces of v (n,), or of each of its rows (k, n)."""
        pieces, first = {}, 0
        for name, parameter in self._parameters.items():
            last = first + parameter.numel()
            pieces[name] = v[..., first:last].reshape(*v.shape[:-1], *parameter.shape)
            first = last
        return pieces

    def product(self, direction):
        return torch.func.jvp(self._gradient, (self._parameters,), (direction,))[1]

    def products(self, directions):
        """Of several directions, side by side."""
        return torch.func.vmap(self.product)(directions)

    @torch.no_grad()
    def landscape(self, directions, steps):
        """Return the losses at the parameters plus so many times each of two directions."""
        first, second = map(self.direction, directions)

        def at(a, b):
            there = {k: p + a * first[k] + b * second[k] for k, p in self._parameters.items()}
            return self._loss(there)

        return torch.stack([at(a, b) for a in steps for b in steps])

    def flat_product(self, v):
        product = self.product(self.direction(v))
        return torch.cat([piece.ravel() for piece in product.values()])


def curvlinops_hessian(layers, x, y):
    """Return the operator, which takes and gives tensors."""
    from curvlinops import HessianLinearOperator

    model = network(layers)
    examples = [(torch.from_numpy(x), torch.from_numpy(y))]
    parameters = list(model.parameters())
    return HessianLinearOperator(model, _LOSS, parameters, examples, check_deterministic=False)


def pyhessian_trace(layers, x, y, probes):
    """Return a function that makes the estimate from so many probes."""
    from pyhessian import hessian

    data = (torch.from_numpy(x), torch.from_numpy(y))
    operator = hessian(network(layers), _LOSS, data=data, cuda=False)
    return lambda: np.mean(operator.trace(maxIter=probes, tol=0))


def lanczos_density(product, n, probes, steps, seed=0):
    """Return nodes and weights of stochastic Lanczos quadrature, each of (probes, steps).

    As one would write it: probe by probe, each vector orthogonalised against all before it.
    """
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = torch.empty(probes, steps), torch.empty(probes, steps)
    for probe in range(probes):
        basis = torch.empty(steps, n)
        diagonal, off = torch.empty(steps), torch.empty(steps - 1)
        v = (torch.randint(0, 2, (n,), generator=generator) * 2 - 1) / n**0.5
        for k in range(steps):
            basis[k] = v
            w = product(v)
            diagonal[k] = w @ v
            for _ in range(2):
                w -= basis[: k + 1].T @ (basis[: k + 1] @ w)
            if k + 1 < steps:
                off[k] = torch.linalg.vector_norm(w)
                v = w / off[k]
        tridiagonal = torch.diag(diagonal) + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(tridiagonal)
        nodes[probe], weights[probe] = values, vectors[0] ** 2
    return nodes, weights
