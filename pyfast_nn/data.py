"""What users pass, turned into what the core reads: converted here, its shape checked there.

The core reads a feature matrix in place, number by number: any strides, alignment and byte
order, float16 to float64, integers and bool. What is no array in memory (lists, DataFrames of mixed
columns) or too wide (long double) is copied.
"""

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import _core, checks, columns, sparse
from .checks import describe
from .labels import are_among, label_kind, native, places_in, row_number, some, whole_numbers
from .typing import Array, ArrayLike, ClassWeight, Inputs, Integers, Shape

if TYPE_CHECKING:
    from .losses import Loss


class Examples(NamedTuple):
    """Inputs with their targets, or some rows of them: rows of weight 0 are never among those.

    Where the outputs have positions, targets, y and weights have a row for each position of each
    example, and positions may have weight 0.
    """

    X: Any  # all rows, as the core reads them
    targets: Array  # likewise
    y: Array  # likewise, as `given_targets` returned it
    weights: Array | None = None  # likewise; None: all are 1. Of mean 1 over the rows
    rows: Integers | None = None  # rising; None: all
    positions: int = 1

    @property
    def n(self) -> int:
        """How many there are (int)."""
        return self.X.shape[0] if self.rows is None else len(self.rows)

    def of_rows(self, values: Array) -> Array:
        """Return those of the rows alone, of what is as long as the targets."""
        return values if self.rows is None else rows_of(values, self.rows, self.positions)

    def own(self) -> "Examples":
        """Return targets, y and weights of the rows alone; without X, which may be large."""
        weights = None if self.weights is None else self.of_rows(self.weights)
        own = Examples(None, self.of_rows(self.targets), self.of_rows(self.y), weights)
        return own._replace(positions=self.positions)

    @property
    def counted(self) -> Integers | None:
        """The rows of the targets whose weight is not 0 (ndarray, rising); None: all."""
        if self.positions == 1 or self.weights is None:
            return None if self.rows is None else positions_of(self.rows, self.positions)
        return np.flatnonzero(self.weights)


def rows_of(values: Array, rows: Any, positions: int) -> Array:
    """Return the rows of some examples, of an array with a row for each of their positions."""
    if positions == 1:
        return values[rows]
    each = values.shape[1:]
    return values.reshape(-1, positions, *each)[rows].reshape(-1, *each)


def positions_of(rows: Integers, positions: int) -> Integers:
    """Return the numbers of the rows of all positions of some examples."""
    return (rows[:, None] * positions + np.arange(positions)).ravel()


def as_array(value: Any, name: str) -> Array:
    """Return `value` as a plain array without copying one that is an array already."""
    masked = sys.modules.get("numpy.ma")  # not loaded: no such array exists
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name}: expected values without a mask, got a masked array; fill it first"
        )
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        raise TypeError(
            f"{name}: expected a dense array, got {type(value).__name__}; use .toarray()"
        )
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
            return _from_pandas(value)
        if not hasattr(value, "__array__"):
            if hasattr(value, "__dlpack__"):
                return np.from_dlpack(value)
            if hasattr(value, "to_numpy"):  # other DataFrames
                value = value.to_numpy()
        array = np.asarray(value)
        # NumPy casts its strings of variable width to objects only
        return array.astype(object) if array.dtype.kind == "T" else array
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(
            f"{name}: expected an array of numbers, got {describe(value)}: {error}"
        ) from None


def _from_pandas(value: Any) -> Array:
    """Return a DataFrame or Series as an array, missing numbers of its own dtypes as NaN."""
    dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]
    if not dtypes:
        return np.empty(value.shape)  # pandas' own are objects
    if all(dtype == dtypes[0] for dtype in dtypes) and isinstance(dtypes[0], np.dtype):
        return np.asarray(value)  # in place, where pandas keeps one block
    if any(dtype.kind not in "fiub" for dtype in dtypes):
        if value.ndim == 1:
            return np.asarray(value)  # labels
        column = next(c for c, dtype in value.dtypes.items() if dtype.kind not in "fiub")
        raise TypeError(f"column {column!r} has dtype {value.dtypes[column]}")
    if value.isna().to_numpy().any():
        return value.to_numpy(dtype=np.float64, na_value=np.nan)
    return value.to_numpy(
        dtype=np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes))
    )


def as_targets(y: Any, name: str = "y", rows: Integers | None = None) -> Array:
    """Return labels or values `y`, or some rows of them, as an array; objects as `native` says."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(y, pandas.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    if rows is not None:  # before others can change the kind of all
        if pandas is not None and isinstance(y, (pandas.DataFrame, pandas.Series)):
            y = y.iloc[rows]
        elif isinstance(y, (list, tuple)):
            y = [y[row] for row in rows]
        else:
            y = as_array(y, name)[rows]
    return native(as_array(y, name), y, name, rows)


def as_numbers(value: Any, name: str) -> Array:
    """Return `value` as an array of real numbers that the core can read."""
    return _real(as_array(value, name), name)


def _real(array: Any, name: str) -> Any:
    """Return an array or a sparse matrix as one of real numbers that the core can read."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got an array of dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # beyond float64: infinity, which fit reports
            array = array.astype(np.float64)
    return array


def features(
    X: Inputs, name: str = "X", known: Array | None = None, positions: bool = False
) -> Array:
    """Return `X` (n, in_features) as the core can read it: an array of any strides, or CSR.

    A DataFrame's columns come in the order of the names that are `known` (None: as they are).
    With `positions` it may be (n, positions, channels) or (n, height, width, channels), too.
    """
    order = columns.order_of(columns.names_of(X, name), known, name)
    scipy_sparse = sys.modules.get("scipy.sparse")
    is_sparse = scipy_sparse is not None and scipy_sparse.issparse(X)
    array: Any = X if is_sparse else as_numbers(X, name)
    if not 2 <= array.ndim <= (4 if positions else 2):
        hint = (
            f"; one example is {name}.reshape(1, -1), one feature {name}.reshape(-1, 1)"
            if array.ndim == 1
            else f"; images and the like are {name}.reshape(len({name}), -1)"
            if array.ndim > 2
            else ""
        )
        most = ", or with positions 3 or 4, channels last" if positions and array.ndim > 2 else ""
        raise ValueError(
            f"{name}: expected 2 dimensions (examples, features){most}, got shape "
            f"{array.shape}{hint}"
        )
    if 0 in array.shape[1:]:
        what = "column" if array.ndim == 2 else "number in each example"
        raise ValueError(f"{name}: expected at least one {what}, got shape {array.shape}")
    if is_sparse:
        return _real(sparse.canonical_csr(array, name), name)
    return array if order is None else array[:, order]


def apart(X: Any, name: str, most: int | None = None) -> tuple[Any, Any]:
    """Return X and the lengths of its examples, None if it has none.

    X may be a pair (X, lengths), or a list of arrays of different lengths, which are filled with
    zeros up to the longest, or to `most` positions.
    """
    if isinstance(X, tuple) and len(X) == 2 and np.ndim(X[1]) == 1 and np.ndim(X[0]) > 1:
        return X
    if not isinstance(X, (list, tuple)) or not all(isinstance(each, np.ndarray) for each in X):
        return X, None
    if len({each.shape[1:] for each in X}) != 1 or len({len(each) for each in X if each.ndim}) < 2:
        return X, None
    lengths = np.array([len(each) for each in X])
    longest = int(lengths.max())
    if most is not None and longest > most:
        raise ValueError(f"{name}: expected arrays of at most {most} positions, got {longest}")
    shape = (len(X), longest if most is None else most, *X[0].shape[1:])
    padded = np.zeros(shape, np.result_type(*X))
    for row, each in zip(padded, X, strict=True):
        row[: len(each)] = each
    return padded, lengths


def beside_lengths(X: Array, lengths: Any, positions: int, name: str) -> Array:
    """Return rows of numbers X (n, columns) with lengths as one more column; None: all exist."""
    n = len(X)
    if lengths is None:
        lengths = np.full(n, positions)
    lengths = as_numbers(lengths, name)
    possible = lengths.shape == (n,) and (lengths == np.trunc(lengths)).all()
    if not possible or ((lengths < 0) | (lengths > positions)).any():
        came = f"{lengths.min()} to {lengths.max()}" if possible else describe(lengths)
        raise ValueError(
            f"{name}: expected a length for each of {n} examples, whole numbers from 0 to "
            f"{positions}, got {came}"
        )
    dtype = X.dtype if X.dtype in (np.float32, np.float64) else np.float64
    return np.concatenate([X, lengths[:, None]], axis=1, dtype=dtype)


def flat(X: Any) -> Any:
    """Return `X` of `features` with one row of numbers for each example; in place if it may be."""
    return X if X.ndim == 2 else X.reshape(X.shape[0], math.prod(X.shape[1:]))


def contiguous(value: Any, dtype: DTypeLike, name: str) -> Array:
    """Return `value` as a C-contiguous and aligned array of `dtype`."""
    with np.errstate(over="ignore"):
        return np.require(as_numbers(value, name), dtype, ["C", "A"])


def aligned_zeros(n: int, dtype: DTypeLike) -> Array:
    """Return zeros (n,) that begin with a line of the cache, as rows of weights then often do.

    A vector that lies across two lines is read at half the speed; NumPy aligns to 16 bytes.
    """
    line, size = 64, np.dtype(dtype).itemsize
    numbers = np.zeros(n + line // size, dtype)
    first = -numbers.ctypes.data % line // size
    return numbers[first : first + n]


def check_finite(
    X: Any,
    dtype: DTypeLike,
    name: str,
    known: Array | None = None,
    rows: Integers | None = None,
    missing: Array | None = None,
) -> None:
    """Raise ValueError if a number of `X` (n, columns) is not finite, as given or as `dtype`.

    `known` are the names of the columns, or None; `rows` are those that are looked at, None: all.
    `missing` (columns,) says where NaN is as good as a number; None: nowhere.
    """
    if X.dtype.kind != "f":
        return
    numbers = X
    if not isinstance(X, np.ndarray):  # of CSR the numbers that it has
        numbers = X.data[: X.nnz, None]
        if rows is not None:
            counted = np.zeros(X.shape[0], bool)
            counted[rows] = True
            rows = np.flatnonzero(np.repeat(counted, np.diff(X.indptr)))
    row = _core.first_non_finite_row(numbers, np.dtype(dtype).name, rows)
    if row is None:
        return
    missing = np.zeros(X.shape[1], bool) if missing is None else missing
    if missing.any():
        of = None if numbers is X else X.indices[: X.nnz]
        row = _first_wrong_row(numbers, dtype, rows, missing, of, row)
        if row is None:
            return
    with np.errstate(over="ignore"):
        values = numbers[row].astype(dtype)
    taken = np.isnan(values) & (missing if numbers is X else missing[X.indices[row]])
    column = np.flatnonzero(~np.isfinite(values) & ~taken)[0]
    if numbers is not X:
        row, column = int(np.searchsorted(X.indptr, row, side="right")) - 1, X.indices[row]
    raise ValueError(
        f"{name}: expected finite {np.dtype(dtype)} numbers, got {X[row, column]} "
        f"in row {row}, {columns.text(column, known)}"
    )


_ROWS_AT_A_TIME = 4096


def _first_wrong_row(
    numbers: Array,
    dtype: DTypeLike,
    rows: Integers | None,
    missing: Array,
    columns: Integers | None,
    first: int,
) -> int | None:
    """Return the first row, from one on, with infinity, or NaN where it is not `missing`.

    `columns`: rows are single numbers of these columns.
    """
    order = np.arange(first, len(numbers)) if rows is None else rows[np.searchsorted(rows, first) :]
    for begin in range(0, len(order), _ROWS_AT_A_TIME):
        some = order[begin : begin + _ROWS_AT_A_TIME]
        with np.errstate(over="ignore"):
            values = numbers[some].astype(dtype)
        allowed = missing if columns is None else missing[columns[some], None]
        wrong = (~np.isfinite(values) & ~(np.isnan(values) & allowed)).any(axis=1)
        if wrong.any():
            return int(some[np.argmax(wrong)])
    return None


def targets(
    y: ArrayLike,
    loss: "Loss",
    shape: Shape,
    classes: Array | None,
    dtype: DTypeLike,
    name: str = "y",
    rows: Integers | None = None,
) -> Array:
    """Return `y` as the core takes it: labels int64 (n,), or rows of `dtype` (n, out_features).

    Where outputs have positions, n is the number of those of all examples. Labels of a loss of
    pairs are numbers from 0 on, the same for rows that share one.

    Parameters
    ----------
    y : array_like
        What `loss` expects; see `pyfast_nn.losses`.
    loss : pyfast_nn.losses.Loss
    shape : tuple of int
        Of the outputs: (examples, out_features), or (examples, ..., out_features) with positions.
    classes : None or ndarray
        The model's `classes_`, to which bool and string labels are mapped.
    dtype : numpy.dtype
        Of the network.
    rows : None or ndarray, int64
        Those that are read; the others may be anything, and are 0 in what is returned. None: all.
    """
    if loss.task == "pairs":
        labels = group_numbers(_targets_array(y, loss, shape, name, rows), name, rows)[0]
        return everywhere(labels, math.prod(shape[:-1]), rows)
    out_features, n = shape[-1], math.prod(shape[:-1])
    array = _targets_array(y, loss, shape, name, rows)
    row_name = name
    if len(shape) > 2:  # rows of all positions
        row_name += f".reshape({', '.join(map(str, (-1, *array.shape[1:])))})"
    if _are_labels(array, loss, out_features, name):
        own: Any = loss.classes(out_features)
        if classes is None:
            classes = _own_classes(array, loss, out_features, row_name, rows)
        elif label_kind(classes, "classes_") == "string" and label_kind(array, name) == "number":
            classes = own  # their numbers stand for them, too
        array = places_in(array, classes, row_name, rows)
        if loss.task == "classes":
            return everywhere(array, n, rows)
        array = own[array]
    elif loss.task == "values" and array.dtype.kind == "U":
        raise TypeError(
            f"{name}: expected real numbers under {loss.name!r}, got an array of dtype "
            f"{array.dtype}; for labels take a loss such as 'cross_entropy'"
        )
    values = contiguous(array, dtype, name)
    if values.ndim == 1 and out_features == 1:
        values = values.reshape(-1, 1)
    if values.shape[1:] != (out_features,) or loss.name == "multi_margin":
        shapes = [f"{shape[:-1]} labels"] if loss.task == "classes" else []
        if loss.name != "multi_margin":
            shapes.append(f"{shape}, one column per output of the network")
        hint = ""
        if loss.task == "binary" and values.ndim == 1:
            hint = "; for one label of each example take 'cross_entropy', or end it with Dense(1)"
        came = (*shape[:-1], *values.shape[1:])
        raise ValueError(f"{name}: expected shape {' or '.join(shapes)}, got {came}{hint}")
    result = everywhere(values, n, rows)
    check_finite(result, dtype, row_name)
    if loss.task == "classes":
        _check_probabilities(values, row_name, rows)
    possible = loss.accepts(values)
    if not possible.all():
        place, column = np.argwhere(~possible)[0]
        raise ValueError(
            f"{row_name}: expected {loss.expected} under {loss.name!r}, got "
            f"{values[place, column]:g} in row {row_number(place, rows)}, column {column}"
        )
    return result


def check_shared(labels: Integers, loss: "Loss", name: str) -> None:
    """Raise ValueError if no two rows have the same label, for a loss of pairs."""
    if len(labels) and len(np.unique(labels)) == len(labels):
        raise ValueError(
            f"{name}: expected labels that rows share under {loss.name!r}, got {len(labels)} that "
            "are all different"
        )


def group_numbers(
    labels: Array, name: str, rows: Integers | None = None
) -> tuple[Integers, Integers]:
    """Return the number of each row's label, in the order of their first rows, and their counts."""
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), a label for each row, got {labels.shape}")
    if label_kind(labels, name) == "number" and labels.dtype.kind != "u":
        labels = whole_numbers(labels, name, rows)
    _, first, numbers, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places[numbers], sizes[order]


def everywhere(values: Array, n: int, rows: Integers | None) -> Array:
    """Return n numbers or rows of numbers: `values` at the places `rows` (None: all), else 0."""
    if rows is None:
        return values
    result = np.zeros((n, *values.shape[1:]), values.dtype)
    result[rows] = values
    return result


def find_classes(
    y: ArrayLike,
    loss: "Loss",
    shape: Shape,
    name: str = "y",
    rows: Integers | None = None,
) -> Array | None:
    """Return the classes that labels `y` name, in order; None if `y` are no labels.

    `shape` is that of the outputs.

    Numbers that the loss knows stand for themselves: 0, 1, ..., one per output, or the two of a
    binary loss. Of other numbers and of strings there must be as many as outputs (two for one), and
    they are sorted; bool labels are (False, True).
    """
    out_features = shape[-1]
    array = _targets_array(y, loss, shape, name, rows)
    if not _are_labels(array, loss, out_features, name):
        return None
    own: Any = loss.classes(out_features)
    kind = label_kind(array, name)
    if kind == "number":
        array = whole_numbers(array, name, rows)
        if are_among(array, own).all():
            return own
    classes = np.array([False, True]) if kind == "bool" else np.unique(array)
    if len(classes) != len(own):
        expected, came = f"{len(own)} classes", f"{len(classes)} ({some(classes)})"
        if kind == "number":
            place = np.argmin(are_among(array, own))
            expected = f"{_range(own, loss)}, or {expected}"
            came += f", with {array[place]} in row {row_number(place, rows)}"
        cure = _cure(len(classes), loss, out_features)
        raise ValueError(f"{name}: expected {expected}, got {came}; {cure}")
    return classes


def _range(own: Array, loss: "Loss") -> str:
    if loss.task == "classes":
        return f"whole numbers from 0 to {own[-1]}, one for each output"
    return f"{own[0]} and {own[1]}"


def _cure(n_classes: int, loss: "Loss", out_features: int) -> str:
    """Return what to do where `y` has `n_classes`, as many as the outputs cannot hold."""
    cures = []
    if n_classes > 1 and loss.task == "classes":
        cures.append(f"end the network with Dense({n_classes})")
    elif n_classes > 2:
        cures.append(f"take 'cross_entropy' and end the network with Dense({n_classes})")
    if n_classes < max(2, out_features):
        cures.append("name all classes: Sequential(layers, classes=[...])")
    return ", or ".join(cures)


def sample_weights(
    sample_weight: ArrayLike | None, shape: Shape, name: str = "sample_weight"
) -> tuple[Array | None, Integers | None]:
    """Return `sample_weight` as float64 (n,), and the rows that it leaves: int64; None: all.

    Both are None if `sample_weight` is. `shape` is that of the rows: (n,), or (examples, ...) with
    positions; then the weight of an example is one of all of its positions.
    """
    if sample_weight is None:
        return None, None
    result, n = contiguous(sample_weight, np.float64, name), shape[0]
    if result.shape == (n, 1):  # a column
        result = result[:, 0]
    if result.shape not in ((n,), shape):
        each = f", or {shape}, one for each position" if len(shape) > 1 else ""
        raise ValueError(
            f"{name}: expected shape ({n},), a weight for each example{each}, got {result.shape}"
        )
    if result.shape != shape:
        result = np.repeat(result, math.prod(shape[1:]))
    result = result.ravel()
    _check_weights(result, name)
    if n and not result.any():
        raise ValueError(f"{name}: expected at least one weight > 0, got {n} weights of 0")
    return result, None if result.all() else np.flatnonzero(result)


def weigh(
    examples: Examples,
    sample_weight: Array | None,
    class_weight: ClassWeight | None,
    loss: "Loss",
    labels: Array | None,
    dtype: DTypeLike,
    name: str = "sample_weight",
) -> Examples:
    """Return examples with the weights of their rows, without those whose weight is 0.

    Parameters
    ----------
    examples : Examples
    sample_weight : ndarray (n,), float64, or None
        Of all rows of the targets, as `sample_weights` returned it.
    class_weight, loss, labels, dtype, name
        As for `weights`.
    """
    rows, positions = examples.rows, examples.positions
    y = examples.of_rows(examples.targets)
    if sample_weight is not None:
        sample_weight = examples.of_rows(sample_weight)
    values = weights(sample_weight, class_weight, y, loss, labels, dtype, name, positions)
    if values is None:
        return examples
    counts = values.reshape(-1, positions).any(axis=1)
    if not counts.all():
        counted = np.flatnonzero(counts)
        rows, values = (
            counted if rows is None else rows[counted],
            rows_of(values, counted, positions),
        )
    places = None if rows is None else positions_of(rows, positions)
    return examples._replace(weights=everywhere(values, len(examples.targets), places), rows=rows)


def weights(
    sample_weight: Array | None,
    class_weight: ClassWeight | None,
    y: Array,
    loss: "Loss",
    labels: Array | None,
    dtype: DTypeLike,
    name: str = "sample_weight",
    positions: int = 1,
) -> Array | None:
    """Return the weight of each example as the core takes it, or None for ones.

    Those that are not 0 have mean 1, which makes ``sum(w l) / m`` over m examples that are drawn at
    random an unbiased estimate of the weighted mean of the losses over all. With positions so have
    those of examples of which any is not 0.

    Parameters
    ----------
    sample_weight : ndarray (n,), float64, or None
    class_weight : dict, "balanced", array_like (n_classes,) or None
    y : ndarray
        As `targets` returned it.
    loss : pyfast_nn.losses.Loss
    labels : ndarray (n_classes,) or None
        What the classes are called, in order.
    dtype : numpy.dtype
        Of the network.
    """
    if sample_weight is None and class_weight is None:
        return None
    result = np.ones(len(y)) if sample_weight is None else sample_weight
    if class_weight is not None:
        result = result / (result.max(initial=0) or 1)  # so that no product overflows
        if result.any():  # else it is sample_weight that leaves nothing
            name = "class_weight"
        with np.errstate(over="ignore"):
            result = result * _class_weights(class_weight, result, y, loss, labels)
    largest = result.max(initial=0)
    if len(result) and not 0 < largest < np.inf:
        raise ValueError(
            f"{name}: expected at least one weight > 0, and none too large to multiply, got "
            f"{largest:g} as the largest weight of an example"
        )
    result = result / (largest or 1)  # only their ratios matter
    result[result < np.finfo(dtype).tiny] = 0
    counted = np.count_nonzero(result.reshape(-1, positions).any(axis=1)) * positions
    return (result * (counted / (result.sum() or 1))).astype(dtype)


def in_range(weights: Array, dtype: DTypeLike, name: str) -> Array:
    """Return weights of examples as they are, in `dtype`; ValueError if it does not hold them."""
    with np.errstate(over="ignore"):
        result = weights.astype(dtype)
    if not np.isfinite(result).all():
        raise ValueError(
            f"{name}: expected weights that {np.dtype(dtype)} holds, got {weights.max():g}"
        )
    return result


def _check_weights(values: Array, name: str) -> None:
    possible = np.isfinite(values) & (values >= 0)
    if not possible.all():
        row = np.argmin(possible)
        raise ValueError(
            f"{name}: expected finite numbers >= 0, got {values[row]} at position {row}"
        )


def _class_weights(
    class_weight: Any, sample_weight: Array, y: Array, loss: "Loss", labels: Array | None
) -> Array:
    """Return the weight (n,) of each example's class."""
    name = "class_weight"
    if loss.task == "pairs":
        raise ValueError(
            f"{name}: expected None under {loss.name!r}, a loss of pairs of rows, got "
            f"{checks.describe(class_weight)}; sample_weight weighs anchors"
        )
    if labels is None or (loss.task == "classes" and y.ndim == 2):
        raise ValueError(f"{name}: expected one label for each example in y, got shape {y.shape}")
    if loss.task == "classes":
        numbers = y
    else:
        numbers = (y[:, 0] > np.mean(loss.codes)).astype(np.intp)
        if (np.array(loss.codes)[numbers] != y[:, 0]).any():
            raise ValueError(f"{name}: expected labels in y, got probabilities")
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(class_weight, pandas.Series):
        class_weight = class_weight.to_dict()  # its index has the labels, in any order
    if isinstance(class_weight, str):
        checks.choice(class_weight, name, ("balanced",))
        counts = np.bincount(numbers, sample_weight, minlength=len(labels))
        share = counts.sum() / max(1, np.count_nonzero(counts))
        values = np.divide(share, counts, out=np.zeros(len(labels)), where=counts > 0)
    elif isinstance(class_weight, Mapping):
        known = labels.tolist()
        unknown = [label for label in class_weight if label not in known]
        if unknown:
            raise ValueError(
                f"{name}: expected labels of the classes ({some(labels)}), got {unknown[0]!r}"
            )
        values = np.array(
            [
                checks.real(class_weight.get(label, 1.0), f"{name}[{label!r}]", minimum=0)
                for label in known
            ]
        )
    else:
        values = contiguous(class_weight, np.float64, name)
        if values.shape != labels.shape:
            raise ValueError(
                f"{name}: expected shape {labels.shape}, a weight for each class "
                f"({some(labels)}), got {values.shape}"
            )
        _check_weights(values, name)
    return (values / (values.max(initial=0) or 1))[numbers]


def given_targets(y: Any, shape: Shape, name: str, rows: Integers | None) -> Array:
    """Return the given rows of `y`, None: all, for outputs of that shape, as an array."""
    n, positions = shape[0], shape[1:-1]
    if positions:
        array = as_array(y, name)
        if array.shape[: len(shape) - 1] != shape[:-1]:
            cure = "; Flatten() or a global pooling leaves one output of each example"
            raise ValueError(
                f"{name}: expected shape {shape[:-1]}, or with a last axis more, as outputs are "
                f"{shape}, got {array.shape}{cure if array.shape[:1] == (n,) else ''}"
            )
        array = array.reshape(math.prod(shape[:-1]), *array.shape[len(shape) - 1 :])
        return native(array if rows is None else array[rows], y, name, rows)
    if rows is not None:
        came = len(y) if isinstance(y, (list, tuple)) else np.shape(y)[:1]
        if came not in (n, (n,)):
            raise ValueError(f"{name}: expected {n} rows, as many as X has, got {came}")
    array = as_targets(y, name, rows)
    if rows is None and array.shape[:1] != (n,):
        raise ValueError(f"{name}: expected {n} rows, as many as X has, got shape {array.shape}")
    return array


def _targets_array(y: Any, loss: "Loss", shape: Shape, name: str, rows: Integers | None) -> Array:
    """Return the same; one column as a vector where it may hold labels."""
    array, out_features = given_targets(y, shape, name, rows), shape[-1]
    one = loss.task in ("classes", "pairs") or (loss.task == "binary" and out_features == 1)
    return array[:, 0] if one and array.ndim == 2 and array.shape[1] == 1 else array


def _are_labels(array: Array, loss: "Loss", out_features: int, name: str) -> bool:
    """Whether targets are one label of each example, and not its probabilities or values."""
    if array.ndim != 1 or loss.classes(out_features) is None:
        return False
    if loss.task == "classes" or array.dtype.kind != "f" or not loss.accepts(np.array(0.5)):
        return True
    fractions = array[np.isfinite(array)]
    return bool((fractions == np.trunc(fractions)).all())


def _own_classes(
    array: Array, loss: "Loss", out_features: int, name: str, rows: Integers | None
) -> Array:
    """Return the classes of the loss, for labels of a model that has had no fit."""
    own: Any = loss.classes(out_features)
    kind = label_kind(array, name)
    is_number = kind == "number"
    known = are_among(whole_numbers(array, name, rows), own) if is_number else np.zeros(1, bool)
    if not known.all():
        first = np.argmin(known)
        row = row_number(first, rows)
        came = f"{array[first]} in row {row}" if is_number else f"{kind} labels"
        raise ValueError(
            f"{name}: expected {_range(own, loss)}, got {came}; other labels are numbered by the "
            "first fit, or by Sequential(layers, classes=[...])"
        )
    return own


def _check_probabilities(values: Array, name: str, rows: Integers | None) -> None:
    total = values.sum(axis=1, dtype=np.float64)
    wrong = (values < 0).any(axis=1) | (abs(total - 1) > 1e-3)  # room for sums of float16
    if wrong.any():
        first = np.argmax(wrong)
        raise ValueError(
            f"{name}: expected rows of probabilities, each >= 0 and of sum 1, got minimum "
            f"{values[first].min():g} and sum {total[first]:g} in row {row_number(first, rows)}"
        )
