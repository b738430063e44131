"""The model: layers, one flat vector of parameters, and what can be computed with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from . import (
    _core,
    branches,
    checks,
    columns,
    config,
    cuda,
    data,
    intake,
    losses,
    modelfile,
    optim,
    outcome,
    training,
)
from .engine import Engine
from .exchange import onnx_file, torch_modules
from .graph import Graph, Place
from .guidance import Guided, told
from .history import History
from .inputs import InputLayer
from .labels import check_classes
from .layers import Layer
from .listeners import CallbackLike
from .metrics import MetricsLike
from .metrics import check as check_metrics
from .optim import resumed
from .typing import (
    Array,
    ArrayLike,
    Batches,
    ClassWeight,
    Floats,
    Inputs,
    Integer,
    Path,
    Real,
)

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """An attribute of a model that its engine keeps."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, model: None, owner: type) -> "_Kept[Value]": ...
    @overload
    def __get__(self, model: "Sequential", owner: type | None = None) -> Value: ...
    def __get__(self, model: "Sequential | None", owner: type | None = None) -> Any:
        return self if model is None else getattr(model._engine, self._name)

    def __set__(self, model: "Sequential", value: Value) -> None:
        setattr(model._engine, self._name, value)


class Sequential(Guided):
    """A stack of layers.

    Parameters
    ----------
    layers : sequence of Layer
        `Dense`, `ReLU`, ..., and in front of them those that are applied while inputs are read:
        `Columns` first, `Standardize`, `Impute`, ...; applied in this order.
    dtype : {"float32", "float64"}
        Of the parameters and of all that is computed. Inputs of other dtypes are converted.
    seed : int or None
        At least 0. Initial parameters and the row order of every epoch are functions of it. None
        draws one, which the attribute `seed` tells.
    classes : sequence, optional
        The labels that the outputs stand for, in their order: distinct whole numbers, bool or
        strings, one for each output, two for one output. None: the first fit finds them.
    standardize_targets : bool
        Train on ``(y - mean) / std`` of the targets of a regression, with mean and standard
        deviation of each column of y that the first fit learns from its training rows (of a
        constant column 1). `predict` and metrics undo it, and are on the scale of y. Losses and
        their derivatives are those of what is trained on, in the history, in `evaluate`,
        `loss_and_grad`, `hvp` and curvature, all of which take y as it is; `forward` gives what the
        network puts out, ``(prediction - mean) / std``. For losses of values but ``"poisson"``.
    device : str
        What computes: the processor, ``"cpu"``, or a GPU, ``"cuda"``, of several by its number,
        ``"cuda:1"``. Arrays that go in, come out and are held, the parameters among them,
        are NumPy's either way. What a GPU cannot compute yet raises. Files of models do not
        hold it; pickles do. Experimental, see :doc:`there </cuda>`.
    compute_dtype : {"float32", "float64", "tfloat32", "bfloat16"}, optional
        To which type the operands of matrix products are rounded; sums, parameters and all else
        have `dtype`, which this is by default. ``"tfloat32"`` and ``"bfloat16"``, for a GPU and
        float32, have its tensor cores multiply. Files of models do not hold it.

    Attributes
    ----------
    layers : tuple of Layer
    dtype : numpy.dtype
    seed : int
    epochs_trained : int
        Epochs finished by all fits; the row order of an epoch depends on it.
    loss : str, pyfast_nn.losses.Loss or None
        The loss of the last fit, as it was given.
    classes_ : ndarray or None
        The labels that outputs stand for, fixed by `classes`, or by the first fit on labels: of
        each column, or of the two sides of one output. Whole numbers from 0 to outputs - 1 are
        column numbers (0 and 1, or -1 and 1 for ``"hinge"``, with one output); for other numbers
        and for strings these are the sorted labels, for bool (False, True).
    target_mean_, target_std_ : ndarray (out_features,) or None
        By what targets are standardized: learned by the first fit, and kept with the model.
    feature_names_in_ : ndarray of str or None
        The names of the columns of X in their order, where the first fit (or what came before it
        and took X) got a DataFrame whose columns have strings for names. Later DataFrames may have
        these columns in any order, and no others; arrays are taken as they come. None forgets them.
    history : History or None
        Of the last fit, also of one that was interrupted.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.
    RuntimeError
        If nothing computes on that device; see `cuda.get_device_name`. If products with rounded
        operands are asked for, and cuBLASLt is not there.

    Notes
    -----
    The first of `build`, `fit` and all that takes X fixes the number of input features.

    Several threads may compute with one model at a time. An epoch of `fit` waits for those that do;
    a call from another thread during an epoch gets a RuntimeError.

    `copy.copy`, `copy.deepcopy` and `pickle` give a model of its own, with all of the above and the
    parameters. An optimizer that is copied together with its model goes on with the copy.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(256), fnn.ReLU(), fnn.Dense(10)], dtype="float32", seed=0)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=fnn.optim.Adam(lr=1e-3))
    >>> labels = model.predict(Xt)
    """

    epochs_trained: _Kept[int] = _Kept()
    loss: _Kept[str | losses.Loss | None] = _Kept()
    classes_: _Kept[Array | Any] = _Kept()  # Any: nobody has to ask for None after the first fit
    feature_names_in_: _Kept[Array | None] = _Kept()
    history: _Kept[History | Any] = _Kept()  # likewise

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        if len(args) > 1 and isinstance(args[0], Layer):
            return f"layers come as one list: {cls.__name__}([{', '.join(map(repr, args))}])"
        return None

    def _advice(self, name: str) -> str:
        if name == "trainable":
            return "; layers are trained or not: model.layers[0].trainable = False"
        if name in ("train", "eval"):
            return "; there are no modes: fit trains, predict and evaluate do not"
        return super()._advice(name)

    def __init__(
        self,
        layers: Iterable[branches.Branch] | branches.Unbuilt,
        *,
        dtype: DTypeLike = "float32",
        seed: Integer | None = 0,
        classes: ArrayLike | None = None,
        standardize_targets: bool = False,
        device: str = "cpu",
        compute_dtype: str | None = None,
    ) -> None:
        layers = _check_layers(layers)
        dtype = checks.dtype(dtype)
        for place in Graph(layers).places:
            if not isinstance(place.layer, InputLayer):  # which are computed in float64
                config.check_rounded(place.layer.learner, dtype, f"layers[{place.path}]: ")
        device = cuda.check_device(device)
        compute_dtype = cuda.check_compute_dtype(compute_dtype, dtype, device)
        self._engine = Engine(layers, dtype, checks.seed(seed), device, compute_dtype)
        self._engine.standardize_targets = checks.boolean(
            standardize_targets, "standardize_targets"
        )
        if standardize_targets and classes is not None:
            raise ValueError("standardize_targets: expected False beside classes, got True")
        if classes is not None:
            self.classes_ = check_classes(classes, losses.last_units(layers))

    # ------------------------------------------------------------------ what it is

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers (tuple)."""
        return self._engine.layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the parameters and of all that is computed (numpy.dtype)."""
        return self._engine.dtype

    @property
    def seed(self) -> int:
        """What initial parameters and row orders are functions of (int)."""
        return self._engine.seed

    @property
    def device(self) -> str:
        """What computes: "cpu", "cuda" or one of several GPUs, "cuda:1" (str)."""
        return self._engine.device

    @property
    def compute_dtype(self) -> str:
        """To which type the operands of matrix products are rounded (str)."""
        return self._engine.compute_dtype

    def to(self, device: str, *, compute_dtype: str | None = None) -> "Sequential":
        """Compute on a device from now on.

        Optimizers, and what fits have left, stay as they are; so do pullbacks and operators of
        curvature that were made before.

        Parameters
        ----------
        device : {"cpu", "cuda", "cuda:1", ...}
        compute_dtype : {"float32", "float64", "tfloat32", "bfloat16"}, optional
            As of `Sequential`. None: on a GPU what it is, on the processor `dtype`.

        Returns
        -------
        Sequential
            The model itself.

        Raises
        ------
        TypeError, ValueError
            If it is none of these, or there are not so many GPUs.
        RuntimeError
            If nothing computes there, or so; see `Sequential`. The model stays where it is.

        Examples
        --------
        >>> fnn.Sequential([fnn.Dense(10)]).to("cpu").device
        'cpu'
        """
        device = cuda.check_device(device)
        if compute_dtype is None and device != "cpu":
            compute_dtype = self.compute_dtype
        self._engine.move(device, cuda.check_compute_dtype(compute_dtype, self.dtype, device))
        return self

    @property
    def target_mean_(self) -> Floats | None:
        """What is taken off the targets, (out_features,), or None (ndarray)."""
        return self._engine.target_mean

    @property
    def target_std_(self) -> Floats | None:
        """By what the targets are divided then, (out_features,), or None (ndarray)."""
        return self._engine.target_std

    @property
    def built(self) -> bool:
        """Whether the number of input features is known, and so the parameters exist (bool)."""
        return self._engine.built

    @property
    def in_features(self) -> int:
        """Numbers of one example: columns of X where it has two axes (int)."""
        return self._engine.network().in_features

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one example of X: ``(in_features,)``, or with positions in front (tuple)."""
        return self._engine.in_shape

    @property
    def out_features(self) -> int:
        """Columns of the outputs, of each position where they have some (int)."""
        return self._engine.network().out_features

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one example of the outputs: ``(out_features,)``, or with positions (tuple)."""
        return self._engine.out_shape

    @property
    def n_parameters(self) -> int:
        """Length of `parameters` (int)."""
        return self._engine.network().n_parameters

    def build(
        self, in_features: Integer | Sequence[Integer], *, lengths: bool = False
    ) -> "Sequential":
        """Fix the shape of one example of X and make the initial parameters.

        Parameters
        ----------
        in_features : int or tuple of int
            Columns of X, at least 1; or, of data with positions, ``(positions, channels)`` or
            ``(height, width, channels)``, as X has them after its first axis.
        lengths : bool
            Whether examples come with lengths, ``(X, lengths)``, see `fit`.

        Returns
        -------
        Sequential
            The model itself.

        Raises
        ------
        TypeError, ValueError
            If it is no shape of an example, or the model was built with another one before.

        Examples
        --------
        >>> fnn.Sequential([fnn.Dense(256), fnn.ReLU(), fnn.Dense(10)]).build(784).n_parameters
        203530
        """
        shape, lengths = (
            checks.shape(in_features, "in_features"),
            checks.boolean(lengths, "lengths"),
        )
        if self.built:
            if lengths != self._engine.has_lengths:
                raise ValueError(
                    f"lengths: expected {not lengths}, with which this model was built"
                )
            if shape != self.in_shape:
                raise ValueError(
                    f"in_features: expected {_plain(self.in_shape)}, with which this model was "
                    f"built, got {_plain(shape)}"
                )
            return self
        self._engine.has_lengths = lengths
        self._engine.build(shape)
        return self

    @property
    def parameters(self) -> Array:
        """All parameters as one flat vector (n_parameters,): a writable view of the real thing.

        Assignment copies the values in; their shape must be (n_parameters,).
        """
        self._engine.network()
        return self._engine.parameters[:]

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        self._engine.network()
        _copy_in(values, self._engine.parameters, "parameters")

    def named_parameters(self) -> dict[str, Array]:
        """Return the parameters as a dict of writable views.

        Returns
        -------
        dict
            ``{"0.weight": (in, out), "0.bias": (out,), "2.weight": ...}``: number of the layer and
            name. A weight of the same name in torch is the transpose, ``view.T``.
        """
        return self._engine.named_parameters()

    @property
    def state(self) -> Floats:
        """What layers keep besides parameters: a writable view of one flat float64 vector.

        `Standardize` and its like keep what they have learned of each column, NaN until the first
        fit;
        `BatchNorm` keeps running means and variances. In float64 whatever the model's dtype: a mean
        may be far larger than the spread around it. It is saved with the model, and neither
        differentiated nor touched by optimizers. Assignment copies the values in; their shape must
        be (n_state,).
        """
        self._engine.network()
        return self._engine.state[:]

    @state.setter
    def state(self, values: ArrayLike) -> None:
        self._engine.network()
        _copy_in(values, self._engine.state, "state")

    def named_state(self) -> dict[str, Floats]:
        """Return the state as a dict of writable views.

        Returns
        -------
        dict
            ``{"0.mean": (in_features,), "0.std": (in_features,)}``: number of the layer and name.
        """
        return self._engine.named_state()

    @told
    def summary(self, batch_size: Integer = 128) -> str:
        """Return a table of the layers, for `print`.

        Of each its output's shape, its parameters (``(frozen)`` behind those that are not trained,
        ``(shared)`` where they are those of a layer before), and the multiply-adds that one row
        costs on its way forward; the last line has the sums, and the memory of a training step.

        Parameters
        ----------
        batch_size : int
            Rows of that step.

        Returns
        -------
        str
        """
        batch_size = checks.integer(batch_size, "batch_size", minimum=1)
        engine = self._engine
        graph = self._engine.graph if self.built else Graph(self.layers)
        paths = max([3, *(len(place.path) for place in graph.places)])
        names = max([24, *(len(_short(place.layer)) for place in graph.places)])
        shapes = [_shape_of(place) for place in graph.places]
        outputs = max([12, *map(len, shapes)])
        lines = [
            f"{'':{paths}} {'layer':{names}} {'output':>{outputs}} {'parameters':>18} "
            f"{'multiply-adds':>14}"
        ]
        for place, shape in zip(graph.places, shapes, strict=True):
            counts = (
                [_parameters_of(place), f"{place.multiply_adds:,}"] if self.built else ["?", "?"]
            )
            lines.append(
                f"{place.path:<{paths}} {_short(place.layer):{names}} {shape:>{outputs}} "
                f"{counts[0]:>18} {counts[1]:>14}"
            )
        if not self.built:
            return "\n".join([*lines, f"not built, {self.dtype}"])
        trained = engine.network().n_trainable
        frozen = f", {trained:,} of them trained" if trained != self.n_parameters else ""
        numbers = 2 * batch_size * (sum(p.size * p.kept for p in graph.places) + self.in_features)
        memory = (numbers + 2 * self.n_parameters + 2 * trained) * self.dtype.itemsize
        total = (
            f"{self.n_parameters:,} parameters{frozen}, {self.in_features} inputs, {self.dtype}; "
            f"{sum(p.multiply_adds for p in graph.places):,} multiply-adds a row; a step of "
            f"{batch_size} rows takes about {memory / 2**20:.1f} MiB with two numbers for each "
            "parameter that is trained, as Adam keeps"
        )
        return "\n".join([*lines, total])

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int | slice) -> "Sequential":
        """Return some layers as a model, which shares its parameters and state with this one.

        What one of the two learns, the other one knows. ``model[:-1]`` are all layers but the last,
        ``model[2]`` is one. `trainable` belongs to the layers, which are the same.

        Parameters
        ----------
        index : int or slice
            Of `layers`, without a step.

        Returns
        -------
        Sequential
            Built if this model is.

        Raises
        ------
        IndexError, TypeError
            If it is none of that.
        ValueError
            If no layer is left, or a layer uses parameters of one that is not among them.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"index: expected layers in a row, got a step of {step}")
        else:
            start = range(len(self))[checks.integer(index, "index", minimum=-len(self))]
            stop = start + 1
        part = type(self)(
            self.layers[start:stop],
            dtype=self.dtype,
            seed=self.seed,
            device=self.device,
            compute_dtype=self.compute_dtype,
        )
        if self.built:
            part._engine.share(self._engine, start)
        if stop == len(self):
            part.loss, part.classes_ = self.loss, self.classes_
            for name in ("standardize_targets", "target_mean", "target_std"):
                setattr(part._engine, name, getattr(self._engine, name))
        if start == 0:
            part.feature_names_in_ = self.feature_names_in_
        return part

    def activations(self, X: Inputs) -> dict[str, Array]:
        """Return what every layer puts out.

        Parameters
        ----------
        X : array_like (n, in_features)
            As in `forward`.

        Returns
        -------
        dict
            ``{"0": (n, features), "1": ..., "2.0": ...}``: by the place of the layer, in the order
            of computation, as in `named_parameters`; a layer that is made of layers stands there
            with what it puts out, after those. Layers act as in `predict`.

        Examples
        --------
        >>> model.activations(X)["1"].shape == (len(X), 32)
        True
        """
        return self._engine.activations(intake.features(self._engine, X))

    def __getstate__(self) -> dict[str, Any]:
        own = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return {"engine": self._engine.__getstate__(), "attributes": own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._engine = object.__new__(Engine)
        self._engine.__setstate__(state["engine"])
        vars(self).update(state["attributes"])

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        more = ", standardize_targets=True" if self._engine.standardize_targets else ""
        more += "" if self.device == "cpu" else f", device={self.device!r}"
        if self.compute_dtype != self.dtype.name:
            more += f", compute_dtype={self.compute_dtype!r}"
        return f"Sequential([{layers}], dtype={self.dtype.name!r}, seed={self.seed}{more})"

    # ------------------------------------------------------------------ training

    @told
    def fit(
        self,
        X: Inputs | Batches,
        y: ArrayLike | None = None,
        *,
        loss: str | losses.Loss | None = None,
        optimizer: str | optim.Optimizer | None = None,
        epochs: Integer | None = None,
        batch_size: Integer | None = None,
        gradient_accumulation_steps: Integer = 1,
        mixup: Real = 0.0,
        gradient: Literal["backward", "forward"] = "backward",
        shuffle: bool = True,
        groups: ArrayLike | None = None,
        per_class: Integer | None = None,
        validation_split: Real | None = None,
        validation_data: tuple[Inputs, ArrayLike]
        | tuple[Inputs, ArrayLike, ArrayLike]
        | list[Any]
        | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        metrics: MetricsLike = (),
        train_metrics: bool = False,
        patience: Integer | None = None,
        min_delta: Real = 0.0,
        monitor: str = "val_loss",
        callbacks: CallbackLike | Iterable[CallbackLike] = (),
        resume: Path | None = None,
        verbose: Literal["auto"] | int = "auto",
    ) -> History:
        """Train in place. A second fit goes on from the current parameters.

        Parameters
        ----------
        X : array_like (n, in_features)
            Finite real numbers, or NaN where all layers that read a column take it, as `Impute`
            does. An array of any real dtype, strides, alignment and byte order is
            read in place, also a memory-mapped one, and converted batch by batch; only long double
            is copied whole. Lists, DataFrames and objects with ``__dlpack__`` become arrays first.
            Rows of sparse matrices of SciPy are filled in batch by batch; formats other than CSR
            become CSR first, and duplicates are summed. Columns of a DataFrame are told apart by
            their names, see `feature_names_in_`. Without `y`: batches, see Notes. Data with
            positions are (n, positions, channels), or (n, height, width, channels). Sequences and
            sets of different sizes are a pair ``(X, lengths)``, or a list of arrays, which is
            filled up with zeros: what stands behind the length of an example does not exist.
        y : array_like
            What the loss expects: values (n, out_features), (n,) when there is one output; or
            labels (n,), also as one column: whole numbers, bool or strings, which are mapped to
            the outputs through `classes_`, fixed at the first fit. Numbers from 0 to
            out_features - 1 are column numbers then; of other numbers and of strings there must
            be as many as outputs (two for one output of ``"binary_cross_entropy"`` or
            ``"hinge"``), and they are sorted. ``"cross_entropy"`` takes rows of probabilities, too,
            ``"binary_cross_entropy"`` probabilities, and with several outputs as many labels of
            each example, 0 or 1. Where outputs have positions (n, ..., out_features), so have
            labels (n, ...) and values; the loss is the mean over all of those that exist.
        loss : str or pyfast_nn.losses.Loss, optional
            A name of the table in `pyfast_nn.losses`, or an object such as
            ``fnn.losses.Huber(delta=2)``. None is the loss of the last fit.
        optimizer : pyfast_nn.optim.Optimizer or str, optional
            None is a new ``Adam()``, with a UserWarning where the model comes from a file that
            holds its optimizer, too (see `load`); ``"sgd"`` is a new ``SGD()``, and so on. One that
            has trained this model before goes on with its state and step count; one that has
            trained another model is refused. An elementwise rule is fused with the gradients; one
            with groups or options, or that needs tensors whole (`optim.LAMB`), updates between
            them, at some percent of the speed.
        epochs : int, optional
            At least 1. None: as many as make 5,000 steps, but at least 10 and at most 1,000 [1]_.
        batch_size : int, optional
            At least 1. The last batch of an epoch may be smaller. None: 128, or with `groups` or
            `per_class` the largest multiple of as many rows as stay together that is not above it,
            and at least two.
        gradient_accumulation_steps : int
            Batches per optimizer step, at least 1: the gradient of a step is the mean over the rows
            of so many batches, as if they were one, in the memory of one. The last step of an epoch
            may have fewer.
        mixup : float
            The alpha of mix-up [2]_, 0: none. Each step trains on ``s x_i + (1 - s) x_j`` with
            targets that are mixed alike, where j is the example so many places on in the step; s, a
            number of ``Beta(alpha, alpha)``, and that distance are functions of the model's seed
            and the step. Labels become shares of classes. Inputs are mixed as layers such as
            `Standardize` and `Impute` hand them on, and each of two targets counts by its weight,
            too. Losses, and an accuracy by the class with the larger share, are those of mixed
            examples in the history; of validation data, and with `train_metrics`, of those given.
            0.1 to 0.4 is usual. Refused with ``"hinge"`` and ``"multi_margin"``, examples that have
            lengths, and `Embedding`.
        gradient : {"backward", "forward"}
            ``"forward"`` trains by unbiased estimates that need no way back, those that
            `forward_gradient` calls ``"activity"``, anew in each step. They are far noisier: small
            networks and rates, and large batches. Refused with `BatchNorm` and recurrent layers.
        shuffle : bool
            New row order for each epoch, a function of `seed` and `epochs_trained`; else the given
            order.
        groups : array_like (n,), optional
            Rows with the same number, bool or string stay side by side, in one batch: views of one
            original, say, under a loss of pairs of rows (`pyfast_nn.losses`). All groups have as
            many rows, and `batch_size` is a multiple of that. The groups are shuffled.
        per_class : int, optional
            At least 2: so many rows of one class follow each other, then of another, in an order of
            the classes that is new for each round of them, so that each batch has about
            ``batch_size / per_class`` of them. An epoch has n rows, of each class as many: those of
            small classes come more than once. `batch_size` is a multiple of it. For labels (n,), in
            place of `groups`. Where a batch takes more rows of a class than it has, some come twice
            in it, and each is a positive of the other to a loss of pairs.
        validation_split : float, optional
            Fraction of the rows that are held out: evaluated after each epoch, and not trained on.
            A function of `seed`, the number of rows and the labels: a second fit on the same data
            holds out the same rows. Each class has its share of them, to within one row. In place
            of `validation_data`.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch; `class_weight` does not count there.
        sample_weight : array_like (n,), optional
            How much each example counts, or each position of outputs (n, ...); finite and at least
            0. What is trained is the weighted risk ``sum(w * l) / sum(w)`` over the rows. A step
            follows the gradient of
            ``sum(w * l) / m`` over the m rows of its batch, with weights that were scaled to mean 1
            over all rows: an unbiased estimate of that of the risk for any batch size. The history
            holds ``sum(w * l) / sum(w)`` over the epoch. A row of weight 0 is as if it were not
            there; its numbers need not be finite, nor its label one of `classes_`.
        class_weight : dict, "balanced" or array_like, optional
            How much the examples of each class count, times `sample_weight`: from label to weight
            (1 for labels that are missing), or in the order of `classes_`. ``"balanced"`` gives all
            classes the same sum of weights, as scikit-learn does. For losses of labels only. Rows
            of a class of weight 0 are as if they were not there; the class keeps its output.
        metrics : str, callable, or list of those
            What is computed of the validation data after each epoch, besides loss and accuracy:
            names of the table in `pyfast_nn.metrics`, names of scikit-learn's scorers such as
            ``"f1_macro"`` or ``"neg_log_loss"``, or functions ``f(y_true, y_pred)`` such as those
            of `sklearn.metrics`, which get the weights, if there are any, as ``sample_weight``.
            The history holds them as ``val_<name>``.
        train_metrics : bool
            After each epoch compute loss, accuracy and `metrics` of the training data as well, by
            one more pass over them: with the parameters and the mode of the validation, so that
            both can be compared. The history holds them as ``train_loss``, ``train_<name>``, ...;
            its ``loss`` is what was seen in passing, while the parameters changed.
        patience : int, optional
            Early stopping: the fit ends after so many epochs in which `monitor` has not improved by
            more than `min_delta`. However it ends, also by Ctrl-C or an exception, the model is
            left as it was after the epoch with the best `monitor`, ``history.best_epoch``; the
            optimizer's state and `epochs_trained` are not put back. None: without.
        min_delta : float
            At least 0.
        monitor : str
            ``"loss"``, ``"val_loss"``, ``"val_accuracy"``, ... of the history. Whether less or more
            is better follows from the name: scikit-learn's scorers are better if larger, and its
            convention (``..._score``, ``..._error``, ``..._loss``) decides for functions.
        callbacks : Callback or list of those
            Told of the begin, of each epoch, and of the end; see `Callback`. An epoch's may end the
            fit by returning True.
        resume : str or os.PathLike, optional
            A checkpoint that `ModelCheckpoint` has written in a run of the same call. The model,
            the optimizer, early stopping, callbacks and the history become what they were, and the
            fit makes those of its `epochs` that are left: with the same data and arguments it ends
            with the bits of a run that was never interrupted, however this one was, and be it by
            SIGKILL (of one build, and with the same instruction set: `build_config`). As long as
            there is no such file, the fit begins at its beginning, so that one script is started
            again and again until it is done. What has been assigned to the optimizer in that run is
            the file's, too; a function, as `lr` say, is the one given here.
        verbose : {"auto", 0, 1}
            0 is quiet, 1 shows each epoch: as a bar on a terminal (stderr) or in a notebook, as
            lines on stderr elsewhere; "auto" is quiet there.

        Returns
        -------
        History
            Per-epoch lists; also `history`.

        Raises
        ------
        TypeError, ValueError
            If an argument is impossible; the message names it. Nothing is trained then. If `resume`
            is a checkpoint of another model, of another optimizer or of callbacks that are missing.
        ModelFileError
            If `resume` is no intact checkpoint.
        FloatingPointError
            If the loss of a step is infinite or NaN; that step is not applied. If the parameters
            are, after the last.
        RuntimeError
            If another thread is within a fit of this model.

        Notes
        -----
        After Ctrl-C the parameters, the optimizer's state and step count and `history` are those of
        the steps and epochs done, and the model may be used and trained further.

        Many networks on the same data, such as seeds and sweeps, are one call of `fit_many`.

        What is larger than memory comes in batches: ``fit(batches)`` without `y` takes an iterable
        of (X, y) or (X, y, sample_weight), such as a list, a ``torch.utils.data.DataLoader`` or a
        generator, or a function without arguments that makes one for each epoch. They are trained
        on in the order in which they come, with the result, to the bit, of one array of all rows
        with ``shuffle=False``. With `batch_size` rows are cut into batches of that size wherever
        theirs end, without it each batch is one. `epochs` None is 10, or 1 for an iterator, which
        gives its batches once. The first batch fixes the columns and `classes_`: where it may lack
        labels that are no column numbers, ``Sequential(layers, classes=[...])`` names all. Weights
        are taken as they are, not scaled. `Standardize` first learns from all batches, up to
        rounding what it learns of one array. A batch that is impossible ends the fit where it
        comes; steps before it were made. `sample_weight`, `class_weight`, `validation_split` and
        `train_metrics` are for arrays, `shuffle` has no say.

        An array that lies in a file, as ``numpy.memmap`` and ``numpy.load(path, mmap_mode="r")``
        give it, is read in place. Pages that have been read are let go of whenever there are more
        than 128 MiB of them, so that the process stays small whatever the size of the file.

        References
        ----------
        .. [1] How long to train by default was measured: see "Defaults" in the documentation's
           "Limits".
        .. [2] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz (2018), "mixup: beyond empirical risk
           minimization", ICLR, https://arxiv.org/abs/1710.09412.

        Examples
        --------
        >>> history = model.fit(X, y, loss="cross_entropy", optimizer=fnn.optim.Adam(lr=1e-3),
        ...                     epochs=10, batch_size=128, validation_data=(Xv, yv))
        >>> history["val_accuracy"][-1] > 0.8
        True

        Batches, here of files:

        >>> def batches():
        ...     for path in paths:
        ...         with np.load(path) as arrays:
        ...             yield arrays["X"], arrays["y"]
        >>> paths = []
        >>> for i in range(3):
        ...     paths.append(f"part{i}.npz")
        ...     np.savez(paths[-1], X=X[i::3], y=y[i::3])
        >>> history = model.fit(batches, loss="cross_entropy", epochs=2, batch_size=64)
        """
        return training.fit(
            self,
            self._engine,
            X,
            y,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            gradient_accumulation_steps=gradient_accumulation_steps,
            mixup=mixup,
            gradient=gradient,
            shuffle=shuffle,
            groups=groups,
            per_class=per_class,
            validation_split=validation_split,
            validation_data=validation_data,
            sample_weight=sample_weight,
            class_weight=class_weight,
            metrics=metrics,
            train_metrics=train_metrics,
            patience=patience,
            min_delta=min_delta,
            monitor=monitor,
            callbacks=callbacks,
            resume=resume,
            verbose=verbose,
        )

    @told
    def calibrate(self, X: Inputs) -> "Sequential":
        """Replace the running statistics of each `BatchNorm` by those of X.

        Running statistics lag behind the parameters, and average over the few rows of each batch.
        These are exact: mean and variance (divided by n) of all rows of what comes into the layer,
        layer after layer, where those before it have their new statistics already. Then `forward`
        of X is what training would compute of all of X as one batch.

        Parameters
        ----------
        X : array_like (n, in_features)
            Finite real numbers, at least two rows: those that the model was trained on, or enough
            of them. They are read once for each `BatchNorm`, in parts.

        Returns
        -------
        Sequential
            The model itself.

        Raises
        ------
        TypeError, ValueError
            If X is none of that. If the model has no `BatchNorm`.
        FloatingPointError
            If numbers overflow on their way; nothing is changed then.
        RuntimeError
            If another thread trains the model.

        References
        ----------
        Y. Wu, J. Johnson (2021), "Rethinking 'Batch' in BatchNorm",
        https://arxiv.org/abs/2105.07576.

        Examples
        --------
        >>> layers = [fnn.Dense(64), fnn.BatchNorm(), fnn.ReLU(), fnn.Dense(10)]
        >>> model = fnn.Sequential(layers)
        >>> history = model.fit(X, y, loss="cross_entropy")
        >>> accuracy = model.calibrate(X).evaluate(Xt, yt)["accuracy"]
        """
        if self._engine.first_that_couples_rows() is None:
            raise ValueError("calibrate: expected a model with a BatchNorm, got one without")
        X = intake.features(self._engine, X, allow_nonfinite=False)
        if X.shape[0] < 2:
            raise ValueError(f"X: expected at least two rows, got shape {X.shape}")
        self._engine.calibrate(X)
        return self

    # ------------------------------------------------------------------ using it

    def forward(self, X: Inputs, *, training: bool = False, seed: Integer | None = None) -> Array:
        """Return the raw outputs.

        Parameters
        ----------
        X : array_like (n, in_features)
        training : bool
            Whether layers act as in training: `Dropout` drops, say. Nothing is learned by that,
            neither parameters nor state.
        seed : int, optional
            Of the random numbers that layers draw then, from 0 to 2**64 - 1; None is 0. They are a
            function of it and of the row's place in X, the same in all that takes `training` and
            `seed`: `hvp` is the derivative of the gradient that `loss_and_grad` returns. None
            unless `training`. A network without such layers draws none.

        Returns
        -------
        ndarray (n, out_features), or (n, ..., out_features) with positions
            Of the model's dtype. NaN in X comes out as NaN, here and in all derivatives. Of a model
            with ``standardize_targets=True`` on the scale of standardized targets.

        Examples
        --------
        Samples of Monte-Carlo dropout; `predict_proba` takes their mean.

        >>> noisy = fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dropout(0.5), fnn.Dense(10)])
        >>> np.stack([noisy.forward(X, training=True, seed=i) for i in range(20)]).std(0).shape
        (1197, 10)
        """
        run = intake.check_run(training, seed)
        engine = self._engine
        return engine.in_examples(engine.outputs(intake.features(engine, X), run=run))

    def predict(
        self,
        X: Inputs,
        *,
        loss: str | losses.Loss | None = None,
        allow_nonfinite: bool = False,
        samples: Integer | None = None,
        seed: Integer | None = None,
    ) -> Array:
        """Return what the loss makes of the outputs.

        Parameters
        ----------
        X : array_like (n, in_features)
            Finite real numbers.
        loss : str or pyfast_nn.losses.Loss, optional
            None is the loss of the last fit. A model that was trained in another way, as by `vjp`,
            says with it what its outputs are.
        allow_nonfinite : bool
            Take NaN and infinity in X, too. NaN makes the outputs of its row NaN. No label says
            so: then labels come as objects, with None where the outputs have no order.
        samples, seed
            As for `predict_proba`. The mean of so many random passes: of the values, or the labels
            of the mean probabilities, or of the mean scores where the loss gives none.

        Returns
        -------
        ndarray
            For losses of labels the labels (n,), of the kind that `fit` was given: of the column
            with the largest output, or of one output whether it is above 0. For binary losses of
            several outputs the same of each: 0 or 1, -1 or 1 for ``"hinge"``, (n, out_features).
            Otherwise values (n, out_features), or (n,) when there is one output: the outputs, or
            under ``"poisson"`` rates, their exponentials; on the scale of the targets, also with
            ``standardize_targets=True``.

        Raises
        ------
        ValueError
            If the model has not been fitted, and there is no `loss`; `forward` gives the raw
            outputs of any model. If a number of X is not finite; the message names its row and
            column. If there are `samples` and nothing random in the network.
        FloatingPointError
            If labels are due, and the outputs of a row of finite numbers are NaN, or several the
            largest at infinity, as sums overflow.

        Examples
        --------
        >>> model = fnn.Sequential([fnn.Dense(10)])
        >>> for _ in range(100):
        ...     out, pullback = model.vjp(X)
        ...     dparams, dX = pullback((out - np.eye(10)[y]) / len(X))
        ...     model.parameters -= 0.1 * dparams
        >>> bool(np.mean(model.predict(X, loss="cross_entropy") == y) > 0.8)
        True
        """
        engine, loss = self._engine, intake.check_loss(self._engine, loss)
        X = intake.features(engine, X, allow_nonfinite)
        out = outcome.outputs(engine, X, loss, intake.check_passes(engine, samples, seed))
        predictions, unknown = outcome.predictions(out, loss, engine.classes_)
        if allow_nonfinite and unknown is not None:
            predictions = predictions.astype(object)
            predictions[unknown] = None
        elif unknown is not None and unknown.any():
            row = np.argwhere(unknown)[0, 0] // engine.positions
            raise FloatingPointError(
                "predict: expected outputs that have an order, got NaN or one infinity twice in "
                f"row {row}, as sums of its finite numbers overflow in {self.dtype}. Likely cures: "
                "inputs scaled to about -1 to 1, a model trained at a lower learning rate"
            )
        return engine.in_examples(predictions)

    def predict_proba(
        self,
        X: Inputs,
        *,
        loss: str | losses.Loss | None = None,
        allow_nonfinite: bool = False,
        samples: Integer | None = None,
        seed: Integer | None = None,
    ) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like (n, in_features)
            Finite real numbers.
        loss : str or pyfast_nn.losses.Loss, optional
            As for `predict`.
        allow_nonfinite : bool
            Take NaN and infinity in X, too. Where outputs are NaN so are probabilities.
        samples : int, optional
            Return the mean of so many passes in which `Dropout` and `GaussianNoise` act as in
            training: Monte-Carlo dropout, an average over networks that are uncertain in different
            ways [1]_. None: one pass in which nothing is random.
        seed : int, optional
            Of the random numbers of these passes, from 0 to 2**64 - 1; None is 0. They are a
            function of it and of the row's place in X. None without `samples`. `forward` returns
            single samples.

        Returns
        -------
        ndarray (n, n_classes)
            Rows of sum 1, columns in the order of `classes_`. For several labels of an example
            the probability of each, (n, out_features).

        Raises
        ------
        ValueError
            If the loss is neither ``"cross_entropy"`` nor ``"binary_cross_entropy"``. If a number
            of X is not finite. If there are `samples`, and no layer draws random numbers.

        References
        ----------
        .. [1] Y. Gal, Z. Ghahramani (2016), "Dropout as a Bayesian approximation: representing
           model uncertainty in deep learning", ICML, https://arxiv.org/abs/1506.02142.

        Examples
        --------
        >>> noisy = fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dropout(0.5), fnn.Dense(10)])
        >>> history = noisy.fit(X, y, loss="cross_entropy")
        >>> noisy.predict_proba(X, samples=50, seed=0).shape
        (1197, 10)
        """
        loss = intake.check_loss(self._engine, loss)
        if not loss.gives_probabilities:
            raise ValueError(
                "loss: expected 'cross_entropy' or 'binary_cross_entropy', as no other gives "
                f"probabilities, got {loss.name!r}; predict and forward take any"
            )
        X = intake.features(self._engine, X, allow_nonfinite)
        passes = intake.check_passes(self._engine, samples, seed)
        return self._engine.in_examples(outcome.probabilities(self._engine, X, loss, passes))

    @told
    def evaluate(
        self,
        X: Inputs,
        y: ArrayLike,
        *,
        loss: str | losses.Loss | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        metrics: MetricsLike = (),
        allow_nonfinite: bool = False,
    ) -> dict[str, float]:
        """Return the mean loss, the accuracy where outputs may be right or wrong, and metrics.

        Parameters
        ----------
        X, y, loss, sample_weight, class_weight
            As for `fit`. The means are weighted, ``sum(w * l) / sum(w)`` over all examples.
        metrics : str, callable, or list of those
            As for `fit`.
        allow_nonfinite : bool
            Take NaN and infinity in X, too. A row whose outputs are NaN has loss NaN, and is not
            right.

        Returns
        -------
        dict
            ``{"loss": float, "accuracy": float}``; no accuracy where it has no meaning. An example
            with several labels is right if all of them are. Probabilities count as their label.
            And each of `metrics` by its name; a function of labels is NaN if outputs are.

        Raises
        ------
        TypeError, ValueError
            If an argument is impossible. If a number of X is not finite; the message names its row
            and column.

        Examples
        --------
        >>> scores = model.evaluate(Xt, yt, metrics=["top_5_accuracy"])
        >>> scores["accuracy"] <= scores["top_5_accuracy"]
        True
        """
        allow_nonfinite = checks.boolean(allow_nonfinite, "allow_nonfinite")
        engine, loss = self._engine, intake.check_loss(self._engine, loss)
        X = intake.features(engine, X)
        examples = intake.examples(engine, X, y, loss, sample_weight, class_weight)
        if not allow_nonfinite:
            intake.check_finite(engine, X, "X", self.feature_names_in_, examples.rows)
        checked = check_metrics(metrics, loss, self.out_features, examples.weights is not None)
        return outcome.evaluate(engine, examples, loss, checked)[0]

    # ------------------------------------------------------------------ derivatives

    def loss_and_grad(
        self,
        X: Inputs,
        y: ArrayLike,
        *,
        loss: str | losses.Loss | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        training: bool = False,
        seed: Integer | None = None,
    ) -> tuple[float, Array]:
        """Return the mean loss and its gradient in the parameters.

        Parameters
        ----------
        X, y, loss, sample_weight, class_weight
            As for `evaluate`.
        training, seed
            As for `forward`.

        Returns
        -------
        loss : float
        grad : ndarray (n_parameters,)

        Examples
        --------
        >>> loss, grad = model.loss_and_grad(X, y, loss="cross_entropy")
        >>> model.parameters -= 0.1 * grad
        """
        run = intake.check_run(training, seed)
        loss = intake.check_loss(self._engine, loss)
        X = intake.features(self._engine, X)
        examples = intake.examples(self._engine, X, y, loss, sample_weight, class_weight)
        return self._engine.loss_and_grad(examples, loss, run)

    def vjp(
        self, X: Inputs, *, training: bool = False, seed: Integer | None = None
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array, Array]]]:
        """Return the raw outputs and a function that pulls their gradient back; for own losses.

        Parameters
        ----------
        X : array_like (n, in_features)
        training, seed
            As for `forward`.

        Returns
        -------
        out : ndarray (n, out_features)
        pullback : callable
            ``dparams, dX = pullback(dout)`` takes the gradient (n, out_features) of a number in
            `out` and returns that number's gradients (n_parameters,) and (n, in_features). It owns
            its activations and may be called any number of times until the parameters change; then
            it raises RuntimeError.

        Examples
        --------
        >>> out, pullback = model.vjp(X)
        >>> dparams, dX = pullback(2 * (out - np.eye(10)[y]) / out.size)
        """
        run = intake.check_run(training, seed)
        order = columns.order_of(columns.names_of(X, "X"), self.feature_names_in_, "X")
        X = intake.features(self._engine, X)
        out, pullback = self._engine.vjp(X, run)
        return self._engine.in_examples(out), _Pullback(self._engine, pullback, X, order)

    def jvp(
        self, X: Inputs, v: ArrayLike, *, training: bool = False, seed: Integer | None = None
    ) -> tuple[Array, Array]:
        """Return the raw outputs and their directional derivative along `v`.

        Parameters
        ----------
        X : array_like (n, in_features)
        v : array_like (n_parameters,)
            Direction in the space of parameters.
        training, seed
            As for `forward`.

        Returns
        -------
        out, dout : ndarray (n, out_features)
        """
        run = intake.check_run(training, seed)
        X = intake.features(self._engine, X)
        out, dout = self._engine.jvp(X, data.contiguous(v, self.dtype, "v"), run)
        return self._engine.in_examples(out), self._engine.in_examples(dout)

    def hvp(
        self,
        X: Inputs,
        y: ArrayLike,
        v: ArrayLike,
        *,
        loss: str | losses.Loss | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        training: bool = False,
        seed: Integer | None = None,
    ) -> Array:
        """Return the product of the Hessian of the mean loss, in the parameters, with `v`.

        Parameters
        ----------
        X, y, loss, sample_weight, class_weight
            As for `evaluate`.
        v : array_like (n_parameters,)
        training, seed
            As for `forward`.

        Returns
        -------
        ndarray (n_parameters,)

        References
        ----------
        B. A. Pearlmutter (1994), "Fast exact multiplication by the Hessian", Neural Computation
        6(1), https://doi.org/10.1162/neco.1994.6.1.147.
        """
        run = intake.check_run(training, seed)
        loss = intake.check_loss(self._engine, loss)
        X = intake.features(self._engine, X)
        examples = intake.examples(self._engine, X, y, loss, sample_weight, class_weight)
        return self._engine.hvp(examples, loss, data.contiguous(v, self.dtype, "v"), run)

    # ------------------------------------------------------------------ file

    def save(self, path: Path, *, optimizer: optim.Optimizer | None = None) -> None:
        """Write the model to a safetensors file; `pyfast_nn.load` reads it.

        The file is complete or not there: it is written beside `path`, flushed to disk, and
        renamed.

        Its tensors have the names and shapes of torch, so that a ``torch.nn.Sequential`` of the
        same layers may read it: ``0.weight`` is (out, in) there, the transpose of that of
        `named_parameters`. What `Standardize` and other input layers do is not part of such a
        network.

        Parameters
        ----------
        path : str or os.PathLike
        optimizer : pyfast_nn.optim.Optimizer, optional
            The one of the fit, whose state becomes part of the file: after ``model, optimizer =
            fnn.load(path, optimizer=True)`` a fit goes on with the bits that would have come
            without a file. (The weights that `patience` keeps and the counts of callbacks are
            those of one fit, and end with it; `ModelCheckpoint` saves these, too.) Its arrays are
            tensors, too, whose names begin with ``optimizer.``, and which torch's network has no
            use for.

        Raises
        ------
        TypeError, ValueError
            If `optimizer` is none of this model, or has a function of the user's as `lr`, say,
            which no file can hold; objects of `schedules` and arrays can be saved.
        OSError
            If it cannot be written, or `path` is there and no regular file (a folder, a pipe, a
            device); what was there is intact then. (If only the last step fails, the sync of the
            folder, the new file is there, but may not outlast a power cut.)
        RuntimeError
            If the model is not built.
        """
        self._engine.network()
        if optimizer is None:
            modelfile.save(self._engine, path)
        else:
            state = resumed.state_beside(self._engine, optimizer)
            modelfile.save(self._engine, path, optimizer=state)

    def to_torch(self) -> "torch.nn.Module":
        """Return a module of torch that computes what `forward` does; needs the extra `torch`.

        Outputs and gradients are those of this model, within rounding; the parameters are copies.

        Returns
        -------
        torch.nn.Sequential
            Of the model's dtype, on the CPU, and in the mode of ``eval()``, as most that is
            exchanged is used so; ``train()`` lets `Dropout`, `GaussianNoise` and `BatchNorm` act as
            in `fit`. Layers that are not trained require no gradients. The names of its
            ``state_dict`` are those of `named_parameters` and `named_state`, weights transposed.

        Raises
        ------
        ImportError
            If torch is not installed; the message says how to get it.
        RuntimeError
            If the model is not built.

        Notes
        -----
        Every layer has its module: torch's own where there is one; `Residual`, `Add`, `Multiply`,
        `Concatenate`, `Scale`, `Step`, `Sign`, `GaussianNoise` and all that is applied to inputs
        are small modules of pyfast_nn, which must be there to unpickle them. `WeightNorm` is a
        ``Linear`` under torch's ``weight_norm``, whose names are its own, and of which torch saves
        the ``state_dict`` alone. Running statistics of `BatchNorm` are rounded to the dtype.
        `MaxNorm` is no part of a module.

        What comes out are logits or scores, where the loss takes such.

        `pyfast_nn.from_torch` is the way back.

        Examples
        --------
        >>> import torch
        >>> module = model.to_torch()
        >>> out = module(torch.tensor(X, dtype=torch.float32))
        >>> np.allclose(out.detach().numpy(), model.forward(X), atol=1e-5)
        True
        """
        self._engine.network()
        return torch_modules.to_module(self._engine)

    def to_onnx(self, path: Path, *, loss: str | losses.Loss | None = None) -> None:
        """Write what the model predicts as a file of ONNX; needs the extra `onnx`.

        ONNX Runtime and all that reads ONNX compute what `predict` and `predict_proba` do, within
        rounding. The names are those of skl2onnx: the input is ``X`` (n, in_features) of the
        model's dtype; where `predict` gives labels, the outputs are

        - ``label`` (n,), int64 or strings of `classes_`; (n, out_features) for binary losses of
          several outputs;
        - ``probabilities`` (n, n_classes), those of `predict_proba`; under ``"hinge"`` and
          ``"multi_margin"``, which give none, the scores of the classes;

        and otherwise ``variable`` (n, out_features), what `predict` returns.

        Parameters
        ----------
        path : str or os.PathLike
        loss : str or pyfast_nn.losses.Loss, optional
            As for `predict`.

        Raises
        ------
        ImportError
            If onnx is not installed; the message says how to get it.
        NotImplementedError
            If ONNX has not what a layer does; the message names it.
        ValueError
            If the model has not been fitted, and there is no `loss`.
        OSError
            As in `save`.
        RuntimeError
            If the model is not built, or `Standardize`, say, has learned nothing yet.

        Notes
        -----
        The file has opset 17 (ONNX Runtime 1.12 and later), and in its metadata the names of
        features and classes as JSON, ``feature_names`` and ``classes``. `Dropout` and
        `GaussianNoise` act as in predictions. Labels that are bool become 0 and 1. What NaN in `X`
        becomes is up to who computes: a label, as a rule.

        References
        ----------
        Open Neural Network Exchange, https://onnx.ai.

        Examples
        --------
        >>> model.to_onnx("digits.onnx")
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession("digits.onnx")
        >>> label, probabilities = session.run(None, {"X": Xt.astype(np.float32)})
        >>> bool((label == model.predict(Xt)).all())
        True
        """
        engine = self._engine
        engine.network()
        onnx_file.save(engine, path, intake.check_loss(engine, loss))


def engine_of(model: object) -> Engine:
    """Return what computes for a model; TypeError if it is none."""
    if not isinstance(model, Sequential):
        raise TypeError(f"model: expected a Sequential, got {checks.describe(model)}")
    return model._engine


class _Pullback:
    """``dparams, dX = pullback(dout)``; see `Sequential.vjp`."""

    def __init__(
        self,
        engine: Engine,
        pullback: _core.Pullback,
        X: Any,
        order: list[int] | None = None,
    ) -> None:
        self._engine = engine
        self._pullback = pullback
        inputs = [place.features for place in engine.graph.places if place.layer.is_input]
        self._shape = (X.shape[0], *[X.shape[1], *inputs][-1:])  # of what the first layer reads
        self._inputs = (X.copy(), engine.state.copy()) if engine.net.encodes_inputs else None
        self._order = order  # where the model's columns stand in the frame that was given
        self._before = engine.parameters.copy()

    def __call__(self, dout: ArrayLike) -> tuple[Array, Array]:
        parameters = self._engine.parameters
        if not np.array_equal(parameters.view(np.uint8), self._before.view(np.uint8)):
            raise RuntimeError(
                "pullback: the model's parameters have changed since vjp; call vjp again"
            )
        dout = data.contiguous(dout, parameters.dtype, "dout")
        shape = self._engine.out_shape
        if len(shape) > 1:
            if dout.shape != (self._shape[0], *shape):
                raise ValueError(
                    f"dout: expected shape {(self._shape[0], *shape)}, that of the outputs, got "
                    f"{dout.shape}"
                )
            dout = dout.reshape(-1, shape[-1])
        dparameters = np.empty_like(parameters)
        dX = np.empty(self._shape, parameters.dtype)
        self._pullback(dout, dparameters, dX)
        if self._inputs is not None:
            X, state = self._inputs
            dX = self._engine.input_gradient(X, dX, state)
        if self._order is not None:
            dX = dX[:, np.argsort(self._order)]
        return dparameters, self._engine.as_examples(dX)


def _copy_in(values: ArrayLike, vector: Array, name: str) -> None:
    values = data.contiguous(values, vector.dtype, name)
    if values.shape != vector.shape:
        raise ValueError(f"{name}: expected shape {vector.shape}, got {values.shape}")
    vector[:] = values


def _parameters_of(place: Place) -> str:
    """Return the cell of a table: how many parameters a layer has in its place."""
    if place.shares >= 0:
        return "(shared)"
    shapes = place.layer.parameter_shapes(place.in_features).values()
    count = sum(int(np.prod(shape)) for shape in shapes)
    return f"{count:,}" + (" (frozen)" if count and not place.trainable else "")


def _shape_of(place: Place) -> str:
    """Return the cell of a table: the shape of what a layer puts out in its place."""
    shape = place.shape or (place.features or "?",)
    return f"(n, {', '.join(map(str, shape))})"


def _plain(shape: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return the shape of one example as it is written: a number where it is one."""
    return shape[0] if len(shape) == 1 else shape


def _short(layer: Layer) -> str:
    text = repr(layer)
    return text if len(text) <= 40 else f"{type(layer).__name__}(...)"


def _check_layers(layers: Any) -> tuple[Layer, ...]:
    layers = branches.as_layers(layers, "layers", outermost=True)
    for i, layer in enumerate(layers):
        if isinstance(layer, branches.Columns) and i > 0:
            raise ValueError(
                f"layers[{i}]: expected Columns in front of all other layers, as it reads columns "
                f"of X, got it after {layers[i - 1]!r}"
            )
        if layer.is_input and any(not other.is_input for other in layers[:i]):
            raise ValueError(
                f"layers[{i}]: expected {layer!r} in front of all other layers, as it is applied "
                f"while the inputs are read, got it after {layers[i - 1]!r}"
            )
    if layers[-1].is_input:
        raise ValueError(
            f"layers: expected a layer after {layers[-1]!r}, which is applied while the inputs are "
            "read, got none"
        )
    return layers
