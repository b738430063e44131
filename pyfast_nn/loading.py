"""Reading a model file: whatever is in it becomes a model, or a ModelFileError."""

from typing import Any, Literal, overload

from . import branches, checks, modelfile
from .modelfile import ModelFileError
from .models import Sequential, engine_of
from .optim import Optimizer, resumed
from .typing import Path


@overload
def load(path: Path, *, optimizer: Literal[False] = False) -> Sequential: ...
@overload
def load(path: Path, *, optimizer: Literal[True]) -> tuple[Sequential, Optimizer]: ...
def load(path: Path, *, optimizer: bool = False) -> Sequential | tuple[Sequential, Optimizer]:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    optimizer : bool
        Whether to return also the optimizer that was saved with it, to go on with.

    Returns
    -------
    model : Sequential
        With its parameters and state, and all of its attributes.
    optimizer : Optimizer
        Only if asked for.

    Raises
    ------
    ModelFileError
        If the file is not an intact model, or has no optimizer that is asked for; a subclass of
        ValueError.
    OSError
        If it cannot be read; FileNotFoundError if there is none.

    Examples
    --------
    >>> model.save("m.safetensors")
    >>> model = fnn.load("m.safetensors")

    Training that goes on as if it had not been interrupted:

    >>> adam = fnn.optim.Adam(lr=fnn.schedules.Cosine(1e-3, 1000))
    >>> history = model.fit(X, y, optimizer=adam, epochs=2)
    >>> model.save("m.safetensors", optimizer=adam)
    >>> model, adam = fnn.load("m.safetensors", optimizer=True)
    >>> history = model.fit(X, y, optimizer=adam, epochs=3)
    """
    wanted = checks.boolean(optimizer, "optimizer")
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        model, saved = _decode(raw, wanted)
        if wanted and saved is None:
            raise ModelFileError("has no optimizer; expected a file of save(path, optimizer=...)")
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__
    return model if saved is None or not wanted else (model, saved)


def _decode(raw: bytes, wanted: bool) -> tuple[Sequential, Optimizer | None]:
    contents = modelfile.read(raw)
    try:
        model = _make_model(contents.description)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its description is not valid: {error}") from error
    engine = engine_of(model)
    modelfile.fill(engine, contents)
    if contents.optimizer.description is None:
        return model, None
    try:
        if (path := resumed.function_beside(contents.optimizer.description)) is None:
            saved = resumed.optimizer_beside(engine, contents.optimizer)
            engine.saved_optimizer = f"{type(saved).__name__} ({saved.step_count} steps)"
            return model, saved
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its optimizer is not valid: {error}") from error
    if wanted:
        raise ModelFileError(
            f"has an optimizer whose {path} is a function, which no file can hold; go on with "
            "fit(..., resume=path) and an optimizer that has it"
        )
    return model, None


def _make_model(description: dict[str, Any]) -> Sequential:
    """Return the unbuilt model; TypeError or ValueError if a value is impossible."""
    return Sequential(
        branches.from_config(description["layers"]),
        dtype=checks.choice(description["dtype"], "dtype", ("float32", "float64")),
        seed=checks.integer(description["seed"], "seed", minimum=0, maximum=2**64 - 1),
    )
