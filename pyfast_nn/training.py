"""What `Sequential.fit` does."""

import time
import warnings

import numpy as np

from . import _core, checks, data, optim
from .history import History
from .layers import InputLayer, Standardize
from .progress import check as check_verbose
from .progress import progress

_ORDERS = 2**32  # random streams: below, the initial parameters; from here on, the row orders


def fit(
    model,
    X,
    y,
    *,
    loss,
    optimizer,
    epochs,
    batch_size,
    shuffle,
    validation_data,
    sample_weight,
    class_weight,
    verbose,
):
    """Train `model` in place and return its history; see `Sequential.fit`."""
    token = object()
    try:
        if model._claims.setdefault("fit", token) is not token:  # atomic, and safe from Ctrl-C
            raise RuntimeError("fit: this model is within a fit already")

        # What the user gave, as the core reads it: nothing is copied whole, nothing changed.
        given, loss = loss if loss is not None else model.loss, model._check_loss(loss)
        epochs = checks.integer(epochs, "epochs", minimum=1)
        batch_size = checks.integer(batch_size, "batch_size", minimum=1)
        shuffle = checks.boolean(shuffle, "shuffle")
        style = check_verbose(verbose)
        X = model._training_features(X, model.in_features if model.built else None)
        classes = _find_classes(model, y, loss, X.shape[1])
        y = model._targets(y, loss, X, classes)
        weights = model._weights(sample_weight, class_weight, y, loss, X.shape[1], classes)
        validation = _check_validation(model, validation_data, loss, X.shape[1], classes)
        optimizer = _check_optimizer(optimizer)
        _warn_of_flat_layers(model.layers)

        # The network with its plan, built once, and the optimizer's state.
        model.build(X.shape[1])
        _learn_statistics(model, X)
        optimizer._attach(model)
        model.loss, model.classes_, model.history = given, classes, History()

        with progress(style, epochs) as show:
            for _ in range(epochs):
                record = _train_epoch(model, X, y, weights, loss, optimizer, batch_size, shuffle)
                if validation is not None:
                    scores = model._evaluate(*validation, loss)
                    record |= {f"val_{key}": value for key, value in scores.items()}
                model.history._append(record)
                show(record)
        if not np.isfinite(model._parameters).all():
            raise FloatingPointError(
                f"the parameters are not finite after epoch {model.history.epochs}: the last "
                "step overflowed. Likely cure: a lower learning rate"
            )
        return model.history
    finally:
        if model._claims.get("fit") is token:
            model._claims.clear()


def _train_epoch(model, X, y, weights, loss, optimizer, batch_size, shuffle):
    """Train for one epoch and return the record of it."""
    # A row order and the learning rate of each step ...
    order = _row_order(model, X.shape[0], shuffle)
    lr = optimizer._rates(-(-X.shape[0] // batch_size))
    update = optimizer._update(len(lr))
    state = optimizer._vectors(model._parameters)
    step = optimizer.step_count
    report = optimizer._begin_epoch()  # (3,): weighted sums of loss and right answers, steps
    start = time.perf_counter()
    try:
        # ... and one call, in which batches are gathered, and the parameters and state change.
        model._net.train(
            model._parameters,
            X,
            y,
            loss._spec(),
            order,
            batch_size,
            lr,
            update,
            state,
            step,
            report,
            weights,
            model_state=model._state,
        )
    except FloatingPointError:
        raise FloatingPointError(
            f"the loss is not finite in epoch {model.history.epochs + 1}, step "
            f"{int(report[2]) + 1} of it (both counted from 1); this step was not applied. "
            f"Likely cures: a lower learning rate (it is {lr[int(report[2])]:g}), inputs "
            "scaled to about -1 to 1"
        ) from None
    seconds = time.perf_counter() - start
    model.epochs_trained += 1
    total = X.shape[0] if weights is None else weights.sum(dtype=np.float64)
    return {
        **model._scores(report[0] / total, report[1] / total, loss),
        "lr": float(lr[-1]),
        "seconds": seconds,
    }


def _learn_statistics(model, X, rows=None):
    """Let `Standardize` learn from the given rows of X (None: all) what it does not know yet."""
    if not np.isnan(model._state).any():
        return
    mean, std = np.empty(model.in_features), np.empty(model.in_features)
    _core.column_statistics(X, rows, mean, std)
    state = model.named_state()
    for i, layer in enumerate(model.layers):
        wrong = ~(np.isfinite(mean) & np.isfinite(std))
        if wrong.any():
            raise ValueError(
                f"X: column {np.argmax(wrong)} has numbers too large for a float64 to hold their "
                "standard deviation"
            )
        if isinstance(layer, Standardize):
            state[f"{i}.mean"][:], state[f"{i}.std"][:] = mean, np.where(std > 0, std, 1)
        if not isinstance(layer, InputLayer):
            break
        mean, std = layer.moments(mean, std)


def _row_order(model, n, shuffle):
    """Return the rows (n,) of this epoch: a function of the seed and the epochs trained."""
    if not shuffle:
        return np.arange(n)
    return _core.permutation(model.seed, _ORDERS + model.epochs_trained, n)


def _find_classes(model, y, loss, in_features):
    """Return the `classes_` of the model from this fit on."""
    known, out_features = model.classes_, model._widths(in_features)[-1]
    own = loss.classes(out_features)
    if own is None:
        return known
    if known is None:
        return data.find_classes(y, loss, out_features)
    if data.label_kind(known, "classes_") == "number":  # which is to say, those of the loss
        return own
    if len(known) != len(own):
        raise ValueError(
            f"loss: expected one for the {len(known)} classes fixed by the first fit, "
            f"got {loss!r}, which tells {len(own)} apart"
        )
    return known


def _check_validation(model, validation_data, loss, in_features, classes):
    if validation_data is None:
        return None
    try:
        X, y, sample_weight = (
            validation_data if len(validation_data) == 3 else (*validation_data, None)
        )
    except (TypeError, ValueError):
        came = checks.describe(validation_data)
        raise TypeError(
            f"validation_data: expected (X, y) or (X, y, sample_weight), got {came}"
        ) from None
    X = model._training_features(X, in_features, "validation_data[0]")
    y = model._targets(y, loss, X, classes, "validation_data[1]")
    name = "validation_data[2]"
    return X, y, model._weights(sample_weight, None, y, loss, in_features, classes, name)


def _warn_of_flat_layers(layers):
    last = max((i for i, layer in enumerate(layers) if layer.flat), default=0)
    frozen = [f"layers[{i}]" for i in range(last) if layers[i].parameter_shapes(1)]
    if frozen:
        warnings.warn(
            f"the derivative of layers[{last}], {layers[last]!r}, is zero almost everywhere: no "
            f"gradient reaches the parameters in front of it, and {', '.join(frozen)} will not "
            "learn. A smooth relative such as Sigmoid() or Tanh() learns",
            UserWarning,
            stacklevel=4,  # the caller of Sequential.fit
        )


def _check_optimizer(optimizer):
    if optimizer is None:
        return optim.Adam()
    if not isinstance(optimizer, optim.Optimizer):
        came = checks.describe(optimizer)
        raise TypeError(
            f"optimizer: expected an optimizer such as fnn.optim.Adam(lr=1e-3), got {came}"
        )
    return optimizer
