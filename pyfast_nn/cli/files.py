"""The files that the command line names."""

import errno
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import atomic, data, datasets, modelfile
from ..typing import Array

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
ARRAYS = (
    "'digits' (built in), one .npz file with arrays X and y, or two IDX files, images and labels"
)
DATA = f"{ARRAYS}, or one table ({', '.join(TABLES)}; the text ones also as .gz)"
_OTHER_TABLES = (".txt", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".sqlite", ".db")
_IDX_BEGINNINGS = (b"\0\0", b"\x1f\x8b")  # plain, or compressed by gzip


def path(text: str) -> str:
    """Return the name of a file as an option or argument gives it; ~ is the home folder."""
    return os.path.expanduser(text)


# ---------------------------------------------------------------------- to read


def read_examples(names: Sequence[str]) -> tuple[Array, Array]:
    """Return X (n, ...) and y (n,) or (n, columns) of what the command line names."""
    X: Array
    y: Any
    if _is_digits(names):
        X, y = datasets.load_digits()
    elif _is_npz(names):
        X, y = datasets.read_npz(names[0])
    elif len(names) == 2:
        X, y = datasets.read_idx(names[0]), datasets.read_idx(names[1])
    else:
        raise ValueError(f"data: expected {DATA}; got {' '.join(names)!r}")
    if y.ndim == 0 or X.ndim == 0 or len(X) != len(y) or len(X) == 0:
        raise ValueError(
            f"data: expected examples (n, ...) and labels (n,), got shapes {X.shape} and {y.shape}"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return X, np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y


def read_features(names: Sequence[str]) -> Array:
    """Return X (n, ...) of what the command line names; labels need not be there."""
    if _is_digits(names):
        return datasets.load_digits()[0]
    if _is_npz(names):
        return datasets.read_npz(names[0], ["X"])[0]
    if len(names) <= 2:
        return datasets.read_idx(names[0])
    raise ValueError(f"data: expected {DATA}; got {' '.join(names)!r}")


def as_rows(X: Array) -> Array:
    """Return X (n, ...) as numbers (n, features): an image is a row."""
    if X.ndim < 2:
        hint = "; one feature is X.reshape(-1, 1)" if X.ndim else ""
        raise ValueError(f"data: expected examples (n, ...), got shape {X.shape}{hint}")
    features = 1
    for length in X.shape[1:]:
        features *= length
    return data.features(X.reshape(len(X), features))


def shape_of_images(X: Array) -> tuple[int, ...]:
    """Return (height, width, channels) of images X (n, height, width) or with channels."""
    if X.ndim not in (3, 4):
        raise ValueError(
            f"data: expected images (n, height, width) or (n, height, width, channels), got shape "
            f"{X.shape}"
        )
    return (*X.shape[1:], 1) if X.ndim == 3 else X.shape[1:]


def as_inputs(X: Array, shape: tuple[int, ...]) -> Array:
    """Return X (n, ...) as examples of a model's `in_shape`, where they have as many numbers."""
    rows = as_rows(X)
    return rows.reshape(len(rows), *shape) if rows.shape[1] == math.prod(shape) else rows


def _is_digits(names: Sequence[str]) -> bool:
    return list(names) == ["digits"]


def _is_npz(names: Sequence[str]) -> bool:
    """Tell an .npz file from IDX files; an error if they cannot be either."""
    check_there(names)
    if len(names) == 1 and names[0].lower().endswith(".npz"):
        return True
    for name in filter(os.path.isfile, names):  # what cannot be read twice is left alone
        with open(name, "rb") as file:
            beginning = file.read(2)
        if beginning not in _IDX_BEGINNINGS:
            ending = os.path.splitext(name)[1]
            cure = "numpy.savez('data.npz', X=X, y=y) makes an .npz file"
            if ending.lower() in _OTHER_TABLES:
                cure = "save the table as .csv"
            elif ending.lower() in TABLES:
                cure = "a table comes alone"
            raise ValueError(
                f"{name}: expected {DATA}; got {ending or 'another kind of file'}; {cure}"
            )
    return False


def check_arrays(names: Sequence[str]) -> None:
    """Find files that hold no arrays before they are read."""
    if not _is_digits(names):
        _is_npz(names)


def check_there(names: Sequence[str]) -> None:
    """Find what is no file of data before it is read."""
    for name in names:
        if name == "-":
            raise ValueError("data: expected names of files, got '-'; standard input is not read")
        os.stat(name)  # a file that is not there says so whatever its ending
        if os.path.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if modelfile.is_model(name):
            raise ValueError(f"{name}: expected data, {DATA}; got a model file")


def check_order(name: str, names: Sequence[str]) -> None:
    """Find a model file that stands where data are to stand, beside the model `name`."""
    for other in names:
        if os.path.isfile(other) and modelfile.is_model(other):
            raise ValueError(f"{name}: expected MODEL, then DATA, but {other} is the model file")


# ---------------------------------------------------------------------- to write


def check_writable(
    name: str,
    option: str,
    *,
    force: bool,
    ours: Callable[[str], bool] = lambda name: False,
    inputs: Sequence[str] = (),
) -> None:
    """Find a mistake in the name of a file to write before the work, not after it.

    A file that is there already is replaced by `force` only, or where it is `ours` to replace; one
    of the `inputs`, never.
    """
    if name in ("", "-") or name.endswith(os.sep):
        raise ValueError(f"{option}: expected the name of a file, got {name!r}")
    try:
        target = atomic.target(name)
    except OSError as error:
        raise ValueError(f"{option}: cannot write {name!r}: {error.strerror}") from None
    folder, exists = os.path.dirname(target), os.path.lexists(target)
    if not os.path.isdir(folder):
        raise ValueError(f"{option}: cannot write {name!r}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK) or (exists and not os.access(target, os.W_OK)):
        raise ValueError(f"{option}: cannot write {name!r}: no permission")
    if exists and any(
        os.path.exists(other) and os.path.samefile(other, target) for other in inputs
    ):
        raise ValueError(f"{option}: expected another file than those to read, got {name!r}")
    if exists and not force and not ours(target):
        raise ValueError(f"{option}: expected a new file, got {name!r}; --force replaces it")
