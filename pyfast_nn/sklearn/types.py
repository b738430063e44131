"""What our estimators have of scikit-learn, which says nothing of types."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..typing import Array, ArrayLike, Inputs

    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Any: ...
        def _validate_params(self) -> None: ...
        def __sklearn_clone__(self) -> Any: ...
        def __sklearn_tags__(self) -> Any: ...
        def __getstate__(self) -> Any: ...
        def __setstate__(self, state: dict[str, Any]) -> None: ...

    class ClassifierMixin(BaseEstimator):
        def score(
            self, X: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None
        ) -> float: ...

    class RegressorMixin(BaseEstimator):
        def score(
            self, X: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None
        ) -> float: ...

    class TransformerMixin(BaseEstimator):
        def fit_transform(
            self, X: ArrayLike, y: ArrayLike | None = None, **fit_params: Any
        ) -> Any: ...
        def set_output(self, *, transform: str | None = None) -> Any: ...

    class ClassNamePrefixFeaturesOutMixin:
        def get_feature_names_out(self, input_features: ArrayLike | None = None) -> Array: ...

else:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        RegressorMixin,
        TransformerMixin,
    )

__all__ = [
    "BaseEstimator",
    "ClassNamePrefixFeaturesOutMixin",
    "ClassifierMixin",
    "RegressorMixin",
    "TransformerMixin",
]
