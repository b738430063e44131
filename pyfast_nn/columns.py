"""Names of the columns of DataFrames: by them inputs come into the order of the first fit."""

from typing import Any

import numpy as np

from .typing import Array, Integer

_SHOWN = 5  # names in a message


def names_of(X: Any, name: str) -> list[str] | None:
    """Return the names of the columns of a DataFrame; None if they are no strings, or X has none.

    As in scikit-learn some strings among other names are a TypeError; a name that comes twice is a
    ValueError.
    """
    if isinstance(X, np.ndarray):
        return None
    columns = getattr(X, "column_names", None)  # of pyarrow, whose `columns` are the data
    columns = getattr(X, "columns", None) if columns is None else columns
    if columns is None or callable(columns):
        return None
    names = list(columns)
    are_strings = [isinstance(each, str) for each in names]
    if not any(are_strings):
        return None
    if not all(are_strings):
        other = names[are_strings.index(False)]
        raise TypeError(
            f"{name}: expected columns whose names are all strings, or none of them, got {other!r} "
            f"({type(other).__name__}) among strings; {name}.columns = {name}.columns.astype(str) "
            "makes them so"
        )
    names = [str(each) for each in names]
    if len(set(names)) != len(names):
        twice = next(each for i, each in enumerate(names) if each in names[:i])
        raise ValueError(f"{name}: expected columns of different names, got {twice!r} twice")
    return names


def order_of(names: list[str] | None, known: Array | None, name: str) -> list[int] | None:
    """Return where among `names` each one that is `known` stands; ValueError if they are others.

    None if columns are to be taken as they come: without names, without known ones, if they equal.
    """
    if names is None or known is None or names == list(known):
        return None
    places = {each: i for i, each in enumerate(names)}
    missing = [each for each in known if each not in places]
    unexpected = sorted(places.keys() - set(known), key=places.__getitem__)
    if missing or unexpected:
        wrong = {"without": missing, "with": unexpected}
        texts = [f"{what} {_some(them)}" for what, them in wrong.items() if them]
        raise ValueError(
            f"{name}: expected the {len(known)} columns that the model was fitted on, got "
            f"{len(names)}, {', '.join(texts)}; its feature_names_in_ has the right ones"
        )
    return [places[each] for each in known]


def text(column: Integer, known: Array | None) -> str:
    """Return what a message calls a column."""
    return f"column {column}" if known is None else f"column {known[column]!r}"


def _some(names: list[str]) -> str:
    texts = [repr(each) for each in names[:_SHOWN]]
    if len(names) > _SHOWN:
        texts.append(f"... ({len(names)} such)")
    return ", ".join(texts)
