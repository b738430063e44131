"""JAX: a whole epoch is one compiled `lax.scan`, buffers donated; Adam is optax's if installed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

try:
    import optax
except ImportError:
    optax = None

from contestants import networks

NAME = "JAX, epoch scanned"
KINDS = networks.ALL


def initial(layers, rng):
    """Parameters and running statistics of each layer."""
    parameters, statistics = [], []
    for kind, *numbers in layers:
        own, running = (), ()
        if kind == "dense":
            w = rng.normal(0, np.sqrt(2 / numbers[0]), numbers)
            own = jnp.asarray(w, jnp.float32), jnp.zeros(numbers[1])
        elif kind in ("batch_norm", "layer_norm"):
            own = jnp.ones(numbers), jnp.zeros(numbers)
            running = (jnp.zeros(numbers), jnp.ones(numbers)) if kind == "batch_norm" else ()
        elif kind == "residual":
            own, running = initial(numbers[0], rng)
        parameters.append(own)
        statistics.append(running)
    return parameters, statistics


def outputs(layers, parameters, statistics, x, key):
    """Of a step of the training; also the running statistics after it."""
    after = []
    for i, (kind, *numbers) in enumerate(layers):
        own, running = parameters[i], statistics[i]
        if kind == "dense":
            x = x @ own[0] + own[1]
        elif kind == "relu":
            x = jax.nn.relu(x)
        elif kind == "dropout":
            keep = 1 - numbers[0]
            mask = jax.random.bernoulli(jax.random.fold_in(key, i), keep, x.shape)
            x = jnp.where(mask, x / keep, 0)
        elif kind == "layer_norm":
            x = normalized(x, x.mean(1, keepdims=True), x.var(1, keepdims=True), own)
        elif kind == "batch_norm":
            mean, var = x.mean(0), x.var(0)
            unbiased = var * (len(x) / (len(x) - 1))
            running = 0.9 * running[0] + 0.1 * mean, 0.9 * running[1] + 0.1 * unbiased
            x = normalized(x, mean, var, own)
        elif kind == "residual":
            deep, running = outputs(numbers[0], own, running, x, jax.random.fold_in(key, i))
            x = x + deep
        after.append(running)
    return x, after


def normalized(x, mean, var, parameters):
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * parameters[0] + parameters[1]


def mean_loss(parameters, layers, statistics, x, y, key):
    z, statistics = outputs(layers, parameters, statistics, x, key)
    log_p = jax.nn.log_softmax(z)
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1)), statistics


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


def predictor(layers, x):
    parameters, statistics = initial(layers, np.random.default_rng(0))

    @jax.jit
    def probabilities(parameters, x):
        return jax.nn.softmax(outputs(layers, parameters, statistics, x, None)[0])

    def run(count):
        for _ in range(count):
            np.asarray(probabilities(parameters, x))

    return run


def trainer(layers, x, y, batch_size, scanned=True):
    rng = np.random.default_rng(0)
    init, update = (optax_adam if optax else plain_adam)(1e-3)
    x, y = jnp.asarray(x), jnp.asarray(y, jnp.int32)
    steps = len(x) // batch_size

    def step(carry, batch, x, y):
        parameters, state, statistics = carry
        rows, seed = batch
        (loss, statistics), grads = jax.value_and_grad(mean_loss, has_aux=True)(
            parameters, layers, statistics, x[rows], y[rows], jax.random.key(seed)
        )
        return (*update(grads, state, parameters), statistics), loss

    @partial(jax.jit, donate_argnums=0)
    def epoch(carry, batches, x, y):
        return jax.lax.scan(lambda carry, batch: step(carry, batch, x, y), carry, batches)

    one_step = jax.jit(step, donate_argnums=0)
    parameters, statistics = initial(layers, rng)
    carry = parameters, init(parameters), statistics

    def run(epochs):
        nonlocal carry
        for _ in range(epochs):
            order = rng.permutation(len(x)).astype(np.int32).reshape(steps, batch_size)
            seeds = rng.integers(2**31, size=steps, dtype=np.int32)
            if scanned:
                carry, loss = epoch(carry, (order, seeds), x, y)
            else:
                for batch in zip(order, seeds, strict=True):
                    carry, loss = one_step(carry, batch, x, y)
        loss.block_until_ready()

    return run
