"""Threads, and what this build is made of."""

from . import _core, checks


def set_num_threads(n):
    """Set the number of threads that every computation of this process may use.

    The results are the same bits for any number. Until this is called, the number is OpenMP's
    (``OMP_NUM_THREADS``, threadpoolctl, or the number of processors), asked for at each call.

    Parameters
    ----------
    n : int
        At least 1; may exceed the number of processors.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> fnn.set_num_threads(2)
    >>> fnn.get_num_threads()
    2
    """
    _core.set_num_threads(checks.integer(n, "n", minimum=1, maximum=1024))


def get_num_threads():
    """Return the number of threads that the next computation may use (int)."""
    return _core.get_num_threads()


def build_config():
    """Return how this build was made and what it uses on this processor.

    Returns
    -------
    dict
        Among others ``version``, ``compiler``, ``openmp``, ``isa`` (the instruction set in use) and
        ``available_isas`` (what this processor has, best first). The environment variable
        ``PYFAST_NN_ISA`` chooses another one at import.
    """
    return _core.build_config()
