"""What a fit did, epoch by epoch."""

import math
from collections.abc import Mapping


class History(Mapping):
    """Per-epoch lists, indexed like a dict: ``history["loss"]``.

    Keys are ``loss``, ``lr`` and ``seconds``; for classification ``accuracy``; with validation data
    ``val_loss``, ``val_accuracy`` and ``val_`` with the name of each metric; and what callbacks
    added to the records, NaN for epochs without. Before the first epoch is done there are none.

    * ``loss`` and ``accuracy`` are means over the examples of the epoch as they were trained on,
      while the parameters changed, weighted if the examples are; all ``val_...`` are taken after
      it.
    * ``lr`` is the learning rate of the epoch's last step.
    * ``seconds`` is the time that training took, without validation.

    Examples
    --------
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3)
    >>> len(history["loss"])
    3
    """

    def __init__(self):
        # (record, best epoch so far) of each: one append, so that an interrupt leaves no columns of
        # different lengths.
        self._epochs = []
        self._stopped_early = False

    def _append(self, record, best_epoch=None):
        self._epochs.append((record, best_epoch))

    @property
    def epochs(self):
        """Number of epochs done (int)."""
        return len(self._epochs)

    @property
    def best_epoch(self):
        """With early stopping the epoch, from 0, whose parameters the model has (int or None)."""
        return self._epochs[-1][1] if self._epochs else None

    @property
    def stopped_early(self):
        """Whether early stopping or a callback ended the fit before its last epoch (bool)."""
        return self._stopped_early

    def _keys(self):
        return {key: None for record, _ in self._epochs for key in record}  # an ordered set

    def __getitem__(self, key):
        if key not in self._keys():
            raise KeyError(key)
        return [record.get(key, math.nan) for record, _ in self._epochs]

    def __iter__(self):
        return iter(self._keys())

    def __len__(self):
        return len(self._keys())

    def __repr__(self):
        return f"History({dict(self)!r})"
