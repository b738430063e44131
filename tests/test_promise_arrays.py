"""The promise about arrays: whatever memory the numbers are in, the same bits as from a clean copy,
and the input as it was; what cannot be meant is an error that names the argument and what came."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from scipy import sparse

import pyfast_nn as fnn
from conftest import assert_same_bits

pytestmark = pytest.mark.once

ROWS, COLUMNS, CLASSES = 12, 5, 3


# ------------------------------------------------------------------------------------ entry points


def make(dtype, loss):
    model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(CLASSES)], dtype=dtype, seed=1)
    model.build(COLUMNS).loss = loss
    return model


def fit(model, X, y, sample_weight, validation):
    history = model.fit(
        *(X, y),
        sample_weight=sample_weight,
        validation_data=(validation, y),
        epochs=2,
        batch_size=5,
        verbose=0,
    )
    return model.parameters, history["loss"], history["val_loss"]


def fit_many(model, X, y, sample_weight, validation):
    outputs = []
    histories = fnn.fit_many(
        *([model, make(model.dtype, model.loss)], X, y),
        sample_weight=sample_weight,
        validation_data=(validation, y),
        epochs=2,
        batch_size=5,
        verbose=0,
        on_epoch_end=lambda *arguments: outputs.append(arguments[-1]),
    )
    return model.parameters, outputs[-1], histories[0]["loss"], histories[1]["val_loss"]


def set_parameters(model, v):
    model.parameters = v
    return (model.parameters,)


# name: (what it does, arguments that it takes); "validation" is validation_data's X
ENTRIES = {
    "fit": (fit, ("X", "y", "sample_weight", "validation")),
    "fit_many": (fit_many, ("X", "y", "sample_weight", "validation")),
    "evaluate": (
        lambda m, X, y, sample_weight: m.evaluate(X, y, sample_weight=sample_weight)["loss"],
        ("X", "y", "sample_weight"),
    ),
    "predict": (lambda m, X: m.predict(X), ("X",)),
    "predict_proba": (lambda m, X: m.predict_proba(X), ("X",)),
    "forward": (lambda m, X: m.forward(X), ("X",)),
    "loss_and_grad": (
        lambda m, X, y, sample_weight: m.loss_and_grad(X, y, sample_weight=sample_weight),
        ("X", "y", "sample_weight"),
    ),
    "vjp": (lambda m, X, dout: m.vjp(X)[1](dout), ("X", "dout")),
    "jvp": (lambda m, X, v: m.jvp(X, v), ("X", "v")),
    "hvp": (
        lambda m, X, y, v, sample_weight: m.hvp(X, y, v, sample_weight=sample_weight),
        ("X", "y", "v", "sample_weight"),
    ),
    "parameters": (set_parameters, ("v",)),
}


def results(entry, dtype, role, arguments):
    """Every number that the entry point gives, as a list of arrays."""
    call, names = ENTRIES[entry]
    model = make(dtype, "mse" if role == "values" else "cross_entropy")
    found = call(model, **{name: arguments[name] for name in names})
    return [np.asarray(part) for part in (found if isinstance(found, tuple) else [found])]


SHAPES = {
    "X": (ROWS, COLUMNS),
    "validation": (ROWS, COLUMNS),
    "y": (ROWS,),
    "values": (ROWS, CLASSES),  # y of a loss that takes values
    "sample_weight": (ROWS,),
    "v": (COLUMNS * 4 + 4 + 4 * CLASSES + CLASSES,),
    "dout": (ROWS, CLASSES),
}


def numbers(role, kind="f"):
    """Numbers for `role` that every dtype of `kind` holds exactly."""
    rng = np.random.default_rng(list(role.encode()))
    if role == "y":
        return rng.integers(0, CLASSES, SHAPES[role]).astype(np.float64)
    if kind == "b":
        return (np.arange(np.prod(SHAPES[role])) % 3 == 0).reshape(SHAPES[role]).astype(np.float64)
    low = 1 if role == "sample_weight" else 0 if kind == "u" else -20
    whole = rng.integers(low, 20, SHAPES[role]).astype(np.float64)
    return whole / 4 if kind == "f" else whole


# ------------------------------------------------------------------------------------------ memory


class DLPack:
    """What speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    wide = np.full([3 * size for size in a.shape], np.nan, a.dtype)
    wide[(slice(1, None, 3),) * a.ndim] = a
    return wide[(slice(1, None, 3),) * a.ndim]


def negative(a):
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def misaligned(a):
    view = np.zeros(a.nbytes + 3, np.uint8)[3:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def field(a):
    """A field of packed records."""
    records = np.zeros(a.shape, [("flag", "i1"), ("number", "f8"), ("name", "S3")])
    records["number"] = a
    return records["number"]


def mapped(a):
    memory = np.memmap(
        mapped.folder / f"{len(list(mapped.folder.iterdir()))}.bin", a.dtype, "w+", 0, a.shape
    )
    memory[...] = a
    memory.flush()
    return np.memmap(memory.filename, a.dtype, "r", 0, a.shape)


def windows(a):
    """Rows that share all but one of their numbers."""
    return np.lib.stride_tricks.sliding_window_view(a.ravel().copy(), a.shape[1])[: len(a)]


def pandas(a, **keywords):
    pd = pytest.importorskip("pandas", reason="reads pandas' objects")
    index = np.arange(len(a))[::-1]  # has no say
    return (pd.DataFrame if a.ndim == 2 else pd.Series)(a.copy(), index=index, **keywords)


def frame_of_mixed_columns(a):
    frame = pandas(a)
    return frame.astype({0: "float32", 1: "Float64"})


def as_type(code):
    return lambda a: a.astype(code)


# name: (kind of the numbers, how they are stored)
MEMORY = {
    "fortran": ("f", np.asfortranarray),
    "strided": ("f", strided),
    "negative strides": ("f", negative),
    "read-only": ("f", read_only),
    "byte-swapped": ("f", lambda a: a.astype(a.dtype.newbyteorder())),
    "byte-swapped, strided": ("f", lambda a: strided(a.astype(">f4"))),
    "misaligned": ("f", misaligned),
    "misaligned, float32": ("f", lambda a: misaligned(a.astype(np.float32))),
    "misaligned, int64": ("i", lambda a: misaligned(a.astype(np.int64))),
    "field of records": ("f", field),
    "broadcast": ("f", lambda a: np.broadcast_to(a[:1].copy(), a.shape)),
    "windows": ("f", windows),
    "memory-mapped": ("f", mapped),
    "list": ("f", np.ndarray.tolist),
    "tuple of tuples": ("f", lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a)),
    "list of arrays": ("f", list),
    "matrix": ("f", lambda a: a.copy().view(np.matrix)),
    "subclass": ("f", lambda a: a.copy().view(np.recarray)),
    "pandas": ("f", pandas),
    "pandas, nullable": ("i", lambda a: pandas(a, dtype="Int64")),
    "pandas, mixed": ("f", frame_of_mixed_columns),
    "dlpack": ("f", lambda a: DLPack(a.copy())),
    "dlpack, float32": ("f", lambda a: DLPack(a.astype(np.float32))),
    **{np.dtype(code).name: ("f", as_type(code)) for code in "efdg"},
    **{np.dtype(code).name: ("i", as_type(code)) for code in "bhiq"},
    **{np.dtype(code).name: ("u", as_type(code)) for code in "BHIQ"},
    ">u2": ("u", as_type(">u2")),
    ">i8": ("i", as_type(">i8")),
    "bool": ("b", as_type(bool)),
    "csr": ("f", sparse.csr_array),
    "csc": ("f", sparse.csc_array),
    "coo": ("f", sparse.coo_array),
    "csr_matrix": ("f", sparse.csr_matrix),
}
# What the stored numbers are, where they are not those that came.
STORED = {
    "broadcast": lambda a: np.stack([a[0]] * len(a)),
    "windows": lambda a: np.stack([a.ravel()[i : i + a.shape[1]] for i in range(len(a))]),
}
ONLY_MATRICES = {"windows", "matrix", "pandas, mixed"}
ONLY_FEATURES = {"csr", "csc", "coo", "csr_matrix"}


def can_be(name, role):
    if name in ONLY_FEATURES:
        return role in ("X", "validation")
    # bools as labels mean their sorted classes, not columns 0 and 1
    return not (len(SHAPES[role]) == 1 and name in ONLY_MATRICES) and (name, role) != ("bool", "y")


def memory_of(given):
    """The bytes of everything that the user holds."""
    if isinstance(given, DLPack):
        return given.array.tobytes()
    if sparse.issparse(given):
        parts = [getattr(given, part, None) for part in ("data", "indices", "indptr", "coords")]
        return given.format, [np.asarray(part).tobytes() for part in parts if part is not None]
    if isinstance(given, (list, tuple)):
        return repr(given)
    if not isinstance(given, np.ndarray):  # pandas
        return given.copy(), np.asarray(given.index).tobytes()
    owners, owner = [], given
    while isinstance(owner, np.ndarray):  # also what lies between strided numbers
        owners.append((owner.tobytes(), owner.dtype, owner.shape, owner.strides))
        owner = owner.base
    return owners


def is_same_memory(now, before):
    if isinstance(now, tuple) and hasattr(now[0], "equals"):
        return now[0].equals(before[0]) and now[1] == before[1]
    return now == before


CASES = [
    (name, entry, role)
    for name in MEMORY
    for entry, (_, roles) in ENTRIES.items()
    for role in (*roles, *(["values"] if "y" in roles else []))
    if can_be(name, role)
]


def test_there_are_enough_cases():
    assert len(CASES) > 900


@pytest.mark.parametrize(("name", "entry", "role"), CASES)
def test_the_bits_of_a_clean_copy(name, entry, role, tmp_path):
    mapped.folder = tmp_path
    kind, store = MEMORY[name]
    numbers_given = numbers(role, kind)
    given = store(numbers_given)
    stored = STORED.get(name, lambda a: a)(numbers_given)
    others = {other: numbers(other) for other in SHAPES}
    argument = "y" if role == "values" else role
    before = memory_of(given)
    for dtype in ("float32", "float64"):
        clean = np.array(stored, np.int64 if role == "y" else dtype, order="C")
        expected = results(entry, dtype, role, {**others, argument: clean})
        found = results(entry, dtype, role, {**others, argument: given})
        for actual, right in zip(found, expected, strict=True):
            assert right.size and np.isfinite(right).all()
            assert_same_bits(actual, right)
    assert is_same_memory(memory_of(given), before)


class TestMemoryOfOurOwn:
    """Arrays that overlap with what the model writes or with each other."""

    def model(self):
        model = make("float64", "cross_entropy")
        return model, numbers("X"), numbers("y")

    def test_parameters_as_direction(self):
        model, X, y = self.model()
        v = model.parameters.copy()
        assert_same_bits(model.hvp(X, y, model.parameters), model.hvp(X, y, v))
        assert_same_bits(model.jvp(X, model.parameters)[1], model.jvp(X, v)[1])
        assert_same_bits(model.parameters, v)

    def test_parameters_from_themselves(self):
        model, _, _ = self.model()
        v = model.parameters.copy()
        model.parameters = model.parameters[::-1]
        assert_same_bits(model.parameters, v[::-1])

    def test_outputs_as_their_gradient(self):
        model, X, _ = self.model()
        out, pullback = model.vjp(X)
        before = out.copy()
        for actual, right in zip(pullback(out), pullback(before), strict=True):
            assert_same_bits(actual, right)
        assert_same_bits(out, before)

    def test_one_buffer_for_everything(self):
        """X, y and the weights are columns of one table."""
        _, X, y = self.model()
        table = np.column_stack([X, y, numbers("sample_weight")])
        given = table[:, :COLUMNS], table[:, COLUMNS], table[:, COLUMNS + 1]
        before, found = table.copy(), []
        for X, y, sample_weight in (given, [part.copy() for part in given]):
            model, _, _ = self.model()
            model.fit(X, y, sample_weight=sample_weight, epochs=2, batch_size=5, verbose=0)
            found.append(model.parameters)
        assert_same_bits(*found)
        assert_same_bits(table, before)


# --------------------------------------------------------------------------------- what cannot be


def bad_arrays(role):
    """name: (what nobody can read as `role`, a pattern of how the message tells what came)."""
    clean = numbers(role)
    shape = SHAPES[role]
    bad = {
        "object": (np.full(shape, None), "object|None"),
        "complex": (clean + 0j, "complex128"),
        "bytes": (np.full(shape, b"a"), "S1"),
        "datetime": (np.full(shape, np.datetime64("2020-01-01")), "datetime64"),
        "timedelta": (np.full(shape, np.timedelta64(1, "s")), "timedelta64"),
        "records": (np.zeros(shape, [("a", "f8")]), "'a'"),
        "dict": ({"a": 1}, r"object|dict|\(\)"),
        "generator": ((x for x in ()), r"object|generator|\(\)"),
        "masked": (np.ma.masked_array(clean, mask=True), "masked"),
        "long integers": (np.full(shape, 2**70).tolist(), "object"),
        "no dimension": (1.0, r"\(\)"),
        "one dimension more": (clean[..., None, None], re.escape(str((*shape, 1, 1)))),
    }
    if role != "y":
        bad["text"] = (np.full(shape, "a"), "<U1")
    if role in ("X", "validation"):
        bad["one column more"] = (np.ones((ROWS, COLUMNS + 1)), "6")
        bad["one dimension less"] = (np.ones(COLUMNS), r"\(5,\)")
    else:
        bad["one more"] = (np.ones((shape[0] + 1, *shape[1:])), str(shape[0] + 1))
        bad["none"] = (np.ones((0, *shape[1:])), r"\(0,")
        bad["sparse"] = (sparse.csr_array(np.ones((2, 2))), "csr_array")
    for name, value in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}.items():
        if role not in ("v", "dout"):  # where they pass through
            array = clean.copy()
            array.flat[array.size // 2] = value
            bad[name] = (array, name)
    if role == "y":
        for value in (CLASSES, -1, 0.5, 1e300):
            array = clean.copy()
            array[7] = value
            shown = re.escape(str(value))
            bad[f"label {value}"] = (array, rf"{shown}(\.0)? in row 7")
    if role == "sample_weight":
        bad["negative"] = (np.where(np.arange(ROWS) == 7, -1, clean), "-1.0 at position 7")
        bad["all zero"] = (np.zeros(ROWS), "at least one")
    return bad


NAMES = {"validation": "validation_data[0]", "values": "y"}  # in messages, where not the role


@pytest.mark.parametrize(
    ("entry", "role"),
    [(e, r) for e, (_, roles) in ENTRIES.items() for r in (*roles, *["values"] * ("y" in roles))],
)
def test_impossible_arrays(entry, role):
    argument = "y" if role == "values" else role
    named = "parameters" if entry == "parameters" else NAMES.get(role, role)
    clean = {other: numbers(other) for other in SHAPES}
    model = make("float32", "mse" if role == "values" else "cross_entropy")
    clean["y"] = clean["values" if role == "values" else "y"]
    before = model.parameters.copy()
    call, names = ENTRIES[entry]
    for what, (bad, came) in bad_arrays(role).items():
        if what in ("nan", "inf", "-inf") and role == "X" and not entry.startswith("fit"):
            continue  # they pass through everything that does not train
        with pytest.raises((TypeError, ValueError)) as caught:
            call(model, **{n: {**clean, argument: bad}[n] for n in names})
        message = str(caught.value)
        if entry == "fit_many":
            assert message.startswith("models[0]: ")
            message = message.removeprefix("models[0]: ")
        assert message.startswith(named), (what, message)
        assert re.search(came, message.removeprefix(named)), (what, message)
        assert_same_bits(model.parameters, before)


# ---------------------------------------------------------------------------- what cannot be meant

NOT_NUMBERS = [float("nan"), float("inf"), -float("inf"), 1j, "many", object()]


def impossible(parameter):
    """Values that are no numbers; and no names of files, for which a text is."""
    is_file = parameter in ("path", "log_dir", "resume")
    return [value for value in NOT_NUMBERS if not (is_file and isinstance(value, str))]


def public_classes():
    for module in (fnn, fnn.losses, fnn.optim, fnn.initializers):
        for name in module.__all__ if hasattr(module, "__all__") else dir(module):
            thing = getattr(module, name)
            own = module is fnn or getattr(thing, "__module__", "").startswith(module.__name__)
            if inspect.isclass(thing) and own and not name.startswith("_"):
                yield thing


# Needed arguments besides the one in question.
NEEDED = {
    "AdaptiveAvgPool1d": {"output_size": 2},
    "AdaptiveAvgPool2d": {"output_size": 2},
    "AdaptiveMaxPool1d": {"output_size": 2},
    "AdaptiveMaxPool2d": {"output_size": 2},
    "AvgPool1d": {"kernel_size": 2},
    "AvgPool2d": {"kernel_size": 2},
    "Conv1d": {"out_channels": 4, "kernel_size": 3},
    "Conv2d": {"out_channels": 4, "kernel_size": 3},
    "ConvTranspose2d": {"out_channels": 4, "kernel_size": 3},
    "RandomCrop": {"size": 4},
    "RandomShift": {"pixels": 2},
    "CutOut": {"size": 2},
    "CurvatureMonitor": {"X": np.ones((4, 2)), "y": [0, 1, 0, 1]},
    "DeepEquilibrium": {"block": [fnn.Dense(3)]},
    "DeepSet": {"phi": [fnn.Dense(3)], "rho": [fnn.Dense(2)]},
    "Dense": {"units": 3},
    "Embedding": {"n_categories": 4, "units": 3},
    "GroupNorm": {"groups": 2},
    "GRU": {"hidden_size": 3},
    "LSTM": {"hidden_size": 3},
    "MaxPool1d": {"kernel_size": 2},
    "MaxPool2d": {"kernel_size": 2},
    "MultiHeadAttention": {"num_heads": 2},
    "NeuralODE": {"block": [fnn.Dense(3)]},
    "OneHot": {"n_categories": 3},
    "Permute": {"dims": (2, 1)},
    "Reshape": {"shape": (2, 2)},
    "Residual": {"layers": [fnn.Dense(3)]},
    "RNN": {"hidden_size": 3},
    "Sequential": {"layers": [fnn.Dense(3)]},
    "TransformerBlock": {"num_heads": 2},
    "Uniform": {"low": 0.0, "high": 1.0},
    "Constant": {"value": 1.0},
    "ReduceLROnPlateau": {"optimizer": fnn.optim.Adam()},
    "ModelCheckpoint": {"path": "{epoch}"},
}
# Base classes, results, and errors: nothing that a user sets up by values.
NOT_SET_UP = {"History", "ModelFileError", "Layer", "Loss", "Optimizer", "Initializer"}
HYPER = [
    (thing, parameter)
    for thing in dict.fromkeys(public_classes())
    if thing.__name__ not in NOT_SET_UP
    for parameter in inspect.signature(thing).parameters
    # arrays, what all optimizers take, and positions without a name (see test_graphs.py)
    if parameter not in ("params", "options", "X", "y", "branches")
]


def test_every_class_is_among_them():
    names = {thing.__name__ for thing, _ in HYPER}
    assert names >= {"Dense", "LeakyReLU", "Huber", "Adam", "TruncatedNormal", "Sequential"}


def check_refused(call, argument, value):
    """A clear error: it begins with the argument's name, and says what came."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    message = str(caught.value)
    assert re.match(rf"{argument}\b", message), message
    shown = "inf" if isinstance(value, float) and np.isinf(value) else repr(value)
    # an array without dimensions is told by its shape
    assert any(
        told in message for told in (shown, type(value).__name__, "got ()", "got shape ()")
    ), message


@pytest.mark.parametrize(
    ("thing", "parameter"),
    [pytest.param(*pair, id=f"{pair[0].__name__}-{pair[1]}") for pair in HYPER],
)
def test_impossible_hyper_parameters(thing, parameter):
    for value in impossible(parameter):
        arguments = {**NEEDED.get(thing.__name__, {}), parameter: value}
        check_refused(lambda: thing(**arguments), parameter, value)  # noqa: B023


OUTSIDE = [
    (fnn.Dense, "units", [0, -1, 2**31, 1.5, True]),
    (fnn.LeakyReLU, "negative_slope", [-0.1, True]),
    (fnn.ELU, "alpha", [-1]),
    (fnn.Softplus, "beta", [0, -1]),
    (fnn.GELU, "approximate", ["erf", None, True]),
    (fnn.Rescale, "scale", [0, None]),
    (fnn.RobustScale, "clip", [0, -1, True]),
    (fnn.QuantileNormal, "n_quantiles", [1, 1.5]),
    (fnn.PiecewiseLinear, "n_bins", [0, None]),
    (fnn.PiecewiseLinear, "bins", ["forest", 3]),
    (fnn.OneHot, "n_categories", [0, None]),
    (fnn.OneHot, "min_count", [0, 1.5]),
    (fnn.Impute, "strategy", ["mode", None, np.inf]),
    (fnn.Hardtanh, "max_val", [-1, -2]),
    (fnn.losses.CrossEntropy, "label_smoothing", [-0.1, 1, 2]),
    (fnn.losses.CrossEntropy, "confidence_penalty", [-0.1]),
    (fnn.losses.MultiMargin, "margin", [0, -1]),
    (fnn.losses.Huber, "delta", [0, -1]),
    (fnn.losses.Quantile, "q", [0, 1, -0.5]),
    (fnn.optim.SGD, "lr", [-1, None, True]),
    (fnn.optim.SGD, "momentum", [-1, None]),
    (fnn.optim.SGD, "nesterov", [1, None]),
    (fnn.optim.Adam, "betas", [0.9, (0.9,), (1, 0.9), (0.9, -1), (0.9, "b")]),
    (fnn.optim.Adam, "eps", [-1]),
    (fnn.optim.AdamW, "weight_decay", [-1]),
    (fnn.optim.RMSprop, "alpha", [-0.1, 1, None]),
    (fnn.optim.RMSprop, "centered", [1]),
    (fnn.optim.Adadelta, "rho", [-0.1, 1]),
    (fnn.optim.Adagrad, "initial_accumulator_value", [-1]),
    (fnn.optim.Rprop, "etas", [0.5, (0.5,), (0, 1.2), (1, 1.2), (0.5, 1), (0.5, "b")]),
    (fnn.optim.Rprop, "step_sizes", [1, (-1, 1), (1, 0.5), (0, float("inf"))]),
    (fnn.optim.ASGD, "t0", [-1]),
    (fnn.optim.Lion, "betas", [0.9, (0.9, 1)]),
    (fnn.optim.NAdam, "momentum_decay", [-1]),
    (fnn.initializers.Normal, "std", [-1]),
    (fnn.initializers.HeNormal, "negative_slope", [1e200, -1e200]),
    (fnn.initializers.Uniform, "high", [0, -1]),
    (fnn.Sequential, "seed", [-1, 2**64, 0.5, True]),
    (fnn.Sequential, "dtype", ["float16", "complex64", int, None, "floaty"]),
]


@pytest.mark.parametrize(("thing", "parameter", "values"), OUTSIDE)
def test_hyper_parameters_outside(thing, parameter, values):
    for value in values:
        arguments = {**NEEDED.get(thing.__name__, {}), parameter: value}
        with pytest.raises((TypeError, ValueError), match=rf"^{parameter}\b.*got"):
            thing(**arguments)


@pytest.mark.parametrize(
    "layer",
    [
        fnn.LeakyReLU(1e300),
        fnn.ELU(1e300),
        fnn.Softplus(1e-300),
        fnn.Softplus(1e300),
        fnn.Hardtanh(-1, 1e300),
        fnn.Hardtanh(1, 1 + 1e-12),
    ],
    ids=repr,
)
def test_numbers_of_layers_that_float32_does_not_have(layer):
    fnn.Sequential([fnn.Dense(2), layer], dtype="float64")
    (name,) = {*layer.get_config()} - {"min_val"}
    match = rf"{name}: expected .*, got .*: {re.escape(repr(layer))} in float32$"
    with pytest.raises(ValueError, match=rf"^layers\[1\]: {match}"):
        fnn.Sequential([fnn.Dense(2), layer])
    z = np.ones((2, 2), np.float32)
    for suffix, arguments in (("", (z,)), ("_backward", (z, z))):
        function = getattr(fnn.ops, layer.kind + suffix)
        with pytest.raises(ValueError, match=f"^{match}"):
            function(*arguments, **layer.get_config())
        function(*(x.astype(np.float64) for x in arguments), **layer.get_config())


@pytest.mark.parametrize(
    "loss",
    [
        fnn.losses.Huber(delta=1e-300),
        fnn.losses.MultiMargin(margin=1e300),
        fnn.losses.CrossEntropy(confidence_penalty=1e300),
        fnn.losses.Quantile(q=1 - 1e-12),
    ],
    ids=repr,
)
def test_numbers_of_losses_that_float32_does_not_have(loss):
    y = np.zeros(ROWS, int) if loss.task == "classes" else numbers("values")
    make("float64", None).evaluate(numbers("X"), y, loss=loss)
    match = rf"expected .*, got .*: {re.escape(repr(loss))} in float32$"
    for entry in ("fit", "evaluate", "loss_and_grad"):
        with pytest.raises(ValueError, match=rf"^loss: \w+: {match}"):
            getattr(make("float32", None), entry)(numbers("X"), y, loss=loss)
    z = np.zeros((ROWS, CLASSES), np.float32)
    with pytest.raises(ValueError, match=rf"^\w+: {match}"):
        getattr(fnn.ops, loss.name)(z, y, **loss.get_config())


@pytest.mark.parametrize(
    "init",
    [
        1e300,
        fnn.initializers.Normal(1e300),
        fnn.initializers.TruncatedNormal(1e300),
        fnn.initializers.Uniform(0, 1e300),
        fnn.initializers.Orthogonal(1e300),
    ],
    ids=repr,
)
def test_initial_values_that_float32_does_not_have(init):
    for setting in ("init", "bias_init"):
        if setting == "bias_init" and isinstance(init, fnn.initializers.Orthogonal):
            continue
        layers = [fnn.Dense(2), fnn.Dense(2, **{setting: init})]
        with pytest.raises(ValueError, match=rf"^layers\[1\]: .*expected .*{setting}=.*1e\+300"):
            fnn.Sequential(layers).build(2)
        assert np.isfinite(fnn.Sequential(layers, dtype="float64").build(2).parameters).all()


SETTINGS = [
    name
    for name, parameter in inspect.signature(fnn.Sequential.fit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name != "sample_weight"  # an array: see above
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_impossible_settings_of_fit(setting):
    model = make("float32", "cross_entropy")
    before = model.parameters.copy()
    fixed = {"verbose": 0, "validation_data": (numbers("X"), numbers("y")), "patience": 3}
    if setting == "validation_split":
        del fixed["validation_data"], fixed["patience"]
    for value in impossible(setting):
        check_refused(
            lambda: model.fit(numbers("X"), numbers("y"), **{**fixed, setting: value}),  # noqa: B023
            setting,
            value,
        )
    assert_same_bits(model.parameters, before)


@pytest.mark.parametrize("entry", ["fit", "evaluate", "loss_and_grad", "hvp"])
def test_unknown_names(entry):
    model = make("float32", "cross_entropy")
    v = [numbers("v")] if entry == "hvp" else []
    for value in ("crossentropy", "", 3, fnn.losses.MSE):
        with pytest.raises((TypeError, ValueError), match=r"^loss: expected .*cross_entropy.* got"):
            getattr(model, entry)(numbers("X"), numbers("y"), *v, loss=value)
