"""Stochastic gradient descent."""

from .. import checks
from .base import Hyper, Optimizer, check_nonnegative, check_schedule


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Per step, with gradient ``g``, as in torch::

        g = g + weight_decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v if nesterov else v)

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays, optional
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own, as in torch. None: the optimizer
        is for `Sequential.fit`.
    lr : float, array or callable
        Learning rate: a number, one value per step, or a function from 0-based steps (int64 array,
        or one int where it does not take arrays) to values; finite and at least 0.
    momentum : float, array or callable
        At least 0 (heavy ball; Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5). Where it
        changes, ``v`` follows the formula in steps of momentum 0, too (torch leaves it alone then).
    nesterov : bool
        Nesterov's form of momentum (Sutskever et al. 2013,
        https://proceedings.mlr.press/v28/sutskever13.html).
    weight_decay : float
        Coefficient of the L2 penalty ``weight_decay / 2 * |p|^2`` on all parameters, at least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    Examples
    --------
    >>> optimizer = fnn.optim.SGD(lr=lambda step: 0.1 / (1 + step / 100), momentum=0.9)
    """

    momentum = Hyper(check_schedule)
    nesterov = Hyper(checks.boolean)
    weight_decay = Hyper(check_nonnegative)

    def __init__(
        self,
        params=None,
        *,
        lr=1e-2,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        **options,
    ):
        super().__init__(params, **options)
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self._n_vectors()

    def _update(self, steps):
        hyper = {
            "momentum": self._next(self.momentum, "momentum", steps),
            "nesterov": float(self.nesterov),
            "weight_decay": self.weight_decay,
        }
        return "sgd", hyper

    def _n_vectors(self):
        without = isinstance(self.momentum, float) and self.momentum == 0
        if self.nesterov and without:
            raise ValueError("nesterov: expected a momentum > 0 with it, got momentum=0")
        return 0 if without else 1
