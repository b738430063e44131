"""The digits, and readers of files that others wrote: they run no code, and a file that promises
more than it holds costs no more memory than what it holds."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..typing import Array, Integers, Path, Shape


def load_digits() -> tuple[NDArray[np.uint8], Integers]:
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
    package = os.path.dirname(os.path.dirname(__file__))
    X, y = read_npz(os.path.join(package, "_data", "digits.npz"))
    return X, y.astype(np.int64)


def read_npz(path: Path, names: Iterable[str] = ("X", "y")) -> tuple[Array, ...]:
    """Return arrays of a NumPy ``.npz`` file, as `savez` and `savez_compressed` write it.

    Parameters
    ----------
    path : str or os.PathLike
    names : sequence of str
        The arrays to read; others may be in the file.

    Returns
    -------
    tuple of ndarray
        One array for each name, in native byte order; ours to change.

    Raises
    ------
    ValueError
        If it is not such a file, is damaged, lacks one of the arrays, or one of them holds Python
        objects (they would have to be unpickled, which can run any code).
    OSError
        If it cannot be read.

    Examples
    --------
    >>> np.savez("data.npz", X=X, y=y)
    >>> X, y = fnn.datasets.read_npz("data.npz")
    """
    import errno
    import struct
    import zipfile
    import zlib

    damaged = (ValueError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
    path = checks.path(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return tuple(_read_member(archive, name) for name in names)
        except (*damaged, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a seek to nowhere
                raise
            wanted = " and ".join(names)
            raise ValueError(
                f"{path}: expected an intact .npz file with the arrays {wanted}: {error}"
            ) from None


_MOST_NAMES = 10  # of the arrays in an .npz file, in an error


def _read_member(archive: Any, name: str) -> Array:
    """Return the array `name` of an open .npz file."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED

    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        names = [entry.removesuffix(".npy") for entry in archive.namelist()]
        shown = ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)
        raise ValueError(f"there is no array {name} among {shown or 'none'}") from None
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(f"array {name} is compressed by a method that NumPy does not use")
    with archive.open(info) as file:
        dtype, shape, fortran_order = _read_npy_header(file, name)
        array = _read_array(file, dtype, shape[::-1] if fortran_order else shape)
    return array.T if fortran_order else array


_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_npy_header(file: Any, name: str) -> tuple[np.dtype[Any], Shape, bool]:
    """Return (dtype, shape, fortran_order); the format is described in `numpy.lib.format`."""
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran_order, dtype = _NPY_HEADERS[version](file)
    except OSError:
        raise
    except Exception as error:  # of many kinds: NumPy parses a Python literal
        raise ValueError(f"array {name} begins with no header of NumPy's ({error})") from None
    if dtype.hasobject:
        raise ValueError(
            f"array {name} holds Python objects, which are not read; save what "
            "array.astype(float) or array.astype(str) makes of it"
        )
    return dtype, shape, fortran_order


_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> Array:
    """Return the array in an IDX file, the format of MNIST; plain or compressed by gzip.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    ndarray
        Of the shape and dtype that the file declares, in native byte order; ours to change.

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

    path = checks.path(path)
    with open(path, "rb") as file:
        compressed = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            return _parse_idx(gzip.GzipFile(fileobj=file) if compressed else file)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: expected an intact IDX file: {error}") from None


def _parse_idx(file: Any) -> Array:
    magic = _read_exactly(file, 4)
    if magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or magic[3] == 0:
        raise ValueError(
            f"it begins with {magic.hex(' ')}, not with 00 00, a type and the dimensions"
        )
    shape = tuple(np.frombuffer(_read_exactly(file, 4 * magic[3]), ">u4").tolist())
    return _read_array(file, np.dtype(_IDX_DTYPES[magic[2]]), shape)


def _read_array(file: Any, dtype: np.dtype[Any], shape: Shape) -> Array:
    """Return the array of which the rest of `file` consists, in native byte order."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    array = np.frombuffer(_read_exactly(file, size), dtype)
    if file.read(1):  # at the end of an archive's member, this also compares the check sum
        raise ValueError(f"more bytes than its shape {shape} needs")
    return array.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read_exactly(file: Any, size: int) -> bytearray:
    """Return `size` bytes; memory stays bounded by what the file really holds."""
    content = bytearray()
    while len(content) < size:
        piece = file.read(min(size - len(content), 2**20))
        if not piece:
            raise ValueError(f"it ends {size - len(content)} bytes too early")
        content += piece
    return content
