"""How far what `DeepEquilibrium` puts out is from a fixed point."""

import numpy as np

from .. import intake, outcome
from ..models import Sequential, engine_of
from ..typing import Floats, Inputs

_ROWS = 1024  # at a time


def equilibrium_distances(model: Sequential, X: Inputs) -> dict[str, Floats]:
    """Measure how near each example has come to its fixed point.

    Parameters
    ----------
    model : Sequential
        With at least one `DeepEquilibrium`, also within others.
    X : array_like (n, in_features)
        At least one row.

    Returns
    -------
    dict
        ``{path: ndarray (n,), float64}`` for each such layer: ``norm(block([z, x]) - z)``, relative
        to ``norm(block([z, x]))``, at the last z. The layer stopped where that is at most its
        `tol`, and after `max_iter` evaluations otherwise.

    Raises
    ------
    ValueError
        If there is no such layer, or no row.

    Notes
    -----
    Costs a forward pass, and memory for the activations of all layers at 1,024 rows.

    Examples
    --------
    >>> deep = fnn.DeepEquilibrium([fnn.Dense(8), fnn.Tanh()], tol=1e-5)
    >>> model = fnn.Sequential([deep, fnn.Dense(1)], dtype="float64").build(3)
    >>> distances = fnn.inspect.equilibrium_distances(model, np.eye(3))
    >>> bool(distances["0"].max() <= 1e-5)
    True
    """
    engine = engine_of(model)
    X = intake.features(engine, X)
    if not X.shape[0]:
        raise ValueError(f"X: expected at least one row, got shape {X.shape}")
    if not any(place.kind == "equilibrium" for place in engine.graph.places):
        raise ValueError(f"model: expected a DeepEquilibrium, got {model!r}")
    parts = [
        outcome.equilibrium_distances(engine, X[first : first + _ROWS])
        for first in range(0, X.shape[0], _ROWS)
    ]
    return {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}
