"""The recipe of a pack: every number of it, and the ranges that networks are drawn from.

Where a number was measured, its comment says on what; the others are as in the papers named.

References
----------
Y. Gorishniy et al. (2026), "TabPack". D. Holzmueller et al. (2024), "Better by default: strong
pre-tuned MLPs and boosted trees on tabular data", NeurIPS, https://arxiv.org/abs/2407.04491.
"""

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ..layers import GELU, Layer, ReLU, SiLU

# ---------------------------------------------------------------------- columns

# Text of which more than this share of the rows is different, and more than so many, names rows:
# no category of it would be seen twice.
IDENTIFIER_SHARE, IDENTIFIER_DISTINCT = 0.9, 20
# Categories in fewer rows share a code: of so few rows a column of weights learns their noise.
RARE_BELOW = 3
# Categories of a column beyond which codes become learned vectors, not columns of 0 and 1: these
# would make the first product wide.
ONE_HOT_UP_TO = 64
# Whole numbers of at most so many different values, each in so many rows on average, are looked at
# as categories besides by some networks: numbers may name things, as codes of occupations do (RMSE
# of a network on gss_wages 0.829 -> 0.823).
CODES_UP_TO, ROWS_PER_CODE = 1000, 5
CODES_SHARE = 0.4
# Numbers of such a vector.
EMBEDDING_UNITS = 16

# ---------------------------------------------------------------------- data

# Fewer rows tell nothing of how good a network is.
LEAST_ROWS = 10
# One row of so many is held out, for early stopping and the ensemble.
HELD_OUT_OF = 7
# Below this many rows such are too few to choose networks by: each network is trained so many
# times, each time without another part of the rows.
CROSS_VALIDATED_BELOW, FOLDS = 2000, 5

# ---------------------------------------------------------------------- networks

N_NETWORKS = 16
# The ranges were found by 90 and then 60 networks with wider ones on each of five tables
# (`TUNED_ON` in benchmarks/real_tables.py, none of those that docs/speed.rst reports): below, mean
# ranks of a setting, 0 the worst and 1 the best.
DEPTHS = (1, 2, 3)  # 1: 0.51, 2: 0.58, 3: 0.40, 4: 0.41
WIDTHS = (128, 192, 256)  # 96: 0.50, 384: 0.55, in twice the time
# No order between them.
ACTIVATIONS: dict[str, type[Layer]] = {"relu": ReLU, "gelu": GELU, "silu": SiLU}
# 0: 0.46, 0.1: 0.56, wide inputs want more; but where there is little noise, as in prices of
# diamonds, any is too much.
DROPOUT = (0.0, 0.0, 0.1, 0.3)
LR = (1e-3, 1e-2)  # log-uniform, of AdamW, whose rate falls as a cosine to 0; below: 0.39
WEIGHT_DECAY = (1e-3, 1.0)  # log-uniform
Encoding: TypeAlias = Literal["tree", "quantiles", "periodic"]
# Numbers are encoded in one of three ways, in turn: networks that see different things make errors
# of their own, which an ensemble averages away. Bins that a tree finds: 0.64, by quantiles 0.51,
# none at all 0.43.
ENCODINGS: tuple[Encoding, ...] = (
    *("tree", "quantiles", "tree", "periodic"),
    *("tree", "quantiles", "tree", "tree"),
)
N_BINS = (24, 48, 96)  # of piecewise linear encoding
# Many columns have fewer bins each: twice as many cost twice the time on check_times (20 columns),
# whose RMSE they bring from 0.4061 to 0.4050.
FEWEST_BINS, BINS_IN_ALL = 8, 512
N_FREQUENCIES = 12  # of periodic embedding
SCALE = (0.03, 0.7)  # log-uniform, of these frequencies; above: 0.14 at first, before they learned

# ---------------------------------------------------------------------- training

# A pass over few rows is few steps, so there are more of them: so many rows are read, but in so
# many epochs at least and at most (hpc_data, 3,000 rows: 0.451 in 30, 0.442 in 40).
ROWS_READ, EPOCHS = 300_000, (30, 60)
# Of one epoch in so many the score may not improve.
PATIENCE_OF = 5
# Averages of parameters over epochs, kept where they were better on held-out rows, were tried
# (decay 0.7): 0.4475 for 0.4423, 0.4062 for 0.4061, 22,664 for 22,642. They are not here.
# Rows of a step; fewer where folds are trained on, so that there are steps enough.
BATCH_SIZE, SMALL_BATCH_SIZE = 256, 64

# Of the time that is left, as much is planned with: some networks take longer than those before.
TIME_SHARE = 0.7

# ---------------------------------------------------------------------- ensemble, intervals

# Networks are added, some of them several times, while the score improves, so often at most.
ENSEMBLE_ROUNDS = 32
# Residuals are compared among rows of similar prediction, at least so many, in so many groups.
GROUP_ROWS, GROUPS = 200, 10


class Network(NamedTuple):
    """What is drawn of one network.

    Attributes
    ----------
    encoding : str
        One of `ENCODINGS`.
    depth, width : int
        Hidden layers, and their units.
    lr, weight_decay : float
        Of AdamW.
    scale : float
        Of periodic embeddings; the others have none.
    seed : int
        Of first parameters and row orders.
    """

    encoding: Encoding
    depth: int
    width: int
    lr: float
    weight_decay: float
    scale: float
    n_bins: int
    codes: bool
    activation: str
    dropout: float
    seed: int


def draw(number: int, seed: int) -> Network:
    """Return network `number` of the pack of a seed: the same in a larger pack."""
    rng = np.random.default_rng([seed, number])

    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    return Network(
        encoding=ENCODINGS[number % len(ENCODINGS)],
        depth=int(rng.choice(DEPTHS)),
        width=int(rng.choice(WIDTHS)),
        lr=log_uniform(*LR),
        weight_decay=log_uniform(*WEIGHT_DECAY),
        scale=log_uniform(*SCALE),
        n_bins=int(rng.choice(N_BINS)),
        codes=bool(rng.random() < CODES_SHARE),
        activation=str(rng.choice(list(ACTIVATIONS))),
        dropout=float(rng.choice(DROPOUT)),
        seed=int(rng.integers(2**32)),
    )


def epochs(n: int) -> int:
    """Return how often n rows are gone through, at most."""
    fewest, most = EPOCHS
    return min(max(ROWS_READ // n, fewest), most)


def patience(n: int) -> int:
    """Return in how many epochs in a row the score of n rows need not improve."""
    return max(epochs(n) // PATIENCE_OF, 1)


def batch_size(n: int) -> int:
    """Return how many of n rows make a step."""
    return SMALL_BATCH_SIZE if n < CROSS_VALIDATED_BELOW else BATCH_SIZE
