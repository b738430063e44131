"""What every optimizer can do around its update: options, as attributes that may be assigned."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, overload

from .. import checks
from ..typing import Integer, Real

if TYPE_CHECKING:
    from .base import Optimizer

Given = TypeVar("Given")  # what an attribute takes, and what it holds
Held = TypeVar("Held")


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


class Option(Generic[Given, Held]):
    """An option of all optimizers: an attribute that checks what is assigned to it.

    `apart_from` names the other options that must be None when this one is given.
    """

    def __init__(
        self, default: Held, check: Callable[[Any, str], Held], apart_from: tuple[str, ...] = ()
    ) -> None:
        self.default = default
        self._check = check
        self._apart_from = apart_from

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> "Option[Given, Held]": ...
    @overload
    def __get__(self, optimizer: "Optimizer", owner: type | None = None) -> Held: ...
    def __get__(self, optimizer: "Optimizer | None", owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer.__dict__[self._name]

    def __set__(self, optimizer: "Optimizer", value: Given) -> None:
        held = None
        if value is not None or self.default is not None:
            held = self._check(value, self._name)
            for other in self._apart_from:
                if optimizer.__dict__.get(other) is not None:
                    raise ValueError(
                        f"{self._name}: expected None where {other} is given, got {held}"
                    )
        optimizer.__dict__[self._name] = held
        optimizer._changed()


def names(optimizer: "Optimizer | type[Optimizer]") -> tuple[str, ...]:
    """Return the names of all options of an optimizer, or of its class."""
    cls: Any = optimizer if isinstance(optimizer, type) else type(optimizer)
    return _names(cls)


@functools.cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(k for base in cls.__mro__ for k, v in vars(base).items() if isinstance(v, Option))


def given(optimizer: "Optimizer") -> dict[str, Any]:
    """Return the options that differ from their defaults, by name."""
    return {
        name: value
        for name in names(optimizer)
        if (value := getattr(optimizer, name)) != getattr(type(optimizer), name).default
    }


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
