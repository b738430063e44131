"""Muon."""

import copy
from typing import TYPE_CHECKING, Any, Literal

from .. import checks
from ..guidance import written
from ..typing import Integer, Params, Rate, Real, Shape
from .around import Options
from .base import Optimizer, find, is_plain
from .rule import Changing, Hyper, Rule, Update, check_nonnegative, check_schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack


def check_momentum(value: Any, name: str) -> Changing:
    return check_schedule(value, name, below=1)


def check_coefficients(values: Any, name: str) -> tuple[float, float, float]:
    try:
        a, b, c = values
    except (TypeError, ValueError):
        came = checks.describe(values)
        raise TypeError(f"{name}: expected three numbers, got {came}") from None
    a, b, c = (checks.real(x, f"{name}[{i}]") for i, x in enumerate((a, b, c)))
    return a, b, c


def check_adjustment(value: Any, name: str) -> str | None:
    return value if value is None else checks.choice(value, name, ("original", "match_rms_adamw"))


def check_fallback(value: Any, name: str) -> Optimizer | None:
    """Return None, or the optimizer that a name or a dict of what it is made from stands for."""
    if isinstance(value, str):
        value = {"optimizer": value}
    if isinstance(value, dict):
        hyper = dict(value)
        value = find(hyper.pop("optimizer", None), name)(**hyper)
    if value is None:
        return value
    if not isinstance(value, Optimizer) or isinstance(value, Muon):
        came = f"{checks.describe(value)}{written(value)}"
        raise TypeError(f"{name}: expected None, the name of another optimizer or one, got {came}")
    if not is_plain(value):
        raise ValueError(
            f"{name}: expected an optimizer of hyper-parameters only, without params, groups and "
            "options: it has those of Muon"
        )
    return value


class Muon(Optimizer):
    """Muon, as in torch: steps of matrices whose singular values are all about one.

    Per step, for each matrix ``p`` of shape (in, out) with gradient ``g``::

        m = momentum * m + (1 - momentum) * g
        u = (1 - momentum) * g + momentum * m if nesterov else m
        x = u / max(|u|, eps)                      # the Frobenius norm
        repeat ns_steps times, with (a, b, c) = ns_coefficients:
            x = a x + b (x x') x + c (x x')^2 x    # Newton-Schulz
        p = p - lr * weight_decay * p - lr * scale * x

    The iteration takes each singular value ``s`` to ``a s + b s^3 + c s^5`` and leaves the singular
    vectors: with the default coefficients and steps, those above 0.005 end between 0.68 and 1.16.

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own, as in torch. Arrays that are not
        matrices need a `fallback`.
    lr : float, array or callable
        Learning rate: a number, one value per step, or a function from 0-based steps (int64 array,
        or one int where it does not take arrays) to values; finite and at least 0.
    weight_decay : float
        Decay of all matrices per step and unit of learning rate, at least 0.
    momentum : float, array or callable
        In [0, 1).
    nesterov : bool
        Nesterov's form of momentum.
    ns_coefficients : tuple of three float
        Of the Newton-Schulz iteration.
    eps : float
        The least norm that is divided by, at least 0.
    ns_steps : int
        Number of its iterations, less than 100.
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        ``scale``: ``sqrt(max(1, out / in))`` (original, and None), or
        ``0.2 * sqrt(max(in, out))``, with which rates and decays of AdamW go on being right.
    fallback : None, str, dict or Optimizer
        What updates the parameters that are not matrices (biases, say): the name of another
        optimizer, ``"adamw"``; one made without params, ``AdamW(lr=3e-4)``; or what that is made
        from, ``{"optimizer": "adamw", "lr": 3e-4}``. Its hyper-parameters are its own:
        ``optimizer.fallback.lr = 1e-4``.
    **options
        See `Optimizer`. ``unit_axis`` also says which axis is ``out`` in ``scale``: the last one,
        as weights are (in, out) here; 0 where they lie as in torch.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place or is
        no matrix and there is no fallback.

    Notes
    -----
    An update of an (n, m) matrix, ``n >= m``, takes about ``ns_steps * (3 n m^2 + m^3)``
    operations, or, where n is more than 1.5 m, ``(ns_steps - 2) * 3 n m^2 + (ns_steps + 6) m^3``:
    with 5 iterations as much as 2 m to 3 m more rows in each batch would cost. All of it is
    computed in the dtype of the parameter, where torch takes bfloat16: steps agree to about two
    digits. Small matrices are computed by one thread each, the products of large ones by all.

    References
    ----------
    K. Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon. J. Liu et al. (2025), "Muon is scalable for LLM
    training", https://arxiv.org/abs/2502.16982 (``"match_rms_adamw"``).

    Examples
    --------
    >>> params = {"w": np.zeros((3, 2)), "b": np.zeros(2)}
    >>> optimizer = fnn.optim.Muon(params, lr=0.1, fallback=fnn.optim.AdamW(lr=0.01))
    >>> w = np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    >>> optimizer.step({"w": w, "b": np.ones(2)})
    >>> params["w"][:2].round(2), params["b"].round(2)
    (array([[-0.11,  0.  ],
           [ 0.  , -0.07]]), array([-0.01, -0.01]))
    """

    _elementwise = False

    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)
    momentum: Hyper[Rate, Changing] = Hyper(check_momentum)
    nesterov: Hyper[bool, bool] = Hyper(checks.boolean)
    ns_coefficients: Hyper[tuple[Real, Real, Real], tuple[float, float, float]] = Hyper(
        check_coefficients
    )
    eps: Hyper[Real, float] = Hyper(check_nonnegative)
    ns_steps: Hyper[Integer, int] = Hyper(lambda value, name: checks.integer(value, name, 0, 99))
    adjust_lr_fn: Hyper[Literal["original", "match_rms_adamw"] | None, str | None] = Hyper(
        check_adjustment
    )
    fallback: Hyper[str | dict[str, Any] | Optimizer | None, Any] = Hyper(check_fallback)
    _n_rules = 2

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        weight_decay: Real = 0.1,
        momentum: Rate = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[Real, Real, Real] = (3.4445, -4.775, 2.0315),
        eps: Real = 1e-7,
        ns_steps: Integer = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        fallback: str | dict[str, Any] | Optimizer | None = None,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.nesterov = nesterov
        self.ns_coefficients = ns_coefficients
        self.eps = eps
        self.ns_steps = ns_steps
        self.adjust_lr_fn = adjust_lr_fn
        self.fallback = fallback
        if self._bound is not None:
            self._bound.check_parameters()

    def _check_parameter(self, path: str, shape: Shape) -> None:
        if len(shape) != 2 and self.fallback is None:
            raise ValueError(
                f"{path}: expected a matrix, got shape {shape}; give Muon a fallback for what is "
                'none, such as "adamw"'
            )

    def _rule_of(self, shape: Shape) -> int:
        return int(len(shape) != 2)

    def _rules(self) -> list[Rule | None]:
        if self.fallback is None:
            return [self, None]
        fallback = object.__new__(type(self.fallback))
        vars(fallback).update(vars(self.fallback), _bound=self._bound)  # whose steps it counts
        return [self, fallback]

    def _update(self, steps: int) -> Update:
        if not -2 <= self.unit_axis < 2:
            raise ValueError(f"unit_axis: expected an axis of a matrix, got {self.unit_axis}")
        a, b, c = self.ns_coefficients
        hyper = {
            "momentum": self._next(self.momentum, "momentum", steps, below=1),
            "nesterov": float(self.nesterov),
            "ns_a": a,
            "ns_b": b,
            "ns_c": c,
            "ns_steps": float(self.ns_steps),
            "eps": self.eps,
            "match_rms_adamw": float(self.adjust_lr_fn == "match_rms_adamw"),
            "first_is_unit": float(self.unit_axis in (0, -2)),
            "weight_decay": self.weight_decay,
        }
        return "muon", hyper

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "fallback": copy.copy(self.fallback)}

    def _state_names(self) -> tuple[str, ...]:
        return ("momentum_buffer",)
