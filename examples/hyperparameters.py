"""
Hyper-parameters: random draws, a model of them, and fits that end early
========================================================================

Random search draws settings until the budget is spent (J. Bergstra, Y. Bengio 2012, JMLR 13).
Bayesian optimisation has a model of what it has seen: TPE keeps two densities, one of the settings
that were among the best and one of the others, and tries next where their ratio is largest
(J. Bergstra et al. 2011, NIPS 24). Either can be cut short: successive halving goes on with the
best third of the fits each time that their epochs have tripled, and prunes the others (L. Li et al.
2020, MLSys: ASHA).

The budget here is the number of epochs, not of fits: what pruning saves is spent on more of them.
The package optuna draws, models and decides; what it decides from are the validation losses that a
callback reports from the history of each fit.

It needs the package optuna: ``pip install optuna``.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

try:
    import optuna
except ImportError as error:
    raise SystemExit(f"nothing is searched: pip install optuna ({error})") from None

plt.style.use("tableau-colorblind10")
optuna.logging.set_verbosity(optuna.logging.WARNING)
EPOCHS, BUDGET, SEEDS = 27, 27 * 30, 3
X, y = fnn.datasets.load_digits()
X = X / 16
X, Xv, Xt, y, yv, yt = X[:500], X[500:1000], X[1000:], y[:500], y[500:1000], y[1000:]

# %%
# Six settings of a network. A fit reports its validation loss after each epoch, and ends where it
# is to be pruned: that is all there is between the two packages.


class Report:
    """Tells a trial of the losses, and ends the fit where it is told to."""

    def __init__(self, trial):
        self.trial = trial

    def on_epoch_end(self, model, epoch, record):
        self.trial.report(record["val_loss"], epoch + 1)
        return self.trial.should_prune()


def fit(trial):
    """Return the validation loss of the settings that a trial suggests."""
    depth = trial.suggest_int("depth", 1, 3)
    width = trial.suggest_int("width", 8, 128, log=True)
    dropout = trial.suggest_float("dropout", 0, 0.6)
    blocks = [[fnn.Dense(width), fnn.ReLU(), fnn.Dropout(dropout)] for _ in range(depth)]
    model = fnn.Sequential([*blocks, fnn.Dense(10)], seed=0)
    optimizer = fnn.optim.AdamW(
        lr=trial.suggest_float("lr", 1e-5, 1, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-4, 1, log=True),
    )
    batch_size = trial.suggest_int("batch_size", 8, 256, log=True)
    try:
        history = model.fit(
            *(X, y),
            loss="cross_entropy",
            optimizer=optimizer,
            epochs=EPOCHS,
            batch_size=batch_size,
            validation_data=(Xv, yv),
            callbacks=[Report(trial)],
            verbose=0,
        )
    except FloatingPointError as error:  # a rate at which the loss overflows
        raise optuna.TrialPruned() from error
    trial.set_user_attr("epochs", history.epochs)
    if history.epochs < EPOCHS:
        raise optuna.TrialPruned()
    trial.set_user_attr("test error", 1 - model.evaluate(Xt, yt)["accuracy"])
    return history["val_loss"][-1]


# %%
# Equal budgets for the four, from the same seeds.

HALVING = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
WHOLE = optuna.pruners.NopPruner()
SEARCHES = {
    "random": (optuna.samplers.RandomSampler, WHOLE),
    "random, pruned": (optuna.samplers.RandomSampler, HALVING),
    "TPE": (optuna.samplers.TPESampler, WHOLE),
    "TPE, pruned": (optuna.samplers.TPESampler, HALVING),
}


def is_whole(trial):
    """Say whether a trial came to its end; one that is pruned has the loss that it had then."""
    return trial.state == optuna.trial.TrialState.COMPLETE


def search(sampler, pruner, seed):
    """Return a study that has spent the budget, and its best loss after each epoch of it."""
    study = optuna.create_study(sampler=sampler(seed=seed), pruner=pruner)
    best = []
    while len(best) < BUDGET:
        study.optimize(fit, n_trials=1)
        trial = study.trials[-1]
        spent = trial.user_attrs.get("epochs", 1)
        known = best[-1] if best else np.inf
        best += [known] * (spent - 1) + [min(known, trial.value) if is_whole(trial) else known]
    return study, best[:BUDGET]


studies, curves = {}, {}
for name, (sampler, pruner) in SEARCHES.items():
    found = [search(sampler, pruner, seed) for seed in range(SEEDS)]
    studies[name] = [study for study, _ in found]
    curves[name] = np.array([curve for _, curve in found])
loss = {name: curve[:, -1] for name, curve in curves.items()}
for name in SEARCHES:
    fits = np.mean([len(study.trials) for study in studies[name]])
    error = np.mean([study.best_trial.user_attrs["test error"] for study in studies[name]])
    print(
        f"{name:15} {fits:4.0f} fits, best validation loss {loss[name].mean():.3f} "
        f"({loss[name].min():.3f} to {loss[name].max():.3f}), its test error {error:.1%}"
    )

# %%
# On the right, the rates that one search has tried: TPE soon stays where it is good, and pruning
# leaves few fits whole.

figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for name, curve in curves.items():
    panels[0].plot(np.arange(1, BUDGET + 1), np.median(curve, axis=0), label=name)
panels[0].set(xlabel="epochs spent", ylabel="best validation loss, median")
panels[0].legend(fontsize=9)
for name, marker in (("random", "o"), ("TPE, pruned", "^")):
    trials = studies[name][0].trials
    rates = np.array([trial.params["lr"] for trial in trials])
    whole = np.array([is_whole(trial) for trial in trials])
    spent = np.cumsum([trial.user_attrs.get("epochs", 1) for trial in trials])
    (points,) = panels[1].semilogy(spent[whole], rates[whole], marker, label=f"{name}: whole")
    if not whole.all():
        panels[1].semilogy(
            *(spent[~whole], rates[~whole], marker),
            color=points.get_color(),
            fillstyle="none",
            ms=4,
            label=f"{name}: ended early",
        )
panels[1].set(xlabel="epochs spent", ylabel="learning rate that was tried")
panels[1].legend(fontsize=9)
figure.savefig("hyperparameters.png", dpi=150)
