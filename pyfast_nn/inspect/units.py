"""Units that never bend: dead ones, and those that stay on one straight piece."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import intake
from ..layers import Hardtanh, Layer, LeakyReLU, ReLU
from ..models import Sequential, engine_of
from ..pictures import axes_or_new, tick_layers
from ..typing import Array, Floats, Inputs
from .stages import stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = (ReLU, LeakyReLU, Hardtanh)
_ROWS = 1024  # at a time


def unit_activity(model: Sequential, X: Inputs) -> "UnitActivity":
    """Look at which units of ReLU and its kin do anything on these rows.

    Parameters
    ----------
    model : Sequential
        With at least one layer `ReLU`, `LeakyReLU` or `Hardtanh`, also within others.
    X : array_like (n, in_features)
        At least one row, of finite numbers.

    Returns
    -------
    UnitActivity

    Raises
    ------
    ValueError
        If there is no such layer, or no row, a number of X is not finite, or NaN comes into a
        layer; or if one stands within a `NeuralODE`, where it does something at each time.

    Notes
    -----
    Costs one forward pass, and memory for the activations of all layers at 1,024 rows.

    Examples
    --------
    >>> activity = fnn.inspect.unit_activity(model, X)
    >>> activity.layers, activity.active[0].shape
    (('1',), (32,))
    >>> int(activity.dead[0].sum())
    0
    """
    engine = engine_of(model)
    X = intake.features(engine, X, allow_nonfinite=False)
    n = X.shape[0]
    if not n:
        raise ValueError(f"X: expected at least one row, got shape {X.shape}")
    places = [place for place in engine.graph.places if isinstance(place.layer, _KINDS)]
    if several := [place for place in places if place.kept > 1]:
        raise ValueError(
            f"model: expected layers that are computed once, got layers[{several[0].path}], "
            f"{several[0].layer!r}, which a layer evaluates again and again"
        )
    if not places:
        raise ValueError(f"model: expected a ReLU, LeakyReLU or Hardtanh, got {model!r}")
    totals = [n * math.prod(place.shape[:-1]) for place in places]
    counts = [np.zeros(place.features, np.intp) for place in places]  # of the rows that are on
    nan = np.zeros(len(places), np.intp)  # rows
    for first in range(0, n, _ROWS):
        block = X[first : first + _ROWS]
        first_values = next(stages(model))[1].forward(engine.as_examples(block))
        values = [
            each.reshape(-1, each.shape[-1]) for each in (first_values, *engine.values(block))
        ]
        for i, place in enumerate(places):
            z = values[place.inputs[0]]
            counts[i] += _is_on(place.layer, z).sum(axis=0)
            nan[i] += np.isnan(z).any(axis=1).sum()
    if nan.any():
        first = int(np.flatnonzero(nan)[0])
        raise ValueError(
            f"model: expected numbers before layers[{places[first].path}], got NaN for "
            f"{nan[first]} of {totals[first]} rows of X"
        )
    dead, linear = [], []
    for place, count, total in zip(places, counts, totals, strict=True):
        never, slope = count == 0, _slope_off(place.layer)
        dead.append(never & (slope == 0))
        linear.append((count == total) | (never & (slope != 0)))
    paths = tuple(place.path for place in places)
    names = tuple(f"{place.path} {type(place.layer).__name__}" for place in places)
    shares = [count / total for count, total in zip(counts, totals, strict=True)]
    return UnitActivity(paths, names, shares, dead, linear)


class UnitActivity:
    """What `unit_activity` returns: of each layer, which units do anything.

    Attributes
    ----------
    layers : tuple of str
        Where the layers stand, as in `Sequential.activations`; each list that follows has one array
        (units,) for each.
    names : tuple of str
        ``"1 ReLU"``, ...
    active : list of ndarray, float64
        The share of the rows on which the unit is on: ``z > 0`` for what comes into `ReLU` and
        `LeakyReLU`, ``min_val < z < max_val`` for `Hardtanh`.
    dead : list of ndarray, bool
        Never on, and of slope 0 when off: no gradient passes on any of the rows.
    linear : list of ndarray, bool
        On the same straight piece, of slope other than 0, on all rows: the unit adds nothing that
        a linear layer could not.
    """

    def __init__(
        self,
        layers: tuple[str, ...],
        names: tuple[str, ...],
        active: list[Floats],
        dead: list[NDArray[np.bool_]],
        linear: list[NDArray[np.bool_]],
    ) -> None:
        self.layers = layers
        self.names = names
        self.active = active
        self.dead = dead
        self.linear = linear

    def __repr__(self) -> str:
        layers = (
            f"{name}: {dead.sum()} dead, {linear.sum()} linear of {dead.size}"
            for name, dead, linear in zip(self.names, self.dead, self.linear, strict=True)
        )
        return f"UnitActivity({'; '.join(layers)})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the shares of dead, always linear and bending units of each layer.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        dead, linear = (np.array([m.mean() for m in masks]) for masks in (self.dead, self.linear))
        bottom = np.zeros(len(self.layers))
        for label, color, share in (
            ("bends", "C0", 1 - dead - linear),
            ("always linear", "C1", linear),
            ("dead", "0.3", dead),
        ):
            ax.bar(range(len(share)), share, bottom=bottom, color=color, label=label)
            bottom += share
        tick_layers(ax, self.names)
        ax.set(ylabel="share of units", ylim=(0, 1))
        ax.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
        return ax


def _is_on(layer: Layer, z: Array) -> Array:
    """Return where units are on (n, units)."""
    if isinstance(layer, Hardtanh):
        return (z > layer.min_val) & (z < layer.max_val)
    return z > 0


def _slope_off(layer: Layer) -> float:
    return layer.negative_slope if isinstance(layer, LeakyReLU) else 0.0
