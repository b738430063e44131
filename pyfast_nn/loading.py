"""What becomes a model: a file, or it is a ModelFileError; a module of torch."""

from typing import TYPE_CHECKING, Any, Literal, overload

from . import branches, checks, modelfile
from .exchange import torch_modules
from .modelfile import ModelFileError
from .models import Sequential, engine_of
from .optim import Optimizer, resumed
from .typing import Integer, Path, Shape

if TYPE_CHECKING:
    import torch


@overload
def load(path: Path, *, optimizer: Literal[False] = False) -> Sequential: ...
@overload
def load(path: Path, *, optimizer: Literal[True]) -> tuple[Sequential, Optimizer]: ...
def load(path: Path, *, optimizer: bool = False) -> Sequential | tuple[Sequential, Optimizer]:
    """Read a model that `Sequential.save` or `ModelCheckpoint` wrote.

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
        model, saved = decode(raw, wanted)
        if wanted and saved is None:
            raise ModelFileError("has no optimizer; expected a file of save(path, optimizer=...)")
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__
    return model if saved is None or not wanted else (model, saved)


def decode(raw: bytes, wanted: bool) -> tuple[Sequential, Optimizer | None]:
    """Return the model in the bytes of a file, and its optimizer, which may be `wanted`."""
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


def from_torch(
    module: "torch.nn.Module",
    *,
    in_shape: Shape | Integer | None = None,
    seed: Integer | None = 0,
) -> Sequential:
    """Return a model that computes what a module of torch does; needs the extra `torch`.

    Outputs, gradients in parameters and inputs, and what training learns are torch's, within
    rounding. The parameters are copies.

    Parameters
    ----------
    module : torch.nn.Module
        A ``Linear``, ``LayerNorm``, ``RMSNorm``, ``GroupNorm``, ``BatchNorm1d``, ``PReLU``,
        ``Dropout``, ``ReLU``, ``ReLU6``, ``LeakyReLU``, ``ELU``, ``Softplus``, ``GELU``, ``SiLU``,
        ``Tanh``, ``Hardtanh``, ``Sigmoid``, ``Softmax``, ``Identity``, ``Flatten``, a
        ``Linear`` under ``weight_norm``, a convolution ``Conv1d``, ``Conv2d`` or
        ``ConvTranspose2d`` with ``BatchNorm2d`` and pooling, a ``MultiheadAttention`` or
        ``TransformerEncoderLayer`` with ``batch_first=True``, a ``Sequential`` of those and of
        such, or what `Sequential.to_torch` makes. All of its parameters are float32, or all
        float64; on whatever device.
    in_shape : tuple of int or int, optional
        Shape of one example of X, channels last, which no module tells of sequences and images:
        ``(T, features)``, ``(28, 28, 1)``.
    seed : int or None
        That of the model.

    Returns
    -------
    Sequential
        Of the same dtype, and built if `in_shape` or a module tells how many features come in.

    Raises
    ------
    ImportError
        If torch is not installed; the message says how to get it.
    NotImplementedError
        If a module is none of the above, as one with a ``forward`` of its own; the message names
        it.
    TypeError, ValueError
        If the dtypes differ, or there are settings or hooks that our layers do not have; the
        message names the module.

    Warns
    -----
    UserWarning
        If our layer has more to learn: a bias, which is 0 at first, where the module has none; a
        slope for each feature where a ``PReLU`` has one for all.

    Notes
    -----
    ``named_parameters()["0.weight"]`` is the transpose of ``module.state_dict()["0.weight"]``
    where modules are numbered, as in a ``Sequential``. Modules that stand in two places become
    layers that do, and those without ``requires_grad`` layers that are not `trainable`.

    Attention weights are not dropped, so that a rate of dropout of a ``TransformerEncoderLayer`` is
    that of its other parts.

    There are no modes: `Sequential.fit` does what ``module.train()`` does, `predict` what
    ``module.eval()`` does, and ``forward(X, training=True)`` what is asked for. Random numbers of
    ``Dropout`` are not torch's. `Softplus` is exact where torch returns ``x`` beyond a threshold.

    Channels of images and signals stand in front in torch, and last here: ``model.forward(X)`` is
    ``module(x)`` with ``x`` of X with the axes in that order, and behind ``Flatten`` columns stand
    in torch's order, as a `Permute` in front of it sees to.

    The loss is not the module's: ``model.predict(X, loss="cross_entropy")``, or `fit` with one.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    ... )
    >>> model = fnn.from_torch(module)
    >>> model.layers
    (Dense(32), ReLU(), Dense(10))
    >>> with torch.no_grad():
    ...     out = module(torch.tensor(X, dtype=torch.float32)).numpy()
    >>> np.allclose(model.forward(X), out, atol=1e-5)
    True
    """
    layers, dtype, shape, values = torch_modules.from_module(module, in_shape)
    model = Sequential(layers, dtype=dtype, seed=seed)
    if shape is not None:
        engine_of(model).build(shape, values)
    return model
