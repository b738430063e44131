"""Stochastic gradient descent."""

from typing import TYPE_CHECKING

from .. import checks
from ..typing import Params, Rate, Real
from .around import Options
from .base import Optimizer
from .rule import Changing, Hyper, Update, check_nonnegative, check_schedule, is_zero

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Per step, with gradient ``g``, as in torch::

        g = g + weight_decay * p
        v = momentum * v + (1 - dampening) * g      (in the first step v = g)
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
    dampening : float
        Part of the gradient that does not enter the momentum.
    weight_decay : float
        Coefficient of the L2 penalty ``weight_decay / 2 * |p|^2`` on all parameters, at least 0.
    nesterov : bool
        Nesterov's form of momentum (Sutskever et al. 2013,
        https://proceedings.mlr.press/v28/sutskever13.html); needs a momentum and no dampening.
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

    momentum: Hyper[Rate, Changing] = Hyper(check_schedule)
    dampening: Hyper[Real, float] = Hyper(checks.real)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    nesterov: Hyper[bool, bool] = Hyper(checks.boolean)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        momentum: Rate = 0.0,
        dampening: Real = 0.0,
        weight_decay: Real = 0.0,
        nesterov: bool = False,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self._check_nesterov()

    def _check_nesterov(self) -> None:
        if self.nesterov and is_zero(self.momentum):
            raise ValueError("nesterov: expected a momentum > 0 with it, got momentum=0")
        if self.nesterov and self.dampening != 0:
            raise ValueError(
                f"nesterov: expected no dampening with it, got dampening={self.dampening}"
            )

    def _update(self, steps: int) -> Update:
        self._check_nesterov()
        return "sgd", {
            "momentum": self._next(self.momentum, "momentum", steps),
            "dampening": self.dampening,
            "weight_decay": self.weight_decay,
            "nesterov": float(self.nesterov),
            "heavy": float(not is_zero(self.momentum)),
        }

    def _state_names(self) -> tuple[str, ...]:
        return () if is_zero(self.momentum) else ("momentum_buffer",)
