"""Saves on a disk that fails, and saves that are killed, for test_promise_files.py.

    LD_PRELOAD=failing_files.so python failing_disk.py fail|kill FOLDER
    python failing_disk.py kill_at_random FOLDER COUNT

Each prints how many saves were cut short.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

import pyfast_nn as fnn


def model(value):
    """All of its parameters are `value`."""
    made = fnn.Sequential([fnn.Dense(200), fnn.Dense(2)]).build(300)
    made.parameters = np.full(made.n_parameters, value)
    return made


def saved(path):
    """The value of the model in the file, all of whose parameters are the same."""
    (value,) = set(fnn.load(path).parameters)
    return value


OLD, NEW = model(1), model(2)


class Disk:
    """The preloaded library."""

    def __init__(self):
        self.library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.library.fail_call.argtypes = ctypes.c_long, ctypes.c_int, ctypes.c_int
        self.library.fail_call.restype = ctypes.c_long

    def fail(self, n, error, then_all=False):
        self.library.fail_call(n, error, then_all)

    def heal(self):
        """Return how many calls have failed."""
        return self.library.fail_call(0, 0, False)


def fail(path):
    """Every call that changes files fails in turn, alone and with all that follow."""
    disk, cut_short = Disk(), 0
    for had_one in (True, False):
        for error in (errno.ENOSPC, errno.EIO):
            for then_all in (False, True):
                for n in range(1, 1000):
                    path.unlink(missing_ok=True)
                    if had_one:
                        OLD.save(path)
                    before = path.read_bytes() if had_one else None
                    files = len(os.listdir("/proc/self/fd"))
                    disk.fail(n, error, then_all)
                    try:
                        NEW.save(path)
                    except OSError as raised:
                        failed = disk.heal()
                        assert failed and raised.errno == error
                    else:
                        assert not disk.heal(), f"call {n} failed, and nothing was said"
                        break
                    cut_short += 1
                    assert len(os.listdir("/proc/self/fd")) == files, "a file stays open"
                    now = path.read_bytes() if path.exists() else None
                    if now != before:  # only if the sync of the folder failed, the very last call
                        last = n
                        assert saved(path) == 2
                    if not then_all:
                        assert os.listdir(path.parent) == ([path.name] if now else [])
                    NEW.save(path)
                    assert saved(path) == 2 and os.listdir(path.parent) == [path.name]
                assert last == n - 1
    return cut_short


def in_a_child(work):
    """Run `work` in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def check_after_a_kill(path, possible):
    """Whole; and the next save leaves nothing beside the file."""
    assert set(os.listdir(path.parent)) <= {path.name, f".{path.name}.tmp"}
    found = saved(path)
    assert possible(found), found
    OLD.save(path)
    assert saved(path) == 1 and os.listdir(path.parent) == [path.name]
    return found


def kill(path):
    """The process is killed at each of those calls in turn."""
    disk, found = Disk(), []
    OLD.save(path)
    for n in range(1, 1000):

        def work(n=n):
            disk.fail(n, 0)
            NEW.save(path)
            os._exit(0)

        status = os.waitstatus_to_exitcode(os.waitpid(in_a_child(work), 0)[1])
        found.append(check_after_a_kill(path, {1, 2}.__contains__))
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert found == sorted(found) and set(found) == {1, 2}  # the old one, then the new one
    return n - 1


def kill_at_random(path, count):
    """While one or two processes save again and again, the first is killed at a random moment."""
    moments, found = random.Random(0), []
    OLD.save(path)
    for k in range(count):

        def save_forever(first, step):
            mine, value = model(first), first
            while True:
                mine.parameters[:] = value
                mine.save(path)
                value += step

        children = [in_a_child(lambda: save_forever(2, 2))]
        if k % 3 == 0:
            children.append(in_a_child(lambda: save_forever(3, 2)))
        time.sleep(moments.uniform(0, 0.03))
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
        for other in children[1:]:  # goes on
            saved(path)
            time.sleep(0.005)
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
        found.append(check_after_a_kill(path, lambda value: value >= 1 and value == int(value)))
    assert max(found) > 2, "nobody was killed between two saves"
    return count


if __name__ == "__main__":
    run = {"fail": fail, "kill": kill, "kill_at_random": kill_at_random}[sys.argv[1]]
    print(run(Path(sys.argv[2]) / "m.safetensors", *map(int, sys.argv[3:])))
