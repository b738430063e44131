"""Gradients by passes forward alone: estimates along random directions."""

from typing import Literal

import numpy as np

from . import _core, checks, intake
from .losses import Loss
from .models import Sequential, engine_of
from .typing import Array, ArrayLike, ClassWeight, Inputs, Integer

_NOISE = 2**62  # of random streams, as the core's for what it draws itself


def forward_gradient(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    loss: str | Loss | None = None,
    *,
    kind: Literal["weight", "activity"] = "weight",
    probes: Integer = 1,
    seed: Integer | None = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
) -> tuple[float, Array]:
    """Return the mean loss and an unbiased estimate of its gradient, without a backward pass.

    ``"weight"``: a standard normal direction v of all parameters that are trained, and the
    derivative of the mean loss along it, make ``(v'g) v``, whose mean is the gradient g [1]_.
    ``"activity"``: noise is added, for each example by itself, to what each layer with parameters
    puts out before its activation. The derivative of that example's loss along all of it, times the
    layer's noise, takes the place of what backpropagation would bring to the layer [2]_.

    Parameters
    ----------
    model : Sequential
    X, y, loss, sample_weight, class_weight
        As for `Sequential.evaluate`.
    kind : {"weight", "activity"}
        What is perturbed.
    probes : int
        Over how many estimates the mean is taken, at least 1.
    seed : int or None
        Of the random numbers, from 0 to 2**64 - 1; None draws one.

    Returns
    -------
    loss : float
    grad : ndarray (n_parameters,)
        0 for parameters that are not trained.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above. ``"activity"`` with a recurrent layer, whose steps all
        have the same parameters.

    Notes
    -----
    Costs `probes` times the work of `Sequential.jvp`, and the memory of one. With P parameters the
    mean of ``|grad|^2`` is ``(P + 2) |g|^2`` for one probe of ``"weight"``: of n probes the mean is
    within ``sqrt((P + 1) / n)`` of g, relative to its length. That of ``"activity"`` grows with the
    number of units in place of parameters, and falls with the number of examples, whose noises are
    independent.

    References
    ----------
    .. [1] A. G. Baydin, B. A. Pearlmutter, D. Syme, F. Wood, P. Torr (2022), "Gradients without
       backpropagation", https://arxiv.org/abs/2202.08587.
    .. [2] M. Ren, S. Kornblith, R. Liao, G. Hinton (2023), "Scaling forward gradient with local
       losses", ICLR, https://arxiv.org/abs/2210.03310.

    Examples
    --------
    >>> _, exact = model.loss_and_grad(X, y, loss="cross_entropy")
    >>> _, grad = fnn.forward_gradient(model, X, y, "cross_entropy", kind="activity", probes=10)
    >>> bool(grad @ exact > 0)
    True
    """
    engine = engine_of(model)
    checks.choice(kind, "kind", ("weight", "activity"))
    probes = checks.integer(probes, "probes", minimum=1)
    seed = checks.seed(seed)
    loss = intake.check_loss(engine, loss)
    if loss.task == "pairs":
        raise ValueError(f"loss: expected one of single examples, got {loss.name!r}, of pairs")
    X = intake.features(engine, X)
    examples = intake.examples(engine, X, y, loss, sample_weight, class_weight)
    total = np.zeros_like(engine.parameters)
    value = np.nan
    for probe in range(probes):
        if kind == "weight":
            v = np.empty_like(engine.parameters)
            _core.random_normal(seed, _NOISE + probe, v)
            trained = engine.trained_parameters()
            for name, view in engine.named_parameters(v).items():
                if name not in trained:
                    view[...] = 0
            value, slope = engine.loss_and_slope(examples, loss, v)
            total += slope * v
        else:
            value, grad = engine.activity_gradient(examples, loss, _core.Run(seed=seed, step=probe))
            total += grad
    return value, total / probes
