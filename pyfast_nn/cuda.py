"""GPUs: whether networks can be computed on one, ``device="cuda"``.

Examples
--------
>>> device = "cuda" if fnn.cuda.is_available() else "cpu"
>>> model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], device=device)
"""

import importlib.util

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


def require() -> None:
    """Raise RuntimeError unless ``device="cuda"`` computes."""
    if not _core.is_open_device("cuda"):
        path = library()
        if path is None:
            raise RuntimeError(
                "device: expected 'cpu', got 'cuda', for which this build has no code; where nvcc "
                "is, PYFAST_NN_CUDA=1 pip install . builds it"
            )
        _core.open_device(path)
    _core.device_model("cuda")


def check_device(device: object) -> str:
    """Return `device`, a name of one that computes."""
    name = checks.choice(device, "device", ("cpu", "cuda"))
    if name == "cuda":
        require()
    return name
