"""The engine of a model: the core's network, its parameters and state, and what it computes.

Here alone layers become a network of the core, and parameters and state get their names. What it
computes it does with inputs that are checked; `intake` makes those of what users pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, data
from .labels import check_classes
from .layers import Layer
from .losses import Loss
from .typing import Array, Floats, Integers, Shape


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
    layers, dtype, seed, epochs_trained, loss, classes_, feature_names_in_, history
        See `Sequential`.
    net : _core.Network, None before it is built
    parameters : ndarray (n_parameters,)
    state : ndarray (n_state,), float64
    owner : Owner
        By which optimizers know this model.
    saved_optimizer : str or None
        What its file holds besides, in words.
    """

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype[Any], seed: int) -> None:
        self.layers = tuple(layers)
        self.dtype = dtype
        self.seed = seed
        self.net: Any = None  # this and the two that follow: when it is built
        self.parameters: Any = None
        self.state: Any = None
        self.owner = Owner(tied=True)
        self.saved_optimizer: str | None = None
        self.epochs_trained = 0
        self.loss: str | Loss | None = None
        self.classes_: Any = None
        self.feature_names_in_: Array | None = None
        self.history: Any = None  # or a History
        self._claims: dict[str, object] = {}  # "fit": the token of the call that trains

    # ------------------------------------------------------------------ what it is

    @property
    def built(self) -> bool:
        """Whether the number of input features is known, and so the parameters exist (bool)."""
        return self.net is not None

    def network(self) -> _core.Network:
        """Return the core's network; RuntimeError if it is not built."""
        if self.net is None:
            raise RuntimeError("this model is not built yet; call build(in_features) or fit first")
        return self.net

    def build(self, in_features: int, values: Mapping[str, Array] | None = None) -> None:
        """Make the network, with initial parameters, or with the `values` of parameters and state.

        Nothing is changed where it raises ValueError: if there are classes for another number of
        outputs, or initial values are not finite.
        """
        if self.classes_ is not None:
            check_classes(self.classes_, self.widths(in_features)[-1])
        net = make_network(self.layers, in_features, self.dtype)
        parameters = data.aligned_zeros(net.n_parameters, self.dtype)
        state = np.full(net.n_state, np.nan)  # nothing learned
        if values is None:
            self._initialize(net.parameter_layout, parameters)
        else:
            for layout, vector in ((net.parameter_layout, parameters), (net.state_layout, state)):
                for name, view in named(layout, vector).items():
                    view[...] = values[name]
        self.net, self.parameters, self.state = net, parameters, state

    def _initialize(self, layout: "Layout", parameters: Array) -> None:
        views: dict[int, dict[str, Array]] = {}  # {number of the layer: {name: view}}
        for path, name, view in _views(layout, parameters):
            views.setdefault(int(path), {})[name] = view
        followers, stream = (*self.layers[1:], None), 0
        for i, of_layer in views.items():
            layer = self.layers[i]
            with np.errstate(over="ignore", invalid="ignore"):
                layer.initialize(of_layer, followers[i], self.seed, stream)
            if not all(np.isfinite([view.min(), view.max()]).all() for view in of_layer.values()):
                raise ValueError(
                    f"layers[{i}]: expected initial values that are finite in {self.dtype}, "
                    f"got those of {layer!r}"
                )
            stream += len(of_layer)

    def widths(self, in_features: int) -> list[int]:
        """Return the number of columns in front of each layer, and behind the last."""
        widths = [in_features]
        for layer in self.layers:
            widths.append(layer.units or widths[-1])
        return widths

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        """Return {name: shape} of all parameters, without making them."""
        widths = self.widths(in_features)
        return {
            f"{i}.{name}": shape
            for i, layer in enumerate(self.layers)
            for name, shape in layer.parameter_shapes(widths[i]).items()
        }

    def state_shapes(self, in_features: int) -> dict[str, Shape]:
        """Return {name: shape} of all that layers keep, without making it."""
        return {
            f"{i}.{name}": shape
            for i, layer in enumerate(self.layers)
            for name, shape in layer.state_shapes(in_features).items()
        }

    def named_parameters(self, vector: Array | None = None) -> dict[str, Array]:
        """Return {name: view} of the parameters, or of a vector of their layout."""
        layout = self.network().parameter_layout
        return named(layout, self.parameters if vector is None else vector)

    def named_state(self) -> dict[str, Floats]:
        """Return {name: view} of the state."""
        return named(self.network().state_layout, self.state)

    def vectors(self) -> list[Array]:
        """Return the arrays that hold all that has been learned."""
        return [self.parameters, self.state]

    def first_bent_layer(self) -> int:
        """Return the number of the first layer that is not piecewise linear."""
        return int(self.network().nonlinear)

    def claim(self, token: object) -> None:
        """Let a fit begin, of which there is one at a time."""
        if self._claims.setdefault("fit", token) is not token:  # atomic, and safe from Ctrl-C
            raise RuntimeError("fit: this model is within a fit already")

    def release(self, token: object) -> None:
        """Let it end, if it had begun."""
        if self._claims.get("fit") is token:
            self._claims.clear()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {
            "net": None,
            "in_features": self.net.in_features if self.built else None,
            "_claims": {},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        in_features, vectors = state.pop("in_features"), (state["parameters"], state["state"])
        vars(self).update(state)
        if in_features is not None:
            self.net = make_network(self.layers, in_features, self.dtype)
            self.parameters = data.aligned_zeros(self.net.n_parameters, self.dtype)
            self.state = np.empty(self.net.n_state)
            for vector, values in zip(self.vectors(), vectors, strict=True):
                vector[:] = values
        if self.owner.tied:  # else a copy, whose optimizers may have been copied with it
            self.owner = Owner()
        self.owner.tied = True

    # ------------------------------------------------------------------ what it computes

    def outputs(self, X: Any, link: str = "identity", rows: Integers | None = None) -> Array:
        """Return what the link makes of the outputs for (some rows of) features."""
        n = X.shape[0] if rows is None else len(rows)
        out = np.empty((n, self.net.out_features), self.dtype)
        self.net.forward(self.parameters, X, out, link, model_state=self.state, order=rows)
        return out

    def means(self, examples: data.Examples, loss: Loss) -> tuple[float, float]:
        """Return the means of losses and of right answers."""
        return self.net.evaluate(self.parameters, *_of(examples, loss), **self._beside(examples))

    def loss_and_grad(self, examples: data.Examples, loss: Loss) -> tuple[float, Array]:
        """Return the mean loss and its gradient in the parameters."""
        grad = np.empty_like(self.parameters)
        value = self.net.loss_and_grad(
            self.parameters, *_of(examples, loss), grad, **self._beside(examples)
        )
        return value, grad

    def vjp(self, X: Any) -> tuple[Array, _core.Pullback]:
        """Return the outputs, and what pulls their gradient back."""
        out = np.empty((X.shape[0], self.net.out_features), self.dtype)
        return out, self.net.vjp(self.parameters, X, out, model_state=self.state)

    def jvp(self, X: Any, v: Array) -> tuple[Array, Array]:
        """Return the outputs and their derivative along `v` (n_parameters,)."""
        out = np.empty((X.shape[0], self.net.out_features), self.dtype)
        dout = np.empty_like(out)
        self.net.jvp(self.parameters, v, X, out, dout, model_state=self.state)
        return out, dout

    def hvp(self, examples: data.Examples, loss: Loss, v: Array) -> Array:
        """Return the product of the Hessian of the mean loss with `v` (n_parameters,)."""
        hv = np.empty_like(self.parameters)
        self.net.hvp(self.parameters, v, *_of(examples, loss), hv, **self._beside(examples))
        return hv

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
    ) -> tuple[_core.Operator, _core.Network]:
        """Return a snapshot for products of curvature, and its network; without a loss of outputs.

        Computed in `dtype`, with targets of that dtype.
        """
        net = self.network()
        if dtype != self.dtype:
            net = make_network(self.layers, net.in_features, dtype)
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
    ) -> None:
        """Make all steps of an epoch over the rows `order`: parameters and `states` change.

        Parameters
        ----------
        lr, update
            As numbers or arrays (steps,) of the steps: the learning rate; a rule and its numbers.
        states : list of ndarray (n_parameters,)
        step : int
            Steps that were made before.
        report : ndarray (3,), float64, 0
            Becomes the weighted sums of losses and right answers, and the number of steps.
        """
        self.net.train(
            self.parameters,
            *_of(examples, loss),
            order,
            batch_size,
            lr,
            update,
            states,
            step,
            report,
            examples.weights,
            self.state,
            batches_per_step,
            self._run_of_epoch(),
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
    ) -> None:
        """The same where ``take_step(is finite)`` updates the parameters by `gradient`.

        It returns whether the gradient of the same batches is wanted again.
        """
        self.net.train_stepwise(
            self.parameters,
            *_of(examples, loss),
            order,
            batch_size,
            gradient,
            take_step,
            report,
            examples.weights,
            self.state,
            batches_per_step,
            self._run_of_epoch(),
        )

    def _run_of_epoch(self) -> _core.Run:
        return _core.Run(
            training=True, learns_state=True, seed=self.seed, step=self.epochs_trained << 32
        )

    def _beside(self, examples: data.Examples) -> dict[str, Any]:
        return {"weights": examples.weights, "model_state": self.state, "order": examples.rows}


def _of(examples: data.Examples, loss: Loss) -> tuple[Any, Array, tuple[str, dict[str, float]]]:
    return examples.X, examples.targets, loss.spec()


# ---------------------------------------------------------------------- layers of the core

Layout = list[tuple[str, str, int, Shape]]  # path of the layer, name, first place, shape


def make_network(layers: Sequence[Layer], in_features: int, dtype: np.dtype[Any]) -> _core.Network:
    """Return the core's network of these layers."""
    return _core.Network(
        dtype.name,
        in_features,
        [{"kind": x.kind, "units": x.units, "values": x.values} for x in layers],
    )


def named(layout: Layout, vector: Array) -> dict[str, Array]:
    """Return ``{"0.weight": view}`` of the parts of a flat vector: number of the layer and name."""
    return {f"{i}.{name}": view for i, name, view in _views(layout, vector)}


def _views(layout: Layout, vector: Array) -> Iterator[tuple[str, str, Array]]:
    """Yield (number of the layer, name, view) for each part of a flat vector."""
    for i, name, offset, shape in layout:
        yield i, name, vector[offset : offset + int(np.prod(shape))].reshape(shape)
