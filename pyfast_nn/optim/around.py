"""What every optimizer can do around its update: options as arguments, and their checks."""

from collections.abc import Callable
from typing import Any, TypedDict

from .. import checks
from ..typing import Integer, Real


class Options(TypedDict, total=False):
    """The options as arguments; see `Optimizer`."""

    groups: Callable[[str], dict[str, Any]] | None
    maximize: bool
    clip_norm: Real | None
    clip_value: Real | None
    clip_units: Real | None
    unit_axis: Integer
    skip_nonfinite: bool
    accumulate: Integer
    ema: Real | None
    swa: Integer | None
    lookahead: tuple[Integer, Real] | None
    sam: Real | None


def check_positive(value: object, name: str) -> float:
    return checks.real(value, name, above=0)


def check_axis(value: object, name: str) -> int:
    return checks.integer(value, name, minimum=-64, maximum=63)


def check_count(value: object, name: str) -> int:
    return checks.integer(value, name, minimum=1)


def check_step(value: object, name: str) -> int:
    return checks.integer(value, name, minimum=0, maximum=2**62)


def check_decay(value: object, name: str) -> float:
    return checks.real(value, name, minimum=0, below=1)


def check_lookahead(value: Any, name: str) -> tuple[int, float]:
    steps, alpha = checks.pair(value, name, "the number of steps and alpha")
    steps = checks.integer(steps, f"{name}[0]", minimum=1)
    alpha = checks.real(alpha, f"{name}[1]", above=0)
    if alpha > 1:
        raise ValueError(f"{name}[1]: expected a number > 0 and <= 1, got {alpha}")
    return steps, alpha
