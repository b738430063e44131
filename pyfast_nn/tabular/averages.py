"""Averages of what a network learns over its epochs, where they are better than the best epoch."""

from typing import Any

import numpy as np

from ..callbacks import Callback
from ..history import History
from ..models import Sequential
from ..typing import Array


class Averaging(Callback):
    """Keeps an average of the parameters over epochs, and the network, if it predicts better.

    After each epoch ``average = decay * average + (1 - decay) * parameters``, which begins with
    those after the first epoch. At the end the network has the average, as it was after the epoch
    where it was best on the validation data, if it was better there than the best epoch alone.

    Parameters
    ----------
    held_out : tuple
        X, y and maybe weights of rows that are not trained on.
    decay : float

    References
    ----------
    P. Izmailov et al. (2018), "Averaging weights leads to wider optima and better generalization",
    UAI, https://arxiv.org/abs/1803.05407.
    """

    def __init__(self, held_out: tuple[Any, ...], decay: float) -> None:
        self._held_out, self._decay = held_out, decay
        self._average: Array | None = None
        self._best: tuple[float, Array | None] = (np.inf, None)

    def on_epoch_end(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        now = model.parameters
        if self._average is None:
            self._average = now.copy()
            return
        self._average += (1 - self._decay) * (now - self._average)
        alone = now.copy()
        now[...] = self._average
        X, y, *weights = self._held_out
        options = {"sample_weight": weights[0]} if weights else {}
        loss = model.evaluate(X, y, **options)["loss"]
        now[...] = alone
        record["average_loss"] = loss
        if loss < self._best[0]:
            self._best = loss, self._average.copy()

    def on_fit_end(self, model: Sequential, history: History) -> None:
        loss, average = self._best
        if average is not None and loss < np.nanmin(history["val_loss"]):
            model.parameters[...] = average
