"""Adagrad and what grew from it: each parameter's step divided by the size of its gradients."""

from functools import partial
from typing import TYPE_CHECKING

from .. import checks
from ..typing import Params, Rate, Real
from .around import Options
from .base import Optimizer
from .rule import Changing, Hyper, Update, check_nonnegative, check_schedule, is_zero

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Adagrad(Optimizer):
    """Adagrad, as in torch.

    Per step ``t`` = 1, 2, ..., with gradient ``g``::

        g = g + weight_decay * p
        sum = sum + g^2
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    Parameters
    ----------
    params, lr
        As for `SGD`.
    lr_decay : float
        How fast the learning rate falls, at least 0.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, at least 0.
    initial_accumulator_value : float
        What ``sum`` starts from, at least 0.
    eps : float
        At least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, https://jmlr.org/papers/v12/duchi11a.html.

    Examples
    --------
    >>> optimizer = fnn.optim.Adagrad(lr=0.1)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    lr_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    initial_accumulator_value: Hyper[Real, float] = Hyper(check_nonnegative)
    eps: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-2,
        lr_decay: Real = 0.0,
        weight_decay: Real = 0.0,
        initial_accumulator_value: Real = 0.0,
        eps: Real = 1e-10,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.lr_decay = lr_decay
        self.weight_decay = weight_decay
        self.initial_accumulator_value = initial_accumulator_value
        self.eps = eps

    def _update(self, steps: int) -> Update:
        return "adagrad", {
            "lr_decay": self.lr_decay,
            "weight_decay": self.weight_decay,
            "eps": self.eps,
        }

    def _state_names(self) -> tuple[str, ...]:
        return ("sum",)

    def _initial(self, name: str) -> float:
        return self.initial_accumulator_value


class Adadelta(Optimizer):
    """Adadelta, as in torch.

    Per step, with gradient ``g``::

        g = g + weight_decay * p
        v = rho * v + (1 - rho) * g^2
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d^2
        p = p - lr * d

    Parameters
    ----------
    params, lr
        As for `SGD`.
    rho : float, array or callable
        Decay rate of both averages, in [0, 1).
    eps : float
        At least 0.
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
    M. D. Zeiler (2012), "ADADELTA: an adaptive learning rate method",
    https://arxiv.org/abs/1212.5701.

    Examples
    --------
    >>> optimizer = fnn.optim.Adadelta(rho=0.95)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    rho: Hyper[Rate, Changing] = Hyper(partial(check_schedule, below=1))
    eps: Hyper[Real, float] = Hyper(check_nonnegative)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1.0,
        rho: Rate = 0.9,
        eps: Real = 1e-6,
        weight_decay: Real = 0.0,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.rho = rho
        self.eps = eps
        self.weight_decay = weight_decay

    def _update(self, steps: int) -> Update:
        return "adadelta", {
            "rho": self._next(self.rho, "rho", steps, below=1),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }

    def _state_names(self) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")


class RMSprop(Optimizer):
    """RMSprop, as in torch.

    Per step, with gradient ``g``::

        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g^2
        a = alpha * a + (1 - alpha) * g             (0 unless centered)
        b = momentum * b + g / (sqrt(v - a^2) + eps)
        p = p - lr * b

    Parameters
    ----------
    params, lr
        As for `SGD`.
    alpha : float, array or callable
        Decay rate of the averages, in [0, 1).
    eps : float
        At least 0.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, at least 0.
    momentum : float, array or callable
        At least 0.
    centered : bool
        Divide by the standard deviation of the gradients, rather than by their root mean square
        (Graves 2013, https://arxiv.org/abs/1308.0850). A variance that rounding makes negative
        counts as 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    T. Tieleman, G. Hinton (2012), "Lecture 6.5: rmsprop", Coursera, Neural networks for machine
    learning, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf.

    Examples
    --------
    >>> optimizer = fnn.optim.RMSprop(lr=1e-3, momentum=0.9)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    alpha: Hyper[Rate, Changing] = Hyper(partial(check_schedule, below=1))
    eps: Hyper[Real, float] = Hyper(check_nonnegative)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    momentum: Hyper[Rate, Changing] = Hyper(check_schedule)
    centered: Hyper[bool, bool] = Hyper(checks.boolean)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-2,
        alpha: Rate = 0.99,
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        momentum: Rate = 0.0,
        centered: bool = False,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.centered = centered

    def _update(self, steps: int) -> Update:
        return "rmsprop", {
            "alpha": self._next(self.alpha, "alpha", steps, below=1),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            "momentum": self._next(self.momentum, "momentum", steps),
            "centered": float(self.centered),
            "heavy": float(not is_zero(self.momentum)),
        }

    def _state_names(self) -> tuple[str, ...]:
        mean = ("grad_avg",) if self.centered else ()
        total = () if is_zero(self.momentum) else ("momentum_buffer",)
        return ("square_avg", *mean, *total)
