"""Data to start with, readers of common files, and a split."""

import os

import numpy as np

from . import _core, checks
from .data import as_array


def load_digits():
    """Return the 1,797 handwritten digits of UCI, shipped with the package.

    Returns
    -------
    X : ndarray (1797, 64), uint8
        8x8 grey levels from 0 to 16, row by row.
    y : ndarray (1797,), int64
        The digits, 0 to 9.

    References
    ----------
    E. Alpaydin, C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, licensed CC BY 4.0.

    Examples
    --------
    >>> X, y = fnn.datasets.load_digits()
    >>> X.shape, int(X.max())
    ((1797, 64), 16)
    """
    X, y = read_npz(os.path.join(os.path.dirname(__file__), "_data", "digits.npz"))
    return X, y.astype(np.int64)


def read_npz(path):
    """Return the arrays ``X`` and ``y`` of a NumPy ``.npz`` file.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    X, y : ndarray

    Raises
    ------
    ValueError
        If it is not such a file, is damaged, lacks one of the two arrays, or one of them holds
        objects.
    OSError
        If it cannot be read.
    """
    import zipfile
    import zlib

    name = os.fspath(path)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["X"], file["y"]
    except KeyError as error:
        raise ValueError(f"{name}: expected the arrays X and y: {error.args[0]}") from None
    except (
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{name}: expected a .npz file with the arrays X and y ({error})"
        ) from None


_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path):
    """Return the array in an IDX file, the format of MNIST; plain or compressed by gzip.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    ndarray
        Of the shape and dtype that the file declares, in native byte order.

    Raises
    ------
    ValueError
        If it is not an IDX file, is truncated, or longer than it declares.
    OSError
        If it cannot be read.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
    http://yann.lecun.com/exdb/mnist/ (the format stands at the end of that page).

    Examples
    --------
    >>> X = fnn.datasets.read_idx("train-images-idx3-ubyte.gz")  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    import gzip
    import zlib

    name = os.fspath(path)
    with open(path, "rb") as file:
        compressed = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            return _parse_idx(gzip.GzipFile(fileobj=file) if compressed else file)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{name}: expected an intact IDX file: {error}") from None


def _parse_idx(file):
    magic = _read_exactly(file, 4)
    if magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or magic[3] == 0:
        raise ValueError(
            f"it begins with {magic.hex(' ')}, not with 00 00, a type and the dimensions"
        )
    shape = tuple(np.frombuffer(_read_exactly(file, 4 * magic[3]), ">u4").tolist())
    dtype = np.dtype(_IDX_DTYPES[magic[2]])
    size = dtype.itemsize
    for length in shape:
        size *= length
    array = np.frombuffer(_read_exactly(file, size), dtype)
    if file.read(1):
        raise ValueError(f"more bytes than its shape {shape} needs")
    return array.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read_exactly(file, size):
    """Return `size` bytes; memory stays bounded by what the file really holds."""
    content = bytearray()
    while len(content) < size:
        piece = file.read(min(size - len(content), 2**20))
        if not piece:
            raise ValueError(f"it ends {size - len(content)} bytes too early")
        content += piece
    return content


def stratified_split(y, fractions, *, seed=0):
    """Return shuffled row numbers cut into parts in which each class has nearly its share.

    Parameters
    ----------
    y : array_like (n,)
        Labels of any kind that sorts.
    fractions : sequence of float
        Size of each part, at least 0, of sum 1.
    seed : int
        At least 0. The same seed gives the same parts.

    Returns
    -------
    list of ndarray, int64
        One array of row numbers for each fraction; together all rows once. The number of rows of
        each class in each part is its share to within one.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Examples
    --------
    >>> train, test = fnn.datasets.stratified_split(y, [0.8, 0.2], seed=0)
    >>> history = model.fit(X[train], y[train], loss="cross_entropy")
    """
    y = as_array(y, "y")
    if y.ndim != 1:
        raise ValueError(f"y: expected labels (n,), got shape {y.shape}")
    fractions = [checks.real(f, f"fractions[{i}]", minimum=0) for i, f in enumerate(fractions)]
    if abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions: expected numbers of sum 1, got sum {sum(fractions):g}")
    seed = checks.integer(seed, "seed", minimum=0, maximum=2**64 - 1)
    shuffled = _core.permutation(seed, 0, len(y))
    _, column, counts = np.unique(y[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(column, kind="stable")
    rank = np.empty(len(y), np.int64)  # of each row within its class
    rank[by_class] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Ordered by quantile within the class, classes advance together: a stretch is a fair sample.
    order = shuffled[np.argsort((rank + 0.5) / counts[column], kind="stable")]
    cuts = np.rint(np.cumsum(fractions[:-1]) * len(y)).astype(np.int64)
    return np.split(order, cuts)
