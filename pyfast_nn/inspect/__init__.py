"""Looking into a network: what its units, its features and its loss do.

Each function returns a small object with arrays, and with ``plot(ax=None)``, which draws them by
Matplotlib (the extra ``plot``) on given axes, or on those of a new figure:
``fnn.inspect.unit_activity(model, X).plot().figure.savefig("units.pdf")``.

======================== =====================================================================
function                 what it shows
======================== =====================================================================
`unit_activity`          dead and always linear units of each layer
`layer_variances`        variances of activations and gradients from layer to layer
`local_features`         singular values and synthetic features of the Jacobian
`penultimate_features`   the same of what comes into the last layer
`lr_range_test`          the loss while the learning rate grows from step to step
`max_stable_lr`          2 / lambda_max, with momentum, too
`convergence_modes`      the factor per step along each eigenvector, by gradient descent with or
                         without momentum
`loss_landscape`         the loss along one direction, or in a plane of two
`random_directions`      filter-normalised directions for it
`margins`                how far right answers are from wrong ones
`norm_measures`          norms of weights, by which theory measures what a network may know
`pac_bayes_bound`        a bound on the error on new examples
`equilibrium_distances`  how far the outputs of `DeepEquilibrium` are from a fixed point
======================== =====================================================================
"""

from .equilibria import equilibrium_distances
from .features import Features, local_features, penultimate_features
from .landscape import LossLandscape, loss_landscape, random_directions
from .lr_range import LRRangeTest, lr_range_test
from .margins import MarginDistribution, margins
from .norms import NormMeasures, norm_measures
from .pac_bayes import PACBayesBound, pac_bayes_bound
from .stability import ConvergenceModes, convergence_modes, max_stable_lr
from .units import UnitActivity, unit_activity
from .variances import LayerVariances, layer_variances

__all__ = [
    "ConvergenceModes",
    "Features",
    "LRRangeTest",
    "LayerVariances",
    "LossLandscape",
    "MarginDistribution",
    "NormMeasures",
    "PACBayesBound",
    "UnitActivity",
    "convergence_modes",
    "equilibrium_distances",
    "layer_variances",
    "local_features",
    "loss_landscape",
    "lr_range_test",
    "margins",
    "max_stable_lr",
    "norm_measures",
    "pac_bayes_bound",
    "penultimate_features",
    "random_directions",
    "unit_activity",
]


def __dir__() -> list[str]:
    return __all__
