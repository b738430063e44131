"""The range of learning rates with which a model learns, found by a short training."""

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, optim
from ..losses import Loss
from ..models import Sequential, engine_of
from ..optim.base import find
from ..pictures import axes_or_new
from ..typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integer, Real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEIGHBOURS = 5  # on either side, over which losses are smoothed
_MEMORY = 0.8  # weight of a loss one step ago where explosions are seen, 0.64 two steps ago, ...
_FIRST = 10  # steps in which a loss is what it is without learning
_TOO_FAR = 3  # times the largest of those above the best loss: no larger rate will do


def lr_range_test(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    *,
    loss: str | Loss | None = None,
    optimizer: optim.Optimizer | str | None = None,
    min_lr: Real = 1e-6,
    max_lr: Real = 10.0,
    steps: Integer = 100,
    batch_size: Integer = 128,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
) -> "LRRangeTest":
    """Return the losses of a short training whose learning rate grows from step to step.

    Smith's range test, a finder of learning rates: with the first rates nothing happens, then the
    loss falls, and with the last it explodes. What is trained are copies; the model and the
    optimizer stay as they are.

    Parameters
    ----------
    model : Sequential
        From where it is now, and with the rows in the order of its next fit.
    X, y, loss, batch_size, sample_weight, class_weight
        As for `Sequential.fit`.
    optimizer : pyfast_nn.optim.Optimizer or str, optional
        As for `Sequential.fit`, with what it has besides `lr`. Groups, and a fallback of
        `optim.Muon`, keep a rate of their own.
    min_lr, max_lr : float
        Above 0; rates grow by one factor from the first to the second.
    steps : int
        At least 2. It ends earlier where the loss is not finite, or far above where it began.

    Returns
    -------
    LRRangeTest

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    References
    ----------
    L. N. Smith (2017), "Cyclical learning rates for training neural networks", WACV,
    https://arxiv.org/abs/1506.01186, section 3.3.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dense(10)], seed=0)
    >>> found = fnn.inspect.lr_range_test(model, X, y, loss="cross_entropy", optimizer="adam")
    >>> 1e-4 < found.suggestion < 1
    True
    >>> adam = fnn.optim.Adam(lr=found.suggestion)
    """
    engine_of(model)
    min_lr = checks.real(min_lr, "min_lr", above=0)
    max_lr = checks.real(max_lr, "max_lr", above=min_lr)
    steps = checks.integer(steps, "steps", minimum=2)
    if optimizer is None or isinstance(optimizer, str):
        optimizer = optim.Adam() if optimizer is None else find(optimizer)()
    if not isinstance(optimizer, optim.Optimizer):
        came = checks.describe(optimizer)
        raise TypeError(f"optimizer: expected an optimizer such as fnn.optim.Adam(), got {came}")
    rates = np.geomspace(min_lr, max_lr, steps)
    model, optimizer = copy.deepcopy((model, optimizer))
    first = optimizer.step_count

    def rate(step: Any) -> Any:
        return rates[np.minimum(np.asarray(step) - first, steps - 1)]

    optimizer.lr = rate
    losses = _Losses(steps)
    with contextlib.suppress(_Enough, FloatingPointError):
        model.fit(
            *(X, y),
            loss=loss,
            optimizer=optimizer,
            epochs=steps,  # which is enough, and losses end it
            batch_size=batch_size,
            sample_weight=sample_weight,
            class_weight=class_weight,
            callbacks=losses,
            verbose=0,
        )
    return LRRangeTest(rates[: len(losses.values)], np.array(losses.values))


class _Enough(Exception):
    """Ends a fit."""


class _Losses:
    """Keeps the loss of each step, before it is made, until they are enough."""

    def __init__(self, steps: int) -> None:
        self.values: list[float] = []
        self._steps = steps
        self._sum = self._weight = 0.0  # of a mean of those so far that forgets
        self._best = np.inf

    def on_step_end(self, model: Sequential, step: int, record: dict[str, Any]) -> None:
        value = record["loss"]
        self.values.append(value)
        self._sum = _MEMORY * self._sum + value
        self._weight = _MEMORY * self._weight + 1
        mean = self._sum / self._weight
        self._best = min(self._best, mean)
        far = self._best + _TOO_FAR * max(map(abs, self.values[:_FIRST]))
        if len(self.values) == self._steps or (len(self.values) > _FIRST and mean > far):
            raise _Enough


class LRRangeTest:
    """What `lr_range_test` returns.

    Attributes
    ----------
    lrs : ndarray (m,), float64
        The learning rates of the steps that were made.
    losses : ndarray (m,), float64
        The loss of the rows of each step, before it was made.
    smoothed : ndarray (m,), float64
        Their means over up to five neighbours on both sides, near ones above all.
    suggestion : float or None
        The rate where `smoothed` falls most steeply over the logarithm of the rate, before it is
        smallest. None where it does not fall.
    """

    def __init__(self, lrs: Array, losses: Array) -> None:
        self.lrs: Floats = lrs
        self.losses: Floats = losses
        self.smoothed: Floats = _smoothed(losses)
        self._until = int(np.argmin(self.smoothed)) + 1 if len(losses) else 0  # it falls
        self.suggestion: float | None = None
        if self._until > 1:
            slopes = np.gradient(self.smoothed[: self._until])  # rates are evenly spaced there
            self.suggestion = float(lrs[np.argmin(slopes)])

    def __repr__(self) -> str:
        suggestion = "None" if self.suggestion is None else f"{self.suggestion:.3g}"
        return f"LRRangeTest({len(self.lrs)} steps, suggestion={suggestion})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses over the learning rate, and mark the suggestion.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        ax.plot(self.lrs, self.losses, color="0.75", linewidth=1, label="loss")
        ax.plot(self.lrs, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            label = f"suggestion {self.suggestion:.2g}"
            ax.axvline(self.suggestion, color="k", linewidth=0.8, linestyle="--", label=label)
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss of the step")
        fall = self.smoothed[: self._until]
        if len(fall) > 1:  # the explosion after it would hide it
            ax.set_ylim(fall[-1] - 0.2 * np.ptp(fall), fall.max() + 0.5 * np.ptp(fall))
        ax.legend(fontsize=8)
        return ax


def _smoothed(losses: Floats) -> Floats:
    """Return means over neighbours, with weights that fall to nothing on both sides."""
    weights = np.bartlett(2 * _NEIGHBOURS + 3)[1:-1]

    def sums(values: Floats) -> Floats:
        return np.convolve(values, weights)[_NEIGHBOURS : _NEIGHBOURS + len(values)]

    return sums(losses) / sums(np.ones(len(losses))) if len(losses) else losses
