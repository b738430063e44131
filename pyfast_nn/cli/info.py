"""`pyfast-nn info`: this build, or a model file."""

import argparse
from typing import Any

from .. import runtime
from . import files

_MOST_CLASSES = 20  # that are named


def add_to(commands: Any) -> None:
    command = commands.add_parser("info", help="show this build, or what is in a model file")
    command.set_defaults(run=run)
    command.add_argument("model", nargs="?", metavar="MODEL", type=files.path, help="model file")


def run(arguments: argparse.Namespace) -> int:
    if arguments.model is None:
        values: dict[str, Any] = runtime.build_config()
    else:
        model = files.load_model(arguments.model)
        print(model.summary())
        classes = model.classes_
        values = {
            "loss": model.loss,
            "classes": None if classes is None else _named(classes.tolist()),
            "seed": model.seed,
            "epochs trained": model.epochs_trained,
        }
    for name, value in values.items():
        print(f"{name:20} {', '.join(value) if isinstance(value, (list, tuple)) else value}")
    return 0


def _named(classes: list[Any]) -> str:
    """Return the names in one line; of many some, and how many there are."""
    texts = [str(c) for c in classes]
    if len(texts) > _MOST_CLASSES:
        texts = [*texts[: _MOST_CLASSES // 2], "...", f"{texts[-1]} ({len(texts):,} in all)"]
    return ", ".join(texts)
