"""Threads, and what this build is made of."""

import os
from typing import Any

from . import _core, checks, cuda
from .typing import Integer

MOST_THREADS = 1024


def set_num_threads(n: Integer) -> None:
    """Set the number of threads that every computation of this process may use.

    The results are the same bits for any number. Until this is called, the number is OpenMP's
    (``OMP_NUM_THREADS``, threadpoolctl, or the number of processors), asked for at each call.

    Parameters
    ----------
    n : int
        From 1 to 1024; may exceed the number of processors.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is none of these.

    Examples
    --------
    >>> fnn.set_num_threads(2)
    >>> fnn.get_num_threads()
    2
    """
    _core.set_num_threads(checks.integer(n, "n", minimum=1, maximum=MOST_THREADS))


def get_num_threads() -> int:
    """Return the number of threads that the next computation may use (int)."""
    return _core.get_num_threads()


def build_config() -> dict[str, Any]:
    """Return how this build was made and what it uses on this processor.

    Returns
    -------
    dict
        Among others ``version``, ``compiler``, ``openmp``, ``isa`` (the instruction set in use),
        ``available_isas`` (what this processor has, best first), ``gemm`` (whose matrix products:
        ``"own"`` or ``"blas"``) and ``cuda`` (whether there is code for GPUs).

    Notes
    -----
    Two environment variables are read at import. ``PYFAST_NN_ISA`` chooses another instruction set.
    ``PYFAST_NN_GEMM=blas`` computes every matrix product, in networks as in `pyfast_nn.ops`, by the
    BLAS of SciPy (``pip install 'pyfast-nn[blas]'``) in place of our own: a second opinion, outside
    the promise of the same bits. A BLAS uses its own threads and does not look for Ctrl-C within a
    product. ``ops.gemm`` is one call of it; networks and dense layers are many small ones, on data
    in the layout of our own products, and slower than those.
    """
    return _core.build_config() | {"cuda": cuda.library() is not None}


def use_gemm(name: str) -> None:
    """Compute matrix products by "own" kernels or by "blas", as PYFAST_NN_GEMM says at import."""
    if name == "own":
        return _core.use_blas(None, None)
    if name != "blas":
        raise ValueError(f"expected own or blas, got {name!r}")
    try:
        from . import _blas  # type: ignore[attr-defined]  # made of Cython
    except ImportError as error:
        raise ImportError(
            f"blas needs SciPy: pip install 'pyfast-nn[blas]' ({error})", name=error.name
        ) from error
    return _core.use_blas(_blas.sgemm, _blas.dgemm)


def _choose_gemm() -> None:
    try:
        use_gemm(os.environ.get("PYFAST_NN_GEMM") or "own")
    except (ImportError, ValueError) as error:
        raise ImportError(f"PYFAST_NN_GEMM: {error}") from error


_choose_gemm()
