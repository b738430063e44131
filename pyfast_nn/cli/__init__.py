"""The command line, `pyfast-nn`: one file for each command, and what they share beside them."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import runtime
from . import evaluate, info, predict, train


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pyfast-nn`.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0; 130 after Ctrl-C; 141 if whoever read the output has gone. A user's mistake
        ends with one line on stderr and ``SystemExit(2)``.
    """
    try:
        try:
            return _run(argv)
        finally:  # also of --help, which ends by SystemExit
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        return 141
    except (
        *(ValueError, TypeError, OSError, FloatingPointError, MemoryError),
        ImportError,  # of what an extra brings
    ) as error:
        _parser().error(_one_line(error))


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return 0
    code: int = arguments.run(arguments)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"pyfast-nn: error: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(prog="pyfast-nn", description="Train small neural networks, fast.")
    version = runtime.build_config()["version"]
    parser.add_argument("--version", action="version", version=f"pyfast-nn {version}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for module in (train, evaluate, predict, info):
        module.add_to(commands)
    return parser


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
