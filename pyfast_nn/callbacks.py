"""What is told of a fit while it runs."""

from . import checks


class Callback:
    """What `Sequential.fit` tells of itself; a callback has any of these methods.

    To derive from this class is convenient, and not needed.

    Examples
    --------
    >>> class Norms(fnn.Callback):
    ...     def on_epoch_end(self, model, epoch, record):
    ...         record["norm"] = np.linalg.norm(model.parameters)
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3, callbacks=[Norms()])
    >>> len(history["norm"])
    3
    """

    def on_fit_begin(self, model):
        """Called when all arguments are checked and the parameters exist.

        Parameters
        ----------
        model : Sequential
            May be used and changed here and in all that follows, but not fitted.
        """

    def on_epoch_end(self, model, epoch, record):
        """Called after each epoch and its validation.

        Parameters
        ----------
        model : Sequential
        epoch : int
            0 for the first of this fit.
        record : dict
            What the history holds of this epoch; what is added to it is part of the history.

        Returns
        -------
        bool or None
            True ends the fit after this epoch.
        """

    def on_fit_end(self, model, history):
        """Called however the fit ends: also by Ctrl-C or an exception, after `on_fit_begin`.

        Parameters
        ----------
        model : Sequential
            With early stopping its parameters are those of the best epoch by now.
        history : History
        """


_METHODS = ("on_fit_begin", "on_epoch_end", "on_fit_end")


def check(callbacks):
    """Return `callbacks` as a list of objects with all methods."""
    try:
        callbacks = list(callbacks)
    except TypeError:
        came = checks.describe(callbacks)
        raise TypeError(f"callbacks: expected a list of callbacks, got {came}") from None
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type) or not any(hasattr(callback, name) for name in _METHODS):
            hint = "; write it with parentheses" if isinstance(callback, type) else ""
            raise TypeError(
                f"callbacks[{i}]: expected an object with any of {', '.join(_METHODS)}, "
                f"got {checks.describe(callback)}{hint}"
            )
    return callbacks


def tell(callback, method, *arguments):
    """Call a method of a callback that has it; return whether it asks to stop."""
    function = getattr(callback, method, None)
    answer = None if function is None else function(*arguments)
    if answer is None or method != "on_epoch_end":
        return False
    return checks.boolean(answer, f"what {type(callback).__name__}.{method} returned")
