"""What optimizers have in common that need each tensor whole."""

from .base import Optimizer


class WholeTensorOptimizer(Optimizer):
    """An optimizer to which a parameter is more than its numbers."""

    _elementwise = False
