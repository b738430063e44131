"""JAX: as in `jax_mlp`, but one call of a compiled function for each step."""

from functools import partial

from contestants import jax_mlp

NAME = "JAX, step by step"
KINDS = jax_mlp.KINDS
trainer = partial(jax_mlp.trainer, scanned=False)
gradient = jax_mlp.gradient
