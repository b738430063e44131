"""Options that apply to some data only: None until that is known, so that none is ignored."""

import argparse
from typing import Any


class Options:
    """Options of a command that apply together, or not at all.

    Parameters
    ----------
    group : argparse.ArgumentParser or group of arguments
    """

    def __init__(self, group: Any) -> None:
        self._group = group
        self._defaults: dict[str, Any] = {}

    def add(self, *names: str, default: Any = None, **keywords: Any) -> None:
        """Add an option, as `add_argument` does; what its default is, its help says."""
        if default is not None and default != () and default is not False:
            keywords["help"] += f" (default: {default})"
        if isinstance(default, str) and "type" in keywords:
            default = keywords["type"](default)
        if keywords.get("action") == "store_true":
            default = False
        action = self._group.add_argument(*names, default=None, **keywords)
        self._defaults[action.dest] = default

    def settle(self, arguments: argparse.Namespace) -> None:
        """Give those that were not given their defaults."""
        for name, default in self._defaults.items():
            if getattr(arguments, name) is None:
                setattr(arguments, name, default)

    def refuse(self, arguments: argparse.Namespace, expected: str) -> None:
        """Raise ValueError if one was given, as they do not apply."""
        for name in self._defaults:
            if getattr(arguments, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')}: expected {expected}")
