"""What layers, initialisers and their like have in common: settings that never change."""

import functools
from collections.abc import Callable, Iterable
from ctypes import c_float
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

import numpy as np

from . import checks
from .guidance import Guided, is_ours

Held = TypeVar("Held")


class Setting(Generic[Held]):
    """A setting of an object: an attribute whose values ``check(value, name)`` returns."""

    def __init__(self, check: Callable[[Any, str], Held]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type) -> "Setting[Held]": ...
    @overload
    def __get__(self, holder: object, owner: type | None = None) -> Held: ...
    def __get__(self, holder: object | None, owner: type | None = None) -> Any:
        return self if holder is None else vars(holder)[self.name]

    if TYPE_CHECKING:  # what may not be assigned is an error

        def __set__(self, holder: Any, value: NoReturn) -> None: ...


def settings(cls: type, kind: type[Setting[Any]] = Setting) -> tuple[str, ...]:
    """Return the names of the settings of a class, of some kind, in the order of definition."""
    hashable: Any = (cls, kind)  # as mypy doubts of classes with an __eq__ of their own
    return _settings(*hashable)


@functools.cache
def _settings(cls: type, kind: type[Setting[Any]]) -> tuple[str, ...]:
    found = [k for c in reversed(cls.__mro__) for k, v in vars(c).items() if isinstance(v, kind)]
    return tuple(dict.fromkeys(found))


class Configured(Guided):
    """Immutable, equal to its like with the same settings, printed as it is written."""

    def _set(self, **values: Any) -> None:
        """Give the settings their values, once."""
        for name, value in values.items():
            vars(self)[name] = getattr(type(self), name).check(value, name)

    if not TYPE_CHECKING:  # for which attributes are as they are declared

        def __setattr__(self, name: str, value: object) -> None:
            is_known = name[0] != "_" and name in dir(self) and is_ours(type(self))
            if is_known or name in settings(type(self)):
                kind = type(self).__name__
                raise AttributeError(f"{name}: a {kind} does not change; make a new one")
            super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this object, as a dict."""
        return {name: getattr(self, name) for name in settings(type(self))}

    def __repr__(self) -> str:
        import inspect

        config = self.get_config()
        parameters = inspect.signature(type(self)).parameters.values() if config else ()
        arguments = [
            f"{config[p.name]!r}" if p.default is p.empty else f"{p.name}={config[p.name]!r}"
            for p in parameters
            if p.name in config and config[p.name] != p.default
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), *self.get_config().values()))


def check_rounded(item: Configured, dtype: np.dtype[Any], prefix: str = "") -> None:
    """Raise ValueError if a Configured object is impossible with the numbers that `dtype` has."""
    config = {name: getattr(item, name) for name in settings(type(item))}
    if not config or dtype == np.float64:  # which settings are in
        return
    rounded = {
        name: c_float(value).value if isinstance(value, float) else value
        for name, value in config.items()
    }
    try:
        if rounded != config:
            type(item)(**rounded)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}: {item!r} in {dtype}") from None


def to_config(item: Configured) -> dict[str, Any]:
    """Return a Configured object as a dict of plain values, for the model file."""
    config = {
        name: to_config(value) if isinstance(value, Configured) else value
        for name, value in item.get_config().items()
    }
    return {"type": type(item).__name__, **config}


def from_config(config: object, classes: Iterable[type[Configured]], name: str) -> Any:
    """Return the object, of one of `classes`, that `to_config` described.

    TypeError or ValueError on anything else, which calls it `name`.
    """
    if not isinstance(config, dict):
        raise TypeError(f"{name}: expected a dict, got {checks.describe(config)}")
    by_name = {one.__name__: one for one in classes}
    arguments = dict(config)
    kind = checks.choice(arguments.pop("type", None), f"{name} type", tuple(by_name))
    return by_name[kind](**arguments)
