"""Whom a fit tells of itself: any objects with some of its methods."""

from typing import Any, Protocol, TypeAlias

from . import checks
from .guidance import written


class _HasFitBegin(Protocol):
    def on_fit_begin(self, model: Any, /) -> object: ...


class _HasStepEnd(Protocol):
    def on_step_end(self, model: Any, step: Any, record: Any, /) -> object: ...


class _HasEpochEnd(Protocol):
    def on_epoch_end(self, model: Any, epoch: Any, record: Any, /) -> object: ...


class _HasEpochRecorded(Protocol):
    def on_epoch_recorded(self, model: Any, epoch: Any, record: Any, /) -> object: ...


class _HasFitEnd(Protocol):
    def on_fit_end(self, model: Any, history: Any, /) -> object: ...


CallbackLike: TypeAlias = _HasFitBegin | _HasStepEnd | _HasEpochEnd | _HasEpochRecorded | _HasFitEnd
_METHODS = ("on_fit_begin", "on_step_end", "on_epoch_end", "on_epoch_recorded", "on_fit_end")


def check(callbacks: Any) -> list[Any]:
    """Return `callbacks` as a list of objects with all methods."""
    try:
        alone = any(hasattr(callbacks, name) for name in _METHODS)
        callbacks = [callbacks] if alone else list(callbacks)
    except TypeError:
        came = checks.describe(callbacks)
        raise TypeError(f"callbacks: expected a list of callbacks, got {came}") from None
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type) or not any(hasattr(callback, name) for name in _METHODS):
            raise TypeError(
                f"callbacks[{i}]: expected an object with any of {', '.join(_METHODS)}, "
                f"got {checks.describe(callback)}{written(callback)}"
            )
        for name in dir(callback):
            if (
                name.startswith("on_")
                and name not in _METHODS
                and callable(getattr(callback, name))
            ):
                raise TypeError(
                    f"callbacks[{i}]: expected no methods on_... but {', '.join(_METHODS)}, got "
                    f"{type(callback).__name__}.{name}, which nothing would call"
                )
        if hasattr(callback, "state_dict") != hasattr(callback, "load_state_dict"):
            raise TypeError(
                f"callbacks[{i}]: expected both of state_dict and load_state_dict, or neither, got "
                f"{type(callback).__name__} with one of them"
            )
    return callbacks


def tell(callback: Any, method: str, *arguments: Any) -> bool:
    """Call a method of a callback that has it; return whether it asks to stop."""
    function = getattr(callback, method, None)
    answer = None if function is None else function(*arguments)
    if answer is True and method in ("on_step_end", "on_epoch_recorded"):
        raise TypeError(
            f"what {type(callback).__name__}.{method} returned: expected None, got True; "
            "on_epoch_end may end a fit by that"
        )
    if answer is None or method != "on_epoch_end":
        return False
    return checks.boolean(answer, f"what {type(callback).__name__}.{method} returned")
