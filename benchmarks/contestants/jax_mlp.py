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


def initial_statistics(layers):
    """Running mean and variance of each batch norm."""
    return [
        initial_statistics(numbers[0])
        if kind == "residual"
        else (jnp.zeros(numbers), jnp.ones(numbers))
        if kind == "batch_norm"
        else ()
        for kind, *numbers in layers
    ]


def initial(layers, rng):
    """Parameters and running statistics of each layer."""
    parameters = jax.tree.map(jnp.asarray, networks.initial(layers, rng))
    return parameters, initial_statistics(layers)


def convolution(own, x, kernel, inputs, outputs, stride, padding):
    n = x.ndim - 2
    layout = "NHWC" if n == 2 else "NWC"
    kernels = "HWIO" if n == 2 else "WIO"
    z = jax.lax.conv_general_dilated(
        x,
        own[0],
        [stride] * n,
        [(padding, padding)] * n,
        dimension_numbers=(layout, kernels, layout),
    )
    return z + own[1]


def max_pool(own, x, size):
    window = (1, *[size] * (x.ndim - 2), 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def lstm(own, x, inputs, units):
    w, b, of_state, b_state = own

    def step(state, z):
        h, c = state
        i, f, g, o = jnp.split(z + h @ of_state + b_state, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros((len(x), units))
    (h, _), _ = jax.lax.scan(step, (start, start), (x @ w + b).swapaxes(0, 1))
    return h


def gru(own, x, inputs, units):
    w, b, of_state, b_state = own

    def step(h, z):
        of_input, of_before = jnp.split(z, 3, axis=1), jnp.split(h @ of_state + b_state, 3, axis=1)
        r, u = (jax.nn.sigmoid(of_input[k] + of_before[k]) for k in range(2))
        n = jnp.tanh(of_input[2] + r * of_before[2])
        return (1 - u) * n + u * h, None

    start = jnp.zeros((len(x), units))
    return jax.lax.scan(step, start, (x @ w + b).swapaxes(0, 1))[0]


def attention(own, x, units, heads):
    n, times, _ = x.shape
    split = (x @ own[0] + own[1]).reshape(n, times, 3, heads, units // heads)
    q, k, v = (split[:, :, part] for part in range(3))
    of_all = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return of_all.reshape(n, times, units) @ own[2] + own[3]


# Those without statistics or random numbers: functions of parameters, inputs and numbers.
LAYERS = {
    "dense": lambda own, x, inputs, outputs: x @ own[0] + own[1],
    "relu": lambda own, x: jax.nn.relu(x),
    "gelu": lambda own, x: jax.nn.gelu(x, approximate=False),
    "layer_norm": lambda own, x, features: normalized(
        x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), own
    ),
    "conv1d": convolution,
    "conv2d": convolution,
    "max_pool1d": max_pool,
    "max_pool2d": max_pool,
    "mean_pool": lambda own, x: x.mean(tuple(range(1, x.ndim - 1))),
    "sum_pool": lambda own, x: x.sum(1),
    "flatten": lambda own, x, *shape: x.reshape(len(x), -1),
    "lstm": lstm,
    "gru": gru,
    "embedding": lambda own, x, *sizes: own[0][x],
    "positions": lambda own, x, *sizes: x + own[0],
    "attention": attention,
}


def outputs(layers, parameters, statistics, x, key):
    """Of a step of the training; also the running statistics after it."""
    after = []
    for i, (kind, *numbers) in enumerate(layers):
        own, running = parameters[i], statistics[i]
        if kind == "dropout":
            keep = 1 - numbers[0]
            mask = jax.random.bernoulli(jax.random.fold_in(key, i), keep, x.shape)
            x = jnp.where(mask, x / keep, 0)
        elif kind == "batch_norm":
            axes = tuple(range(x.ndim - 1))
            mean, var = x.mean(axes), x.var(axes)
            rows = x.size // x.shape[-1]
            unbiased = var * (rows / (rows - 1))
            running = 0.9 * running[0] + 0.1 * mean, 0.9 * running[1] + 0.1 * unbiased
            x = normalized(x, mean, var, own)
        elif kind == "residual":
            deep, running = outputs(numbers[0], own, running, x, jax.random.fold_in(key, i))
            x = x + deep
        else:
            x = LAYERS[kind](own, x, *numbers)
        after.append(running)
    return x, after


def normalized(x, mean, var, parameters):
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * parameters[0] + parameters[1]


def mean_loss(parameters, layers, statistics, x, y, key):
    z, statistics = outputs(layers, parameters, statistics, x, key)
    log_p = jax.nn.log_softmax(z)
    return -jnp.mean(jnp.take_along_axis(log_p, y[..., None], axis=-1)), statistics


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


def gradient(layers, weights, x, y):
    """The loss of all examples, and its gradient by arrays, at these weights."""
    parameters, statistics = initial(layers, np.random.default_rng(0))
    parameters = jax.tree.unflatten(jax.tree.structure(parameters), map(jnp.asarray, weights))

    @jax.jit
    def both(parameters, x, y):
        differentiate = jax.value_and_grad(mean_loss, has_aux=True)
        return differentiate(parameters, layers, statistics, x, y, jax.random.key(0))

    (loss, _), grads = both(parameters, x, y)
    return float(loss), [np.asarray(array) for array in jax.tree.leaves(grads)]


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
