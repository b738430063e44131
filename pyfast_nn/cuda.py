"""GPUs: whether networks can be computed on one, ``device="cuda"``.

Examples
--------
>>> device = "cuda" if fnn.cuda.is_available() else "cpu"
>>> model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], device=device)
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, checks

__all__ = ["get_device_name", "is_available"]


def __dir__() -> list[str]:
    return __all__


def is_available() -> bool:
    """Return whether ``device="cuda"`` computes: this build has code for it, and there is a GPU.

    Returns
    -------
    bool
    """
    try:
        require()
    except RuntimeError:
        return False
    return True


def get_device_name() -> str:
    """Return the name of the GPU that ``device="cuda"`` computes on.

    Returns
    -------
    str

    Raises
    ------
    RuntimeError
        If nothing computes there: this build has no code for it (then how to build it), or there is
        no GPU or no driver that fits (then what CUDA's run-time library says).
    """
    require()
    return _core.device_model("cuda")


def library() -> str | None:
    """Return the file with this build's code for GPUs; None if it was built without."""
    found = importlib.util.find_spec(f"{__package__}._cuda")
    return None if found is None else found.origin


_provider: str | None = None  # of wide products of float32 and float64, once it is known


def require() -> None:
    """Raise RuntimeError unless ``device="cuda"`` computes."""
    global _provider
    if not _core.is_open_device("cuda"):
        path = library()
        if path is None:
            raise RuntimeError(
                "device: expected 'cpu', got 'cuda', for which this build has no code; where nvcc "
                "is, PYFAST_NN_CUDA=1 pip install . builds it"
            )
        _core.open_device(path)
    _core.device_model("cuda")
    if _provider is None:
        wanted = os.environ.get("PYFAST_NN_CUDA_GEMM") or "own"
        if checks.choice(wanted, "PYFAST_NN_CUDA_GEMM", ("own", "cublaslt")) == "cublaslt":
            _use_cublaslt("PYFAST_NN_CUDA_GEMM", always=True)
        _provider = wanted


_CUBLASLT = "libcublasLt.so.13"


def places_of_cublaslt() -> list[str]:
    """Return where cuBLASLt may be: if this process has it, there alone."""
    try:
        ctypes.CDLL(_CUBLASLT, os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        packages = [Path(folder) / "nvidia" / "cu13" / "lib" / _CUBLASLT for folder in sys.path]
        return [*map(str, filter(Path.exists, packages)), _CUBLASLT]
    return [_CUBLASLT]


def _use_cublaslt(name: str, always: bool) -> None:
    """Have wide products computed by cuBLASLt; RuntimeError, about `name`, if it is not there."""
    reasons = []
    for place in places_of_cublaslt():
        try:
            return _core.use_cublaslt("cuda", place, always)
        except RuntimeError as error:
            reasons.append(f"{place}: {error}")
    raise RuntimeError(
        f"{name}: expected cuBLASLt of CUDA 13, in this environment or the system's; "
        f"pip install 'pyfast-nn[cuda]' ({'; '.join(reasons)})"
    )


def check_device(device: object) -> str:
    """Return `device`, a name of one that computes."""
    name = checks.choice(device, "device", ("cpu", "cuda"))
    if name == "cuda":
        require()
    return name


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
    if device != "cuda":
        raise ValueError(
            f"compute_dtype: expected 'float32' with device={device!r}, got {name!r}; "
            "device='cuda' has it"
        )
    _use_cublaslt("compute_dtype", always=False)
    return name
