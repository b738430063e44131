"""Fair timing on a machine that others use too.

Contestants take turns, so that a slow minute hits all of them; a turn begins with one unit of the
work that is not timed. A run is thrown away and repeated when

- the FMA peak measured beside it drops strongly: two virtual cores shared a real one; or
- other processes, or other guests of the same host, used the processors meanwhile.

A contestant whose unit of work takes many times the length of a run has one run and no more.
"""

import os
import statistics
import time
from dataclasses import dataclass, field

from pyfast_nn import _core

PEAK_SECONDS = 0.03
STRONG_DROP = 0.85  # of the best peak
FOREIGN_SHARE = 0.1  # of one processor
PATIENCE = 4  # runs thrown away at most, per run kept
SLOW = 10  # lengths of a run: a unit that takes longer is timed once


@dataclass
class Result:
    seconds: list[float] = field(default_factory=list)  # for one unit of work
    peaks: list[float] = field(default_factory=list)  # FLOP/s beside each of them
    disturbed: int = 0  # runs kept although the machine was not ours

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def peak(self):
        return statistics.median(self.peaks)


def interleave(contestants, *, seconds, repeats, threads):
    """Time each contestant, in turns.

    Parameters
    ----------
    contestants : dict of str to callable
        ``run(count)`` does `count` units of the work.
    seconds : float
        About how long one run lasts; `count` is chosen for it.
    repeats, threads : int

    Returns
    -------
    dict of str to Result
    """
    counts, unit = {}, {}
    for name, run in contestants.items():
        counts[name], unit[name] = choose_count(run, seconds)
    best_peak = max(_core.fma_peak(PEAK_SECONDS, threads) for _ in range(5))
    results = {name: Result() for name in contestants}
    for repeat in range(repeats):
        for name, run in contestants.items():
            slow = unit[name] > SLOW * seconds
            if slow and repeat > 0:
                continue
            for _attempt in range(1 if slow else PATIENCE + 1):
                run(1)  # not timed: caches, and memory that comes from the host anew
                before = _core.fma_peak(PEAK_SECONDS, threads)
                foreign = foreign_seconds()
                elapsed = timed(run, counts[name])
                foreign = foreign_seconds() - foreign
                peak = min(before, _core.fma_peak(PEAK_SECONDS, threads))
                best_peak = max(best_peak, before)
                if peak >= STRONG_DROP * best_peak and foreign <= FOREIGN_SHARE * elapsed:
                    break
            else:
                results[name].disturbed += 1
            results[name].seconds.append(elapsed / counts[name])
            results[name].peaks.append(peak)
    return results


def choose_count(run, seconds):
    """Return how many units of work take about `seconds`, and the seconds of one.

    The first call (compilation) does not count.
    """
    run(1)
    count = 1
    while True:
        elapsed = timed(run, count)
        if elapsed >= seconds / 4:
            return max(1, round(count * seconds / elapsed)), elapsed / count
        count *= 2


def timed(run, count):
    start = time.perf_counter()
    run(count)
    return time.perf_counter() - start


def foreign_seconds():
    """Processor time that went to others since the start of the system, this process left out."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    used = user + nice + system + irq + softirq + steal
    return used / os.sysconf("SC_CLK_TCK") - time.process_time()


def note_disturbed(work, results):
    """A line for the reader when the machine was never quiet."""
    disturbed = {name: result.disturbed for name, result in results.items() if result.disturbed}
    if not disturbed:
        return ""
    runs = ", ".join(f"{name} {number}" for name, number in disturbed.items())
    return f"\n{work}: runs kept although others used the machine: {runs}.\n"
