"""Data to start with, readers of common files, and a split.

`load_digits` ships with the package; `read_idx` and `read_npz` read files; each `make_...` draws
data from a law, as scikit-learn's functions of that kind do; `stratified_split` cuts the rows into
parts.
"""

from .makers import (
    make_gaussian_mixture,
    make_noisy_sine,
    make_parity,
    make_two_spirals,
    make_xor,
)
from .readers import load_digits, read_idx, read_npz
from .split import stratified_split

__all__ = [
    "load_digits",
    "make_gaussian_mixture",
    "make_noisy_sine",
    "make_parity",
    "make_two_spirals",
    "make_xor",
    "read_idx",
    "read_npz",
    "stratified_split",
]


def __dir__() -> list[str]:
    return __all__
