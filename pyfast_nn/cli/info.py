"""`pyfast-nn info`: this build, or a model file."""

import argparse
from typing import Any

from .. import loading, runtime
from ..typing import Array
from . import files, table_models

_MOST_CLASSES = 20  # that are named


def add_to(commands: Any) -> None:
    command = commands.add_parser("info", help="show this build, or what is in a model file")
    command.set_defaults(run=run)
    command.add_argument("model", nargs="?", metavar="MODEL", type=files.path, help="model file")


def run(arguments: argparse.Namespace) -> int:
    if arguments.model is None:
        values: dict[str, Any] = runtime.build_config()
    elif table_models.is_of_table(arguments.model):
        values = _of_table(table_models.load(arguments.model))
    else:
        model = loading.load(arguments.model)
        print(model.summary())
        values = {
            "loss": model.loss,
            "classes": _classes(model.classes_),
            "seed": model.seed,
            "epochs trained": model.epochs_trained,
        }
    for name, value in values.items():
        print(f"{name:20} {', '.join(value) if isinstance(value, (list, tuple)) else value}")
    return 0


def _of_table(known: table_models.TableModel) -> dict[str, Any]:
    """Print the columns and networks of a model of tables, and return what else is known."""
    model = known.model
    print(repr(model.describe_columns()), repr(model.leaderboard), sep="\n\n", end="\n\n")
    parameters = sum(network.n_parameters for network in model.networks)
    return {
        "target": known.target,
        "classes": _classes(model.classes_),
        "networks": f"{len(model.networks)}, with {parameters:,} parameters",
        "chosen by": model.eval_metric,
    }


def _classes(classes: Array | None) -> str | None:
    return None if classes is None else _named(classes.tolist())


def _named(classes: list[Any]) -> str:
    """Return the names in one line; of many some, and how many there are."""
    texts = [str(c) for c in classes]
    if len(texts) > _MOST_CLASSES:
        texts = [*texts[: _MOST_CLASSES // 2], "...", f"{texts[-1]} ({len(texts):,} in all)"]
    return ", ".join(texts)
