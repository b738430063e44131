"""A pack as it predicts, from tables as they come; it needs no scikit-learn."""

from typing import Any, NamedTuple

import numpy as np

from .. import checks, data
from ..models import Sequential
from ..typing import Array, ArrayLike, Floats, Integer, Path
from . import files, pack
from .intervals import Residuals
from .schema import Schema
from .scoring import Score
from .table import Table

_NUMBERS_AT_ONCE = 2**25  # of float64 that a batch of permuted tables may have: 256 MB


class Importances(NamedTuple):
    """What permuting each column costs.

    Attributes
    ----------
    feature_names : list of str
    importances_mean, importances_std : ndarray (n_columns,)
        Over the repeats.
    importances : ndarray (n_columns, n_repeats)
        By how much the score is worse.
    """

    feature_names: list[str]
    importances_mean: Floats
    importances_std: Floats
    importances: Floats


class TabularModel:
    """Networks that predict from a table together: what `TabularClassifier.fit` has learned.

    `pyfast_nn.tabular.load` makes one of a file, without scikit-learn.

    Attributes
    ----------
    schema : Schema
        What the columns are.
    networks : list of Sequential
        Of the numbers that ``schema.encode(X)`` returns.
    weights : ndarray (n_networks,)
        Of the networks, with sum 1.
    classes_ : ndarray (n_classes,) or None
        Sorted labels; None: values are predicted.
    eval_metric : str
        The name of the metric that the pack was chosen by.
    leaderboard : Table
    residuals : Residuals or None
        Of held-out rows; None for classes.
    """

    def __init__(
        self,
        schema: Schema,
        networks: list[Sequential],
        weights: Floats,
        classes: Array | None,
        eval_metric: str,
        leaderboard: Table,
        residuals: Residuals | None,
    ) -> None:
        self.schema = schema
        self.networks = networks
        self.weights = weights
        self.classes_ = classes
        self.eval_metric = eval_metric
        self.leaderboard = leaderboard
        self.residuals = residuals

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each row, or its value.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            With the columns of the training, by name in any order.

        Returns
        -------
        ndarray (n,)

        Raises
        ------
        ImportError
            If X is a DataFrame, and narwhals is not there.
        TypeError, ValueError
            If X is another table than in training; the message names the column.
        """
        mean = self._mean(self.schema.encode(X))
        return mean if self.classes_ is None else self.classes_[mean.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each class, the average of what the networks say.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)

        Returns
        -------
        ndarray (n, n_classes)
            Columns in the order of `classes_`.

        Raises
        ------
        ImportError, TypeError, ValueError
            As `predict`; also where values are predicted.
        """
        if self.classes_ is None:
            raise ValueError("predict_proba: expected a model of classes, got one of values")
        return self._mean(self.schema.encode(X))

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

        Raises
        ------
        ImportError, TypeError, ValueError
            As `predict`; also where classes are predicted.

        Notes
        -----
        Split conformal prediction: to the prediction, quantiles of the errors on held-out rows are
        added; of rows whose prediction was similar, if there are many (Mondrian), so that intervals
        are as wide as errors are at that height. For rows that come from where the training rows
        came, as many are below as should be, on average over all of them. The held-out rows have
        also stopped the training and chosen the networks, which makes intervals a little narrow.

        References
        ----------
        H. Papadopoulos et al. (2002), "Inductive confidence machines for regression", ECML,
        https://doi.org/10.1007/3-540-36755-1_29.
        H. Boström, U. Johansson (2020), "Mondrian conformal regressors", COPA,
        https://proceedings.mlr.press/v128/bostrom20a.html.
        """
        if self.residuals is None:
            raise ValueError("predict_quantiles: expected a model of values, got one of classes")
        wanted = np.atleast_1d(np.asarray(quantiles, np.float64))
        if wanted.ndim != 1 or not ((wanted > 0) & (wanted < 1)).all():
            raise ValueError(
                f"quantiles: expected numbers greater than 0 and less than 1, got {quantiles!r}"
            )
        return self.residuals.quantiles(self._mean(self.schema.encode(X)), wanted)

    def feature_importances(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: Floats | None = None,
        *,
        eval_metric: Any = None,
        n_repeats: Integer = 5,
        random_state: Any = 0,
    ) -> Importances:
        """Return by how much the score falls where the values of a column are permuted.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            Rows that were not trained on, as otherwise noise seems important.
        y : array_like (n,)
        sample_weight : ndarray (n,), optional
        eval_metric : str or callable, optional
            None: that of the fit.
        n_repeats : int
            Permutations of each column.
        random_state : int or numpy.random.RandomState
            Of the permutations, which are those of `sklearn.inspection.permutation_importance`.

        Returns
        -------
        Importances
            In the order of the columns of the training.

        Raises
        ------
        ImportError, TypeError, ValueError
            As `predict`; and if an argument is impossible.

        References
        ----------
        L. Breiman (2001), "Random forests", Machine Learning 45,
        https://doi.org/10.1023/A:1010933404324.
        """
        repeats = checks.integer(n_repeats, "n_repeats", minimum=1)
        numbers = self.schema.encode(X)
        truth = data.as_targets(y)
        if truth.shape != (len(numbers),):
            raise ValueError(f"y: expected shape ({len(numbers)},), got {truth.shape}")
        if self.classes_ is not None and not (known := np.isin(truth, self.classes_)).all():
            odd = checks.scalar(truth[~known][0])
            raise ValueError(f"y: expected labels of the training, got {odd!r}")
        metric = self.eval_metric if eval_metric is None else eval_metric
        score = Score(metric, truth, self.classes_, sample_weight)
        before = score(self._mean(numbers))
        orders = _permutations(len(numbers), repeats, random_state)
        inputs = np.array([each.column for each in self.schema.inputs])
        after = np.full((len(self.schema.columns), repeats), before)  # of what is left out
        todo = [(c, r) for c in np.unique(inputs) for r in range(repeats)]
        at_once = max(1, _NUMBERS_AT_ONCE // numbers.size)
        for begin in range(0, len(todo), at_once):
            some = todo[begin : begin + at_once]
            tables = np.tile(numbers, (len(some), 1, 1))
            for table, (column, repeat) in zip(tables, some, strict=True):
                own = inputs == column
                table[:, own] = numbers[orders[repeat]][:, own]
            means = self._mean(tables.reshape(-1, numbers.shape[1]))
            for place, mean in zip(some, np.split(means, len(some)), strict=True):
                after[place] = score(mean)
        losses = before - after
        names = self.schema.names or [self.schema.title(i) for i in range(len(losses))]
        return Importances(names, losses.mean(axis=1), losses.std(axis=1), losses)

    def describe_columns(self) -> Table:
        """Return of each column its name, kind, different and missing values, and encoding.

        Returns
        -------
        Table
            A list of dicts, which prints as a table.
        """
        return self.schema.describe()

    def save(self, path: Path) -> None:
        """Write the model to a safetensors file, which is data and never code.

        `pyfast_nn.tabular.load` reads it.

        Parameters
        ----------
        path : str or os.PathLike
            What is there is replaced at once: a crash leaves the old file or the new one.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        files.save(self, path)

    def _mean(self, numbers: Floats) -> Floats:
        """Return the average of what the networks predict of encoded rows."""
        return sum(  # type: ignore[return-value]  # of no network there is no model
            weight * pack.predict(model, numbers)
            for model, weight in zip(self.networks, self.weights, strict=True)
        )


def _permutations(n: int, repeats: int, random_state: Any) -> Array:
    """Return orders of n rows (repeats, n) as scikit-learn draws them, the same of each column.

    Each repeat permutes what the one before has left.
    """
    if not isinstance(random_state, np.random.RandomState):
        random_state = np.random.RandomState(random_state)
    generator = np.random.RandomState(random_state.randint(np.iinfo(np.int32).max + 1))
    orders, shuffled, now = [], np.arange(n), np.arange(n)
    for _ in range(repeats):
        generator.shuffle(shuffled)
        now = now[shuffled]
        orders.append(now)
    return np.array(orders)
