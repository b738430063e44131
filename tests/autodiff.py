"""The second opinion: the same networks and losses in torch, where it is installed (float64)."""

from __future__ import annotations

import numpy as np
import pytest


def torch():
    """Return torch, or skip the test."""
    module = pytest.importorskip("torch", reason="torch is not installed")
    module.set_num_threads(1)  # these tensors are tiny
    return module


def forward(network, parameters, X):
    """Outputs (n, out) of an oracle.Network as a differentiable function of torch tensors."""
    values = X
    layers = zip(network.layers, network.unflatten(parameters), strict=True)
    for (kind, _, numbers), weights in layers:
        values = values @ weights[0] + weights[1] if weights else activation(kind)(values, *numbers)
    return values


def activation(kind):
    """Return torch's function of a kind of activation, of the input and the layer's values."""
    torch_, functional = torch(), torch().nn.functional
    special = {
        "identity": lambda z: z,
        "softplus": lambda z, beta: functional.softplus(z, beta, threshold=1000),
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        "step": lambda z: torch_.heaviside(z, z.new_zeros(())),
        "sign": torch_.sign,
        "softmax": lambda z: functional.softmax(z, dim=1),
    }
    return special[kind] if kind in special else getattr(functional, kind)


def loss_of(z, y, loss):
    """Mean loss of outputs z (n, k), differentiable; by torch's own function where it has one."""
    functional, (name, parameters) = torch().nn.functional, loss
    if name == "cross_entropy":
        logp = functional.log_softmax(z, 1)
        penalty = parameters["confidence_penalty"] * (logp.exp() * logp).sum(1).mean()
        smoothing = parameters["label_smoothing"]
        return functional.cross_entropy(z, y, label_smoothing=smoothing) + penalty
    return {
        "multi_margin": functional.multi_margin_loss,
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
        "hinge": lambda z, y: functional.relu(1 - y * z).mean(),
        "mse": functional.mse_loss,
        "mae": functional.l1_loss,
        "huber": functional.huber_loss,
        "poisson": functional.poisson_nll_loss,
        "log_cosh": lambda z, y: torch().log(torch().cosh(z - y)).mean(),
        "quantile": lambda z, y, q: torch().maximum(q * (y - z), (q - 1) * (y - z)).mean(),
    }[name](z, y, **parameters)


def loss_function(network, X, y, loss):
    """Return the mean loss as a function of the flat parameters (a torch tensor)."""
    X, y = torch().as_tensor(np.asarray(X, np.float64)), torch().as_tensor(y)
    return lambda parameters: loss_of(forward(network, parameters, X), y, loss)


def optimizer(update, parameters, lr):
    """Return the torch optimizer of an `update` tuple over one leaf tensor."""
    name, options = update
    options = dict(options, lr=lr)
    if name == "sgd":
        options["nesterov"] = bool(options["nesterov"])
        return torch().optim.SGD([parameters], **options)
    options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    return {"adam": torch().optim.Adam, "adamw": torch().optim.AdamW}[name]([parameters], **options)
