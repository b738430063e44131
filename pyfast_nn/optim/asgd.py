"""Averaged stochastic gradient descent."""

from typing import TYPE_CHECKING

from ..typing import Params, Rate, Real
from .around import Options
from .base import Optimizer
from .rule import Hyper, Update, check_nonnegative

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ASGD(Optimizer):
    """Averaged stochastic gradient descent, as in torch.

    Per step ``t`` = 1, 2, ..., with gradient ``g``::

        g = g + weight_decay * p
        eta = lr / (1 + lambd * lr * (t - 1))^alpha
        p = p - lambd * eta * p - eta * g
        ax = ax + (p - ax) / max(1, t - 1 - t0)

    ``ax``, the average of the parameters from step `t0` on, is in `state`. Where `lr` changes,
    ``eta`` is that of the present one (torch takes the one before).

    Parameters
    ----------
    params, lr
        As for `SGD`.
    lambd : float
        Decay of the parameters per step and unit of learning rate, at least 0.
    alpha : float
        Power with which the learning rate falls, at least 0.
    t0 : float
        Steps before the averaging begins, at least 0.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, at least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    B. T. Polyak, A. B. Juditsky (1992), "Acceleration of stochastic approximation by averaging",
    SIAM J. Control Optim. 30, https://doi.org/10.1137/0330046; the rates as in L. Bottou (2012),
    "Stochastic gradient descent tricks", https://doi.org/10.1007/978-3-642-35289-8_25.

    Examples
    --------
    >>> optimizer = fnn.optim.ASGD(lr=0.1, t0=100)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    >>> (average,) = optimizer.state
    """

    lambd: Hyper[Real, float] = Hyper(check_nonnegative)
    alpha: Hyper[Real, float] = Hyper(check_nonnegative)
    t0: Hyper[Real, float] = Hyper(check_nonnegative)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-2,
        lambd: Real = 1e-4,
        alpha: Real = 0.75,
        t0: Real = 1e6,
        weight_decay: Real = 0.0,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.lambd = lambd
        self.alpha = alpha
        self.t0 = t0
        self.weight_decay = weight_decay

    def _update(self, steps: int) -> Update:
        return "asgd", {
            "lambd": self.lambd,
            "alpha": self.alpha,
            "t0": self.t0,
            "weight_decay": self.weight_decay,
        }

    def _state_names(self) -> tuple[str, ...]:
        return ("ax",)
