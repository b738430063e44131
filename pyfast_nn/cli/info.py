"""`pyfast-nn info`: this build, or a model file."""

from .. import runtime
from ..loading import load


def add_to(commands):
    command = commands.add_parser("info", help="show this build, or what is in a model file")
    command.set_defaults(run=run)
    command.add_argument("model", nargs="?", metavar="MODEL", help="model file")


def run(arguments):
    if arguments.model is None:
        values = runtime.build_config()
    else:
        model = load(arguments.model)
        print(model.summary())
        classes = model.classes_
        values = {
            "loss": model.loss,
            "classes": None if classes is None else ", ".join(map(str, classes)),
            "seed": model.seed,
            "epochs trained": model.epochs_trained,
        }
    for name, value in values.items():
        print(f"{name:20} {', '.join(value) if isinstance(value, (list, tuple)) else value}")
