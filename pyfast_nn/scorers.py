"""scikit-learn's scorers: they ask an estimator, which answers here what a model has predicted."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .guidance import near
from .typing import Array


class Predicted(NamedTuple):
    """What a model makes of n examples, and what is true of them."""

    y: Array  # labels or values (n,); several labels or values of each (n, out_features)
    predictions: Array  # likewise
    classes: Any = None  # sorted labels; None: values
    decisions: Array | None = None  # (n,) of two classes, else (n, n_classes) in their order
    probabilities: Array | None = None  # (n, n_classes) in their order, if the loss gives some


def names() -> Sequence[str]:
    """Return the names of all scorers; ImportError without scikit-learn."""
    from sklearn.metrics import get_scorer_names

    scorers: list[str] = get_scorer_names()
    # Scorers are negated where less is better, and say so; "max_error" of old ones does not.
    return [name for name in scorers if name != "max_error"]


def find(name: str, others: Sequence[str]) -> Callable[..., Any]:
    """Return the scorer of that name, which is none of the `others` that a metric may have."""
    expected = f"metrics: expected one of {', '.join(others)}, or the name of a scorer of"
    try:
        known = names()
        from sklearn.metrics import get_scorer
    except ImportError:
        raise ImportError(
            f"{expected} scikit-learn, which is not installed, got {name!r}; "
            "pip install 'pyfast-nn[sklearn]'"
        ) from None
    if name not in known:
        hint = near(name, [*others, *known])
        raise ValueError(f"{expected} sklearn.metrics.get_scorer_names(), got {name!r}{hint}")
    scorer: Callable[..., Any] = get_scorer(name)
    return scorer


def score(scorer: Callable[..., Any], predicted: Predicted, weights: Array | None) -> Any:
    """Return what a scorer says of predictions, with the weights (n,) of the examples."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    Kind: Any = RegressorMixin if predicted.classes is None else ClassifierMixin

    class Answers(Kind, BaseEstimator):  # type: ignore[misc]
        classes_ = predicted.classes

        def predict(self, X: None) -> Array:
            return predicted.predictions

        if predicted.decisions is not None:

            def decision_function(self, X: None) -> Array | None:
                return predicted.decisions

        if predicted.probabilities is not None:

            def predict_proba(self, X: None) -> Array | None:
                return predicted.probabilities

    beside = {} if weights is None else {"sample_weight": weights}
    return scorer(Answers(), None, predicted.y, **beside)
