"""GPUs: whether networks can be computed on one, ``device="cuda"``, and on which.

Examples
--------
>>> device = "cuda" if fnn.cuda.is_available() else "cpu"
>>> model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], device=device)
"""

import ctypes
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, checks

__all__ = ["device_count", "get_device_name", "is_available"]


def __dir__() -> list[str]:
    return __all__


def is_available() -> bool:
    """Return whether ``device="cuda"`` computes: this build has code for it, and there is a GPU.

    Returns
    -------
    bool
    """
    try:
        require("cuda")
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """Return how many GPUs there are to compute on: "cuda:0", which is "cuda", "cuda:1" and so on.

    Returns
    -------
    int
        0 where nothing computes; `get_device_name` says why.
    """
    try:
        open_library()
        return _core.count_devices("cuda")
    except RuntimeError:
        return 0


def get_device_name(device: str = "cuda") -> str:
    """Return the name of the GPU that ``device="cuda"`` computes on, or of another one.

    Parameters
    ----------
    device : str
        ``"cuda"``, or with a number, ``"cuda:1"``.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or there are not so many.
    RuntimeError
        If nothing computes there: this build has no code for it (then how to build it), or there is
        no GPU or no driver that fits (then what CUDA's run-time library says).
    """
    if check_device(device) == "cpu":
        raise ValueError("device: expected a GPU, 'cuda' or 'cuda:1', got 'cpu'")
    return _core.device_model(device)


def library() -> str | None:
    """Return the file with this build's code for GPUs; None if it was built without."""
    found = importlib.util.find_spec(f"{__package__}._cuda")
    return None if found is None else found.origin


def open_library() -> None:
    """Raise RuntimeError unless this build has code for GPUs."""
    if _core.is_open_device("cuda"):
        return
    path = library()
    if path is None:
        raise RuntimeError(
            "device: expected 'cpu', got 'cuda', for which this build has no code; where nvcc is, "
            "PYFAST_NN_CUDA=1 pip install . builds it"
        )
    _core.open_device(path)


_with_products: set[str] = set()  # devices of which it is known what computes wide products


def require(device: str) -> None:
    """Raise RuntimeError unless that GPU computes; ValueError if there are not so many."""
    open_library()
    _core.device_model(device)
    if device not in _with_products:
        wanted = os.environ.get("PYFAST_NN_CUDA_GEMM") or "own"
        if checks.choice(wanted, "PYFAST_NN_CUDA_GEMM", ("own", "cublaslt")) == "cublaslt":
            _use_cublaslt("PYFAST_NN_CUDA_GEMM", device, always=True)
        _with_products.add(device)


def why_not(device: str, compute_dtype: str | None, dtype: np.dtype[Any]) -> str:
    """Return why that does not compute here; "" if it does."""
    try:
        check_device(device)
        check_compute_dtype(compute_dtype, dtype, device)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""


_CUBLASLT = "libcublasLt.so.13"


def places_of_cublaslt() -> list[str]:
    """Return where cuBLASLt may be: if this process has it, there alone."""
    try:
        ctypes.CDLL(_CUBLASLT, os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        packages = [Path(folder) / "nvidia" / "cu13" / "lib" / _CUBLASLT for folder in sys.path]
        return [*map(str, filter(Path.exists, packages)), _CUBLASLT]
    return [_CUBLASLT]


def _use_cublaslt(name: str, device: str, always: bool) -> None:
    """Have wide products computed by cuBLASLt there; RuntimeError, about `name`, if it is not."""
    reasons = []
    for place in places_of_cublaslt():
        try:
            return _core.use_cublaslt(device, place, always)
        except RuntimeError as error:
            reasons.append(f"{place}: {error}")
    raise RuntimeError(
        f"{name}: expected cuBLASLt of CUDA 13, in this environment or the system's; "
        f"pip install 'pyfast-nn[cuda]' ({'; '.join(reasons)})"
    )


def check_device(device: object) -> str:
    """Return `device`, a name of one that computes."""
    if isinstance(device, str) and re.fullmatch(r"cuda(:(0|[1-9]\d*))?", device):
        require(device)
        return device
    if device != "cpu":
        raise (ValueError if isinstance(device, str) else TypeError)(
            f"device: expected 'cpu', 'cuda' or one of several GPUs, 'cuda:1', got {device!r}"
        )
    return "cpu"


def check_compute_dtype(compute_dtype: object, dtype: np.dtype[Any], device: str) -> str:
    """Return to which type the operands of matrix products are rounded there; None: `dtype`."""
    if compute_dtype is None:
        return dtype.name
    rounded = ("tfloat32", "bfloat16")
    name = checks.choice(compute_dtype, "compute_dtype", ("float32", "float64", *rounded))
    if name == dtype.name:
        return name
    if name not in rounded or dtype.name != "float32":
        raise ValueError(f"compute_dtype: expected {dtype.name!r} with that dtype, got {name!r}")
    if device == "cpu":
        raise ValueError(
            f"compute_dtype: expected 'float32' with device={device!r}, got {name!r}; "
            "device='cuda' has it"
        )
    _use_cublaslt("compute_dtype", device, always=False)
    return name
