"""The files that the command line names."""

import os

from .. import atomic, datasets

DATA = "'digits' (built in), one .npz file with arrays X and y, or two IDX files, images and labels"


def read_examples(data):
    """Return X (n, features) and y (n, ...) of what the command line names."""
    if data == ["digits"]:
        X, y = datasets.load_digits()
    elif _is_npz(data):
        X, y = datasets.read_npz(data[0])
    elif len(data) == 2:
        X, y = datasets.read_idx(data[0]), datasets.read_idx(data[1])
    else:
        raise ValueError(f"data: expected {DATA}; got {' '.join(data)!r}")
    if y.ndim == 0 or X.ndim == 0 or len(X) != len(y) or len(X) == 0:
        raise ValueError(
            f"data: expected examples (n, ...) and labels (n,), got shapes {X.shape} and {y.shape}"
        )
    return _rows(X), y


def read_features(data):
    """Return X (n, features) of what the command line names; labels need not be there."""
    if data == ["digits"]:
        X, _ = datasets.load_digits()
    elif _is_npz(data):
        (X,) = datasets.read_npz(data[0], ["X"])
    elif len(data) <= 2:
        X = datasets.read_idx(data[0])
    else:
        raise ValueError(f"data: expected {DATA}; got {' '.join(data)!r}")
    return _rows(X)


def _is_npz(data):
    return len(data) == 1 and data[0].endswith(".npz")


def _rows(X):
    if X.ndim < 2:
        raise ValueError(f"data: expected examples (n, ...), got shape {X.shape}")
    features = 1
    for length in X.shape[1:]:
        features *= length
    return X.reshape(len(X), features)


def check_writable(path, option):
    """Find a mistake in the name of a file to write before the work, not after it."""
    try:
        target = atomic.target(path)
    except OSError as error:
        raise ValueError(f"{option}: cannot write {path!r}: {error.strerror}") from None
    folder = os.path.dirname(target)
    possible = os.access(target, os.W_OK) if os.path.lexists(target) else os.path.isdir(folder)
    if not (possible and os.access(folder, os.W_OK)):
        raise ValueError(f"{option}: cannot write {path!r}")
