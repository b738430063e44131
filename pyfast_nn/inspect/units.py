"""Units that never bend: dead ones, and those that stay on one straight piece."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import intake
from ..layers import Hardtanh, Layer, LeakyReLU, ReLU
from ..models import Sequential, engine_of
from ..pictures import axes_or_new, tick_layers
from ..typing import Array, Floats, Inputs
from .stages import layer_names, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def unit_activity(model: Sequential, X: Inputs) -> "UnitActivity":
    """Look at which units of ReLU and its kin do anything on these rows.

    Parameters
    ----------
    model : Sequential
        With at least one layer `ReLU`, `LeakyReLU` or `Hardtanh`.
    X : array_like (n, in_features)
        At least one row, of finite numbers.

    Returns
    -------
    UnitActivity

    Raises
    ------
    ValueError
        If there is no such layer, or no row, a number of X is not finite, or NaN comes into a
        layer.

    Notes
    -----
    Costs one forward pass, and memory for the widest two layers at all rows.

    Examples
    --------
    >>> activity = fnn.inspect.unit_activity(model, X)
    >>> activity.layers, activity.active[0].shape
    ((1,), (32,))
    >>> int(activity.dead[0].sum())
    0
    """
    z = intake.features(engine_of(model), X, allow_nonfinite=False)
    if not z.shape[0]:
        raise ValueError(f"X: expected at least one row, got shape {z.shape}")
    numbers, active = [], []
    dead: list[Any] = []
    linear: list[Any] = []
    for number, stage in stages(model):
        piece = _pieces(stage.layers[-1], z)
        if piece is not None:
            if np.isnan(z).any():
                raise ValueError(
                    f"model: expected numbers before layers[{number}], got NaN for "
                    f"{np.isnan(z).any(axis=1).sum()} of {len(z)} rows of X"
                )
            on, slope_off = piece
            numbers.append(number)
            active.append(on.mean(axis=0))
            never = ~on.any(axis=0)
            dead.append(never & (slope_off == 0))
            linear.append(on.all(axis=0) | (never & (slope_off != 0)))
        z = stage.forward(z)
    if not numbers:
        raise ValueError(f"model: expected a ReLU, LeakyReLU or Hardtanh, got {model!r}")
    names = layer_names(model, numbers)
    return UnitActivity(tuple(numbers), names, active, dead, linear)


class UnitActivity:
    """What `unit_activity` returns: of each layer, which units do anything.

    Attributes
    ----------
    layers : tuple of int
        Numbers of the layers; each list that follows has one array (units,) for each.
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
        layers: tuple[int, ...],
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


def _pieces(layer: Layer, z: Array) -> tuple[Array, float] | None:
    """Return where units are on (n, units) and their slope when off; None for other layers."""
    if isinstance(layer, ReLU):
        return z > 0, 0.0
    if isinstance(layer, LeakyReLU):
        return z > 0, layer.negative_slope
    if isinstance(layer, Hardtanh):
        return (z > layer.min_val) & (z < layer.max_val), 0.0
    return None
