"""Processors that are shared by fits which run at the same time, each in a thread of its own.

In processes of their own, as loky, Dask and Ray start them, they have their share by
``OMP_NUM_THREADS``. Threads of one process are not told of each other; here they count themselves.
The bits of a fit do not depend on it.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..runtime import get_num_threads

_lock = threading.Lock()
_running = 0  # fits of this process


@functools.cache
def _openmp() -> list[Any]:
    """Return what sets the number of threads for the teams of the calling thread."""
    import threadpoolctl  # which scikit-learn needs, too

    controllers: list[Any] = threadpoolctl.ThreadpoolController().lib_controllers
    return [each for each in controllers if each.user_api == "openmp"]


@contextmanager
def shared() -> Iterator[Callable[[], None]]:
    """Yield a function by which a fit takes its share of the processors, as it is now."""
    global _running
    most = now = get_num_threads()

    def take(threads: int | None = None) -> None:
        nonlocal now
        wanted = max(1, most // _running) if threads is None else threads
        if wanted != now:
            for library in _openmp():
                library.set_num_threads(wanted)
            now = wanted

    with _lock:
        _running += 1
    try:
        take()
        yield take
    finally:
        with _lock:
            _running -= 1
        take(most)
