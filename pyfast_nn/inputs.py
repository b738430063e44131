"""Layers in front of all others, applied to the columns of X in float64 while rows are read.

What they learn of a column they learn of the rows of the first fit, one column after the other.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from . import _core, checks
from .checks import describe
from .config import Setting
from .graph import Graph
from .layers import Layer
from .rounding import varies_by_rounding
from .typing import Array, Floats, Integer, Real, Shape


class Column(NamedTuple):
    """What an input layer learns from: a column that comes in, on the rows of the first fit."""

    numbers: Floats  # (n,), maybe with NaN
    targets: Array  # (n,) labels, or (n, out_features) values
    dtype: np.dtype[Any]  # of X

    @property
    def present(self) -> Floats:
        """The numbers that are not missing (ndarray)."""
        return self.numbers[~np.isnan(self.numbers)]


class InputLayer(Layer):
    """A layer in front of all others, applied in float64 while the inputs are read."""

    is_input = True
    reads_flat = True
    widens = 1  # columns that come out for each that comes in
    of_tables = True  # what it learns is of a column, which examples with positions do not have

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.inputs.get(path, ())
        if self.of_tables and len(shape) > 1:
            raise ValueError(
                f"layers[{path}]: expected rows of columns for {self!r}, got examples of shape "
                f"{shape}; of signals and images Standardize() scales each channel"
            )
        return network.add(self, path, self.kind, (value,), network.width(value) * self.widens)

    def moments(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of its output, given those of its input."""
        raise NotImplementedError

    def learn(self, column: Column) -> dict[str, Any]:
        """Return {name: number or numbers} of what is kept of a column that comes in."""
        return {}


class Rescale(InputLayer):
    """``x * scale + offset``, element by element, applied while the inputs are read.

    Parameters
    ----------
    scale, offset : float
        Finite; `scale` is not 0. The defaults bring pixels from 0 to 255 into 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    It stands in front of all layers that are not applied while inputs are read. It costs neither
    memory nor a pass over the data, is computed in float64 whatever the dtype of X, and rounded
    once to the model's dtype.

    Examples
    --------
    >>> fnn.Rescale()
    Rescale()
    >>> fnn.Rescale(1 / 127.5, offset=-1)
    Rescale(scale=0.00784313725490196, offset=-1.0)
    """

    kind = "rescale"
    of_tables = False

    scale: Setting[float] = Setting(checks.real)
    offset: Setting[float] = Setting(checks.real)

    def __init__(self, scale: Real = 1 / 255, offset: Real = 0.0) -> None:
        self._set(scale=scale, offset=offset)
        if self.scale == 0:
            raise ValueError("scale: expected another number than 0, got 0")

    @property
    def values(self) -> tuple[float, ...]:
        return (self.scale, self.offset)

    def moments(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of its output, given those of its input."""
        return mean * self.scale + self.offset, std * abs(self.scale)


class Standardize(InputLayer):
    """``(x - mean) / std`` of each column, or channel, applied while the inputs are read.

    The first `fit` learns mean and standard deviation (of the population: divided by n) from its
    training rows, in float64, and no later one changes them. The standard deviation of a constant
    column counts as 1, and so does one that cannot be told from rounding: of n numbers at most
    ``n * eps * abs(mean)`` with the eps of float64, as in scikit-learn, or ``eps * abs(mean)`` with
    that of the dtype of X. Until then the model can be trained, but not used.

    Notes
    -----
    It stands in front of all layers that are not applied while inputs are read. It costs neither
    memory nor a pass over the data (except the one that learns), is computed in float64, and
    rounded once to the model's dtype. NaN, where it is taken (see `Impute`), does not count.
    `mean` and `std`, each (in_features,), are part of the model's `state` and its file.

    Of signals and images, X (n, positions, channels) or (n, height, width, channels), each channel
    has one mean and one standard deviation, over all positions, at each of which they stand again.

    References
    ----------
    B. P. Welford (1962), "Note on a method for calculating corrected sums of squares and products",
    Technometrics 4(3). T. F. Chan, G. H. Golub, R. J. LeVeque (1979), "Updating formulae and a
    pairwise algorithm for computing sample variances", Stanford STAN-CS-79-773.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Standardize(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)])
    >>> model.fit(X, y, loss="cross_entropy", epochs=10).epochs
    10
    >>> model.named_state()["0.mean"].shape
    (64,)
    """

    kind = "standardize"
    of_tables = False
    initial_state: ClassVar[Mapping[str, float]] = {"mean": math.nan, "std": math.nan}

    def moments(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of its output, having learned those of its input."""
        return np.zeros_like(mean), np.where(std > 0, 1.0, 0.0)

    def learn(self, column: Column) -> dict[str, Any]:
        present = column.present
        if not len(present):
            return {"mean": 0.0, "std": 1.0}
        mean, std = np.empty(1), np.empty(1)
        _core.column_statistics(present[:, None], mean, std)
        if not np.isfinite([mean, std]).all():
            raise ValueError("expected numbers whose standard deviation a float64 holds")
        constant = varies_by_rounding(mean, std, len(present), column.dtype)
        return {"mean": mean, "std": np.where(constant | (std == 0), 1, std)}

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        if name == "std":
            return "positive numbers", bool((np.isfinite(values) & (values > 0)).all())
        return super().judge_state(name, values)


class RobustScale(InputLayer):
    """``(x - center) / scale`` of each column, and then smoothly between -`clip` and `clip`.

    The first `fit` learns the median as `center` and the interquartile range as `scale`. Where that
    is 0, it is half the range from the smallest to the largest number; and of a constant column
    infinity, so that it becomes 0.

    Parameters
    ----------
    clip : float or None
        Positive. With ``z = (x - center) / scale`` what comes out is
        ``z / sqrt(1 + (z / clip)**2)``; None: ``z``.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    `center` and `scale`, each (in_features,), are part of the model's `state` and its file. NaN
    does not count.

    References
    ----------
    D. Holzmueller, L. Grinsztajn, I. Steinwart (2024), "Better by default: strong pre-tuned MLPs
    and boosted trees on tabular data", NeurIPS, https://arxiv.org/abs/2407.04491, section 3.1.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.RobustScale(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)])
    >>> model.fit(X, y, loss="cross_entropy", epochs=10).epochs
    10
    """

    kind = "robust_scale"
    initial_state: ClassVar[Mapping[str, float]] = {"center": math.nan, "scale": math.nan}

    clip: Setting[float | None] = Setting(
        lambda value, name: None if value is None else checks.real(value, name, above=0)
    )

    def __init__(self, clip: Real | None = 3.0) -> None:
        self._set(clip=clip)

    @property
    def values(self) -> tuple[float, ...]:
        return (0.0 if self.clip is None else self.clip,)

    def learn(self, column: Column) -> dict[str, Any]:
        present = column.present
        if not len(present):
            return {"center": 0.0, "scale": np.inf}
        low, low_quartile, median, high_quartile, high = np.quantile(
            present, [0, 0.25, 0.5, 0.75, 1]
        )
        scale = high_quartile - low_quartile or (high - low) / 2 or np.inf
        return {"center": median, "scale": scale}

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        if name == "scale":
            return "positive numbers", bool((values > 0).all())
        return super().judge_state(name, values)


def _are_rising(values: Floats) -> bool:
    """Whether each column (rows, columns) begins with numbers that never fall; NaN is behind."""
    known = ~np.isnan(values)
    rising = values[1:] >= values[:-1]
    return bool(
        known[0].all()
        and (known[:-1] >= known[1:]).all()
        and np.isfinite(values[known]).all()
        and rising[known[1:]].all()
    )


class QuantileNormal(InputLayer):
    """Each number as a normal one of the same rank among the training rows: a bell in each column.

    The first `fit` learns quantiles of each column; ranks between two of them are interpolated. It
    is scikit-learn's ``QuantileTransformer(output_distribution="normal")``.

    Parameters
    ----------
    n_quantiles : int
        At most so many, at least 2. There are fewer where there are fewer than 30 rows for each: as
        many as a thirtieth of the rows, but at least 10.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Quantiles are those of the numbers plus normal noise of 1e-5 of the column's standard deviation,
    always the same, so that equal numbers get the middle of their ranks. Numbers
    outside those of the training rows become -5.2 or 5.2, as do the outermost. NaN does not count.
    A constant column becomes 0.

    `quantiles` (n_quantiles, in_features) are part of the model's `state` and its file, NaN behind
    the last of a column that has fewer. A fit on batches keeps the inputs of all of them in memory
    while it learns.

    References
    ----------
    M. J. Wichura (1988), "Algorithm AS 241: the percentage points of the normal distribution",
    Applied Statistics 37(3). Noise and number of quantiles: Y. Gorishniy, I. Rubachev, V. Khrulkov,
    A. Babenko (2021), "Revisiting deep learning models for tabular data", NeurIPS.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.QuantileNormal(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)])
    >>> model.fit(X, y, loss="cross_entropy", epochs=10).epochs
    10
    """

    kind = "quantile_normal"
    initial_state: ClassVar[Mapping[str, float]] = {"quantiles": math.nan}

    n_quantiles: Setting[int] = Setting(partial(checks.integer, minimum=2, maximum=10**6))

    def __init__(self, n_quantiles: Integer = 1000) -> None:
        self._set(n_quantiles=n_quantiles)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.n_quantiles),)

    def state_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"quantiles": (self.n_quantiles, in_features)}

    def learn(self, column: Column) -> dict[str, Any]:
        present, quantiles = column.present, np.full(self.n_quantiles, np.nan)
        if not len(present) or present.min() == present.max():
            quantiles[0] = present[0] if len(present) else 0.0
            return {"quantiles": quantiles}
        noise = np.empty(len(present))
        _core.random_normal(0, 0, noise)  # the same for all networks, so that one learns for all
        scale = present.std()
        if not np.isfinite(scale):
            raise ValueError("expected numbers whose standard deviation a float64 holds")
        n = min(max(len(present) // 30, 10), self.n_quantiles)
        quantiles[:n] = np.quantile(present + 1e-5 * scale * noise, np.linspace(0, 1, n))
        return {"quantiles": quantiles}

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        return "numbers that rise, and NaN behind them", _are_rising(values)


class PiecewiseLinear(InputLayer):
    """Each column cut into bins: how far its number has come through each of them, from 0 to 1.

    A number becomes `n_bins`: 1 for the bins below that in which it lies, the part of this bin that
    is below it, and 0 for those above. So a network can bend wherever an edge is.

    Parameters
    ----------
    n_bins : int
        At least 1. A column has fewer where edges would be equal; the rest is 0.
    bins : {"quantiles", "tree"}
        The edges, which the first `fit` learns: quantiles of the column; or where a decision tree
        for the targets cuts it, with at least 64 rows in each of its leaves, for which scikit-learn
        must be there.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.
    ImportError
        By the first fit with ``"tree"``, if there is no scikit-learn.

    Notes
    -----
    What is below the first edge is negative in the first bin, down to -1; what is above the last is
    greater than 1 in the last, up to 2. NaN does not count for the edges. A constant column becomes
    0.

    `edges` (n_bins + 1, in_features) are part of the model's `state` and its file, NaN behind the
    last of a column that has fewer. A fit on batches keeps the inputs of all of them in memory
    while it learns.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko (2022), "On embeddings for numerical features in tabular
    deep learning", NeurIPS, https://arxiv.org/abs/2203.05556, section 3.2.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.PiecewiseLinear(8), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)])
    >>> model.fit(X, y, loss="cross_entropy", epochs=10).epochs
    10
    >>> model[0:2].build(64).activations(X)["0"].shape == (len(X), 8 * 64)
    True
    """

    kind = "piecewise_linear"
    initial_state: ClassVar[Mapping[str, float]] = {"edges": math.nan}

    n_bins: Setting[int] = Setting(partial(checks.integer, minimum=1, maximum=10**6))
    bins: Setting[str] = Setting(partial(checks.choice, choices=("quantiles", "tree")))

    def __init__(
        self, n_bins: Integer = 24, bins: Literal["quantiles", "tree"] = "quantiles"
    ) -> None:
        self._set(n_bins=n_bins, bins=bins)

    @property
    def widens(self) -> int:  # type: ignore[override]
        return self.n_bins

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.n_bins),)

    def state_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"edges": (self.n_bins + 1, in_features)}

    def learn(self, column: Column) -> dict[str, Any]:
        present, edges = column.present, np.full(self.n_bins + 1, np.nan)
        if not len(present):
            edges[0] = 0.0
            return {"edges": edges}
        if self.bins == "tree":
            known = np.unique([present.min(), *self._cuts(column), present.max()])
        else:
            known = np.unique(np.quantile(present, np.linspace(0, 1, self.n_bins + 1)))
        edges[: len(known)] = known
        return {"edges": edges}

    def _cuts(self, column: Column) -> Floats:
        try:
            from sklearn import tree
        except ImportError as error:
            raise ImportError(
                f"PiecewiseLinear: bins='tree' needs scikit-learn: pip install scikit-learn "
                f"({error})",
                name=error.name,
            ) from None
        there = ~np.isnan(column.numbers)
        x, y = column.numbers[there, None], column.targets[there]
        kind = tree.DecisionTreeClassifier if y.ndim == 1 else tree.DecisionTreeRegressor
        grown = kind(max_leaf_nodes=max(self.n_bins, 2), min_samples_leaf=64, random_state=0)
        found = grown.fit(x, y).tree_
        return np.asarray(found.threshold[found.children_left != found.children_right])

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        return "numbers that rise, and NaN behind them", _are_rising(values)


class OneHot(InputLayer):
    """Each column of codes 0, 1, ... as columns of which that of the code is 1, and the others 0.

    Parameters
    ----------
    n_categories : int
        At least 1: codes are whole numbers from 0 to `n_categories` - 1.
    min_count : int
        At least 1. Codes that fewer of the training rows have share one more column.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    Codes that no training row has, other numbers and NaN are zeros in all columns: NaN in X is
    taken. So the columns that come out are `n_categories` for each that comes in, and one more with
    a `min_count` above 1.

    `counts` (n_categories, in_features), of training rows by code, are part of the model's `state`
    and its file. Codes of many categories are rather one for `Embedding`.

    Examples
    --------
    >>> codes = np.array([[0], [2], [2], [0], [1]])
    >>> model = fnn.Sequential([fnn.OneHot(3), fnn.Dense(2)]).build(1)
    >>> model.fit(codes, [0, 1, 1, 0, 1], loss="cross_entropy", epochs=1).epochs
    1
    >>> model.activations([[0], [2], [np.nan], [7]])["0"]
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 0., 0.],
           [0., 0., 0.]], dtype=float32)
    """

    kind = "one_hot"
    of_tables = False
    takes_nan = True
    initial_state: ClassVar[Mapping[str, float]] = {"counts": math.nan}

    n_categories: Setting[int] = Setting(partial(checks.integer, minimum=1))
    min_count: Setting[int] = Setting(partial(checks.integer, minimum=1))

    def __init__(self, n_categories: Integer, min_count: Integer = 1) -> None:
        self._set(n_categories=n_categories, min_count=min_count)

    @property
    def widens(self) -> int:  # type: ignore[override]
        return self.n_categories + (self.min_count > 1)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.n_categories), float(self.min_count))

    def state_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"counts": (self.n_categories, in_features)}

    def learn(self, column: Column) -> dict[str, Any]:
        x = column.present
        codes = x[(x >= 0) & (x < self.n_categories) & (x == np.trunc(x))].astype(np.intp)
        return {"counts": np.bincount(codes, minlength=self.n_categories)}

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        return "numbers of at least 0", bool((np.isfinite(values) & (values >= 0)).all())


_STRATEGIES = ("median", "mean", "most_frequent")


def _check_strategy(value: Any, name: str) -> str | float:
    if isinstance(value, str):
        return checks.choice(value, name, _STRATEGIES)
    try:
        return checks.real(value, name)
    except TypeError:
        raise TypeError(
            f"{name}: expected a number or one of {', '.join(_STRATEGIES)}, got {describe(value)}"
        ) from None


class Impute(InputLayer):
    """What is missing in a column, NaN, becomes a number: so NaN in X is taken.

    Parameters
    ----------
    strategy : {"median", "mean", "most_frequent"} or float
        What the first `fit` learns of the numbers that are there (of equally frequent ones the
        smallest); or the number itself. A column of which nothing is there gets 0.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Behind `Standardize` and the like, which pass NaN on, a number such as 0 stands for the mean.
    `MissingIndicator` in another part of `Columns` tells what was missing. `value` (in_features,)
    is part of the model's `state` and its file.

    Examples
    --------
    >>> layers = [fnn.Impute(), fnn.Standardize(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)]
    >>> with_holes = np.where(X > 15, np.nan, X)
    >>> fnn.Sequential(layers).fit(with_holes, y, loss="cross_entropy", epochs=10).epochs
    10
    """

    kind = "impute"
    takes_nan = True

    strategy: Setting[str | float] = Setting(_check_strategy)

    def __init__(
        self, strategy: Literal["median", "mean", "most_frequent"] | Real = "median"
    ) -> None:
        self._set(strategy=strategy)

    @property
    def initial_state(self) -> Mapping[str, float]:  # type: ignore[override]
        return {"value": math.nan if isinstance(self.strategy, str) else self.strategy}

    def learn(self, column: Column) -> dict[str, Any]:
        present = column.present
        if not len(present):
            return {"value": 0.0}
        if self.strategy == "most_frequent":
            numbers, counts = np.unique(present, return_counts=True)
            return {"value": numbers[np.argmax(counts)]}
        return {"value": np.median(present) if self.strategy == "median" else present.mean()}


class MissingIndicator(InputLayer):
    """1 where a number is missing, NaN, and 0 where there is one: so NaN in X is taken.

    Examples
    --------
    >>> parts = [(slice(None), [fnn.Impute()]), (slice(None), [fnn.MissingIndicator()])]
    >>> fnn.Sequential([fnn.Columns(parts), fnn.Dense(2)]).build(3).layers[1]
    Dense(2)
    """

    kind = "missing_indicator"
    takes_nan = True


class Selected(InputLayer):
    """Some of the columns of X, by their numbers: where a part of `Columns` begins."""

    kind = "select"
    of_tables = False
    places: Setting[tuple[int, ...]] = Setting(lambda value, name: tuple(map(int, value)))

    def __init__(self, places: Any) -> None:
        self._set(places=places)

    @property
    def units(self) -> int:
        return len(self.places)

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(map(float, self.places))

    def lay(self, network: Graph, path: str, value: int) -> int:
        return network.add(self, path, self.kind, (value,), self.units)

    def __repr__(self) -> str:
        return f"columns {', '.join(map(str, self.places))}"


class SideBySide(InputLayer):
    """What input layers put out, side by side: where the parts of `Columns` end."""

    kind = "join"
    of_tables = False

    def __repr__(self) -> str:
        return "side by side"


INPUT_LAYERS = (
    *(Rescale, Standardize, RobustScale, QuantileNormal, PiecewiseLinear),
    *(OneHot, Impute, MissingIndicator),
)
