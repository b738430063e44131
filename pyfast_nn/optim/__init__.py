"""Optimizers, with the names, defaults and formulas of `torch.optim`.

An optimizer is what `Sequential.fit` takes. It holds its own state (momenta) and the number of
steps taken, so that a second fit with the same optimizer goes on where the first one ended.
"""

from .adam import Adam, AdamW
from .base import Optimizer, Owner  # noqa: F401 (fit uses them)
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW"]
