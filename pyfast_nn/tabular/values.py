"""The columns of a table, of whatever library, as arrays of three kinds: numbers, texts and dates.

DataFrames are read through narwhals, the extra ``table``; arrays and lists without it.
"""

import datetime
import decimal
import numbers
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import checks, columns
from ..typing import Array, Floats

Kind: TypeAlias = Literal["number", "text", "date", "empty"]


class Values(NamedTuple):
    """One column (n,).

    Attributes
    ----------
    kind : {"number", "text", "date", "empty"}
        ``"empty"``: of no kind, as all are missing.
    array : ndarray (n,)
        float64, NaN where missing; datetime64[us], NaT where missing; of texts their places among
        `texts`, -1 where missing.
    texts : list of str
        Those of the column, each once.
    is_category : bool
        Whether the texts are categories by their type: bool, categorical.
    """

    kind: Kind
    array: Array
    texts: list[str] = []  # noqa: RUF012  # nobody adds to it
    is_category: bool = False

    @property
    def missing(self) -> Array:
        """Which are missing (ndarray (n,) of bool)."""
        if self.kind == "text":
            return self.array < 0
        return np.isnat(self.array) if self.kind == "date" else np.isnan(self.array)


def is_frame(X: Any) -> bool:
    """Return whether X is a DataFrame or the like."""
    if isinstance(X, (np.ndarray, list, tuple)) or hasattr(X, "tocsr"):
        return False
    return any(hasattr(type(X), name) for name in ("columns", "column_names", "__dataframe__"))


def as_array(X: Any) -> Array:
    """Return a list as an array, of objects where it has texts, and an array as it is."""
    if isinstance(X, (str, bytes, dict)):
        raise TypeError(
            f"X: expected a DataFrame or an array, got {checks.describe(X)}; pandas.read_csv makes "
            "a DataFrame of a file, pandas.DataFrame of a dict"
        )
    if not isinstance(X, np.ndarray) and np.iterable(X) and not hasattr(X, "__array__"):
        array = np.array([*X])
        return np.array([*X], object) if array.dtype.kind == "U" else array  # NaN is no text
    return np.asarray(X)


def read(X: Any) -> tuple[list[str] | None, int, int, Iterator[Values]]:
    """Return the names of the columns of X, or None, how many rows and columns, and their values.

    Parameters
    ----------
    X : DataFrame of any library that narwhals knows, or array_like (n, n_columns)
        Of numbers, or of objects.

    Raises
    ------
    ImportError
        If narwhals is not there, and X is a DataFrame.
    TypeError, ValueError
        If X is no table, or a value of it none that a table may have; the latter only when its
        column comes.
    """
    if is_frame(X):
        return _read_frame(X)
    if hasattr(X, "tocsr"):
        raise TypeError(
            f"X: expected a DataFrame or a dense array, got a sparse matrix of shape {X.shape}; "
            "use X.toarray()"
        )
    array = as_array(X)
    if array.ndim != 2:
        raise ValueError(
            f"X: expected 2 dimensions (rows, columns), got shape {array.shape}; one row is "
            "X.reshape(1, -1), one column X.reshape(-1, 1)"
        )
    if array.dtype.kind not in "fiubOUT":
        raise TypeError(f"X: expected numbers and texts, got an array of dtype {array.dtype}")
    each = (_of_array(column, f"column {i}") for i, column in enumerate(array.T))
    return None, *array.shape, each


def _of_array(array: Array, title: str) -> Values:
    if array.dtype.kind in "fiub":
        return Values("number", array.astype(np.float64))
    return _of_objects(array.tolist(), title)


# ---------------------------------------------------------------------- DataFrames


def _read_frame(X: Any) -> tuple[list[str] | None, int, int, Iterator[Values]]:
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X: expected a table in memory, got a LazyFrame; use X.collect()")
    try:
        import narwhals.stable.v2 as nw
    except ImportError as error:
        raise ImportError(
            f"X: DataFrames need narwhals: pip install 'pyfast-nn[table]' ({error})",
            name=error.name,
        ) from None
    names = columns.names_of(X, "X")
    try:
        frame = nw.from_native(X, eager_only=True)
    except TypeError as error:
        raise TypeError(
            f"X: expected a DataFrame that narwhals knows, as those of pandas, polars and pyarrow, "
            f"got {checks.describe(X)} ({error})"
        ) from None
    each = (
        _of_series(series, columns.text(i, None if names is None else np.array(names, object)))
        for i, series in enumerate(frame.iter_columns())
    )
    return names, *frame.shape, each


def _of_series(series: Any, title: str) -> Values:
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if dtype.is_numeric():
        return Values("number", np.asarray(series.to_numpy(), np.float64))
    if dtype == nw.Datetime:
        if dtype.time_zone is not None:
            series = series.dt.replace_time_zone(None)  # what a clock on the wall shows
        return Values("date", np.asarray(series.to_numpy()).astype("M8[us]"))
    if dtype == nw.Duration:
        return Values("number", _seconds(np.asarray(series.to_numpy())))
    values = _of_objects(series.to_list(), title)
    if dtype in (nw.Categorical, nw.Enum):
        return as_texts(values)._replace(is_category=True)
    return values


def _seconds(durations: Array) -> Floats:
    return durations.astype("m8[us]") / np.timedelta64(1, "s")


# ---------------------------------------------------------------------- objects


def _of_objects(values: list[Any], title: str) -> Values:
    """Return values that may be of any type; TypeError names the first that is impossible."""
    places: dict[Any, int] = {}
    try:
        codes = np.array([places.setdefault(value, len(places)) for value in values], np.intp)
    except TypeError:
        row, odd = next((i, v) for i, v in enumerate(values) if v.__hash__ is None)
        raise _impossible(title, odd, row) from None
    kinds = [_kind_of(value) for value in places]
    found: dict[str, int] = {}
    for i, kind in enumerate(kinds):
        if kind is not None:
            found.setdefault(kind, i)
    rows = {kind: int(np.argmax(codes == i)) for kind, i in found.items()}
    if "other" in found:
        raise _impossible(title, values[rows["other"]], rows["other"])
    if len(found) > 1 and found.keys() != {"number", "bool"}:
        came = " and ".join(f"{values[row]!r} in row {row}" for row in rows.values())
        raise TypeError(
            f"X: expected values of one kind in each column, got {came} of {title}; make the "
            "column all numbers, with None where there is none, or all text"
        )
    every = list(places)
    if not found:
        return Values("empty", np.full(len(values), np.nan))
    if "number" in found:
        each = [_number(v, kind) for v, kind in zip(every, kinds, strict=True)]
        return Values("number", np.array(each, np.float64)[codes])
    if "date" in found:
        dates = [_date(v, kind) for v, kind in zip(every, kinds, strict=True)]
        return Values("date", np.array(dates, "M8[us]")[codes])
    return _factorized(every, kinds, codes)._replace(is_category="bool" in found)


def _factorized(every: list[Any], kinds: list[str | None], codes: Array) -> Values:
    texts: dict[str, int] = {}
    new = [
        -1 if kind is None else texts.setdefault(str(value), len(texts))
        for value, kind in zip(every, kinds, strict=True)
    ]
    return Values("text", np.array(new, np.intp)[codes], list(texts))


def as_texts(values: Values) -> Values:
    """Return numbers and dates as the texts that stand for them."""
    if values.kind == "text":
        return values
    if values.kind == "empty":
        return Values("text", np.full(len(values.array), -1, np.intp))
    missing = values.missing
    every, codes = np.unique(values.array[~missing], return_inverse=True)
    places = np.full(len(values.array), -1, np.intp)
    places[~missing] = codes
    return Values("text", places, [text_of(value) for value in every.tolist()])


def text_of(value: Any) -> str:
    """Return the text of a number (3 and 3.0 have the same) or of a date."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _kind_of(value: Any) -> str | None:
    """Return the kind of a value: "number", "bool", "text", "date", "other"; None if missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, str):
        return "text" if value.strip() else None
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, (numbers.Real, decimal.Decimal, datetime.timedelta, np.timedelta64)):
        return "number" if value == value else None
    if isinstance(value, (datetime.date, np.datetime64)):
        return "date" if value == value else None
    return "other"


def _number(value: Any, kind: str | None) -> float:
    if kind is None:
        return np.nan
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return float(value / np.timedelta64(1, "s"))
    return float(value)


def _date(value: Any, kind: str | None) -> Any:
    if kind is None:
        return np.datetime64("NaT")
    aware = isinstance(value, datetime.datetime) and value.tzinfo is not None
    return np.datetime64(value.replace(tzinfo=None) if aware else value, "us")


def _impossible(title: str, value: Any, row: int) -> TypeError:
    return TypeError(
        f"X: expected numbers, texts, bool or dates, got {checks.describe(value)} in row {row}, "
        f"{title}; leave that column out, or make numbers or texts of it"
    )
