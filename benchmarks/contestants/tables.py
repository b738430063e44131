"""Who learns tables: each ``fit(table, train, validation, seed, threads)`` returns a predictor.

Each is used as its own users would: with text columns as it wants them, early stopping where it has
that, on the metric that is told. A predictor takes a frame and gives numbers, probabilities of the
class 1, or of all classes.
"""

import numpy as np
import pandas as pd

LIBRARIES = {}  # {name: fit}


def contestant(name, *needs):
    def note(fit):
        LIBRARIES[name] = fit, needs
        return fit

    return note


def _predictor(model, task, prepare=lambda X: X):
    if task == "regression":
        return lambda X: np.asarray(model.predict(prepare(X)), float).ravel()
    if task == "binary":
        return lambda X: np.asarray(model.predict_proba(prepare(X)))[:, 1]
    return lambda X: np.asarray(model.predict_proba(prepare(X)))


@contestant("pyfast_nn")
def pyfast(table, train, validation, seed, threads):
    from pyfast_nn.sklearn import TabularClassifier, TabularRegressor

    kind = TabularRegressor if table.task == "regression" else TabularClassifier
    metric = {"regression": "rmse", "binary": "roc_auc", "classes": "log_loss"}[table.task]
    model = kind(eval_metric=metric, random_state=seed)
    model.fit(
        *(table.X.iloc[train], table.y[train]),
        X_val=table.X.iloc[validation],
        y_val=table.y[validation],
    )
    return _predictor(model, table.task)


def _with_categories(table):
    names = table.columns_of_text
    kinds = {name: pd.CategoricalDtype(table.X[name].dropna().unique()) for name in names}
    return lambda X: X.astype(kinds)


@contestant("LightGBM", "lightgbm")
def lightgbm(table, train, validation, seed, threads):
    import lightgbm as lgb

    prepare = _with_categories(table)
    kind = lgb.LGBMRegressor if table.task == "regression" else lgb.LGBMClassifier
    metric = {"regression": "rmse", "binary": "auc", "classes": "multi_logloss"}[table.task]
    model = kind(
        n_estimators=5000,
        learning_rate=0.05,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.8,
        n_jobs=threads,
        random_state=seed,
        verbose=-1,
    )
    model.fit(
        *(prepare(table.X.iloc[train]), table.y[train]),
        eval_set=[(prepare(table.X.iloc[validation]), table.y[validation])],
        eval_metric=metric,
        callbacks=[lgb.early_stopping(100, first_metric_only=True, verbose=False)],
    )
    return _predictor(model, table.task, prepare)


@contestant("HistGradientBoosting")
def boosting(table, train, validation, seed, threads):
    from sklearn import ensemble

    prepare = _with_categories(table)
    regression = table.task == "regression"
    kind = (
        ensemble.HistGradientBoostingRegressor
        if regression
        else ensemble.HistGradientBoostingClassifier
    )
    model = kind(
        max_iter=2000,
        learning_rate=0.05,
        categorical_features="from_dtype",
        early_stopping=True,
        n_iter_no_change=50,
        random_state=seed,
    )
    held_out = {
        "X_val": prepare(table.X.iloc[validation]),
        "y_val": table.y[validation],
    }
    model.fit(prepare(table.X.iloc[train]), table.y[train], **held_out)
    return _predictor(model, table.task, prepare)


@contestant("scikit-learn's MLP")
def perceptron(table, train, validation, seed, threads):
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    text = table.columns_of_text
    numbers = [name for name in table.X if name not in text]
    encoder = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
        ]
    )
    both = np.concatenate([train, validation])  # it takes its own part to stop by
    options = {
        "hidden_layer_sizes": (256, 256),
        "early_stopping": True,
        "validation_fraction": len(validation) / len(both),
        "random_state": seed,
    }
    if table.task == "regression":
        last = TransformedTargetRegressor(MLPRegressor(**options), transformer=StandardScaler())
    else:
        last = MLPClassifier(**options)
    model = make_pipeline(encoder, last).fit(table.X.iloc[both], table.y[both])
    return _predictor(model, table.task)


def _pytabkit(name):
    def fit(table, train, validation, seed, threads):
        import pytabkit

        X = table.X.copy()
        for column in set(X) - set(table.columns_of_text):  # which it does not take with holes
            if X[column].isna().any():
                X[f"{column} is missing"] = X[column].isna().astype(float)
                X[column] = X[column].fillna(X[column].iloc[train].median())
        names = table.columns_of_text
        X[names] = X[names].astype(object).where(X[names].notna(), "missing").astype(str)
        X = X.astype(dict.fromkeys(names, "category"))
        options = {"device": "cpu", "random_state": seed, "n_threads": threads}
        metric = {"binary": "1-auc_ovr", "classes": "cross_entropy"}.get(table.task)
        if metric is not None:
            options |= {"val_metric_name": metric}
            if name.startswith("RealMLP"):
                options |= {"use_ls": False}
        kind = "Regressor" if table.task == "regression" else "Classifier"
        model = getattr(pytabkit, f"{name}_{kind}")(**options)
        rows = X.iloc[train], table.y[train], X.iloc[validation], table.y[validation]
        model.fit(*rows)
        return _predictor(model, table.task, lambda frame: X.loc[frame.index])

    return fit


contestant("RealMLP_TD_S", "pytabkit")(_pytabkit("RealMLP_TD_S"))
contestant("TabM", "pytabkit")(_pytabkit("TabM_D"))
