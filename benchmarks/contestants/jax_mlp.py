"""JAX: a whole epoch is one compiled `lax.scan`, buffers donated; Adam is optax's if installed."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

try:
    import optax
except ImportError:
    optax = None

NAME = "JAX, epoch scanned"


def initial_parameters(sizes, rng):
    return [
        (
            jnp.asarray(rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)), jnp.float32),
            jnp.zeros(outputs, jnp.float32),
        )
        for inputs, outputs in pairwise(sizes)
    ]


def outputs(parameters, x):
    *hidden, (w_last, b_last) = parameters
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ w_last + b_last


def mean_loss(parameters, x, y):
    log_p = jax.nn.log_softmax(outputs(parameters, x))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def plain_adam(lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """`(init, update)` with the formulas of Kingma and Ba (2015)."""

    def init(parameters):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0)

    def update(grads, state, parameters):
        m, v, step = state
        step = step + 1
        m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, grads)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, grads)
        rate = lr / (1 - beta1**step)
        root = jnp.sqrt(1 - beta2**step)
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + eps), parameters, m, v
        )
        return parameters, (m, v, step)

    return init, update


def optax_adam(lr):
    adam = optax.adam(lr)

    def update(grads, state, parameters):
        changes, state = adam.update(grads, state, parameters)
        return optax.apply_updates(parameters, changes), state

    return adam.init, update


def predictor(sizes, x):
    parameters = initial_parameters(sizes, np.random.default_rng(0))

    @jax.jit
    def probabilities(parameters, x):
        return jax.nn.softmax(outputs(parameters, x))

    def run(count):
        for _ in range(count):
            np.asarray(probabilities(parameters, x))

    return run


def trainer(sizes, x, y, batch_size):
    rng = np.random.default_rng(0)
    init, update = (optax_adam if optax else plain_adam)(1e-3)
    x, y = jnp.asarray(x), jnp.asarray(y, jnp.int32)
    steps = len(x) // batch_size

    @partial(jax.jit, donate_argnums=(0, 1))
    def epoch(parameters, state, x, y, order):
        def step(carry, rows):
            parameters, state = carry
            loss, grads = jax.value_and_grad(mean_loss)(parameters, x[rows], y[rows])
            return update(grads, state, parameters), loss

        (parameters, state), losses = jax.lax.scan(step, (parameters, state), order)
        return parameters, state, losses.mean()

    parameters = initial_parameters(sizes, rng)
    carry = parameters, init(parameters)

    def run(epochs):
        nonlocal carry
        for _ in range(epochs):
            order = rng.permutation(len(x)).astype(np.int32).reshape(steps, batch_size)
            *carry, loss = epoch(*carry, x, y, order)
        loss.block_until_ready()

    return run
