"""What the columns of a table are, and the numbers that stand for what is in them.

================  =================================================================================
kind              which columns, and what becomes of them
================  =================================================================================
``"number"``      Of numbers, however few different ones there are; of texts that are all numbers
                  (but codes such as ``"007"``); of durations, in seconds. Missing ones are NaN.
                  Whole ones with few different values have codes besides, as categories do, which
                  some of the networks look at.
``"category"``    Of text, bool, and whatever is categorical by its type, numbers too. A code each,
                  the most frequent 0. Rare ones share the last code, as do those that were not
                  there in training; where none was rare, these are NaN. Missing is one of them.
``"date"``        Refused, or with ``dates="parts"`` its year, month, day, weekday (Monday 0) and
                  hour as numbers, those which differ.
``"constant"``    One value in every row: left out.
``"empty"``       None in any row: left out.
``"identifier"``  Text which is another one in almost every row, as names and sentences are: left
                  out, with a warning.
================  =================================================================================

Missing are None, NaN, NA, NaT, and texts that are empty or blank.
"""

import re
import warnings
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import checks, columns
from ..typing import Array, Floats
from . import recipe
from .table import Table
from .values import Values, as_texts, read

Kind: TypeAlias = Literal["number", "category", "date", "constant", "empty", "identifier"]

KINDS = ("number", "category", "date", "constant", "empty", "identifier")
PARTS = ("year", "month", "day", "weekday", "hour")
# As a number is written; a code such as "007" is none.
NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Input(NamedTuple):
    """A column of the array that the networks are given.

    Attributes
    ----------
    column : int
        Where in the table it comes from.
    n_codes : int
        Of a category; 0: it is a number.
    missing : bool
        Whether numbers were missing in training.
    n_distinct : int
        Different values in training.
    again : bool
        Whether these are codes of whole numbers, which stand beside them as numbers.
    """

    column: int
    n_codes: int
    missing: bool
    n_distinct: int
    again: bool = False


class Column(NamedTuple):
    """What is known of a column of the table.

    Attributes
    ----------
    kind : str
        See the table above.
    n_distinct, n_missing : int
        In training: different values, and rows without one.
    categories : list of str or None
        Those that have codes, in their order; None is the missing one.
    others : bool
        Whether another code stands for all other categories.
    parts : list of str
        Of a date, those that differ.
    """

    kind: Kind
    n_distinct: int
    n_missing: int
    categories: list[str | None] = []  # noqa: RUF012  # nobody adds to it
    others: bool = False
    parts: list[str] = []  # noqa: RUF012

    @property
    def n_codes(self) -> int:
        """How many codes there are (int)."""
        return len(self.categories) + self.others

    @property
    def encoded(self) -> str:
        """How its values become numbers, in words (str)."""
        if self.kind == "number":
            flagged = ", missing flagged" if self.n_missing else ""
            return (
                "as it is" + flagged + (f", also {self.n_codes} codes" if self.categories else "")
            )
        if self.kind == "date":
            return ", ".join(self.parts)
        if self.kind == "category":
            return f"{self.n_codes} codes" + (", rare ones share the last" if self.others else "")
        return "left out"


class Schema:
    """The columns of a table, learned from one, and the same of others as numbers.

    Attributes
    ----------
    names : list of str or None
        Those of the columns, if they are strings.
    columns : list of Column
    inputs : list of Input
        Of the array that `encode` returns.
    """

    names: list[str] | None
    columns: list[Column]
    inputs: list[Input]

    @classmethod
    def learn(cls, X: Any, dates: str | None = None) -> tuple["Schema", Floats]:
        """Return the schema of a table, and its numbers, as `encode` returns them.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
        dates : {"parts"} or None
            What becomes of dates; None refuses them.

        Raises
        ------
        ImportError
            If X is a DataFrame, and narwhals is not there.
        TypeError, ValueError
            If X is no table, or has dates, infinite numbers or values of several kinds in a column,
            or no column that tells rows apart.

        Warns
        -----
        UserWarning
            Of columns that are left out as they have no value, or another text in each row.
        """
        if dates is not None:
            checks.choice(dates, "dates", ("parts",))
        self = cls.__new__(cls)
        self.names, n, _, every = read(X)
        if n == 0:
            raise ValueError("X: expected at least one row, got a table without")
        self.columns, parts = [], []
        for i, values in enumerate(every):
            values = _number_if_all_are(values)
            column = _column_of(values, self.title(i), dates)
            self.columns.append(column)
            parts += _encoded(column, values, self.title(i))
        if not parts:
            raise ValueError(
                f"X: expected a column with different values in different rows, got {self._kinds()}"
            )
        self.inputs = self._inputs()
        return self, np.column_stack(parts)

    def encode(self, X: Any) -> Floats:
        """Return a table as numbers.

        Parameters
        ----------
        X : DataFrame or array_like (n, n_columns)
            Columns that have names may come in any order.

        Returns
        -------
        ndarray (n, len(inputs)) of float64
            Categories as codes, missing values as NaN.

        Raises
        ------
        ImportError, TypeError, ValueError
            As `learn`; and if columns are missing, unexpected, or of another kind than in training.
        """
        names, _, count, every = read(X)
        known = None if self.names is None else np.array(self.names, object)
        order = columns.order_of(names, known, "X")
        if count != len(self.columns):
            raise ValueError(
                f"X: expected {len(self.columns)} columns, as in training, got {count}"
            )
        places = {int(i): k for k, i in enumerate(range(count) if order is None else order)}
        parts: list[list[Floats]] = [[] for _ in range(count)]
        for i, values in enumerate(every):
            place = places[i]
            parts[place] = _encoded(self.columns[place], values, self.title(place))
        return np.column_stack([part for each in parts for part in each])

    def title(self, i: int) -> str:
        """Return what a message calls a column."""
        return columns.text(i, None if self.names is None else np.array(self.names, object))

    @property
    def input_names(self) -> list[str]:
        """What the columns of the array are called (list of str)."""
        found = []
        for i, column in enumerate(self.columns):
            name = f"column {i}" if self.names is None else self.names[i]
            parts = [f"{name}.{part}" for part in column.parts]
            found += parts if column.kind == "date" else [name] * _width(column)
        return found

    def describe(self) -> Table:
        """Return name, kind, different values, missing ones and encoding of each column."""
        names = range(len(self.columns)) if self.names is None else self.names
        return Table(
            {
                "column": name,
                "kind": column.kind,
                "distinct": column.n_distinct,
                "missing": column.n_missing,
                "encoded": column.encoded,
            }
            for name, column in zip(names, self.columns, strict=True)
        )

    def description(self) -> dict[str, Any]:
        """Return plain values from which `described` makes the same."""
        return {"names": self.names, "columns": [column._asdict() for column in self.columns]}

    @classmethod
    def described(cls, description: Any) -> "Schema":
        """Return the schema of a `description`; TypeError, ValueError or KeyError if it is none."""
        self = cls.__new__(cls)
        self.columns = [_checked(Column(**each)) for each in description["columns"]]
        self.names = description["names"]
        if self.names is not None and (
            len(self.names) != len(self.columns) or not all(isinstance(n, str) for n in self.names)
        ):
            raise ValueError(f"names: expected {len(self.columns)} strings")
        self.inputs = self._inputs()
        return self

    def _inputs(self) -> list[Input]:
        found = []
        for i, column in enumerate(self.columns):
            if column.kind == "category":
                found.append(Input(i, column.n_codes, False, column.n_distinct))
                continue
            numbers = len(column.parts) if column.kind == "date" else int(column.kind == "number")
            found += [Input(i, 0, column.n_missing > 0, column.n_distinct)] * numbers
            if column.kind == "number" and column.categories:
                found.append(Input(i, column.n_codes, False, column.n_distinct, again=True))
        return found

    def _kinds(self) -> str:
        each = (f"{self.title(i)} ({c.kind})" for i, c in enumerate(self.columns[:5]))
        return ", ".join(each) + (", ..." if len(self.columns) > 5 else "")


# ---------------------------------------------------------------------- learned of a column


def _column_of(values: Values, title: str, dates: str | None) -> Column:
    """Return what a column is, by its values in training."""
    missing = int(values.missing.sum())
    present = len(values.array) - missing
    if present == 0:
        _warn(f"{title} is left out, as it has no value in any row; leave it out of X")
        return Column("empty", 0, missing)
    if values.kind == "text":
        counts = np.bincount(values.array[values.array >= 0], minlength=len(values.texts))
        distinct = int(np.count_nonzero(counts))
    else:
        distinct = len(np.unique(values.array[~values.missing]))
    if values.kind == "date" and dates is None:
        raise TypeError(
            f"X: expected numbers and texts, got dates in {title}; dates='parts' makes numbers of "
            "their year, month, day, weekday and hour; a number of days since some day says more "
            "where time goes on; or leave the column out"
        )
    if distinct == 1 and not missing:
        return Column("constant", 1, 0)
    if values.kind == "date":
        each = zip(PARTS, _parts(values.array), strict=True)
        different = [name for name, part in each if len(np.unique(part[~np.isnan(part)])) > 1]
        return Column("date", distinct, missing, parts=different or ["year"])
    if values.kind == "number":
        return _number(values, distinct, missing)
    if (
        not values.is_category
        and distinct > recipe.IDENTIFIER_DISTINCT
        and distinct > recipe.IDENTIFIER_SHARE * present
    ):
        _warn(
            f"{title} is left out, as its texts are {distinct} different ones in {present} rows "
            f"(such as {values.texts[0]!r}): they name rows, or are sentences; make numbers or a "
            "few categories of them if they say something, or leave it out of X"
        )
        return Column("identifier", distinct, missing)
    return _category(values, counts, distinct, missing)


def _number(values: Values, distinct: int, missing: int) -> Column:
    """Return a column of numbers; whole ones of which many rows have each have codes besides."""
    present = values.array[~values.missing]
    if (
        not 2 < distinct <= min(recipe.CODES_UP_TO, len(present) // recipe.ROWS_PER_CODE)
        or (present != np.trunc(present)).any()
        or np.abs(present).max() >= 2**53
    ):
        return Column("number", distinct, missing)
    each, counts = np.unique(present, return_counts=True)
    common = counts >= recipe.RARE_BELOW
    order = np.lexsort((each[common], -counts[common]))
    names: list[str | None] = [str(int(value)) for value in each[common][order]]
    return Column("number", distinct, missing, names, not common.all())


def _category(values: Values, counts: Array, distinct: int, missing: int) -> Column:
    rows: list[tuple[str | None, int]] = [
        (text, int(count)) for text, count in zip(values.texts, counts, strict=True) if count
    ]
    rows += [(None, missing)] if missing else []
    rows.sort(key=lambda row: (-row[1], row[0] is None, row[0] or ""))  # whatever the rows' order
    common: list[str | None] = [text for text, count in rows if count >= recipe.RARE_BELOW]
    if len(common) < 2:
        return Column("category", distinct, missing, [text for text, _ in rows])
    return Column("category", distinct, missing, common, len(common) < len(rows))


def _number_if_all_are(values: Values) -> Values:
    """Return texts that are all numbers as those; a code such as "007" is none."""
    if values.kind != "text" or values.is_category or not values.texts:
        return values
    numbers = _as_numbers(values.texts)
    if np.isnan(numbers).any():
        return values
    return Values("number", np.append(numbers, np.nan)[values.array])


def _as_numbers(texts: list[str]) -> Floats:
    """Return the numbers that texts are; NaN for others."""
    each = (text.strip() for text in texts)
    return np.array(
        [float(text) if NUMBER.fullmatch(text) else np.nan for text in each], np.float64
    )


def _warn(message: str) -> None:
    warnings.warn(f"X: {message}", UserWarning, stacklevel=6)  # the caller of an estimator's fit


# ---------------------------------------------------------------------- encoded


def _width(column: Column) -> int:
    if column.kind == "date":
        return len(column.parts)
    return int(column.kind in ("number", "category")) + int(
        column.kind == "number" and bool(column.categories)
    )


def _encoded(column: Column, values: Values, title: str) -> list[Floats]:
    """Return the columns of numbers, each (n,), that stand for one of the table."""
    if _width(column) == 0:
        return []
    if column.kind == "category":
        return [_codes(column, as_texts(values))]
    if column.kind == "date":
        if values.kind not in ("date", "empty"):
            raise _another_kind("dates", values, title)
        dates = values.array if values.kind == "date" else np.full(len(values.array), "NaT", "M8")
        parts = dict(zip(PARTS, _parts(dates.astype("M8[us]")), strict=True))
        return [parts[name] for name in column.parts]
    if values.kind == "date":
        raise _another_kind("numbers", values, title)
    numbers = values.array
    if values.kind == "text":
        numbers = np.append(_as_numbers(values.texts), np.nan)[values.array]
        wrong = np.isnan(numbers) & ~values.missing
        if wrong.any():
            raise _another_kind("numbers", values, title, int(np.argmax(wrong)))
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(
            f"X: expected finite numbers, or NaN where there is none, got {numbers[row]} in row "
            f"{row}, {title}"
        )
    return _with_codes(column, numbers)


def _with_codes(column: Column, numbers: Floats) -> list[Floats]:
    """Return numbers, and their codes if they have some."""
    if not column.categories:
        return [numbers]
    known = np.array(column.categories, np.float64)
    order = np.argsort(known)
    places = order[np.searchsorted(known, numbers, sorter=order).clip(max=len(known) - 1)]
    other = float(len(known)) if column.others else np.nan
    codes = np.where(known[places] == numbers, places, other)
    return [numbers, np.where(np.isnan(numbers), np.nan, codes)]


def _codes(column: Column, values: Values) -> Floats:
    known = {text: float(code) for code, text in enumerate(column.categories)}
    other = float(len(column.categories)) if column.others else np.nan
    codes = [known.get(text, other) for text in values.texts]
    return np.array([*codes, known.get(None, other)])[values.array]  # -1, missing: the last


def _parts(dates: Array) -> list[Floats]:
    """Return year, month, day, weekday and hour of datetime64[us] (n,), NaN where missing."""
    missing = np.isnat(dates)
    years, months, days = (dates.astype(f"M8[{unit}]") for unit in "YMD")
    parts = [
        years.astype(np.int64) + 1970,
        months.astype(np.int64) % 12 + 1,
        (days - months.astype("M8[D]")).astype(np.int64) + 1,
        (days.astype(np.int64) + 3) % 7,  # 1970-01-01 was a Thursday
        (dates.astype("M8[h]") - days.astype("M8[h]")).astype(np.int64),
    ]
    return [np.where(missing, np.nan, part.astype(np.float64)) for part in parts]


def _another_kind(expected: str, values: Values, title: str, row: int | None = None) -> TypeError:
    if row is None:
        row = int(np.argmax(~values.missing))
    value = values.array[row]
    got = values.texts[value] if values.kind == "text" else value
    return TypeError(
        f"X: expected {expected} in {title}, as in training, got {str(got)!r} in row {row}"
    )


def _checked(column: Column) -> Column:
    """Return a column that a file described; TypeError or ValueError if it is impossible."""
    checks.choice(column.kind, "kind", KINDS)
    for name in ("n_distinct", "n_missing"):
        checks.integer(getattr(column, name), name, 0, 2**53)
    checks.boolean(column.others, "others")
    for part in column.parts:
        checks.choice(part, "parts", PARTS)
    if not all(text is None or isinstance(text, str) for text in column.categories):
        raise TypeError("categories: expected strings")
    return column
