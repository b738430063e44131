"""What the perceptrons have besides scikit-learn's: parameters whose defaults change nothing."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score, log_loss, make_scorer
from sklearn.utils.class_weight import compute_sample_weight

import pyfast_nn as fnn
from pyfast_nn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0, "learning_rate_init": 0.01}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600], X[600:900] / 16, y[600:900]


@pytest.fixture
def line(rng):
    X = rng.uniform(-1, 1, (400, 1))
    return X, X[:, 0] + rng.exponential(size=400)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 7: 0.5}])
def test_class_weight(digits, class_weight):
    X, y, *_ = digits
    weights = np.linspace(1, 2, len(y))
    ours = MLPClassifier(class_weight=class_weight, **SMALL).fit(X, y, weights)
    weights = weights * compute_sample_weight(class_weight, y)
    expected = MLPClassifier(**SMALL).fit(X, y, weights)
    np.testing.assert_allclose(ours.coefs_[0], expected.coefs_[0], atol=1e-12)
    if class_weight == "balanced":
        with pytest.raises(ValueError, match="class_weight: expected a dict or None for partial_"):
            ours.partial_fit(X, y)
    else:
        ours.partial_fit(X, y)
    with pytest.raises(ValueError, match="class_weight: expected None where an example may have"):
        ours.fit(X, np.c_[y > 3, y > 5].astype(int))


def test_validation_data_of_the_user(digits):
    X, y, Xv, yv = digits
    ours = MLPClassifier(**SMALL).fit(X, y, X_val=Xv, y_val=yv)
    assert ours.validation_scores_[-1] == pytest.approx(ours.score(Xv, yv))
    loss = log_loss(yv, ours.predict_proba(Xv))
    assert ours.validation_loss_curve_[-1] == pytest.approx(loss)
    assert ours.best_validation_score_ is None and len(ours.validation_scores_) == 15
    np.testing.assert_array_equal(ours.coefs_[0], MLPClassifier(**SMALL).fit(X, y).coefs_[0])
    weights = np.linspace(0, 1, len(yv))
    ours.fit(X, y, X_val=Xv, y_val=yv, sample_weight_val=weights)
    assert ours.validation_scores_[-1] == pytest.approx(ours.score(Xv, yv, weights))
    with pytest.raises(ValueError, match="X_val, y_val: expected both or none"):
        ours.fit(X, y, X_val=Xv)
    with pytest.raises(ValueError, match="X_val: expected none with solver='lbfgs'"):
        ours.set_params(solver="lbfgs").fit(X, y, X_val=Xv, y_val=yv)


@pytest.mark.parametrize(
    "scoring", [None, "loss", "neg_log_loss", make_scorer(balanced_accuracy_score)]
)
def test_early_stopping_keeps_the_best(digits, scoring):
    X, y, Xv, yv = digits
    ours = MLPClassifier(early_stopping=True, scoring=scoring, **SMALL | {"max_iter": 40})
    ours.set_params(learning_rate_init=0.05, n_iter_no_change=5)
    ours.fit(X, y, X_val=Xv, y_val=yv)
    assert ours.n_iter_ < 40 and max(ours.validation_scores_) == ours.best_validation_score_
    score = {
        None: ours.score(Xv, yv),
        "loss": -log_loss(yv, ours.predict_proba(Xv)),
        "neg_log_loss": -log_loss(yv, ours.predict_proba(Xv)),
    }.get(scoring, balanced_accuracy_score(yv, ours.predict(Xv)))
    assert ours.best_validation_score_ == pytest.approx(score)
    if scoring == "loss":
        assert ours.validation_scores_ == [-loss for loss in ours.validation_loss_curve_]


def test_scorers_and_names_of_columns(digits):
    pd = pytest.importorskip("pandas")
    X, y, *_ = digits
    frame = pd.DataFrame(X).rename(columns="c{}".format)
    ours = MLPClassifier(early_stopping=True, scoring="roc_auc_ovr", **SMALL).fit(frame, y)
    assert list(ours.model_.feature_names_in_) == list(frame.columns)
    ours.predict(frame)


LOSSES = {
    "absolute_error": (np.median, fnn.losses.MAE()),
    "quantile": (np.median, fnn.losses.Quantile()),
    "huber": (None, fnn.losses.Huber()),
    "log_cosh": (None, fnn.losses.LogCosh()),
    fnn.losses.Quantile(0.9): (lambda r: np.quantile(r, 0.9), fnn.losses.Quantile(0.9)),
}


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses(line, loss):
    X, y = line
    middle, same = LOSSES[loss]
    options = {"hidden_layer_sizes": (), "alpha": 0, "random_state": 0, "tol": 0, "max_iter": 400}
    ours = MLPRegressor(loss, learning_rate_init=0.02, **options).fit(X, y)
    residuals = y - ours.predict(X)
    if middle is not None:
        assert abs(middle(residuals)) < 0.05
    value = ours.model_.evaluate(X, y, loss=same)["loss"]
    assert ours.loss_curve_[-1] == pytest.approx(value, rel=1e-2)
    assert clone(ours).loss == loss
    if not isinstance(loss, str):
        with pytest.raises(ValueError, match="loss: expected one of values"):
            MLPRegressor(fnn.losses.Hinge()).fit(X, y)


def test_several_outputs_of_other_losses(rng):
    """The sum over the outputs, as scikit-learn's."""
    X = rng.normal(size=(90, 3))
    Y = X @ rng.normal(size=(3, 2))
    options = {"solver": "lbfgs", "alpha": 0.0, "random_state": 0, "hidden_layer_sizes": (4,)}
    ours = MLPRegressor("log_cosh", max_iter=5, **options).fit(X, Y)
    assert ours.loss_ == pytest.approx(np.log(np.cosh(ours.predict(X) - Y)).sum(axis=1).mean())


def test_layers(digits):
    X, y, Xv, yv = digits
    norm = fnn.BatchNorm()
    ours = MLPClassifier((20, 10), [fnn.GELU(), "tanh"], norm=norm, dropout=0.2, **{
        k: v for k, v in SMALL.items() if k != "hidden_layer_sizes"
    })  # fmt: skip
    ours.fit(X, y)
    kinds = [type(layer).__name__ for layer in ours.model_.layers]
    block = ["Dense", "BatchNorm"]
    assert kinds == [*block, "GELU", "Dropout", *block, "Tanh", "Dropout", "Dense"]
    assert ours.score(Xv, yv) > 0.8 and [w.shape for w in ours.coefs_] == [
        (64, 20),
        (20, 10),
        (10, 10),
    ]
    again = clone(ours).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(Xv), ours.predict_proba(Xv))
    for wrong, message in [
        ({"activation": ["relu"]}, "activation: expected one, or one for each of 2"),
        ({"activation": ["relu", "sine"]}, r"activation\[1\]: expected one of identity"),
        ({"activation": ["relu", fnn.Dense(3)]}, r"activation\[1\]: expected one of identity"),
        ({"norm": fnn.ReLU()}, "norm: expected None or a layer such as"),
        ({"solver": "lbfgs"}, "dropout: expected none with solver='lbfgs'"),
    ]:
        with pytest.raises(ValueError, match=message):
            clone(ours).set_params(**wrong).fit(X, y)


def test_the_defaults_change_nothing(digits):
    """Neither do objects that are what the names mean."""
    X, y, *_ = digits
    expected = MLPClassifier(**SMALL).fit(X, y)
    same = fnn.optim.Adam(lr=0.01, eps_mode="keras")
    ours = MLPClassifier(solver=same, activation=fnn.ReLU(), **SMALL).fit(X, y)
    np.testing.assert_array_equal(ours.coefs_[0], expected.coefs_[0])
    assert same.step_count == 0  # a copy was trained


@pytest.mark.parametrize(
    "solver",
    [
        fnn.optim.AdamW(lr=fnn.schedules.Cosine(0.02, 60), weight_decay=0.05),
        fnn.optim.Lion(lr=1e-2),
        fnn.optim.Adam(lr=0.01, clip_norm=0.5),
        fnn.optim.Muon(lr=0.1, fallback=fnn.optim.AdamW(lr=0.01)),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_solvers(digits, solver):
    X, y, Xv, yv = digits
    ours = MLPClassifier(solver=solver, **SMALL | {"max_iter": 20}).fit(X, y)
    assert ours.score(Xv, yv) > 0.8
    ours.partial_fit(X, y)
    assert ours._optimizer.optimizer.step_count == 21 * 3


@pytest.mark.parametrize("early_stopping", [False, True])
def test_averages(digits, early_stopping):
    X, y, Xv, yv = digits
    options = SMALL | {"early_stopping": early_stopping, "n_iter_no_change": 50}
    ours = MLPClassifier(solver=fnn.optim.SGD(lr=0.1, ema=0.9), **options)
    ours.fit(X, y, X_val=Xv, y_val=yv)
    assert ours.validation_scores_[-1] == pytest.approx(ours.score(Xv, yv), abs=0.02)
    plain = MLPClassifier(solver=fnn.optim.SGD(lr=0.1), **options)
    plain.fit(X, y, X_val=Xv, y_val=yv)
    assert not np.array_equal(ours.coefs_[0], plain.coefs_[0])
    if not early_stopping:
        average = ours._optimizer.optimizer.averages["0.weight"]
        np.testing.assert_array_equal(ours.coefs_[0], average)
        with pytest.raises(ValueError, match="partial_fit: expected a solver without ema and swa"):
            ours.partial_fit(X, y)


class Counter(fnn.Callback):
    def __init__(self):
        self.records = []

    def on_epoch_end(self, model, epoch, record):
        self.records.append(dict(record))
        return len(self.records) == 4


def test_callbacks(digits):
    X, y, Xv, yv = digits
    counter = Counter()
    ours = MLPClassifier(callbacks=[counter], **SMALL).fit(X, y, X_val=Xv, y_val=yv)
    assert ours.n_iter_ == 4 and ours.model_.history.stopped_early
    assert [record["loss"] for record in counter.records] == ours.loss_curve_
    assert [record["val_loss"] for record in counter.records] == ours.validation_loss_curve_
    assert ours.model_.history["val_score"] == ours.validation_scores_
    with pytest.raises(ValueError, match="callbacks: expected none with solver='lbfgs'"):
        ours.set_params(solver="lbfgs").fit(X, y)


def test_a_bar(digits, capsys):
    X, y, *_ = digits
    MLPClassifier(verbose="bar", **SMALL).fit(X, y)
    out, err = capsys.readouterr()
    assert not out and "epoch 15/15" in err


def test_impossible_values(line):
    X, y = line
    with pytest.raises(ValueError, match="y: expected counts, at least 0 under 'poisson', got"):
        MLPRegressor("poisson").fit(X, y - 10)
    with pytest.raises(ValueError, match="sample_weight: expected weights of at least 0"):
        MLPRegressor().fit(X, y, -np.ones(400))
    with pytest.raises(ValueError, match="sample_weight: expected weights of at least 0"):
        MLPRegressor().fit(X, y, np.zeros(400))
    ours = MLPRegressor(max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="warm_start, partial_fit: expected the parameters of"):
        ours.partial_fit(X, np.c_[y, y])
