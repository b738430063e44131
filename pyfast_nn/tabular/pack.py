"""A pack of networks: drawn, trained side by side, and the best average of them found."""

import time
from typing import Any, NamedTuple

import numpy as np

from ..history import History
from ..many import fit_many
from ..models import Sequential
from ..runtime import get_num_threads
from ..typing import Array, Floats, Integers
from . import ensemble, networks, recipe
from .schema import Input
from .scoring import Score
from .table import Table


class Data(NamedTuple):
    """Rows as networks take them.

    Attributes
    ----------
    X : ndarray (n, n_inputs)
    y : ndarray (n,)
        Numbers of classes, or values.
    weights : ndarray (n,) or None
    """

    X: Floats
    y: Array
    weights: Floats | None

    def some(self, rows: Array) -> "Data":
        """Return some rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Data(self.X[rows], self.y[rows], weights)


class Fold(NamedTuple):
    """How often each row counts in training, and rows that do not."""

    weights: Floats | None
    held_out: Data


class Trained(NamedTuple):
    """What a pack has come to.

    Attributes
    ----------
    models : list of Sequential
        Those whose weight is not 0.
    weights : ndarray (n_models,)
        With sum 1.
    leaderboard : Table
        Of all networks, the best first.
    held_out : ndarray (n,) or (n, n_classes)
        What the average predicts of the held-out rows, those of the folds one after the other.
    interrupted : KeyboardInterrupt or None
        What has ended it early, if networks had learned something by then.
    """

    models: list[Sequential]
    weights: Floats
    leaderboard: Table
    held_out: Array
    interrupted: KeyboardInterrupt | None


class _Member(NamedTuple):
    """A network that has been trained, once for each fold."""

    number: int
    network: recipe.Network
    models: list[Sequential]
    histories: list[History]
    predictions: Array  # of the held-out rows


def folds_of(data: Data, splits: list[tuple[Integers, Integers]]) -> list[Fold]:
    """Return the folds of rows (trained on, held out)."""
    folds = []
    for trained, held_out in splits:
        weights = np.zeros(len(data.y))
        weights[trained] = 1 if data.weights is None else data.weights[trained]
        folds.append(Fold(weights, data.some(held_out)))
    return folds


def train(
    data: Data,
    folds: list[Fold],
    inputs: list[Input],
    n_classes: int,
    score: Score,
    *,
    n_networks: int,
    seed: int,
    deadline: float | None,
    verbose: Any,
) -> Trained:
    """Draw networks, train each once for each fold, and choose an average of them.

    Parameters
    ----------
    data : Data
        All rows.
    folds : list of Fold
    inputs : list of Input
        What the columns are.
    n_classes : int
        0: values.
    score : Score
        Of predictions of the rows held out of the folds, one after the other.
    n_networks, seed : int
    deadline : float or None
        Of `time.monotonic`: none are drawn after that, but the first ones, and each of those that
        are under way ends with an epoch.
    verbose : optional
        As for `fit_many`.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C comes before a network has been trained for an epoch, once for each fold.
    """
    members: list[_Member] = []
    interrupted: KeyboardInterrupt | None = None
    began = time.monotonic()
    while len(members) < n_networks and interrupted is None:
        now = time.monotonic()
        wave = n_networks - len(members)
        if deadline is not None:
            if members and now >= deadline:
                break
            wave = min(
                wave, max(get_num_threads(), _fitting(len(members), now - began, deadline - now))
            )
        numbers = range(len(members), len(members) + wave)
        some, interrupted = _train_some(
            {number: recipe.draw(number, seed) for number in numbers},
            *(data, folds, inputs, n_classes, deadline, verbose),
        )
        members += some
    if interrupted is not None and not members:
        raise interrupted
    weights = ensemble.select(
        np.array([each.predictions for each in members]), score, recipe.ENSEMBLE_ROUNDS
    )
    held_out = sum(w * each.predictions for w, each in zip(weights, members, strict=True) if w)
    pairs = [(each, w) for each, w in zip(members, weights, strict=True) if w > 0]
    return Trained(
        [model for each, _ in pairs for model in each.models],
        np.array([w / len(folds) for _, w in pairs for _ in folds]),
        _leaderboard(members, weights, score),
        np.asarray(held_out),
        interrupted,
    )


def _fitting(done: int, took: float, left: float) -> int:
    """Return how many networks there is time for, by the seconds that those before took."""
    return int(recipe.TIME_SHARE * left / took * done) if done else 0


def _train_some(
    drawn: dict[int, recipe.Network],
    data: Data,
    folds: list[Fold],
    inputs: list[Input],
    n_classes: int,
    deadline: float | None,
    verbose: Any,
) -> tuple[list[_Member], KeyboardInterrupt | None]:
    """Return those that were trained, and what has ended that early."""
    models, options = [], []
    for network in drawn.values():
        for fold in folds:
            models.append(networks.make(network, inputs, n_classes))
            n = len(data.y) if fold.weights is None else int(np.count_nonzero(fold.weights))
            held_out = tuple(x for x in fold.held_out if x is not None)
            options.append(
                {
                    "optimizer": networks.optimizer(network, n),
                    "batch_size": recipe.batch_size(n),
                    "epochs": recipe.epochs(n),
                    "patience": recipe.patience(n),
                    "sample_weight": fold.weights,
                    "validation_data": held_out,
                }
            )

    def is_over(*_: Any) -> bool:
        return deadline is not None and time.monotonic() >= deadline

    interrupted = None
    try:
        fit_many(
            models,
            data.X,
            data.y,
            each=options,
            on_epoch_end=None if deadline is None else is_over,
            loss=_loss(n_classes),
            verbose=verbose,
        )
    except KeyboardInterrupt as error:
        interrupted = error
    members = []
    for i, (number, network) in enumerate(drawn.items()):
        own = slice(i * len(folds), (i + 1) * len(folds))
        histories = [model.history for model in models[own] if model.history]
        if len(histories) < len(folds):  # interrupted before it had learned something of each
            continue
        predictions = [
            predict(model, fold.held_out.X) for model, fold in zip(models[own], folds, strict=True)
        ]
        members.append(
            _Member(number, network, models[own], histories, np.concatenate(predictions))
        )
    return members, interrupted


def _loss(n_classes: int) -> str:
    if n_classes == 0:
        return "mse"
    return "binary_cross_entropy" if n_classes == 2 else "cross_entropy"


def predict(model: Sequential, X: Floats) -> Floats:
    """Return the probabilities of classes (n, n_classes), or values (n,), of one network."""
    if model.classes_ is None:
        return model.predict(X).astype(np.float64)
    probabilities = model.predict_proba(X).astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)  # 1 in float64, too


def _leaderboard(members: list[_Member], weights: Floats, score: Score) -> Table:
    rows = []
    for member, weight in zip(members, weights, strict=True):
        histories = member.histories
        rows.append(
            {
                "network": member.number,
                score.name: score.value(member.predictions),
                "weight": float(weight),
                **{k: v for k, v in member.network._asdict().items() if k != "seed"},
                "epochs": sum(each.epochs for each in histories) / len(histories),
                "seconds": sum(sum(each["seconds"]) for each in histories),
            }
        )
    return Table(sorted(rows, key=lambda row: -score.sign * row[score.name]))
