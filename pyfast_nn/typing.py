"""Types that annotations share: what is taken, and what is given back."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt

Integer: TypeAlias = int | np.integer[Any]
Real: TypeAlias = float | np.floating[Any] | np.integer[Any]
Path: TypeAlias = str | os.PathLike[str]
Shape: TypeAlias = tuple[int, ...]

Array: TypeAlias = npt.NDArray[Any]  # float32 or float64, as the model or the arguments are
Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Steps: TypeAlias = Sequence[Integer] | npt.NDArray[np.integer[Any]]


class SupportsDLPack(Protocol):
    """What exports its memory, as torch's tensors do."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...


class SupportsCSR(Protocol):
    """Sparse matrices and arrays of SciPy."""

    def tocsr(self, *args: Any, **kwargs: Any) -> Any: ...


class SupportsMatvec(Protocol):
    """Linear operators of SciPy."""

    def matvec(self, *args: Any, **kwargs: Any) -> Any: ...


ArrayLike: TypeAlias = npt.ArrayLike | SupportsDLPack
Inputs: TypeAlias = ArrayLike | SupportsCSR
Operator: TypeAlias = Inputs | SupportsMatvec | Callable[[Floats], npt.ArrayLike]
# Batches (X, y) or (X, y, sample_weight), or a function that makes an iterable of them.
Batches: TypeAlias = Iterable[Sequence[Any]] | Callable[[], Iterable[Sequence[Any]]]
ClassWeight: TypeAlias = Mapping[Any, Real] | ArrayLike

# Layers by number or parameters by key.
Restrict: TypeAlias = Integer | str | Sequence[Integer | str] | None

# A hyper-parameter that may change from step to step.
Rate: TypeAlias = Real | list[Any] | tuple[Any, ...] | Array | Callable[[Any], SupportsFloat]
Betas: TypeAlias = tuple[Rate, Rate] | list[Any]


class Trees(Protocol):
    """Lists and tuples of `Tree`; no string, whose `__contains__` takes nothing but strings."""

    def __contains__(self, item: object, /) -> bool: ...
    def __getitem__(self, index: int, /) -> "Tree": ...
    def __iter__(self) -> Iterator["Tree"]: ...
    def __len__(self) -> int: ...


# Parameters or gradients: arrays, in lists, tuples and dicts; None is a gradient that is not there.
# Of a mixed dict, as one of arrays and of lists, mypy infers that its values are `object`.
Tree: TypeAlias = Array | SupportsDLPack | np.generic | Trees | Mapping[Any, object] | None
# Or what gives them one after the other.
Params: TypeAlias = Tree | Iterator[Any]
