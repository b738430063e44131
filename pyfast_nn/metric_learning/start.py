"""Linear maps that learning starts from."""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from .. import checks, data
from ..typing import Array, Floats

NAMES = ("auto", "pca", "lda", "identity")


def start(init: Any, n_components: Any, X: Floats, y: Array) -> Floats:
    """Return the map (n_components, n_features) that `init` names, as scikit-learn's NCA does."""
    features = X.shape[1]
    if n_components is not None:
        checks.integer(n_components, "n_components", 1, features)
    if not isinstance(init, str):
        return _given(init, n_components, features)
    checks.choice(init, "init", NAMES)
    k = features if n_components is None else int(n_components)
    if init == "auto":
        discriminants = min(len(np.unique(y)) - 1, features)
        few = "pca" if k < min(X.shape) else "identity"
        init = "lda" if k <= discriminants else few
    if init == "identity":
        return np.eye(k, features)
    made: Floats
    if init == "pca":
        made = PCA(k, random_state=0).fit(X).components_
    else:
        made = LinearDiscriminantAnalysis(n_components=k).fit(X, y).scalings_.T[:k]
    return made


def _given(init: Any, n_components: Any, features: int) -> Floats:
    given = data.as_numbers(init, "init").astype(np.float64)
    rows = given.shape[0] if n_components is None and given.ndim == 2 else n_components
    if given.shape != (rows, features) or rows > features or not np.isfinite(given).all():
        raise ValueError(
            f"init: expected one of {', '.join(NAMES)} or finite numbers of shape "
            f"({'n_components' if n_components is None else n_components}, {features}), got "
            f"{checks.describe(init)}"
        )
    return given
