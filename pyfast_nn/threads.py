"""Processors that are shared by what runs at the same time, each in a thread of its own.

In processes of their own, as loky, Dask and Ray start them, fits have their share by
``OMP_NUM_THREADS``. Threads of one process are told of each other here. The bits of a fit do not
depend on it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import _core
from .runtime import get_num_threads

_lock = threading.Lock()
_running = 0  # fits of this process


@contextmanager
def shared() -> Iterator[Callable[[], None]]:
    """Yield a function by which a fit takes its share of the processors, as it is now."""
    global _running
    before, most = _core.get_own_threads(), get_num_threads()

    def take() -> None:
        _core.set_own_threads(before if _running == 1 else max(1, most // _running))

    with _lock:
        _running += 1
    try:
        take()
        yield take
    finally:
        with _lock:
            _running -= 1
        _core.set_own_threads(before)
