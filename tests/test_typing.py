"""Annotations: all that is public has them, and the scripts that type checkers pass do run.

`.ci/run` asks mypy and pyright, both strict: scripts in `typed/right` pass, and each marked line in
`typed/wrong` fails, as an ignored error that does not come is an error itself.
"""

import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path

import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

SCRIPTS = sorted((Path(__file__).parent / "typed" / "right").glob("*.py"))


def modules():
    names = [name for _, name, _ in pkgutil.walk_packages(fnn.__path__, "pyfast_nn.")]
    # Compiled ones have no signatures; their stub is compared with them by stubtest.
    return [
        importlib.import_module(n) for n in names if not n.endswith(("__main__", "_core", "_blas"))
    ]


def functions(owner, name):
    """Yield (name, function) of all public functions and methods that `owner` defines."""
    home = owner.__module__ if inspect.isclass(owner) else owner.__name__
    for attribute, value in vars(owner).items():
        if attribute.startswith("_") and attribute not in ("__init__", "__call__"):
            continue
        where = f"{name}.{attribute}"
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            yield from ((where, f) for f in (value.fget, value.fset) if f is not None)
        elif inspect.isfunction(value) and value.__module__ == home:
            yield where, value
        elif inspect.isclass(value) and value.__module__ == home:
            yield from functions(value, where)


def missing(function):
    """Return what of a function has no annotation."""
    signature = inspect.signature(function)
    names = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    is_method = "." in function.__qualname__.rpartition("<locals>.")[2]
    names = names[1:] if is_method and names[:1] in (["self"], ["cls"]) else names
    return [*names, *(["return"] if signature.return_annotation is signature.empty else [])]


def test_everything_public_is_annotated():
    bare, seen = {}, 0
    for module in modules():
        for where, function in functions(module, module.__name__):
            seen += 1
            if missing(function):
                bare[where] = missing(function)
    assert seen > 400
    assert not bare


def test_what_is_not_annotated_is_seen():
    def half(x: int, y, *, z=None) -> int: ...

    class Bare:
        def method(self, x): ...

        @property
        def size(self): ...

    assert missing(half) == ["y", "z"]
    found = dict(functions(Bare, "Bare"))
    assert missing(found["Bare.method"]) == ["x", "return"]
    assert missing(found["Bare.size"]) == ["return"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_that_checkers_pass_run(script, restore_threads):
    runpy.run_path(str(script), run_name="__main__")
