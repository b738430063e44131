"""Online learning: examples come one after the other, each is predicted before it is learned.

=================== ===========================================================================
`run`               one pass of a model over a stream: losses, mistakes, regret
`Run`               what it returns
`perceptron_bound`  how many mistakes a perceptron makes at most, whatever the stream's order
=================== ===========================================================================

A stream that changes is what a hook sees, a function that is called with each example's loss. The
detectors of the package river are such functions (``pip install river``); what to do then is
yours: here the model begins anew.

>>> import river.drift
>>> rng = np.random.default_rng(0)
>>> inputs = rng.standard_normal((2000, 5))
>>> labels = np.where(inputs[:, 0] > 0, 1, -1) * np.repeat([1, -1], 1000)  # turns over
>>> model = fnn.Sequential([fnn.Dense(1, init=0.0)], dtype="float64").build(5)
>>> detector, drifts = river.drift.PageHinkley(mode="up", threshold=20), []
>>> def watch(loss):
...     detector.update(loss)
...     if detector.drift_detected:
...         model.parameters = np.zeros(6)
...         drifts.append(len(drifts))
>>> sgd = fnn.optim.SGD(model.parameters, lr=0.1)
>>> run = fnn.online.run(model, zip(inputs, labels), sgd, loss="hinge", on_example=watch)
>>> len(drifts), bool(run.mistakes[1000:].mean() < 0.1)
(1, True)
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from . import checks, data, intake
from .data import Examples
from .engine import PREDICTS, Engine
from .losses import Loss
from .models import Sequential, engine_of
from .optim.base import Optimizer, holds
from .pictures import axes_or_new
from .typing import Array, ArrayLike, Floats, Real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Run", "perceptron_bound", "run"]


def __dir__() -> list[str]:
    return __all__


class Steps(Protocol):
    """What learns from gradients, such as an optimizer with parameters of its own."""

    def step(self, grads: Any, /) -> object: ...


class Run:
    """What `run` returns.

    Attributes
    ----------
    losses : ndarray (n,), float64
        Of each example, before it was learned.
    mistakes : ndarray (n,), bool, or None
        Whether the label that was predicted was another one. None for losses of values.
    comparator_losses : ndarray (n,), float64, or None
        Of the comparator. None without one.
    """

    def __init__(
        self,
        losses: Floats,
        mistakes: npt.NDArray[np.bool_] | None,
        comparator_losses: Floats | None,
    ) -> None:
        self.losses = losses
        self.mistakes = mistakes
        self.comparator_losses = comparator_losses

    def __repr__(self) -> str:
        parts = [f"{len(self.losses)} examples", f"loss={self.losses.sum():.6g}"]
        if self.comparator_losses is not None:
            parts.append(f"regret={np.sum(self.losses - self.comparator_losses):.6g}")
        if self.mistakes is not None:
            parts.append(f"mistakes={np.count_nonzero(self.mistakes)}")
        return f"Run({', '.join(parts)})"

    @property
    def cumulative_loss(self) -> Floats:
        """The sum of the losses up to each example (n,)."""
        return np.cumsum(self.losses)

    @property
    def regret(self) -> Floats:
        """The cumulative loss less that of the comparator (n,); ValueError without one."""
        if self.comparator_losses is None:
            raise ValueError("regret: expected a run with a comparator, got one without")
        return np.cumsum(self.losses - self.comparator_losses)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the regret over the examples; without a comparator the cumulative loss.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        alone = self.comparator_losses is None
        ax.plot(np.arange(1, len(self.losses) + 1), self.cumulative_loss if alone else self.regret)
        ax.set(xlabel="examples", ylabel="cumulative loss" if alone else "regret")
        return ax


def run(
    model: Sequential,
    stream: Iterable[tuple[Any, Any]],
    optimizer: Steps,
    *,
    loss: str | Loss | None = None,
    comparator: Sequential | None = None,
    only_mistakes: bool = False,
    on_example: Callable[[float], object] | None = None,
) -> Run:
    """Learn from a stream in one pass: of each example predict, have the loss, make a step.

    Parameters
    ----------
    model : Sequential
        Built, see `Sequential.build`. Layers act as in `Sequential.forward`; none has a constraint,
        which fits alone hold.
    stream : iterable of (x, y)
        Examples (in_features,) and their targets. The next one is asked for when all is done with
        the one before it, so a stream may depend on the model.
    optimizer : object with a method ``step(grad)``
        Made with the parameters of this model: ``fnn.optim.SGD(model.parameters, lr=0.1)``. It
        goes on in a later run. It has all parameters: the gradient of those that are not trained is
        0, but weight decay moves them.
    loss : str or pyfast_nn.losses.Loss, optional
        None is the loss of the last fit. None of pairs of rows.
    comparator : Sequential, optional
        Another model, which stays as it is, and whose losses are subtracted: the best in hindsight
        makes of the difference the regret.
    only_mistakes : bool
        Make a step only where the predicted label is another than y. With ``loss="hinge"`` and one
        `Dense` layer this is the perceptron.
    on_example : callable, optional
        Called with the loss of each example, a float, after its step. It may change the model, as
        for a projection, and the optimizer; an exception of it ends the run.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, or an example is impossible.
    RuntimeError
        If a model is not built.
    FloatingPointError
        If a loss is not finite; its example has not been learned. If the parameters are not, after
        the last.

    References
    ----------
    S. Shalev-Shwartz (2012), "Online learning and online convex optimization",
    https://doi.org/10.1561/2200000018.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(10, init=0.0)])
    >>> best = fnn.Sequential([fnn.Dense(10)], seed=0)
    >>> history = best.fit(X, y, loss="cross_entropy", epochs=100)
    >>> sgd = fnn.optim.SGD(model.build(64).parameters, lr=lambda t: 1 / np.sqrt(t + 1))
    >>> run = fnn.online.run(model, zip(X, y), sgd, loss="cross_entropy", comparator=best)
    >>> bool(run.mistakes[-500:].mean() < 0.2)
    True
    >>> regret = run.regret[-1]
    """
    engine = engine_of(model)
    engine.network()
    checked = intake.check_loss(engine, loss)
    if checked.task == "pairs":
        raise ValueError(
            "loss: expected one of each example by itself, as they come one after the other, got "
            f"{checked.name!r}"
        )
    fixed = None if comparator is None else engine_of(comparator)
    if fixed is not None:
        intake.check_loss(fixed, checked)
        fixed.network()
        if np.shares_memory(fixed.parameters, engine.parameters):
            raise ValueError(
                "comparator: expected a model that stays as it is, got one with parameters of the "
                "model that learns; copy.deepcopy of it stays"
            )
    _check_optimizer(optimizer, engine)
    has_labels = checked.gives_labels
    if checks.boolean(only_mistakes, "only_mistakes") and not has_labels:
        raise ValueError(
            f"only_mistakes: expected False, as {checked.name!r} is a loss of values, got True"
        )
    if on_example is not None and not callable(on_example):
        raise TypeError(
            f"on_example: expected a function of a loss, got {checks.describe(on_example)}"
        )
    held = next((place for place in engine.graph.places if place.layer.max_norm), None)
    if held is not None:
        raise ValueError(
            f"model: expected layers without a constraint, which fits alone hold, got "
            f"layers[{held.path}], {held.layer!r}; on_example may project"
        )
    losses: list[float] = []
    compared: list[float] = []
    mistakes: list[bool] = []
    for pair in stream:
        x, y = checks.pair(pair, f"stream, example {len(losses)}", "(x, y)")
        X, targets = np.asarray(x)[None], np.asarray(y)[None]
        example = _example(engine, X, targets, checked)
        value, right = engine.means(example, checked)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"run: the loss of example {len(losses)} is {value}; likely cures: a lower "
                "learning rate, inputs scaled to about -1 to 1"
            )
        if has_labels:
            mistakes.append(right != 1)
        if fixed is not None:
            compared.append(fixed.means(_example(fixed, X, targets, checked), checked)[0])
        if not only_mistakes or mistakes[-1]:
            optimizer.step(engine.loss_and_grad(example, checked, PREDICTS)[1])
        losses.append(value)
        if on_example is not None:
            on_example(value)
    if not np.isfinite(engine.parameters).all():
        raise FloatingPointError(
            f"run: the parameters are not finite after example {len(losses) - 1}: the last step "
            "overflowed; likely cure: a lower learning rate"
        )
    return Run(
        np.array(losses, np.float64),
        np.array(mistakes, bool) if has_labels else None,
        None if comparator is None else np.array(compared, np.float64),
    )


def _check_optimizer(optimizer: object, engine: Engine) -> None:
    """Raise TypeError or ValueError if that does not learn the parameters of a model."""
    cure = "expected one of the model's parameters, such as fnn.optim.SGD(model.parameters, lr=0.1)"
    if not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: {cure}, got {checks.describe(optimizer)}")
    if isinstance(optimizer, Optimizer) and not holds(optimizer, engine.parameters):
        raise ValueError(f"optimizer: {cure}, got {optimizer!r} of others, or without any")


def _example(engine: Engine, X: Array, y: Array, loss: Loss) -> Examples:
    return intake.examples(engine, intake.features(engine, X), y, loss)


def perceptron_bound(
    X: ArrayLike, y: ArrayLike, w: ArrayLike, *, margin: Real | None = None
) -> float:
    """Return how many mistakes a perceptron that begins with zeros makes at most.

    Parameters
    ----------
    X : array_like (n, n_features)
        The examples, in whatever order they come. A bias is a column of ones.
    y : array_like (n,)
        -1 or 1.
    w : array_like (n_features,)
        Weights of a separating plane, of any length: each gives a bound.
    margin : float, optional
        Greater than 0: of examples nearer to the plane than this, or on its wrong side, it counts
        how much they lack. None: the smallest of all, the plane separates the examples then.

    Returns
    -------
    float
        ``((R + D) / margin)^2``, where R is the length of the longest example and D the root of the
        sum of squares of what examples lack, 0 without `margin`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; if the plane does not separate and there is no
        `margin`.

    References
    ----------
    A. B. J. Novikoff (1962), "On convergence proofs for perceptrons". With what examples lack:
    Y. Freund, R. E. Schapire (1999), "Large margin classification using the perceptron algorithm",
    https://doi.org/10.1023/A:1007662407062, theorem 2.

    Examples
    --------
    >>> fnn.online.perceptron_bound([[2.0, 0.0], [-1.0, 0.0]], [1, -1], w=[1.0, 0.0])
    4.0
    """
    given = {"X": X, "y": y, "w": w}
    numbers = (data.as_numbers(value, name) for name, value in given.items())
    rows, signs, plane = (array.astype(np.float64) for array in numbers)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"X: expected finite numbers (n, n_features), got {checks.describe(rows)}")
    if signs.shape != (len(rows),) or not (np.abs(signs) == 1).all():
        raise ValueError(f"y: expected {len(rows)} of -1 and 1, got {checks.describe(y)}")
    if plane.shape != (rows.shape[1],) or not 0 < np.linalg.norm(plane) < np.inf:
        raise ValueError(
            f"w: expected {rows.shape[1]} finite numbers, not all of them 0, got "
            f"{checks.describe(w)}"
        )
    margins = signs * (rows @ plane) / np.linalg.norm(plane)
    if margin is None:
        margin = float(margins.min())
        if margin <= 0:
            raise ValueError(
                "margin: expected a number, as the plane of w does not separate all examples, got "
                "None"
            )
    margin = checks.real(margin, "margin", above=0)
    longest = np.linalg.norm(rows, axis=1).max()
    lack = np.linalg.norm(np.maximum(margin - margins, 0))
    return float(((longest + lack) / margin) ** 2)
