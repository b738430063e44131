"""Adam and its kin."""

from .base import Hyper, Optimizer, check_betas, check_nonnegative


class Adam(Optimizer):
    """Adam, as in torch.

    Per step ``t`` = 1, 2, ..., with gradient ``g``::

        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays, optional
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own, as in torch. None: the optimizer
        is for `Sequential.fit`.
    lr : float, array or callable
        Learning rate: a number, one value per step, or a function from 0-based steps (int64 array,
        or one int where it does not take arrays) to values; finite and at least 0.
    betas : pair of float, array or callable
        Decay rates of the two moments, each in [0, 1). Where they change, ``beta^t`` is a power of
        the present one, as in torch.
    eps : float
        At least 0.
    weight_decay : float
        Coefficient of the L2 penalty on all parameters, at least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", ICLR,
    https://arxiv.org/abs/1412.6980.

    Examples
    --------
    >>> optimizer = fnn.optim.Adam(lr=1e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    betas = Hyper(check_betas)
    eps = Hyper(check_nonnegative)
    weight_decay = Hyper(check_nonnegative)
    _name = "adam"

    def __init__(
        self, params=None, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **options
    ):
        super().__init__(params, **options)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def _update(self, steps):
        beta1, beta2 = (
            self._next(beta, f"betas[{i}]", steps, below=1) for i, beta in enumerate(self.betas)
        )
        hyper = {"beta1": beta1, "beta2": beta2, "eps": self.eps, "weight_decay": self.weight_decay}
        return self._name, hyper

    def _n_vectors(self):
        return 2


class AdamW(Adam):
    """Adam with decoupled weight decay, as in torch.

    Per step ``p = p - lr * weight_decay * p``, then Adam's step without its penalty.

    Parameters
    ----------
    params, lr, betas, eps, **options
        As for `Adam`.
    weight_decay : float
        Decay of all parameters per step and unit of learning rate, at least 0.

    References
    ----------
    I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", ICLR,
    https://arxiv.org/abs/1711.05101.

    Examples
    --------
    >>> fnn.optim.AdamW(lr=1e-3, weight_decay=0.05)
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.05)
    """

    _name = "adamw"

    def __init__(
        self, params=None, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, **options
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, **options)
