"""What every estimator of ours needs: checked inputs, labels, files, and the network it trains."""

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from .. import data
from ..models import Sequential
from ..typing import Array, ClassWeight, Floats, Inputs, Path
from . import files
from .labels import Labels
from .types import BaseEstimator

FORMATS = ["csr", "csc"]  # of sparse matrices


class Estimator(BaseEstimator):
    """An estimator whose `model_` is a network."""

    model_: Sequential
    n_features_in_: int
    feature_names_in_: Array

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_training(self, X: Any, y: Any, *, reset: bool, **options: Any) -> tuple[Any, Any]:
        """Return X and y to fit on, of float32 or float64; `reset` fixes the columns."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=FORMATS,
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
            **options,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return data.features(X), y

    def _check_X(self, X: Inputs) -> Any:
        """Return X to predict from."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=FORMATS, reset=False)
        return data.features(X)

    def save(self, path: Path) -> None:
        """Write the estimator to a safetensors file, which is data and never code.

        `pyfast_nn.sklearn.load` reads it, and `pyfast_nn.load` the network alone.

        Parameters
        ----------
        path : str or os.PathLike
            What is there is replaced at once: a crash leaves the old file or the new one.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a parameter is something that a file cannot hold, as a function is.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        files.save(self, path)


def check_weights(sample_weight: Any, n: int) -> Floats | None:
    """Return the weights of n examples, float64 (n,), as scikit-learn takes them."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, (int, float, np.number)):
        sample_weight = np.full(n, sample_weight, np.float64)
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, order="C", input_name="sample_weight"
    )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Expected "
            f"either a scalar value or a 1D array of length {n}."
        )
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    if (weights < 0).any() or not weights.any():
        what = "a negative one" if weights.any() else "zeros only"
        raise ValueError(
            f"sample_weight: expected weights of at least 0, some of them positive, got {what}"
        )
    return weights


def weigh_classes(
    class_weight: ClassWeight | str | None, y: Any, labels: Labels, weights: Floats | None
) -> Floats | None:
    """Return the weights of examples times those of their classes."""
    if class_weight is None:
        return weights
    if labels.several:
        raise ValueError(
            "class_weight: expected None where an example may have several labels, got "
            f"{class_weight!r}"
        )
    of_classes = compute_sample_weight(class_weight, y)
    return of_classes if weights is None else weights * of_classes


class Classifying(Estimator):
    """What classifiers have in common: labels, those of the first fit or of `partial_fit`."""

    classes_: Array
    _labels: Labels

    def _learn_labels(self, y: Any) -> None:
        self._labels = Labels(y)
        self.classes_ = self._labels.classes

    def _begin_partial_fit(self, y: Any, classes: Any) -> None:
        """Fix the labels in the first call of `partial_fit`, and compare in later ones."""
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is None:
            return
        if known is None:
            of_y = Labels(y) if _are_indicators(y) else Labels(classes)
            self._labels, self.classes_ = of_y, unique_labels(classes)
        elif not np.array_equal(known, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known!r}"
            )

    def _compare_labels(self, y: Any, *, all_of_them: bool) -> None:
        """Raise ValueError if y has other labels than the first fit, or not all of those."""
        classes = unique_labels(y)
        if all_of_them:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )


def _are_indicators(y: Any) -> bool:
    from sklearn.utils.multiclass import type_of_target

    return str(type_of_target(y)).startswith("multilabel")
