"""The labels of a classifier, and what its network learns in their place."""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike
from sklearn.utils.multiclass import type_of_target, unique_labels

from ..labels import check_classes
from ..typing import Array


class Labels:
    """What the outputs stand for: two classes, one output each of several, or several labels.

    Parameters
    ----------
    y : array_like or sparse matrix
        Labels (n,), or an indicator matrix (n, n_labels).

    Attributes
    ----------
    kind : str
        ``"binary"``, ``"multiclass"`` or ``"multilabel-indicator"``, as scikit-learn says.
    classes : ndarray
        Sorted; of indicators the numbers of the columns.
    """

    def __init__(self, y: Any) -> None:
        kind = type_of_target(y, input_name="y")
        if "multioutput" in kind:
            raise ValueError(
                "y: expected one label of each row or an indicator matrix, got multioutput target "
                "data, which is not supported; fit a classifier for each column, as "
                "sklearn.multioutput.MultiOutputClassifier does"
            )
        self.kind: str = kind
        self.classes: Array = unique_labels(y)
        self._sparse: bool = scipy.sparse.issparse(y)

    def description(self) -> dict[str, Any]:
        """Return plain values from which `described` makes the same."""
        return {"kind": self.kind, "classes": self.classes, "sparse": self._sparse}

    @classmethod
    def described(cls, description: dict[str, Any]) -> "Labels":
        """Return the labels of a `description`."""
        self = cls.__new__(cls)
        self.kind, self.classes = str(description["kind"]), description["classes"]
        self._sparse = bool(description["sparse"])
        return self

    @property
    def several(self) -> bool:
        """Whether an example may have several labels (bool)."""
        return self.kind == "multilabel-indicator"

    @property
    def n_outputs(self) -> int:
        """Columns of the outputs (int)."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def of_model(self) -> Array | None:
        """What the network calls the classes (ndarray), None if it has no names for them."""
        if self.several or len(self.classes) < 2:
            return None
        try:
            return check_classes(self.classes, self.n_outputs)
        except (TypeError, ValueError):  # labels that a Sequential does not know
            return None

    def encode(self, y: Any, dtype: DTypeLike) -> Array:
        """Return labels as the core takes them: int64 (n,) of several classes, or 0 and 1."""
        several = scipy.sparse.issparse(y) or np.ndim(y) == 2
        if several != self.several:
            raise ValueError(
                f"y: expected {self.kind} labels, as in the first fit, got an array of shape "
                f"{np.shape(y)}"
            )
        if several:
            return np.ascontiguousarray(y.toarray() if scipy.sparse.issparse(y) else y, dtype)
        if self.kind == "multiclass":
            return np.searchsorted(self.classes, y).astype(np.int64, copy=False)
        is_second = (np.asarray(y) == self.classes[-1]) & (len(self.classes) > 1)
        return np.ascontiguousarray(is_second, dtype).reshape(-1, 1)

    def decode(self, outputs: Array) -> Any:
        """Return the labels of raw outputs (n, n_outputs)."""
        if self.kind == "multiclass":
            return self.classes[outputs.argmax(axis=1)]
        above = (outputs > 0).astype(int)
        if self.several:
            return scipy.sparse.csr_matrix(above) if self._sparse else above
        return self.classes[above[:, 0] if len(self.classes) > 1 else np.zeros(len(above), int)]
