"""Estimators for tables: a pack of networks that takes DataFrames as they come."""

import time
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from .. import checks, columns, data
from ..models import Sequential
from ..tabular import TabularModel, pack, recipe, splits
from ..tabular.files import save as save_model
from ..tabular.intervals import Residuals
from ..tabular.model import Importances
from ..tabular.pack import Data, Fold
from ..tabular.schema import Schema
from ..tabular.scoring import Score
from ..tabular.table import Table
from ..tabular.values import as_array, is_frame
from ..typing import Array, ArrayLike, Floats, Integer, Path
from . import files
from .base import check_weights
from .types import BaseEstimator, ClassifierMixin, RegressorMixin


class Tabular(BaseEstimator):
    """An estimator whose `model_` is a `TabularModel`."""

    n_networks: int
    time_limit: float | None
    eval_metric: Any
    dates: str | None
    verbose: Any
    random_state: Any
    model_: TabularModel
    n_features_in_: int
    feature_names_in_: Array

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # ------------------------------------------------------------------ fit

    def _targets(self, y: Array) -> tuple[Array, Array | None]:
        """Return y as networks learn it, and the classes, if it has some."""
        raise NotImplementedError

    def _weigh(self, y: Array, weights: Floats | None) -> Floats | None:
        """Return the weights of examples that are trained on."""
        return weights

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any, validation: Any) -> None:
        began = time.monotonic()
        n_networks = checks.integer(self.n_networks, "n_networks", minimum=1)
        deadline = None
        if self.time_limit is not None:
            deadline = began + checks.real(self.time_limit, "time_limit", above=0)
        X = self._as_table(X, reset=True)
        y = self._as_targets(y)
        _check_rows(y)
        schema, numbers = Schema.learn(X, self.dates)
        check_consistent_length(numbers, y)
        weights = self._weigh(y, check_weights(sample_weight, len(y)))
        if groups is not None:
            groups = column_or_1d(groups)
            check_consistent_length(numbers, groups)
        if weights is not None:  # rows without weight are as if they were not there
            there = weights > 0
            numbers, y, weights = numbers[there], y[there], weights[there]
            groups = None if groups is None else groups[there]
        targets, classes = self._targets(y)
        _check_rows(y)
        seed = check_random_state(self.random_state).randint(2**31)
        known = Data(numbers, targets, weights)
        if validation is not None:
            folds, y_held = self._own_validation(schema, validation, classes, weights)
        else:
            folds = self._held_out(known, classes, groups, seed)
            y_held = np.concatenate([fold.held_out.y for fold in folds])
            y_held = y_held if classes is None else classes[y_held]
        held = [w for fold in folds if (w := fold.held_out.weights) is not None]
        score = Score(self.eval_metric, y_held, classes, np.concatenate(held) if held else None)
        score.check()
        trained = pack.train(
            known,
            folds,
            schema.inputs,
            0 if classes is None else len(classes),
            score,
            n_networks=n_networks,
            seed=seed,
            deadline=deadline,
            verbose=self.verbose,
        )
        residuals = None if classes is not None else Residuals.of(trained.held_out, y_held)
        self.model_ = TabularModel(
            *(schema, trained.models, trained.weights, classes),
            *(score.name, trained.leaderboard, residuals),
        )
        if trained.interrupted is not None:
            raise trained.interrupted

    def _held_out(
        self, known: Data, classes: Array | None, groups: Array | None, seed: int
    ) -> list[Fold]:
        """Return the folds of the rows: several of few rows, otherwise one."""
        n = len(known.y)
        several = n < recipe.CROSS_VALIDATED_BELOW
        n_folds = recipe.FOLDS if several else recipe.HELD_OUT_OF
        if groups is not None:
            n_folds = max(2, min(n_folds, len(np.unique(groups))))
        strata = None if classes is None else known.y
        found = splits.folds(n, n_folds, strata, groups, np.random.default_rng(seed))
        return pack.folds_of(known, found if several else found[:1])

    def _own_validation(
        self,
        schema: Schema,
        validation: tuple[Any, Any],
        classes: Array | None,
        weights: Floats | None,
    ) -> tuple[list[Fold], Array]:
        """Return the fold that holds out the user's own rows, and their labels or values."""
        X, y = validation
        numbers = schema.encode(self._as_table(X, reset=False))
        y = self._as_targets(y, "y_val")
        check_consistent_length(numbers, y)
        targets = y
        if classes is not None:
            targets = np.searchsorted(classes, y).clip(max=len(classes) - 1)
            if not np.array_equal(classes[targets], y):
                odd = checks.scalar(y[classes[targets] != y][0])
                raise ValueError(f"y_val: expected labels that y has, got {odd!r}")
        return [Fold(weights, Data(numbers, targets, None))], y

    def _as_table(self, X: Any, *, reset: bool) -> Any:
        """Return X as `Schema` reads it; of arrays scikit-learn checks the form."""
        if not is_frame(X):
            X = X if hasattr(X, "tocsr") else as_array(X)
            return validate_data(self, X, dtype=None, ensure_all_finite=False, reset=reset)
        names = columns.names_of(X, "X")
        if reset:
            self.n_features_in_ = X.shape[1]
            if names is not None:
                self.feature_names_in_ = np.array(names, object)
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        return X

    def _as_targets(self, y: Any, name: str = "y") -> Array:
        """Return y (n,), of which nothing is missing."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        y = data.as_targets(y, name)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim != 1:
            raise ValueError(
                f"{name}: expected one label or value of each row, got shape {y.shape}; "
                "sklearn.multioutput has estimators of several"
            )
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            row = int(np.argmax(~np.isfinite(y)))
            raise ValueError(
                f"{name}: expected a label or finite number in every row, got {y[row]} (NaN or "
                f"infinity) in row {row}; drop such rows"
            )
        return y

    # ------------------------------------------------------------------ what is known then

    def _model(self, X: Any) -> tuple[TabularModel, Any]:
        check_is_fitted(self)
        return self.model_, self._as_table(X, reset=False)

    @property
    def networks_(self) -> list[Sequential]:
        """Those that predict (list of Sequential)."""
        check_is_fitted(self)
        return self.model_.networks

    @property
    def weights_(self) -> Floats:
        """How much each of them counts (ndarray (n_networks,), with sum 1)."""
        check_is_fitted(self)
        return self.model_.weights

    @property
    def leaderboard_(self) -> Table:
        """What was drawn of each network, and how good it is (Table, the best first)."""
        check_is_fitted(self)
        return self.model_.leaderboard

    @property
    def schema_(self) -> Schema:
        """What the columns are (Schema)."""
        check_is_fitted(self)
        return self.model_.schema

    def describe_columns(self) -> Table:
        """Return of each column its name, kind, different and missing values, and encoding.

        Returns
        -------
        Table
            A list of dicts, which prints as a table.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self.model_.describe_columns()

    def feature_importances(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        n_repeats: Integer = 5,
        random_state: Any = None,
    ) -> Importances:
        """Return by how much the score falls where the values of a column are permuted.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            Rows that were not trained on, as otherwise noise seems important.
        y : array_like (n,)
        sample_weight : array_like (n,), optional
        n_repeats : int
            Permutations of each column.
        random_state : int, RandomState or None
            Of the permutations, which are those of `sklearn.inspection.permutation_importance`.

        Returns
        -------
        Importances
            ``feature_names``, ``importances_mean``, ``importances_std`` and ``importances``, by the
            metric `eval_metric`; more is worse for it.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If an argument is impossible.
        """
        model, X = self._model(X)
        y = self._as_targets(y)
        return model.feature_importances(
            *(X, y, check_weights(sample_weight, len(y))),
            eval_metric=self.eval_metric,
            n_repeats=n_repeats,
            random_state=check_random_state(random_state),
        )

    def save(self, path: Path) -> None:
        """Write the estimator to one safetensors file, which is data and never code.

        `pyfast_nn.sklearn.load` reads it, and `pyfast_nn.tabular.load` what predicts, without
        scikit-learn.

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
        save_model(self.model_, path, files.metadata_of(self, {}))


class TabularClassifier(ClassifierMixin, Tabular):
    """A pack of networks that learns the classes of the rows of a table.

    Text and missing values may be in the table: what its columns are is found out, and said by
    `describe_columns`. Networks with hyper-parameters that are drawn at random train side by side,
    each until it no longer improves on rows that are held out; the average of some of them that is
    best on those rows predicts.

    Parameters
    ----------
    n_networks : int
        How many are drawn.
    time_limit : float or None
        Seconds after which networks that are under way end, each with an epoch, and no others are
        drawn; there is one at least. What is learned depends on the machine then.
    eval_metric : str, callable or None
        What the average is chosen by: ``"log_loss"``, which None is; a name of `pyfast_nn.metrics`,
        such as ``"auc"`` or ``"accuracy"``; that of a scorer of scikit-learn; or a function
        ``f(y_true, y_pred)`` of labels whose name ends with ``_score`` where more is better, with
        ``_loss`` or ``_error`` where less is.
    class_weight : dict, "balanced" or None
        How much the examples of each class count, times `sample_weight`.
    dates : {"parts"} or None
        What becomes of dates: their year, month, day, weekday and hour; None refuses them.
    verbose : int or "auto"
        As for `Sequential.fit`; 0, the default here, is silent.
    random_state : int, RandomState or None
        What held-out rows and networks are functions of: the same bits for any number of threads.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    networks_ : list of Sequential
        Those that predict, from the numbers that ``schema_.encode(X)`` returns.
    weights_ : ndarray
        How much each of them counts.
    leaderboard_ : Table
        A list with a dict for each network that was drawn, the best first.
    schema_ : Schema
    model_ : pyfast_nn.tabular.TabularModel
        What predicts, without scikit-learn.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    Notes
    -----
    After Ctrl-C, the networks that were trained for an epoch by then are what has been learned.

    All numbers of the recipe stand in ``pyfast_nn/tabular/recipe.py``. Of small tables no row is
    held out of all: each network is trained several times, each time without another part of the
    rows (cross-validation), and all of these predict. Rows of a group stay together.

    References
    ----------
    R. Caruana et al. (2004), "Ensemble selection from libraries of models", ICML,
    https://doi.org/10.1145/1015330.1015432.

    Examples
    --------
    >>> from pyfast_nn.sklearn import TabularClassifier
    >>> table = np.array([[20, "red"], [31, "blue"], [None, "red"], [64, "blue"]] * 20, object)
    >>> classifier = TabularClassifier(n_networks=2, random_state=0)
    >>> classifier.fit(table, ["no", "yes", "no", "yes"] * 20).predict(table[:2])
    array(['no', 'yes'], dtype='<U3')
    >>> classifier.describe_columns()
    column  kind      distinct  missing  encoded
         0  number           3       20  as it is, missing flagged, also 3 codes
         1  category         2        0  2 codes
    """

    def __init__(
        self,
        *,
        n_networks: int = recipe.N_NETWORKS,
        time_limit: float | None = None,
        eval_metric: Any = None,
        class_weight: Any = None,
        dates: Any = None,
        verbose: Any = 0,
        random_state: Any = None,
    ) -> None:
        self.n_networks = n_networks
        self.time_limit = time_limit
        self.eval_metric = eval_metric
        self.class_weight = class_weight
        self.dates = dates
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
    ) -> "TabularClassifier":
        """Train on a table.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            Of pandas, polars, pyarrow or whatever narwhals knows (the extra ``table``), or an array
            of numbers or objects.
        y : array_like (n,)
            Labels.
        sample_weight : array_like (n,), optional
            How much each row counts.
        groups : array_like (n,), optional
            Rows of the same group are held out together.
        X_val, y_val : optional
            Rows that are held out in place of some of X, as the latest ones.

        Returns
        -------
        TabularClassifier
            Itself.

        Raises
        ------
        ImportError
            If X is a DataFrame, and narwhals is not there.
        TypeError, ValueError
            If an argument or a parameter is impossible; the message names the column.

        Warns
        -----
        UserWarning
            Of columns that are left out as they have no value, or another text in each row.
        """
        self._fit(X, y, sample_weight, groups, _pair(X_val, y_val, groups))
        return self

    @property
    def classes_(self) -> Array:
        """Sorted labels (ndarray (n_classes,))."""
        check_is_fitted(self)
        classes = self.model_.classes_
        assert classes is not None
        return classes

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each row.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            With the columns of the training, by name in any order.

        Returns
        -------
        ndarray (n,)
        """
        model, X = self._model(X)
        return model.predict(X)

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each class.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)

        Returns
        -------
        ndarray (n, n_classes)
            Columns in the order of `classes_`.
        """
        model, X = self._model(X)
        return model.predict_proba(X)

    def _targets(self, y: Array) -> tuple[Array, Array | None]:
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)  # of rows that count
        if len(classes) < 2:
            raise ValueError(
                f"y: expected at least 2 classes, got 1 class, {checks.scalar(classes[0])!r}"
            )
        return codes, classes

    def _weigh(self, y: Array, weights: Floats | None) -> Floats | None:
        if self.class_weight is None:
            return weights
        of_classes: Floats = compute_sample_weight(self.class_weight, y)
        return of_classes if weights is None else weights * of_classes


class TabularRegressor(RegressorMixin, Tabular):
    """A pack of networks that learns the values of the rows of a table.

    As `TabularClassifier` does classes; values are standardized.

    Parameters
    ----------
    n_networks, time_limit, dates, verbose, random_state
        As of `TabularClassifier`.
    eval_metric : str, callable or None
        What the average is chosen by: ``"rmse"``, which None is; ``"mae"`` or ``"r2"``; the name of
        a scorer of scikit-learn; or a function ``f(y_true, y_pred)`` whose name ends with
        ``_score`` where more is better, with ``_loss`` or ``_error`` where less is.

    Attributes
    ----------
    networks_, weights_, leaderboard_, schema_, model_, n_features_in_, feature_names_in_
        As of `TabularClassifier`.

    Notes
    -----
    Networks compute in float32, so predictions have seven digits: of values that differ in later
    ones only, subtract what they have in common.

    Examples
    --------
    >>> from pyfast_nn.sklearn import TabularRegressor
    >>> rng = np.random.default_rng(0)
    >>> size, colour = rng.uniform(1, 9, 200), rng.choice(["red", "blue"], 200)
    >>> table = np.array([size, colour], object).T
    >>> price = size * np.where(colour == "red", 2, 3)
    >>> regressor = TabularRegressor(n_networks=2, random_state=0).fit(table, price)
    >>> regressor.score(table, price) > 0.95
    True
    >>> regressor.predict_quantiles(table, [0.05, 0.95]).shape
    (200, 2)
    """

    def __init__(
        self,
        *,
        n_networks: int = recipe.N_NETWORKS,
        time_limit: float | None = None,
        eval_metric: Any = None,
        dates: Any = None,
        verbose: Any = 0,
        random_state: Any = None,
    ) -> None:
        self.n_networks = n_networks
        self.time_limit = time_limit
        self.eval_metric = eval_metric
        self.dates = dates
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
    ) -> "TabularRegressor":
        """Train on a table.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            Of pandas, polars, pyarrow or whatever narwhals knows (the extra ``table``), or an array
            of numbers or objects.
        y : array_like (n,)
            Finite numbers.
        sample_weight, groups, X_val, y_val : optional
            As for `TabularClassifier.fit`.

        Returns
        -------
        TabularRegressor
            Itself.

        Raises
        ------
        ImportError
            If X is a DataFrame, and narwhals is not there.
        TypeError, ValueError
            If an argument or a parameter is impossible; the message names the column.

        Warns
        -----
        UserWarning
            Of columns that are left out as they have no value, or another text in each row.
        """
        self._fit(X, y, sample_weight, groups, _pair(X_val, y_val, groups))
        return self

    def predict(self, X: Any) -> Floats:
        """Return the value of each row.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            With the columns of the training, by name in any order.

        Returns
        -------
        ndarray (n,)
        """
        model, X = self._model(X)
        return model.predict(X)

    def predict_quantiles(self, X: Any, quantiles: ArrayLike = (0.05, 0.5, 0.95)) -> Floats:
        """Return values below which the truth is with given probabilities.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
        quantiles : array_like (n_quantiles,)
            Probabilities, each greater than 0 and less than 1.

        Returns
        -------
        ndarray (n, n_quantiles)

        Notes
        -----
        By split conformal prediction, see `pyfast_nn.tabular.TabularModel.predict_quantiles`.
        """
        model, X = self._model(X)
        return model.predict_quantiles(X, quantiles)

    def _targets(self, y: Array) -> tuple[Array, Array | None]:
        if y.dtype.kind not in "fiub":
            raise ValueError(
                f"y: expected numbers, got an array of dtype {y.dtype}; TabularClassifier takes "
                "labels"
            )
        y = y.astype(np.float64)
        largest = np.finfo(np.float32).max
        if (too_large := abs(y) > largest).any():
            raise ValueError(
                f"y: expected numbers up to {largest:.2g}, which float32 holds, got "
                f"{y[too_large][0]}; divide by a number, or take logarithms"
            )
        if (y == y[0]).all():
            raise ValueError(f"y: expected different values, got {y[0]} in every row")
        return y, None


def _check_rows(y: Array) -> None:
    if len(y) < recipe.LEAST_ROWS:
        raise ValueError(f"X: expected at least {recipe.LEAST_ROWS} rows, got n_samples={len(y)}")


def _pair(X: Any, y: Any, groups: Any) -> tuple[Any, Any] | None:
    if (X is None) != (y is None):
        raise ValueError("X_val, y_val: expected both or none of them, got one alone")
    if X is None:
        return None
    if groups is not None:
        raise ValueError(
            "groups: expected None beside X_val, as no rows of X are held out; leave it out"
        )
    return X, y
