"""The loss around a model, along one direction or two."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, data, intake
from ..models import Sequential, engine_of
from ..pictures import axes_or_new
from ..typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..losses import Loss


def random_directions(model: Sequential, k: Integer = 1, *, seed: Integer | None = 0) -> Floats:
    """Return random directions in the space of parameters, each unit scaled like its own weights.

    Filter normalisation of H. Li et al. 2018 [1]_: what is drawn for the weights into a unit is
    scaled to their length, so that pictures of networks with differently scaled weights can be
    compared. Biases and other vectors are held, and so are parameters that are not trained.

    Parameters
    ----------
    model : Sequential
        Built.
    k : int
        How many.
    seed : int or None
        Of the standard normal numbers, from 0 to 2**64 - 1; None draws one.

    Returns
    -------
    ndarray (n_parameters, k), float64

    Raises
    ------
    RuntimeError
        If the model is not built.

    References
    ----------
    .. [1] H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein (2018), "Visualizing the loss landscape
       of neural nets", NeurIPS, https://arxiv.org/abs/1712.09913.

    Examples
    --------
    >>> fnn.inspect.random_directions(model, 2).shape == (model.n_parameters, 2)
    True
    """
    k = checks.integer(k, "k", minimum=1)
    rng = np.random.default_rng(checks.seed(seed))
    engine = engine_of(model)
    directions = np.zeros((k, model.n_parameters))
    for direction in directions:
        parts = engine.trained_parameters(direction)
        for name, weight in engine.trained_parameters().items():
            part = parts[name]
            if weight.ndim > 1:
                filters = tuple(range(weight.ndim - 1))  # all axes but that of the units
                part[...] = rng.standard_normal(weight.shape)
                part *= _lengths(weight, filters) / _lengths(part, filters)
    return directions.T


def loss_landscape(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    directions: ArrayLike,
    coordinates: ArrayLike | None = None,
    *,
    loss: "str | Loss | None" = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
) -> "LossLandscape":
    """Return the loss at points along one direction from the parameters, or in a plane.

    Parameters
    ----------
    model : Sequential
        Is not changed.
    X, y, loss, sample_weight, class_weight
        As for `Sequential.evaluate`.
    directions : array_like (n_parameters,), (n_parameters, 1) or (n_parameters, 2)
        One or two: those of `random_directions`, eigenvectors of `curvature.top_eigenpairs`, the
        way to another model (``other.parameters - model.parameters``), ...
    coordinates : array_like (m,), or a pair of them for two directions; optional
        Multiples of the directions at which to take it; by default from -1 to 1 in 51 or, for each
        of two directions, 25 steps.

    Returns
    -------
    LossLandscape

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    One call. What the first dense layer reads does not move, so that ``x @ (w + s * v)`` is
    ``x @ w + s * (x @ v)``, up to rounding in proportion to the larger of the two terms. These
    products, in many networks most of the work, are computed once for all points; each point costs
    the forward pass of the layers behind, and their parameters, which are moved anew for every
    1,024 rows. Threads share the points, each with memory for the activations of so many rows.

    Examples
    --------
    >>> directions = fnn.inspect.random_directions(model, 2)
    >>> landscape = fnn.inspect.loss_landscape(model, X, y, directions, np.linspace(-1, 1, 5))
    >>> landscape.losses.shape
    (5, 5)
    >>> bool(landscape.losses[2, 2] == model.evaluate(X, y)["loss"])
    True
    """
    engine = engine_of(model)
    X = intake.features(engine, X)
    directions = data.as_numbers(directions, "directions").astype(np.float64)
    if directions.ndim == 1:
        directions = directions[:, None]
    k = directions.shape[1] if directions.ndim == 2 else 0
    if k not in (1, 2) or len(directions) != model.n_parameters:
        raise ValueError(
            f"directions: expected shape ({model.n_parameters}, 1) or ({model.n_parameters}, 2), "
            f"got {directions.shape}"
        )
    coordinates = _check_coordinates(coordinates, k)
    # Directions of size 1, by powers of 2, which change no bits: products of the inputs with them
    # overflow only where those at a point would.
    finite = np.isfinite(directions)
    exponents = np.frexp(np.abs(directions).max(axis=0, initial=0, where=finite))[1]
    grid = np.meshgrid(*coordinates, indexing="ij")
    with np.errstate(over="ignore"):
        steps = np.ldexp(np.stack([c.ravel() for c in grid], axis=1), exponents)
        unit = np.ldexp(directions, -exponents)
    loss = intake.check_loss(engine, loss)
    examples = intake.examples(engine, X, y, loss, sample_weight, class_weight)
    losses = engine.losses_along(examples, loss, unit, steps)
    return LossLandscape(coordinates, losses.reshape(grid[0].shape))


class LossLandscape:
    """What `loss_landscape` returns.

    Attributes
    ----------
    coordinates : tuple of ndarray
        Multiples of each direction, one or two arrays.
    losses : ndarray (m,) or (m1, m2), float64
        Element i, j is the loss at ``coordinates[0][i]`` times the first and ``coordinates[1][j]``
        times the second direction. Not finite where the network overflows.
    """

    def __init__(self, coordinates: tuple[Floats, ...], losses: Floats) -> None:
        self.coordinates = coordinates
        self.losses = losses

    def __repr__(self) -> str:
        points = " x ".join(map(str, self.losses.shape))
        low, high = self.losses.min(), self.losses.max()
        return f"LossLandscape({points} points, from {low:g} to {high:g})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw a curve, or lines of equal loss; 0 is marked.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If no loss is finite.
        """
        if not np.isfinite(self.losses).any():
            raise ValueError(
                "losses: expected a finite one to draw, got none; take smaller coordinates"
            )
        ax = axes_or_new(ax)
        if self.losses.ndim == 1:
            ax.plot(self.coordinates[0], self.losses)
            ax.axvline(0, color="0.6", linewidth=0.8)
            ax.set(xlabel="step along the direction", ylabel="loss")
            ax.grid(alpha=0.3)
            return ax
        from matplotlib.colors import BoundaryNorm

        losses = np.ma.masked_invalid(self.losses.T)
        levels = _levels(losses)
        # One colour for each level: the levels may be geometric.
        norm = BoundaryNorm(levels, 256)
        filled = ax.contourf(*self.coordinates, losses, levels, norm=norm, cmap="viridis")
        ax.contour(*self.coordinates, losses, levels, colors="w", linewidths=0.4)
        ax.figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::4], format="%.2g")
        ax.plot(0, 0, "w+", markersize=10, markeredgewidth=1.5)
        ax.set(xlabel="first direction", ylabel="second direction")
        return ax


def _lengths(array: Array, axes: Any) -> Any:
    return np.sqrt(np.sum(np.square(array, dtype=np.float64), axis=axes))


def _check_coordinates(coordinates: Any, k: int) -> tuple[Floats, ...]:
    if coordinates is None:
        coordinates = np.linspace(-1, 1, 51 if k == 1 else 25)
    pair = np.iterable(coordinates) and [np.ndim(c) for c in coordinates] == [1, 1] and k == 2
    each = tuple(
        data.as_numbers(c, "coordinates").astype(np.float64)
        for c in (coordinates if pair else [coordinates] * k)
    )
    for c in each:
        if c.ndim != 1 or not len(c) or not np.isfinite(c).all():
            came = checks.describe(c)
            raise ValueError(f"coordinates: expected finite numbers (m,), got {came}")
    return each


def _levels(losses: Any, count: int = 20) -> Array:
    """Return where to draw lines: geometric, as the losses of a picture span decades."""
    low, high = losses.min(), losses.max()
    if low > 0 and high > 10 * low:
        return np.geomspace(low, high, count)
    return np.linspace(low, high, count) if high > low else np.array([low, low + 1])
