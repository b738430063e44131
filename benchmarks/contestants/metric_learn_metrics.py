"""The methods of the package metric-learn, whose last version asks scikit-learn by an old name."""

import functools

from metric_learn import ITML, LMNN, MMC, NCA, _util
from sklearn.utils.validation import check_array, check_X_y


def _renamed(check):
    @functools.wraps(check)
    def call(*arguments, force_all_finite=True, **options):
        return check(*arguments, ensure_all_finite=force_all_finite, **options)

    return call


_util.check_array, _util.check_X_y = _renamed(check_array), _renamed(check_X_y)

__all__ = ["ITML", "LMNN", "MMC", "NCA"]
