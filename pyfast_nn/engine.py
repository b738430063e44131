"""The engine of a model: the core's network, its parameters and state, and what it computes.

Here alone layers become a network of the core, and parameters and state get their names. What it
computes it does with inputs that are checked; `intake` makes those of what users pass.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, cuda, data, initializers
from .graph import Graph, Place, changes
from .inputs import InputLayer
from .labels import check_classes
from .layers import Layer
from .losses import Loss
from .typing import Array, Floats, Integers, Shape

PREDICTS = _core.Run()  # how layers act in predictions


class Owner:
    """Stands for a model in its optimizers. A copy is not tied to a model yet."""

    def __init__(self, tied: bool = False) -> None:
        self.tied = tied

    def __reduce__(self) -> tuple[type["Owner"], tuple[()]]:
        return Owner, ()


class Engine:
    """A network with its parameters and state, and what fits have left.

    Attributes
    ----------
    layers, dtype, seed, device, compute_dtype, epochs_trained, loss, classes_
    feature_names_in_, history
        See `Sequential`.
    net : _core.Network, None before it is built
        Made anew after `trainable` of a layer has changed.
    graph : Graph, None before it is built
    parameters : ndarray (n_parameters,)
    state : ndarray (n_state,), float64
    owner : Owner
        By which optimizers know this model.
    saved_optimizer : str or None
        What its file holds besides, in words.
    standardize_targets : bool
    target_mean, target_std : ndarray (out_features,), float64, or None
        Where targets are standardized, by these; None until the first fit.
    has_lengths : bool
        Whether examples come with how many of their positions exist: X has it as a last column.
    running : object or None
        What the fit that trains it now keeps of itself; see `checkpoint`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        dtype: np.dtype[Any],
        seed: int,
        device: str = "cpu",
        compute_dtype: str | None = None,
    ) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        self.dtype = dtype
        self.seed = seed
        self.device: str = device
        self.compute_dtype: str = compute_dtype or dtype.name
        self._net: Any = None  # this and the three that follow: when it is built
        self._graph: Any = None
        self.parameters: Any = None
        self.state: Any = None
        self.owner: Owner = Owner(tied=True)
        self.saved_optimizer: str | None = None
        self.running: Any = None
        self.epochs_trained = 0
        self.loss: str | Loss | None = None
        self.classes_: Any = None
        self.feature_names_in_: Array | None = None
        self.standardize_targets = False
        self.has_lengths: bool = False
        self.target_mean: Any = None
        self.target_std: Any = None
        self.history: Any = None  # or a History
        self._claims: dict[str, object] = {}  # "fit": the token of the call that trains
        self._kept: Any = None  # (X, targets, rows) of examples that stay; None: nothing does
        self._changes = -1  # of `trainable` of any layer, when the network was made

    # ------------------------------------------------------------------ what it is

    @property
    def built(self) -> bool:
        """Whether the number of input features is known, and so the parameters exist (bool)."""
        return self.net is not None

    @property
    def net(self) -> Any:
        if self._changes != changes() and self._net is not None:
            seen = changes()
            graph = Graph(self.layers, self._graph.in_shape, self._graph.names, self.has_lengths)
            if graph.places != self._graph.places:
                self._replace_net(self._network_of(graph))
                self._graph = graph
            self._changes = seen
        return self._net

    @property
    def graph(self) -> Any:
        return self._graph if self.net is not None else None

    def network(self) -> _core.Network:
        """Return the core's network; RuntimeError if it is not built."""
        net: _core.Network | None = self.net
        if net is None:
            raise RuntimeError("this model is not built yet; call build(in_features) or fit first")
        return net

    @property
    def in_shape(self) -> Shape:
        """Of one example of X (tuple); RuntimeError if it is not built."""
        self.network()
        shape: Shape = self._graph.in_shape
        return shape

    @property
    def out_shape(self) -> Shape:
        """Of one example of the outputs (tuple); RuntimeError if it is not built."""
        self.network()
        shape: Shape = self._graph.out_shape
        return shape

    @property
    def positions(self) -> int:
        """Rows of outputs that one example has (int); RuntimeError if it is not built."""
        return math.prod(self.out_shape[:-1])

    def move(self, device: str, compute_dtype: str) -> None:
        """Compute there, and so, from now on."""
        if self._net is not None and (device, compute_dtype) != (self.device, self.compute_dtype):
            self._replace_net(make_network(self._graph, self.dtype, device, compute_dtype))
        self.device, self.compute_dtype = device, compute_dtype

    def _replace_net(self, net: _core.Network) -> None:
        if self._kept is not None:
            self._net.keep_memory(False)
            net.keep_memory(True, self._kept)
        self._net = net

    def _network_of(self, graph: Graph) -> _core.Network:
        return make_network(graph, self.dtype, self.device, self.compute_dtype)

    def _laid(self, in_shape: Shape | int) -> Graph:
        return Graph(self.layers, in_shape, self.feature_names_in_, self.has_lengths)

    def build(
        self,
        in_shape: Shape | int,
        values: Mapping[str, Array] | None = None,
        names: Array | None = None,
    ) -> None:
        """Make the network, with initial parameters, or with the `values` of parameters and state.

        `in_shape` is that of one example of X, or the number of its columns. `names` are those of
        the columns, if this model does not know any yet.

        Nothing is changed where it raises ValueError: if there are classes for another number of
        outputs, or initial values are not finite.
        """
        names = self.feature_names_in_ if names is None else names
        graph = Graph(self.layers, in_shape, names, self.has_lengths)
        if self.classes_ is not None:
            check_classes(self.classes_, graph.features)
        net = self._network_of(graph)
        parameters = data.aligned_zeros(net.n_parameters, self.dtype)
        state = np.empty(net.n_state)
        if values is None:
            self._initialize(graph, named(net.parameter_layout, parameters, graph))
            initial = named(net.state_layout, state)
            for place in graph.places:
                for name, first in place.layer.initial_state.items():
                    initial[f"{place.path}.{name}"][...] = first
        else:
            for layout, vector in ((net.parameter_layout, parameters), (net.state_layout, state)):
                for name, view in named(layout, vector, graph).items():
                    view[...] = values[name]
        self._net, self._graph, self.parameters, self.state = net, graph, parameters, state

    def _initialize(self, graph: Graph, views: dict[str, Array]) -> None:
        stream = 0
        for number, place in enumerate(graph.places):
            names = place.layer.parameter_shapes(place.in_features)
            if not names or place.shares >= 0:
                continue
            own = {name: views[f"{place.path}.{name}"] for name in names}
            with np.errstate(over="ignore", invalid="ignore"):
                default = _default_init(graph, number)
                place.layer.initialize(own, default, self.seed, stream)
            if not all(np.isfinite([view.min(), view.max()]).all() for view in own.values()):
                raise ValueError(
                    f"layers[{place.path}]: expected initial values that are finite in "
                    f"{self.dtype}, got those of {place.layer!r}"
                )
            stream += len(own)

    def out_shape_of(self, in_shape: Shape | int) -> Shape:
        """Return the shape of one example of the outputs for inputs of that shape."""
        return self._laid(in_shape).out_shape

    def outputs_have_lengths(self, in_shape: Shape | None = None) -> bool:
        """Whether positions of outputs may not exist, for inputs of that shape; None: as built."""
        graph = self.graph if in_shape is None else self._laid(in_shape)
        return bool(graph.is_ragged(len(graph.places)))

    def parameter_shapes(self, in_shape: Shape | int) -> dict[str, Shape]:
        """Return {name: shape} of all parameters, without making them."""
        return self._laid(in_shape).parameter_shapes()

    def state_shapes(self, in_shape: Shape | int) -> dict[str, Shape]:
        """Return {name: shape} of all that layers keep, without making it."""
        return self._laid(in_shape).state_shapes()

    def share(self, whole: "Engine", first: int) -> None:
        """Be the layers of a built engine from number `first` on, with its parameters and state."""
        views = whole.views_of(self.layers, first)
        names = whole.feature_names_in_ if first == 0 else None
        self.has_lengths = whole.lengths_before(first)
        graph = Graph(self.layers, whole.shape_before(first), names, self.has_lengths)
        net = self._network_of(graph)
        parts = []
        for layout, vector in (
            (net.parameter_layout, whole.parameters),
            (net.state_layout, whole.state),
        ):
            begin, end = None, 0
            for path, name, offset, _ in layout:
                view = views[f"{path}.{name}"]
                there = (view.ctypes.data - vector.ctypes.data) // vector.itemsize
                begin = there if begin is None else begin
                if there - begin != offset:
                    raise ValueError(
                        "index: expected layers whose parameters lie side by side, got "
                        f"layers[{_moved(path, first)}] with those of a layer in front of others"
                    )
                end = there + view.size
            parts.append(vector[begin or 0 : end])
        self._net, self._graph, (self.parameters, self.state) = net, graph, parts

    def shape_before(self, first: int) -> Shape:
        """Return the shape of one example of what comes into the layer of that number."""
        shape: Shape = self.graph.inputs[f"{first}"]
        return shape

    def lengths_before(self, first: int) -> bool:
        """Return whether what comes into the layer of that number has lengths."""
        return f"{first}" in self.graph.know_lengths

    def views_of(self, layers: tuple[Layer, ...], first: int) -> dict[str, Array]:
        """Return {name: view} of what those layers, the ones from number `first` on, have learned.

        By the names that they have by themselves.
        """
        all_views = self.named_parameters() | self.named_state()
        owners = {
            place.path: self.graph.places[place.shares].path if place.shares >= 0 else place.path
            for place in self.graph.places
        }
        names = self.feature_names_in_ if first == 0 else None
        part = Graph(layers, self.shape_before(first), names, self.lengths_before(first))
        views = {}
        for name in part.parameter_shapes() | part.state_shapes():
            path, _, own = name.rpartition(".")
            views[name] = all_views[f"{owners[_moved(path, first)]}.{own}"]
        return views

    def activations(self, X: Any) -> dict[str, Array]:
        """Return {path: what the layer puts out} for all of them."""
        outs, graph = self.values(X), self.graph
        return {
            path: outs[value - 1].reshape(len(X), *graph.example_shape(value))
            for path, value in graph.outputs.items()
        }

    def values(self, X: Any) -> list[Array]:
        """Return what is put out in each place of the graph, (n, *shape)."""
        net = make_network(self.graph, self.dtype, self.device, self.compute_dtype, fused=False)
        places = self.graph.places
        outs: list[Any] = [
            None
            if isinstance(place.layer, InputLayer)
            else np.empty((X.shape[0], *place.shape), self.dtype)
            for place in places
        ]
        rows = [None if out is None else out.reshape(-1, out.shape[-1]) for out in outs]
        net.values(self.parameters, X, rows, model_state=self.state)
        for i, place in enumerate(places):
            if outs[i] is None:
                columns = self.input_columns(X, i + 1, 0, place.features)
                with np.errstate(over="ignore"):
                    outs[i] = columns.astype(self.dtype)
        return outs

    def input_columns(
        self, X: Any, value: int, first: int, count: int, rows: Integers | None = None
    ) -> Floats:
        """Return columns of what an input layer puts out, or X (value 0), of (some) rows."""
        out = np.empty((X.shape[0] if rows is None else len(rows), count))
        self.net.input_columns(X, value, first, out, model_state=self.state, order=rows)
        return out

    def layer_at(self, path: str) -> Layer:
        """Return the layer in a place."""
        return next(place.layer for place in self.graph.places if place.path == path)

    def trained_parameters(self, vector: Array | None = None) -> dict[str, Array]:
        """Return {name: view} of those of `named_parameters` that are trained."""
        frozen = {
            f"{place.path}.{name}"
            for place in self.graph.owners()
            if not place.trainable
            for name in place.layer.parameter_shapes(1)
        }
        views = self.named_parameters(vector)
        return {name: view for name, view in views.items() if name not in frozen}

    def named_parameters(self, vector: Array | None = None) -> dict[str, Array]:
        """Return {name: view} of the parameters, or of a vector of their layout."""
        layout = self.network().parameter_layout
        return named(layout, self.parameters if vector is None else vector, self.graph)

    def named_state(self) -> dict[str, Floats]:
        """Return {name: view} of the state."""
        return named(self.network().state_layout, self.state)

    def statistics(self) -> dict[str, Floats]:
        """Return {name: view} of what the first fit learns of the state; NaN until then.

        Of a matrix, a column of which may have fewer numbers than rows, the first row.
        """
        state = {
            name: view[0] if view.ndim > 1 else view for name, view in self.named_state().items()
        }
        return {
            f"{place.path}.{name}": state[f"{place.path}.{name}"]
            for place in self.graph.places
            for name, first in place.layer.initial_state.items()
            if np.isnan(first)
        }

    def is_finite_state(self, state: Floats) -> bool:
        """Whether what layers learn of it in passing is finite, if it is this state (n_state,)."""
        views = named(self.network().state_layout, state)
        inputs = {place.path for place in self.graph.places if isinstance(place.layer, InputLayer)}
        return all(
            np.isfinite(view).all()
            for name, view in views.items()
            if name.rpartition(".")[0] not in inputs
        )

    def first_that_couples_rows(self) -> Place | None:
        """Return where the first layer stands that does."""
        places = Graph(self.layers).places
        return next((place for place in places if place.layer.couples_rows), None)

    def vectors(self) -> list[Array]:
        """Return the arrays that hold all that has been learned."""
        return [self.parameters, self.state]

    def first_bent_layer(self) -> str:
        """Return the first layer that is not piecewise linear, as a text for messages."""
        path = self.network().nonlinear
        return f"layers[{path}], {self.layer_at(path)!r},"

    def become(self, other: "Engine") -> None:
        """Take over all that a built engine of equal layers has; it is not to be used after that.

        Arrays that are there keep their places, as users and optimizers may hold them.
        """
        vectors = self.vectors() if self.built else other.vectors()
        for vector, values in zip(vectors, other.vectors(), strict=True):
            vector[:] = values
        graph = Graph(self.layers, other.in_shape, other.feature_names_in_, other.has_lengths)
        stays = "layers", "device", "compute_dtype", "owner", "running", "_claims"
        vars(self).update(
            vars(other) | {name: vars(self)[name] for name in stays},
            _graph=graph,
            _net=self._network_of(graph),
            _changes=-1,
        )
        self.parameters, self.state = vectors

    def claim(self, token: object) -> None:
        """Let a fit begin, of which there is one at a time."""
        if self._claims.setdefault("fit", token) is not token:  # atomic, and safe from Ctrl-C
            raise RuntimeError("fit: this model is within a fit already")

    def release(self, token: object) -> None:
        """Let it end, if it had begun."""
        if self._claims.get("fit") is token:
            self.running = None
            self._claims.clear()

    def keep(self, *examples: data.Examples) -> None:
        """Keep memory for calls that follow each other, until `let_go`.

        A GPU keeps these examples, too, whose arrays are not to change meanwhile.
        """
        self._kept = [(each.X, each.targets, each.rows) for each in examples]
        self.network().keep_memory(True, self._kept)

    def let_go(self) -> None:
        """Keep nothing any more."""
        self._kept = None
        self.network().keep_memory(False)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {
            "layers": copy.deepcopy(self.layers),  # `trainable` may be assigned
            "_net": None,
            "_graph": None,
            "in_shape": self.in_shape if self.built else None,
            "running": None,
            "_claims": {},
            "_kept": None,
            "_changes": -1,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        in_shape, vectors = state.pop("in_shape"), (state["parameters"], state["state"])
        vars(self).update(state)
        if in_shape is not None:
            self._graph = self._laid(in_shape)
            self._net = self._network_of(self._graph)
            self.parameters = data.aligned_zeros(self.net.n_parameters, self.dtype)
            self.state = np.empty(self.net.n_state)
            for vector, values in zip(self.vectors(), vectors, strict=True):
                vector[:] = values
        if self.owner.tied:  # else a copy, whose optimizers may have been copied with it
            self.owner = Owner()
        self.owner.tied = True

    # ------------------------------------------------------------------ what it computes

    def outputs(
        self,
        X: Any,
        link: str = "identity",
        rows: Integers | None = None,
        run: _core.Run = PREDICTS,
    ) -> Array:
        """Return what the link makes of the outputs for (some rows of) features.

        With positions a row for each of each example.
        """
        out = self._rows_of_outputs(X.shape[0] if rows is None else len(rows))
        beside = {"model_state": self.state, "order": rows, "run": run}
        self.net.forward(self.parameters, X, out, link=link, **beside)
        return out

    def _rows_of_outputs(self, n: int) -> Array:
        return np.empty((n * self.positions, self.net.out_features), self.dtype)

    def in_examples(self, rows: Array) -> Array:
        """Return the rows of outputs, or of what is made of them, by example and position."""
        positions = self.out_shape[:-1]
        if not positions:
            return rows
        return rows.reshape(len(rows) // self.positions, *positions, *rows.shape[1:])

    def as_examples(self, X: Any) -> Any:
        """Return inputs, rows of numbers for the core, in the shape of their examples."""
        shape = self.in_shape
        if self.has_lengths:
            X = X[:, :-1]
        return X if len(shape) == 1 else X.reshape(X.shape[0], *shape)

    def means(self, examples: data.Examples, loss: Loss) -> tuple[float, float]:
        """Return the means of losses and of right answers."""
        return self.net.evaluate(self.parameters, *_of(examples, loss), **self._beside(examples))

    def means_and_outputs(
        self, examples: data.Examples, loss: Loss, link: str
    ) -> tuple[tuple[float, float], Array]:
        """Return the same means, and what the link makes of the outputs, by one pass."""
        out = self._rows_of_outputs(examples.n)
        beside = self._beside(examples) | {"out": out, "link": link}
        return self.net.evaluate(self.parameters, *_of(examples, loss), **beside), out

    def loss_and_grad(
        self, examples: data.Examples, loss: Loss, run: _core.Run
    ) -> tuple[float, Array]:
        """Return the mean loss and its gradient in the parameters."""
        grad = np.empty_like(self.parameters)
        value = self.net.loss_and_grad(
            self.parameters, *_of(examples, loss), grad, **self._beside(examples), run=run
        )
        return value, grad

    def activity_gradient(
        self, examples: data.Examples, loss: Loss, run: _core.Run
    ) -> tuple[float, Array]:
        """Return the mean loss, and an estimate of its gradient by noise in what layers put out."""
        grad = np.empty_like(self.parameters)
        beside = self._beside(examples) | {"run": run, "forward": True}
        value = self.net.loss_and_grad(self.parameters, *_of(examples, loss), grad, **beside)
        return value, grad

    def loss_and_slope(self, examples: data.Examples, loss: Loss, v: Array) -> tuple[float, float]:
        """Return the mean loss, and its derivative along `v` (n_parameters,)."""
        return self.net.loss_and_slope(
            self.parameters, v, *_of(examples, loss), **self._beside(examples)
        )

    def vjp(self, X: Any, run: _core.Run) -> tuple[Array, _core.Pullback]:
        """Return the outputs, and what pulls their gradient back."""
        out = self._rows_of_outputs(X.shape[0])
        return out, self.net.vjp(self.parameters, X, out, model_state=self.state, run=run)

    def input_gradient(self, X: Any, d: Array, state: Floats) -> Array:
        """Return the gradient in X of that in what input layers make of it, by a state of them."""
        dX = np.empty(X.shape, self.dtype)
        self.net.input_gradient(X, d, dX, model_state=state)
        return dX

    def jvp(self, X: Any, v: Array, run: _core.Run) -> tuple[Array, Array]:
        """Return the outputs and their derivative along `v` (n_parameters,)."""
        out = self._rows_of_outputs(X.shape[0])
        dout = np.empty_like(out)
        self.net.jvp(self.parameters, v, X, out, dout, model_state=self.state, run=run)
        return out, dout

    def hvp(self, examples: data.Examples, loss: Loss, v: Array, run: _core.Run) -> Array:
        """Return the product of the Hessian of the mean loss with `v` (n_parameters,)."""
        hv = np.empty_like(self.parameters)
        arguments = (self.parameters, v, *_of(examples, loss), hv)
        self.net.hvp(*arguments, **self._beside(examples), run=run)
        return hv

    def calibrate(self, X: Any) -> None:
        """Let running statistics be those of features; FloatingPointError if they overflow."""
        state = self.state.copy()
        self.network().calibrate(self.parameters, X, state)
        if not self.is_finite_state(state):
            raise FloatingPointError(
                "calibrate: the statistics of these features are not finite; nothing was changed. "
                "Likely cure: inputs scaled to about -1 to 1"
            )
        self.state[:] = state

    def losses_along(
        self, examples: data.Examples, loss: Loss, directions: Array, steps: Floats
    ) -> Floats:
        """Return the mean loss at the parameters plus ``directions @ step`` for each of `steps`.

        `directions` (n_parameters, k) and `steps` (m, k) are arrays of numbers.
        """
        values = np.empty(len(steps))
        self.net.losses_along(
            self.parameters,
            data.contiguous(directions.T, self.dtype, "directions"),
            steps,
            *_of(examples, loss),
            values,
            **self._beside(examples),
        )
        return values

    def operator(
        self,
        kind: str,
        examples: data.Examples,
        loss: Loss | None,
        dtype: np.dtype[Any],
        memory_budget: int,
        run: _core.Run,
    ) -> tuple[_core.Operator, _core.Network]:
        """Return a snapshot for products of curvature, and its network; without a loss of outputs.

        Computed in `dtype`, with targets of that dtype.
        """
        net = self.network()
        if dtype != self.dtype:
            net = make_network(self.graph, dtype, self.device)
        of_loss: dict[str, Any] = {}
        if loss is not None:
            of_loss = {"y": examples.targets, "loss": loss.spec(), "weights": examples.weights}
        operator = _core.Operator(
            net,
            kind,
            self.parameters.astype(dtype, copy=False),
            examples.X,
            **of_loss,
            model_state=self.state,
            order=examples.rows,
            memory_budget=float(memory_budget),
            run=run,
        )
        return operator, net

    def train_epoch(
        self,
        examples: data.Examples,
        loss: Loss,
        order: Integers,
        batch_size: int,
        batches_per_step: int,
        *,
        lr: float | Floats,
        update: tuple[str, dict[str, Any]],
        states: list[Array],
        step: int,
        report: Floats,
        ridge: float | Floats = 0.0,
        mixup: float = 0.0,
        forward: bool = False,
        first_step: int = 0,
    ) -> None:
        """Make all steps over the rows `order` of an epoch: parameters and `states` change.

        Parameters
        ----------
        lr, update
            As numbers or arrays (steps,) of the steps: the learning rate; a rule and its numbers.
        states : list of ndarray (n_parameters,)
        step : int
            Steps that were made before.
        report : ndarray (4,), float64, 0
            Becomes the weighted sums of losses and right answers, the number of steps, and what
            `ridge` has added to the first.
        ridge : float or ndarray (steps,)
            Half of this many times the squares of all weights, but no biases, is a part of the sum
            of losses of each step.
        mixup : float
            The alpha of the shares in which examples of a step are mixed; 0: they are not.
        forward : bool
            Whether gradients are estimates by noise in what layers put out.
        first_step : int
            Steps of the same epoch that were made before, of which random numbers are functions.
        """
        self.net.train(
            self.parameters,
            *_of(examples, loss),
            order=order,
            batch_size=batch_size,
            lr=lr,
            update=update,
            state=states,
            step=step,
            report=report,
            weights=examples.weights,
            model_state=self.state,
            batches_per_step=batches_per_step,
            ridge=ridge,
            mixup=mixup,
            forward=forward,
            run=self._run_of_epoch(first_step),
        )

    def train_stepwise(
        self,
        examples: data.Examples,
        loss: Loss,
        order: Integers,
        batch_size: int,
        batches_per_step: int,
        *,
        gradient: Array,
        take_step: Callable[[bool], bool],
        report: Floats,
        ridge: float | Floats = 0.0,
        mixup: float = 0.0,
        forward: bool = False,
        first_step: int = 0,
    ) -> None:
        """The same where ``take_step(is finite)`` updates the parameters by `gradient`.

        It returns whether the gradient of the same batches is wanted again.
        """
        self.net.train_stepwise(
            self.parameters,
            *_of(examples, loss),
            order=order,
            batch_size=batch_size,
            gradient=gradient,
            take_step=take_step,
            report=report,
            weights=examples.weights,
            model_state=self.state,
            batches_per_step=batches_per_step,
            ridge=ridge,
            mixup=mixup,
            forward=forward,
            run=self._run_of_epoch(first_step),
        )

    def _run_of_epoch(self, first_step: int) -> _core.Run:
        step = (self.epochs_trained << 32) + first_step
        return _core.Run(training=True, learns_state=True, seed=self.seed, step=step)

    def _beside(self, examples: data.Examples) -> dict[str, Any]:
        return {"weights": examples.weights, "model_state": self.state, "order": examples.rows}


def _of(examples: data.Examples, loss: Loss) -> tuple[Any, Array, tuple[str, dict[str, float]]]:
    return examples.X, examples.targets, loss.spec()


# ---------------------------------------------------------------------- layers of the core


def _moved(path: str, by: int) -> str:
    """Return the path of the same layer where so many others stand in front of it."""
    head, *rest = path.split(".")
    return ".".join([str(int(head) + by), *rest])


def _default_init(graph: Graph, number: int) -> initializers.Initializer:
    """Return the law of the weights of a place whose layer says none."""
    follower = next(graph.followers(number), None)
    law = initializers.resolve((Layer if follower is None else follower).default_init)
    rows = graph.returning.get(number)
    return law if rows is None else initializers.Contracting(law, rows)


Layout = list[tuple[str, str, int, Shape]]  # path of the layer, name, first place, shape


def make_network(
    graph: Graph,
    dtype: np.dtype[Any],
    device: str,
    compute_dtype: str | None = None,
    fused: bool = True,
) -> _core.Network:
    """Return the core's network of layers in their places.

    Where its device is not here, as that of a pickle from another machine, it computes nothing.
    """
    missing = cuda.why_not(device, compute_dtype, dtype)
    if missing:
        missing += "; model.to('cpu') has the processor compute"
    in_features = graph.width(0)
    for place in graph.places:
        if place.kind == "select" and -1 in place.layer.places:
            raise ValueError(
                f"X: expected columns with names, which layers[{place.path.split('.')[0]}] reads, "
                "got some without; a DataFrame has them"
            )
    layers = graph.described(dtype)
    return _core.Network(dtype.name, in_features, layers, fused, device, compute_dtype, missing)


def named(layout: Layout, vector: Array, graph: Graph | None = None) -> dict[str, Array]:
    """Return ``{"0.weight": view}`` of the parts of a flat vector: path of the layer and name.

    The core holds vectors and matrices; with a graph views have the shapes that layers say.
    """
    shapes = {} if graph is None else graph.parameter_shapes()
    views = {}
    for path, name, offset, held in layout:
        part = vector[offset : offset + math.prod(held)]
        shape = shapes.get(f"{path}.{name}", held)
        views[f"{path}.{name}"] = part.reshape(shape if math.prod(shape) == part.size else held)
    return views
