"""What optimizers have in common that need each tensor whole."""

from .base import Optimizer


class WholeTensorOptimizer(Optimizer):
    """An optimizer to which a parameter is more than its numbers."""

    def _attach(self, model):
        raise NotImplementedError(
            f"optimizer: {type(self).__name__} needs each tensor whole, and fit updates all "
            f"parameters as one vector; make it with params, and call its step"
        )
