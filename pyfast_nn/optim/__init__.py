"""Optimizers, with the names, defaults and formulas of `torch.optim`.

An optimizer updates arrays of the user's own, ``Adam(params).step(grads)``, or is what
`Sequential.fit` takes. It holds its own state (momenta) and the number of steps taken, so that a
second fit with the same optimizer goes on where the first one ended.
"""

from .adafactor import Adafactor
from .adagrad import Adadelta, Adagrad, RMSprop
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .asgd import ASGD
from .base import Optimizer
from .lamb import LAMB
from .minimizer import as_scipy
from .muon import Muon
from .sgd import SGD
from .sign import Lion, Rprop

__all__ = [
    "ASGD",
    "LAMB",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "as_scipy",
]


def __dir__() -> list[str]:
    return __all__
