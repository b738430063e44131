"""PyTorch as in `torch_mlp`, but images and their weights lie in memory with channels last."""

from functools import partial

import torch

from contestants import torch_mlp

NAME = "torch channels-last"
KINDS = torch_mlp.KINDS
FOR = {"conv2d"}
trainer = partial(torch_mlp.trainer, memory_format=torch.channels_last)
gradient = partial(torch_mlp.gradient, memory_format=torch.channels_last)
