"""Files that are complete or not there, whatever happens while they are written."""

import contextlib
import errno
import os
import stat
from typing import BinaryIO

from . import checks
from .typing import Path

_LONGEST = 255  # bytes of a name on Linux' file systems


def target(path: Path) -> str:
    """Return where `path` leads, links followed: a regular file, or nothing yet.

    OSError if there is something else, as a device, a pipe or a folder is not to be replaced.
    """
    path = checks.path(path)
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "exists and is not a regular file", path)
    return os.path.realpath(path)


def replace(path: Path, raw: bytes) -> None:
    """Make `path` a file of the bytes `raw`, or leave it as it was and raise OSError.

    Only where the very last step fails, to make the new name last, an OSError comes with the new
    file in place: whole, but after a power cut the old one may be back.

    There is one temporary name per target, locked while in use: what a killed process left there is
    taken over by the next save, and two processes that save at once take turns. (So do targets that
    share it, as their names differ only at the end of the longest that there can be.)
    """
    path = target(path)
    folder, name = os.path.split(path)
    beginning = os.fsdecode(os.fsencode(name)[: _LONGEST - len("..tmp")])
    temporary = os.path.join(folder, f".{beginning}.tmp")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _open_locked(temporary) as file:
            try:
                file.truncate(0)
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        os.fsync(descriptor)  # the new name, too, must survive a power cut
    finally:
        os.close(descriptor)


def _open_locked(path: str) -> BinaryIO:
    """Return the file at `path`, made if needed, open for writing and locked by us alone."""
    import fcntl

    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # while we waited, its owner renamed or removed it
