"""Parameters that a model had before it saw data, from which its way is measured."""

from typing import Any

import numpy as np

from .. import data
from ..models import Sequential, engine_of
from ..typing import ArrayLike, Floats


def reference_parameters(model: Sequential, given: ArrayLike | None, name: str) -> Floats:
    """Return `given` (n_parameters,) in float64, or by default the initial parameters.

    Those are functions of the model's layers and seed, whatever was done with it since.
    """
    engine = engine_of(model)
    if not np.isfinite(model.parameters).all():
        raise ValueError("model: expected finite parameters, got some that are not")
    if given is None:
        fresh = Sequential(model.layers, dtype=model.dtype, seed=model.seed)
        beginning = engine_of(fresh)
        beginning.has_lengths = engine.has_lengths
        beginning.build(engine.in_shape, names=engine.feature_names_in_)
        return fresh.parameters.astype(np.float64)
    values: Any = data.as_numbers(given, name).astype(np.float64)
    if values.shape != (model.n_parameters,) or not np.isfinite(values).all():
        raise ValueError(
            f"{name}: expected finite numbers ({model.n_parameters},), a vector of parameters, got "
            f"shape {values.shape}"
        )
    return values
