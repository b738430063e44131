"""What a fit did, epoch by epoch."""

from collections.abc import Mapping


class History(Mapping):
    """Per-epoch lists, indexed like a dict: ``history["loss"]``.

    Keys are ``loss``, ``lr`` and ``seconds``; for classification ``accuracy``; with validation data
    ``val_loss`` and ``val_accuracy``. Before the first epoch is done there are none.

    * ``loss`` and ``accuracy`` are means over the examples of the epoch as they were trained on,
      while the parameters changed, weighted if the examples are; ``val_loss`` and
      ``val_accuracy`` are taken after it.
    * ``lr`` is the learning rate of the epoch's last step.
    * ``seconds`` is the time that training took, without validation.

    Examples
    --------
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3)
    >>> len(history["loss"])
    3
    """

    def __init__(self):
        self._epochs = []  # one dict each: an interrupt leaves no columns of different lengths

    def _append(self, record):
        self._epochs.append(record)

    @property
    def epochs(self):
        """Number of epochs done (int)."""
        return len(self._epochs)

    def __getitem__(self, key):
        if not any(key in record for record in self._epochs[:1]):
            raise KeyError(key)
        return [record[key] for record in self._epochs]

    def __iter__(self):
        return iter(self._epochs[0] if self._epochs else ())

    def __len__(self):
        return len(self._epochs[0]) if self._epochs else 0

    def __repr__(self):
        return f"History({dict(self)!r})"
