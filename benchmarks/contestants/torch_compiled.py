"""PyTorch as in `torch_mlp`, network and loss compiled; images have channels last."""

import torch

from contestants import networks, torch_mlp

NAME = "torch compiled"
KINDS = torch_mlp.KINDS


def how(layers):
    torch.compiler.reset()  # of what is compiled from the same lines only so much is kept
    images = "conv2d" in networks.kinds(layers)
    memory_format = torch.channels_last if images else torch.preserve_format
    return {"compiled": torch.compile, "memory_format": memory_format}


def trainer(layers, x, y, batch_size):
    return torch_mlp.trainer(layers, x, y, batch_size, **how(layers))


def gradient(layers, weights, x, y):
    return torch_mlp.gradient(layers, weights, x, y, **how(layers))
