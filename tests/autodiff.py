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
    functions = {"relu": torch().relu, "tanh": torch().tanh, "sigmoid": torch().sigmoid}
    values = X
    for (kind, _), weights in zip(network.layers, network.unflatten(parameters), strict=True):
        values = values @ weights[0] + weights[1] if weights else functions[kind](values)
    return values


def loss_function(network, X, y, loss):
    """Return the mean loss as a function of the flat parameters (a torch tensor)."""
    X, y = torch().as_tensor(np.asarray(X, np.float64)), torch().as_tensor(y)
    functional = torch().nn.functional
    function = {"mse": functional.mse_loss, "cross_entropy": functional.cross_entropy}[loss]
    return lambda parameters: function(forward(network, parameters, X), y)


def optimizer(update, parameters, lr):
    """Return the torch optimizer of an `update` tuple over one leaf tensor."""
    name, options = update
    options = dict(options, lr=lr)
    if name == "sgd":
        options["nesterov"] = bool(options["nesterov"])
        return torch().optim.SGD([parameters], **options)
    options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    return {"adam": torch().optim.Adam, "adamw": torch().optim.AdamW}[name]([parameters], **options)
