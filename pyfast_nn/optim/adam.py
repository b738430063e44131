"""Adam and its kin."""

from typing import TYPE_CHECKING, Any, Literal

from .. import checks
from ..typing import Betas, Params, Rate, Real
from .around import Options
from .base import Optimizer
from .rule import Changing, Hyper, Update, check_betas, check_nonnegative, next_betas

if TYPE_CHECKING:
    from typing_extensions import Unpack


def check_eps_mode(value: Any, name: str) -> str:
    return checks.choice(value, name, ("torch", "keras"))


class Moments(Optimizer):
    """What Adam and its kin have in common: averages of the gradient and of its size."""

    betas: Hyper[Betas, tuple[Changing, Changing]] = Hyper(check_betas)
    eps: Hyper[Real, float] = Hyper(check_nonnegative)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params,
        lr: Rate,
        betas: Betas,
        eps: Real,
        weight_decay: Real,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def _moments(self, steps: int) -> dict[str, Any]:
        return {**next_betas(self, steps), "eps": self.eps, "weight_decay": self.weight_decay}

    def _state_names(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")


class Adam(Moments):
    """Adam, as in torch.

    Per step ``t`` = 1, 2, ..., with gradient ``g``::

        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays, optional
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own, as in torch. None: the optimizer
        is for `Sequential.fit`.
    lr : float, array or callable
        Learning rate: a number, one value per step, or a function from 0-based steps (int64 array,
        or one int where it does not take arrays) to values; finite and at least 0.
    betas : pair of float, array or callable
        Decay rates of the two moments, each in [0, 1). Where they change, ``beta^t`` is a power of
        the present one, as in torch.
    eps : float
        At least 0.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, at least 0.
    amsgrad : bool
        Divide by the largest ``v`` so far (Reddi, Kale and Kumar 2018,
        https://openreview.net/forum?id=ryQu7f-RZ).
    eps_mode : {"torch", "keras"}
        What `eps` is added to: the root of the corrected ``v``, as above, or as in Keras,
        scikit-learn and the end of section 2 of the paper, the root of ``v`` itself::

            p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", ICLR,
    https://arxiv.org/abs/1412.6980.

    Examples
    --------
    >>> optimizer = fnn.optim.Adam(lr=1e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    amsgrad: Hyper[bool, bool] = Hyper(checks.boolean)
    eps_mode: Hyper[Literal["torch", "keras"], str] = Hyper(check_eps_mode)
    _name = "adam"

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        amsgrad: bool = False,
        eps_mode: Literal["torch", "keras"] = "torch",
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, **options)
        self.amsgrad = amsgrad
        self.eps_mode = eps_mode

    def _update(self, steps: int) -> Update:
        return self._name, {
            **self._moments(steps),
            "amsgrad": float(self.amsgrad),
            "keras_eps": float(self.eps_mode == "keras"),
        }

    def _state_names(self) -> tuple[str, ...]:
        return (*super()._state_names(), *(["max_exp_avg_sq"] if self.amsgrad else []))


class AdamW(Adam):
    """Adam with decoupled weight decay, as in torch.

    Per step ``p = p - lr * weight_decay * p``, then Adam's step without its penalty.

    Parameters
    ----------
    params, lr, betas, eps, **options
        As for `Adam`.
    weight_decay : float
        Decay of all parameters per step and unit of learning rate, at least 0.
    amsgrad, eps_mode
        As for `Adam`.

    References
    ----------
    I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", ICLR,
    https://arxiv.org/abs/1711.05101.

    Examples
    --------
    >>> fnn.optim.AdamW(lr=1e-3, weight_decay=0.05)
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.05,
          amsgrad=False, eps_mode='torch')
    """

    _name = "adamw"

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 1e-2,
        amsgrad: bool = False,
        eps_mode: Literal["torch", "keras"] = "torch",
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            eps_mode=eps_mode,
            **options,
        )


class Adamax(Moments):
    """Adamax, as in torch: Adam in the infinity norm.

    Per step ``t`` = 1, 2, ..., with gradient ``g``::

        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        p = p - lr / (1 - beta1^t) * m / u

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, **options
        As for `Adam`.

    References
    ----------
    D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", ICLR, section 7.1,
    https://arxiv.org/abs/1412.6980.

    Examples
    --------
    >>> optimizer = fnn.optim.Adamax(lr=2e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, **options)

    def _update(self, steps: int) -> Update:
        return "adamax", self._moments(steps)

    def _state_names(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")


class NAdam(Moments):
    """NAdam, as in torch: Adam with Nesterov's momentum.

    Per step ``t`` = 1, 2, ..., with gradient ``g`` and ``M_t = mu_1 * mu_2 * ... * mu_t``::

        g = g + weight_decay * p                    (p = p - lr * weight_decay * p if decoupled)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
        n = mu_(t+1) * m / (1 - M_(t+1)) + (1 - mu_t) * g / (1 - M_t)
        p = p - lr * n / (sqrt(v / (1 - beta2^t)) + eps)

    Where ``beta1`` changes, ``M_t`` is made of the present one, as the powers of Adam are (torch
    multiplies those of the past).

    Parameters
    ----------
    params, lr, betas, eps, **options
        As for `Adam`.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, or with `decoupled_weight_decay` their
        decay per step and unit of learning rate; at least 0.
    momentum_decay : float
        How fast ``mu`` goes from about half of ``beta1`` to ``beta1``, at least 0.
    decoupled_weight_decay : bool
        Weight decay as in `AdamW`.

    References
    ----------
    T. Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Examples
    --------
    >>> optimizer = fnn.optim.NAdam(lr=2e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    momentum_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    decoupled_weight_decay: Hyper[bool, bool] = Hyper(checks.boolean)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        momentum_decay: Real = 4e-3,
        decoupled_weight_decay: bool = False,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, **options)
        self.momentum_decay = momentum_decay
        self.decoupled_weight_decay = decoupled_weight_decay

    def _update(self, steps: int) -> Update:
        return "nadam", {
            **self._moments(steps),
            "momentum_decay": self.momentum_decay,
            "decoupled_weight_decay": float(self.decoupled_weight_decay),
        }


class RAdam(Moments):
    """RAdam, as in torch: Adam whose step is rectified while few gradients have been seen.

    Per step ``t`` = 1, 2, ..., with gradient ``g`` and ``r = 2 / (1 - beta2) - 1``::

        g = g + weight_decay * p                    (p = p - lr * weight_decay * p if decoupled)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        r_t = r - 2 * t * beta2^t / (1 - beta2^t)
        c = sqrt((r_t - 4) * (r_t - 2) * r / ((r - 4) * (r - 2) * r_t))
        d = c * sqrt(1 - beta2^t) / (sqrt(v) + eps) if r_t > 5 else 1
        p = p - lr * m / (1 - beta1^t) * d

    Parameters
    ----------
    params, lr, betas, eps, **options
        As for `Adam`.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, or with `decoupled_weight_decay` their
        decay per step and unit of learning rate; at least 0.
    decoupled_weight_decay : bool
        Weight decay as in `AdamW`.

    References
    ----------
    L. Liu, H. Jiang, P. He, W. Chen, X. Liu, J. Gao, J. Han (2020), "On the variance of the
    adaptive learning rate and beyond", ICLR, https://arxiv.org/abs/1908.03265.

    Examples
    --------
    >>> optimizer = fnn.optim.RAdam(lr=1e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    decoupled_weight_decay: Hyper[bool, bool] = Hyper(checks.boolean)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        decoupled_weight_decay: bool = False,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, **options)
        self.decoupled_weight_decay = decoupled_weight_decay

    def _update(self, steps: int) -> Update:
        decoupled = float(self.decoupled_weight_decay)
        return "radam", {**self._moments(steps), "decoupled_weight_decay": decoupled}
