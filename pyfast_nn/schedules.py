"""Schedules: hyper-parameters that change from step to step.

``lr``, ``momentum`` and each of ``betas`` take a number, an array with a value for each step, or a
function from 0-based optimizer steps to values. The objects here are such functions: of one int,
which gives a float, or of an int array, which gives a float64 array of its shape, so that an epoch
is one call. What torch's schedulers multiply with the optimizer's rate are absolute values here,
and ``lr`` is that rate in this table:

====================  =========================================  ===================================
object                value                                      in torch
====================  =========================================  ===================================
`Constant`            always the same                            ``ConstantLR``: see `Sequence`
`Linear`              straight from `start` to `end`             ``LinearLR(start / lr, end / lr,
                                                                 total_iters=steps)``
`Step`                times gamma every `step_size` steps        ``StepLR``
`MultiStep`           times gamma at each milestone              ``MultiStepLR``
`Exponential`         times gamma at each step                   ``ExponentialLR``
`Polynomial`          a power of the steps that are left         ``PolynomialLR``, with ``end=0``
`InverseSqrt`         up, then like 1 / sqrt(step)
`Cosine`              half a cosine from `start` to `end`        ``CosineAnnealingLR``
`CosineWarmRestarts`  the same, time and again                   ``CosineAnnealingWarmRestarts``
`Cyclic`              triangles                                  ``CyclicLR``
`OneCycle`            up to `peak`, and down to almost nothing   ``OneCycleLR``
`Warmup`              straight up, then another schedule         ``SequentialLR`` from ``LinearLR``
`Sequence`            one schedule after another                 ``SequentialLR``
`InEpochs`            one that counts epochs, not steps          ``scheduler.step()`` once an epoch
====================  =========================================  ===================================

What has come to its end stays there, so that more training is safe, where torch's goes up again
(``CosineAnnealingLR``) or raises (``OneCycleLR``). What a schedule was made with are its
attributes, which never change; it can be compared, copied and pickled.

A rate that falls when a quantity no longer improves is no function of the step, but a callback:
`ReduceLROnPlateau`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn, SupportsFloat, TypeVar, overload

import numpy as np

from . import checks
from .config import Configured, Setting
from .typing import Array, Floats, Integer, Real, Steps

__all__ = [
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Cyclic",
    "Exponential",
    "InEpochs",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Sequence",
    "Step",
    "Warmup",
]


def __dir__() -> list[str]:
    return __all__


_T = TypeVar("_T")


# ---------------------------------------------------------------------- checks of settings


def _value(value: object, name: str) -> float:
    return checks.real(value, name, minimum=0)


def _count(value: object, name: str) -> int:
    return checks.integer(value, name, minimum=1)


def _list(values: Any, name: str, check: Callable[[object, str], _T]) -> tuple[_T, ...]:
    try:
        values = tuple(values)
    except TypeError:
        raise TypeError(f"{name}: expected a list, got {checks.describe(values)}") from None
    return tuple(check(value, f"{name}[{i}]") for i, value in enumerate(values))


def _milestones(values: object, name: str) -> tuple[int, ...]:
    steps = _list(values, name, _count)
    if sorted(set(steps)) != list(steps):
        raise ValueError(f"{name}: expected increasing steps, got {list(steps)}")
    return steps


def _part(value: object, name: str) -> Callable[[Any], Any]:
    if isinstance(value, type):
        raise TypeError(
            f"{name}: expected a schedule, got {checks.describe(value)}; write it with parentheses"
        )
    if isinstance(value, InEpochs) and value.steps_per_epoch is None:
        raise ValueError(
            f"{name}: expected InEpochs around the whole, whose parts then count epochs, or with "
            f"steps_per_epoch, got {value!r} as a part"
        )
    return value if callable(value) else Constant(_value(value, name))


def _parts(values: object, name: str) -> tuple[Callable[[Any], Any], ...]:
    parts = _list(values, name, _part)
    if not parts:
        raise ValueError(f"{name}: expected at least one schedule, got none")
    return parts


def _power(value: object, name: str) -> float:
    return checks.real(value, name, above=0)


def _fraction(value: object, name: str) -> float:
    return checks.real(value, name, above=0, below=1)


def _rate_of_steps(value: object, name: str) -> float | None:
    return None if value is None else checks.real(value, name, above=0)


def _mode(value: object, name: str) -> str:
    return checks.choice(value, name, ("triangular", "triangular2", "exp_range"))


def _strategy(value: object, name: str) -> str:
    return checks.choice(value, name, ("cos", "linear"))


class Schedule(Configured):
    """A function from 0-based steps to values, with its settings as attributes."""

    def __setattr__(self, name: str, value: NoReturn) -> NoReturn:
        raise AttributeError(f"{name}: a schedule does not change; make a new one")

    @overload
    def __call__(self, step: Integer) -> float: ...
    @overload
    def __call__(self, step: Steps) -> Floats: ...
    def __call__(self, step: Integer | Steps) -> float | Floats:
        """Return the value at each step.

        Parameters
        ----------
        step : int or array_like of int
            0 for the first.

        Returns
        -------
        float, or ndarray of float64
            Of the shape of `step`.
        """
        steps = np.asarray(step)
        if steps.dtype.kind == "f" and (np.isfinite(steps) & (steps == np.trunc(steps))).all():
            steps = steps.astype(np.int64)
        if steps.dtype.kind not in "iu":
            raise TypeError(f"step: expected whole numbers, got {checks.describe(step)}")
        if steps.size and steps.min() < 0:
            raise ValueError(f"step: expected numbers from 0, got {steps.min()}")
        values = self._at(steps.astype(np.int64).ravel())
        return values.reshape(steps.shape) if steps.ndim else float(values[0])

    def _at(self, step: Array) -> Array:
        """Return the values (n,) at the steps (n,): int64, or float64 where they count epochs."""
        raise NotImplementedError


def is_of_steps_alone(value: object) -> bool:
    """Return whether no function of the user's is in a hyper-parameter, nor in its parts."""
    if isinstance(value, tuple):
        return all(map(is_of_steps_alone, value))
    if isinstance(value, Schedule):
        return all(map(is_of_steps_alone, vars(value).values()))
    return not callable(value)


# ---------------------------------------------------------------------- formulas


def _left(step: Any, steps: Any) -> Any:
    """Return the fraction of `steps` that is left: 1 at step 0, and 0 from step `steps` on."""
    return np.maximum(steps - step, 0) / steps


def _cosine(left: Array) -> Array:
    """Return half a cosine, ``(1 + cos(pi (1 - left))) / 2``, without its cancellation near 0."""
    return np.sin(np.pi / 2 * left) ** 2


def _blend(start: Any, end: Any, weight: Any) -> Any:
    """Return `start` where `weight` is 1 and `end` where it is 0, both exactly."""
    return weight * start + (1 - weight) * end


def _join(
    parts: tuple[Callable[[Any], Any], ...], milestones: tuple[int, ...], step: Array
) -> Array:
    """Return the values of functions of which each counts its steps from its own milestone."""
    values, number = np.empty(len(step)), np.searchsorted(milestones, step, side="right")
    for i, (part, first) in enumerate(zip(parts, (0, *milestones), strict=True)):
        here = number == i
        if here.any():  # a function need not know what to do without steps
            values[here] = _values(part, step[here] - first)
    return values


def _values(schedule: Callable[[Any], Any], step: Array) -> Any:
    """Return what a schedule is at whole numbers, or at any."""
    return schedule._at(step) if isinstance(schedule, Schedule) else schedule(step)


# ---------------------------------------------------------------------- decay


class Constant(Schedule):
    """The same value at every step, as a plain number would be.

    Parameters
    ----------
    value : float
        At least 0.

    Examples
    --------
    >>> fnn.schedules.Constant(0.1)([0, 1, 1000])
    array([0.1, 0.1, 0.1])
    """

    value: Setting[float] = Setting(_value)

    def __init__(self, value: Real) -> None:
        self._set(value=value)

    def _at(self, step: Array) -> Array:
        return np.full(len(step), self.value)


class Linear(Schedule):
    """A straight line from `start` at step 0 to `end` at step `steps` and after it.

    The value is::

        start + (end - start) * min(step / steps, 1)

    Parameters
    ----------
    start : float
        At least 0.
    steps : int
        At least 1.
    end : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.LinearLR`` with ``start_factor=start / lr``,
    ``end_factor=end / lr``, ``total_iters=steps``.

    Examples
    --------
    >>> fnn.schedules.Linear(0.1, 4)([0, 1, 2, 3, 4, 5])
    array([0.1  , 0.075, 0.05 , 0.025, 0.   , 0.   ])
    """

    start: Setting[float] = Setting(_value)
    steps: Setting[int] = Setting(_count)
    end: Setting[float] = Setting(_value)

    def __init__(self, start: Real, steps: Integer, *, end: Real = 0.0) -> None:
        self._set(start=start, steps=steps, end=end)

    def _at(self, step: Array) -> Array:
        return _blend(self.start, self.end, _left(step, self.steps))


class Step(Schedule):
    """A staircase: multiplied by `gamma` after every `step_size` steps.

    The value is::

        start * gamma ** (step // step_size)

    Parameters
    ----------
    start : float
        At least 0.
    step_size : int
        At least 1.
    gamma : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.StepLR``, ``start`` being its optimizer's rate.

    References
    ----------
    L. Bottou, F. E. Curtis, J. Nocedal (2018), "Optimization methods for large-scale machine
    learning", SIAM Review 60(2), https://arxiv.org/abs/1606.04838, section 4.2: each fall of the
    step makes the noise ball smaller.

    Examples
    --------
    >>> fnn.schedules.Step(0.1, 2, gamma=0.5)([0, 1, 2, 3, 4])
    array([0.1  , 0.1  , 0.05 , 0.05 , 0.025])
    """

    start: Setting[float] = Setting(_value)
    step_size: Setting[int] = Setting(_count)
    gamma: Setting[float] = Setting(_value)

    def __init__(self, start: Real, step_size: Integer, *, gamma: Real = 0.1) -> None:
        self._set(start=start, step_size=step_size, gamma=gamma)

    def _at(self, step: Array) -> Array:
        return self.start * self.gamma ** (step // self.step_size)


class MultiStep(Schedule):
    """A staircase with given milestones: multiplied by `gamma` at each of them.

    With ``n`` milestones that are not larger than the step the value is ``start * gamma ** n``.

    Parameters
    ----------
    start : float
        At least 0.
    milestones : sequence of int
        Increasing, from 1.
    gamma : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.MultiStepLR``, ``start`` being its optimizer's rate.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2016), "Deep residual learning for image recognition", CVPR,
    https://arxiv.org/abs/1512.03385, section 4.2.

    Examples
    --------
    >>> fnn.schedules.MultiStep(1.0, [2, 3], gamma=0.5)([0, 1, 2, 3, 4])
    array([1.  , 1.  , 0.5 , 0.25, 0.25])
    """

    start: Setting[float] = Setting(_value)
    milestones: Setting[tuple[int, ...]] = Setting(_milestones)
    gamma: Setting[float] = Setting(_value)

    def __init__(self, start: Real, milestones: Iterable[Integer], *, gamma: Real = 0.1) -> None:
        self._set(start=start, milestones=milestones, gamma=gamma)

    def _at(self, step: Array) -> Array:
        return self.start * self.gamma ** np.searchsorted(self.milestones, step, side="right")


class Exponential(Schedule):
    """Multiplied by `gamma` at every step: ``start * gamma ** step``.

    Parameters
    ----------
    start : float
        At least 0.
    gamma : float
        At least 0. ``ratio ** (1 / steps)`` falls by `ratio` in so many steps; above 1 it rises.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.ExponentialLR``, ``start`` being its optimizer's rate.

    References
    ----------
    X. Li, Z. Zhuang, F. Orabona (2021), "A second look at exponential and cosine step sizes", ICML,
    https://arxiv.org/abs/2002.05273.

    Examples
    --------
    >>> fnn.schedules.Exponential(1.0, 0.5)([0, 1, 2, 3])
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    start: Setting[float] = Setting(_value)
    gamma: Setting[float] = Setting(_value)

    def __init__(self, start: Real, gamma: Real) -> None:
        self._set(start=start, gamma=gamma)

    def _at(self, step: Array) -> Array:
        return self.start * self.gamma**step


class Polynomial(Schedule):
    """A power of the fraction of steps that are left.

    The value is::

        end + (start - end) * (1 - min(step / steps, 1)) ** power

    Parameters
    ----------
    start : float
        At least 0.
    steps : int
        At least 1.
    power : float
        Greater than 0; 1 is `Linear`.
    end : float
        At least 0.

    Notes
    -----
    With ``end=0`` the same as ``torch.optim.lr_scheduler.PolynomialLR`` with
    ``total_iters=steps``, ``start`` being its optimizer's rate.

    References
    ----------
    L.-C. Chen et al. (2018), "DeepLab", IEEE TPAMI 40(4), https://arxiv.org/abs/1606.00915,
    section 4.1: "poly", with power 0.9.

    Examples
    --------
    >>> fnn.schedules.Polynomial(1.0, 4, power=2)([0, 1, 2, 3, 4])
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    ])
    """

    start: Setting[float] = Setting(_value)
    steps: Setting[int] = Setting(_count)
    power: Setting[float] = Setting(_power)
    end: Setting[float] = Setting(_value)

    def __init__(self, start: Real, steps: Integer, *, power: Real = 1.0, end: Real = 0.0) -> None:
        self._set(start=start, steps=steps, power=power, end=end)

    def _at(self, step: Array) -> Array:
        return _blend(self.start, self.end, _left(step, self.steps) ** self.power)


class InverseSqrt(Schedule):
    """Up in a straight line, then down like one over the root of the step.

    The value is::

        n = step + 1
        peak * min(n / warmup_steps, sqrt(warmup_steps / n))

    Parameters
    ----------
    peak : float
        At least 0; reached at ``n = warmup_steps``. The paper's is
        ``1 / sqrt(d_model * warmup_steps)``.
    warmup_steps : int
        At least 1, which is ``peak / sqrt(n)``.

    References
    ----------
    A. Vaswani et al. (2017), "Attention is all you need", NeurIPS,
    https://arxiv.org/abs/1706.03762, equation (3).

    Examples
    --------
    >>> fnn.schedules.InverseSqrt(0.1, 4)([0, 1, 2, 3, 15])
    array([0.025, 0.05 , 0.075, 0.1  , 0.05 ])
    """

    peak: Setting[float] = Setting(_value)
    warmup_steps: Setting[int] = Setting(_count)

    def __init__(self, peak: Real, warmup_steps: Integer) -> None:
        self._set(peak=peak, warmup_steps=warmup_steps)

    def _at(self, step: Array) -> Array:
        n = (step + 1) / self.warmup_steps
        return self.peak * np.minimum(n, 1 / np.sqrt(n))


class Cosine(Schedule):
    """Cosine annealing: half a period from `start` at step 0 to `end` at `steps` and after it.

    The value is::

        end + (start - end) * (1 + cos(pi * min(step / steps, 1))) / 2

    Parameters
    ----------
    start : float
        At least 0.
    steps : int
        At least 1.
    end : float
        At least 0.

    Notes
    -----
    Up to ``steps`` the same as ``torch.optim.lr_scheduler.CosineAnnealingLR`` with
    ``T_max=steps``, ``eta_min=end``, ``start`` being its optimizer's rate; torch's goes up again
    after them.

    References
    ----------
    I. Loshchilov, F. Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", ICLR,
    https://arxiv.org/abs/1608.03983.

    Examples
    --------
    >>> fnn.schedules.Cosine(0.1, 4)([0, 1, 2, 3, 4, 5]).round(4)
    array([0.1   , 0.0854, 0.05  , 0.0146, 0.    , 0.    ])

    Over all steps of a fit of 10 epochs with batches of 128:

    >>> steps = 10 * int(np.ceil(len(X) / 128))
    >>> adam = fnn.optim.Adam(lr=fnn.schedules.Cosine(1e-2, steps))
    >>> history = model.fit(X, y, optimizer=adam, epochs=10, batch_size=128)
    >>> history["lr"][-1] < 1e-4
    True
    """

    start: Setting[float] = Setting(_value)
    steps: Setting[int] = Setting(_count)
    end: Setting[float] = Setting(_value)

    def __init__(self, start: Real, steps: Integer, *, end: Real = 0.0) -> None:
        self._set(start=start, steps=steps, end=end)

    def _at(self, step: Array) -> Array:
        return _blend(self.start, self.end, _cosine(_left(step, self.steps)))


# ---------------------------------------------------------------------- cycles


class CosineWarmRestarts(Schedule):
    """`Cosine` again and again, each time over `multiplier` times as many steps.

    Parameters
    ----------
    start : float
        At least 0; where each cycle begins.
    steps : int
        At least 1, of the first cycle. `end` would come with the step after a cycle, which is the
        first of the next one.
    multiplier : int
        At least 1: cycle ``k`` has ``steps * multiplier ** k`` steps.
    end : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`` with ``T_0=steps``,
    ``T_mult=multiplier``, ``eta_min=end``, ``start`` being its optimizer's rate.

    References
    ----------
    I. Loshchilov, F. Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", ICLR,
    https://arxiv.org/abs/1608.03983.

    Examples
    --------
    >>> fnn.schedules.CosineWarmRestarts(0.1, 2, multiplier=2)(range(7)).round(4)
    array([0.1   , 0.05  , 0.1   , 0.0854, 0.05  , 0.0146, 0.1   ])
    """

    start: Setting[float] = Setting(_value)
    steps: Setting[int] = Setting(_count)
    multiplier: Setting[int] = Setting(_count)
    end: Setting[float] = Setting(_value)

    def __init__(
        self, start: Real, steps: Integer, *, multiplier: Integer = 1, end: Real = 0.0
    ) -> None:
        self._set(start=start, steps=steps, multiplier=multiplier, end=end)

    def _at(self, step: Array) -> Array:
        if self.multiplier == 1:
            done, length = step % self.steps, np.array(self.steps)
        else:
            firsts, lengths = [0], [self.steps]  # of the cycles, in whole numbers
            while firsts[-1] <= step.max(initial=0):
                firsts.append(firsts[-1] + lengths[-1])
                lengths.append(lengths[-1] * self.multiplier)
            cycle = np.searchsorted(firsts, step, side="right") - 1
            done, length = step - np.array(firsts)[cycle], np.array(lengths)[cycle]
        return _blend(self.start, self.end, _cosine(_left(done, length)))


class Cyclic(Schedule):
    """Triangles: from `start` to `peak` in straight lines and back, again and again.

    In cycle ``k``, at the fraction ``x`` of the way up, the value is::

        start + (peak - start) * x * {1, 0.5 ** k, gamma ** step}[mode]

    Parameters
    ----------
    start : float
        At least 0.
    peak : float
        At least 0. For the momentum that goes with a learning rate it is below `start`.
    step_size_up : int
        Steps from `start` to `peak`, at least 1.
    step_size_down : int, optional
        Steps back; None is as many.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height of the triangles changes: not at all, halved with each cycle, or multiplied
        by `gamma` with each step.
    gamma : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.CyclicLR`` with ``base_lr=start``, ``max_lr=peak``. Its
    momentum is ``Cyclic(max_momentum, base_momentum, ...)``.

    References
    ----------
    L. N. Smith (2017), "Cyclical learning rates for training neural networks", WACV,
    https://arxiv.org/abs/1506.01186.

    Examples
    --------
    >>> fnn.schedules.Cyclic(0.1, 0.5, step_size_up=2)(range(6))
    array([0.1, 0.3, 0.5, 0.3, 0.1, 0.3])
    """

    start: Setting[float] = Setting(_value)
    peak: Setting[float] = Setting(_value)
    step_size_up: Setting[int] = Setting(_count)
    step_size_down: Setting[int] = Setting(_count)
    mode: Setting[str] = Setting(_mode)
    gamma: Setting[float] = Setting(_value)

    def __init__(
        self,
        start: Real,
        peak: Real,
        *,
        step_size_up: Integer = 2000,
        step_size_down: Integer | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: Real = 1.0,
    ) -> None:
        self._set(
            start=start,
            peak=peak,
            step_size_up=step_size_up,
            step_size_down=step_size_up if step_size_down is None else step_size_down,
            mode=mode,
            gamma=gamma,
        )

    def _at(self, step: Array) -> Array:
        up, down = self.step_size_up, self.step_size_down
        cycle, done = np.divmod(step, up + down)
        height = np.minimum(done / up, (up + down - done) / down)
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**step
        return _blend(self.peak, self.start, height)


class OneCycle(Schedule):
    """One rise and one long fall, to far below where it began, for fast training at high rates.

    With ``n = steps`` and ``f = pct_start``, from `start` at step 0 to `peak` at ``f n - 1``, and
    to `end` at ``n - 1`` and after it; in three phases back to `start` at ``2 f n - 2`` between.

    Parameters
    ----------
    peak : float
        At least 0.
    steps : int
        At least 1, of the whole cycle.
    start : float, optional
        At least 0; None is ``peak / 25``.
    end : float, optional
        At least 0; None is ``start / 10000``.
    pct_start : float
        Fraction of the steps in which it rises, between 0 and 1, with three phases at most 0.5.
    anneal_strategy : {"cos", "linear"}
        Between these points half a cosine, or a straight line.
    three_phase : bool
        Whether the fall has two phases.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.OneCycleLR`` with ``max_lr=peak``,
    ``total_steps=steps``, ``div_factor=peak / start``, ``final_div_factor=start / end``.

    References
    ----------
    L. N. Smith, N. Topin (2019), "Super-convergence: very fast training of neural networks using
    large learning rates", https://arxiv.org/abs/1708.07120.

    Examples
    --------
    >>> lr = fnn.schedules.OneCycle(0.5, 1000)
    >>> lr([0, 299, 999])
    array([2.e-02, 5.e-01, 2.e-06])
    >>> optimizer = fnn.optim.SGD(lr=lr, momentum=lr.momentum())
    """

    peak: Setting[float] = Setting(_value)
    steps: Setting[int] = Setting(_count)
    start: Setting[float] = Setting(_value)
    end: Setting[float] = Setting(_value)
    pct_start: Setting[float] = Setting(_fraction)
    anneal_strategy: Setting[str] = Setting(_strategy)
    three_phase: Setting[bool] = Setting(checks.boolean)

    def __init__(
        self,
        peak: Real,
        steps: Integer,
        *,
        start: Real | None = None,
        end: Real | None = None,
        pct_start: Real = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
    ) -> None:
        if start is None:
            start = _value(peak, "peak") / 25
        if end is None:
            end = _value(start, "start") / 1e4
        self._set(
            peak=peak,
            steps=steps,
            start=start,
            end=end,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            three_phase=three_phase,
        )
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"pct_start: expected at most 0.5 with three phases, got {self.pct_start}"
            )

    def momentum(self, high: Real = 0.95, low: Real = 0.85) -> "OneCycle":
        """Return the momentum that goes with this learning rate: `low` where the rate is high.

        Parameters
        ----------
        high, low : float
            torch's ``max_momentum`` and ``base_momentum``.

        Returns
        -------
        OneCycle
            For ``momentum`` of `optim.SGD`, or the first of the ``betas`` of `optim.Adam`.

        Examples
        --------
        >>> lr = fnn.schedules.OneCycle(0.5, 1000)
        >>> lr.momentum()([0, 299, 999])
        array([0.95, 0.85, 0.95])
        """
        low, high = _value(low, "low"), _value(high, "high")
        return OneCycle(**self.get_config() | {"peak": low, "start": high, "end": high})

    def _at(self, step: Array) -> Array:
        rise = self.pct_start * self.steps
        ends, values = [rise - 1, self.steps - 1], [self.start, self.peak, self.end]
        if self.three_phase:
            ends.insert(1, 2 * rise - 2)
            values.insert(2, self.start)
        # A phase without steps is left out: at its end the next one begins.
        phase = sum(step >= end for end in ends[:-1])
        begin, end = np.array([0, *ends[:-1]])[phase], np.array(ends)[phase]
        left = np.maximum(end - step, 0) / (end - begin)
        weight = _cosine(left) if self.anneal_strategy == "cos" else left
        return _blend(np.array(values)[phase], np.array(values)[phase + 1], weight)


# ---------------------------------------------------------------------- composition


class Warmup(Schedule):
    """A straight line up to the first value of another schedule, which then begins.

    The value is::

        start + (schedule(0) - start) * step / steps        if step < steps
        schedule(step - steps)                              from then on

    Parameters
    ----------
    schedule : callable or float
        What comes after: an object of this module, a function of steps, or a number.
    steps : int
        At least 1.
    start : float
        At least 0.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.SequentialLR`` of ``LinearLR`` and the other, with
    ``milestones=[steps]``.

    References
    ----------
    P. Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour",
    https://arxiv.org/abs/1706.02677, section 2.2.

    Examples
    --------
    >>> lr = fnn.schedules.Warmup(fnn.schedules.Cosine(0.1, 4), 2)
    >>> lr(range(7)).round(4)
    array([0.    , 0.05  , 0.1   , 0.0854, 0.05  , 0.0146, 0.    ])
    """

    schedule: Setting[Callable[[Any], Any]] = Setting(_part)
    steps: Setting[int] = Setting(_count)
    start: Setting[float] = Setting(_value)

    def __init__(
        self, schedule: Real | Callable[[Any], SupportsFloat], steps: Integer, *, start: Real = 0.0
    ) -> None:
        self._set(schedule=schedule, steps=steps, start=start)

    def _at(self, step: Array) -> Array:
        def rise(step: Array) -> Array:
            return _blend(self.start, self.schedule(0), _left(step, self.steps))

        return _join((rise, self.schedule), (self.steps,), step)


class Sequence(Schedule):
    """Schedules one after another, each of which counts its steps from its own beginning.

    Parameters
    ----------
    schedules : sequence of callable or float
        Objects of this module, functions of steps, or numbers.
    milestones : sequence of int
        The step with which each but the first begins; increasing, from 1.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.SequentialLR``. Its
    ``ConstantLR(factor=f, total_iters=n)`` is ``Sequence([f * lr, lr], [n])``.

    Examples
    --------
    >>> lr = fnn.schedules.Sequence([0.1, fnn.schedules.Linear(0.1, 4)], [2])
    >>> lr(range(7))
    array([0.1  , 0.1  , 0.1  , 0.075, 0.05 , 0.025, 0.   ])
    """

    schedules: Setting[tuple[Callable[[Any], Any], ...]] = Setting(_parts)
    milestones: Setting[tuple[int, ...]] = Setting(_milestones)

    def __init__(
        self,
        schedules: Iterable[Real | Callable[[Any], SupportsFloat]],
        milestones: Iterable[Integer],
    ) -> None:
        self._set(schedules=schedules, milestones=milestones)
        if len(self.schedules) != len(self.milestones) + 1:
            raise ValueError(
                f"milestones: expected {len(self.schedules) - 1}, one less than schedules, "
                f"got {len(self.milestones)}"
            )

    def _at(self, step: Array) -> Array:
        return _join(self.schedules, self.milestones, step)


class InEpochs(Schedule):
    """A schedule that counts epochs in place of steps, by the same formula.

    The value is::

        schedule(epoch)

    where ``epoch`` grows evenly from 0: after 2 epochs and 30 of the 120 steps of the third it is
    2.25. So what a formula calls a step is an epoch: ``InEpochs(Cosine(0.1, 10))`` has come to its
    end after 10 epochs, and ``InEpochs(Step(0.1, 30))`` falls after every 30.

    Parameters
    ----------
    schedule : callable or float
        An object of this module; a function of any numbers from 0; or a number.
    steps_per_epoch : float, optional
        Then ``epoch`` is ``step / steps_per_epoch``, also for an optimizer with parameters of its
        own, and for a part of another schedule. None: each epoch of a fit has the steps that it
        has, and those are counted that fits have made with this optimizer, its `epoch_count`.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible. Where it is asked for the value at a step without
        `steps_per_epoch`, and no fit says how many there are.

    Notes
    -----
    At the first step of each epoch the same as torch's schedulers whose ``step`` is called once an
    epoch. Those stay there until the next; here all that is no staircase moves with every step, so
    that a warm-up over one epoch, say, is one.

    Examples
    --------
    >>> lr = fnn.schedules.Warmup(fnn.schedules.Cosine(1e-2, 9), 1)
    >>> adam = fnn.optim.Adam(lr=fnn.schedules.InEpochs(lr))
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=10)
    >>> history["lr"][-1] < 1e-4
    True
    >>> fnn.schedules.InEpochs(fnn.schedules.Step(0.1, 2), steps_per_epoch=3)(range(8))
    array([0.1 , 0.1 , 0.1 , 0.1 , 0.1 , 0.1 , 0.01, 0.01])
    """

    schedule: Setting[Callable[[Any], Any]] = Setting(_part)
    steps_per_epoch: Setting[float | None] = Setting(_rate_of_steps)

    def __init__(
        self,
        schedule: Real | Callable[[Any], SupportsFloat],
        *,
        steps_per_epoch: Real | None = None,
    ) -> None:
        self._set(schedule=schedule, steps_per_epoch=steps_per_epoch)

    def _at(self, step: Array) -> Array:
        if self.steps_per_epoch is None:
            raise ValueError(
                "steps_per_epoch: expected a number of steps where no fit says how many an epoch "
                f"has, got None in {self!r}"
            )
        return np.asarray(_values(self.schedule, step / self.steps_per_epoch))

    def at_epochs(self, epochs: Any) -> Any:
        """Return the values after so many epochs.

        Parameters
        ----------
        epochs : float or ndarray (n,)

        Returns
        -------
        float or ndarray (n,)
        """
        if np.ndim(epochs) == 0 and isinstance(self.schedule, Schedule):
            return float(self.schedule._at(np.array([epochs]))[0])
        return _values(self.schedule, epochs)
