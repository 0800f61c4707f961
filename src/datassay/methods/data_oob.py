"""Data-OOB (Kwon & Zou, ICML 2023): how often models of a bagging that did not draw a row say its label.

    psi_i = sum_b 1[w_bi = 0] T(y_i, f_b(x_i)) / sum_b 1[w_bi = 0]          w_bi: how often row i is in bag b, n draws with replacement
    T = 1[y = f(x)], equally likely classes in equal shares; regression: -(y - f(x))^2

f_b: a weak learner, trained on bag b. No validation rows. A row is missing from a bag with probability (1 - 1/n)^n, about .37.

Differs from the paper: 500 bags instead of 1000; where its code has fully grown trees of a random forest, here are extremely randomised
trees (Geurts, Ernst & Wehenkel 2006) with three rows in a leaf, which find more wrong labels on most data
(docs/methods/data-oob.md). The mean over bags comes with its standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy import ndarray
from sklearn.tree import ExtraTreeClassifier, ExtraTreeRegressor

from datassay.checks import Count, DataError, Jobs, Number, Positive, Seed, one_of
from datassay.data.dataset import Dataset
from datassay.engines import designs
from datassay.engines.designs import Subsets
from datassay.engines.robust import FAR, off, top
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.study import Study, stop_when, study
from datassay.subsets.utilities import accuracy, log_odds, of_labels

NAME = "data-oob"
LEAF = 3  # rows
AT_ONCE = 2**23  # numbers that models say, held at once


@method("data-oob", SUBSETS)
def data_oob(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 500,
    utility: Literal["accuracy", "probability", "margin", "squared-error"] | None = None,
    budget: str | float | None = None,
    stderr: Positive | None = None,
    settled: Annotated[float, Number(above=0, most=1)] | None = None,
    training: Any = None,
    device: str = "auto",
    store: str | Path | None = None,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
) -> Finding:
    """Out-of-bag value of every row: how well models that did not draw it do on it.

    Parameters
    ----------
    data
        n rows.
    model
        The weak learner: a scikit-learn estimator, a torch `nn.Module` (drawn anew for each bag), or a function from a seed to one.
        None: a tree that splits at random values, and takes the best of these over some columns.
    n_models
        Bags. Each row is judged by the third of them that lacks it.
    utility
        T, what a model is worth for a row: "accuracy" (None), whether it says the label; "probability" of the label; "margin", its
        log-odds. Regression: "squared-error" (None), less than 0.

    Returns
    -------
    Values
        scores = the column ``data_oob`` (n,), high = worth keeping, as in the paper; standard errors in ``stats``. Suggested label: the
        class for which most of these models vote. Flagged: more of them vote for another class than for the given one; regression:
        the label less their mean prediction is three standard deviations from the median.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="data-oob", n_models=100)
    >>> values.suspects(1)[["id", "flagged", "given_label", "suggested_label"]]
       id  flagged given_label suggested_label
    3   3     True           b               a
    """
    worth = utility_of_rows(data, utility, NAME)
    stop = stop_when(NAME, n_models, budget, stderr, settled)
    if model is None and training is None:
        model = (ExtraTreeRegressor if data.task == "regression" else ExtraTreeClassifier)(min_samples_leaf=LEAF)
    s = study(
        NAME, data, model, training=training, device=device, store=store, seed=seed, n_jobs=n_jobs, progress=progress, validation=False
    )  # fmt: skip

    def bags_without(subsets: Subsets) -> Without:
        return without(s, subsets, worth, np.zeros(len(subsets.p), np.int64), 1)

    def look(subsets: Subsets) -> tuple[ndarray, ndarray]:
        found = bags_without(subsets)
        return np.nan_to_num(found.value), found.stderr

    got = s.collect(s.drawn(lambda a, b: designs.bags(len(data), seed, a, b)), stop, rows=True, look=look)
    found = bags_without(got.subsets)
    found.check(s, "in every bag")
    stats: dict[str, Any] = {
        "model": s.text,
        "trainings": len(got.subsets.p),
        "stopped": got.stopped,
        "looks": got.looks,
        "stderr": found.stderr,
        "fewest_out_of_bag": int(found.trainings.min()),
    }
    if data.task == "regression":
        suggested, flagged = found.votes[:, 0], off(data.codes - found.votes[:, 0]) > FAR
        stats["flag_rule"] = f"label less out-of-bag prediction is more than {FAR:g} standard deviations from the median"
    else:
        most = top(found.votes.round(9), data.codes)  # sums of the same shares may differ in the last digit
        suggested, flagged = data.labels_of(most), most != data.codes
        stats["flag_rule"] = "more out-of-bag models vote for another class than for the given one"
    columns = {"data_oob": found.value}
    return Finding(found.value.copy(), flagged, columns, suggested, stats)


Worth = Callable[[ndarray], ndarray]  #: what trainings say of the rows, (k, n, c), to what that is worth for each, (k, n)


def utility_of_rows(data: Dataset, what: str | None, method: str) -> Worth:
    """T; None is the first of those for the task.

    Raises
    ------
    DataError
        There is no such utility.
    """
    y = data.codes
    known: dict[str, Worth] = {
        "accuracy": lambda said: accuracy(said, y),
        "probability": lambda said: np.exp(of_labels(said, y).astype(np.float64)),
        "margin": lambda said: log_odds(of_labels(said, y)),
    }
    if data.task == "regression":
        known = {"squared-error": lambda said: -((said[..., 0] - y) ** 2)}
    one_of(method, (None, *known), utility=what)
    return known[what or next(iter(known))]


class Without(NamedTuple):
    """What trainings that were without a row say of it: the mean over groups of trainings of the mean over each group."""

    value: ndarray  #: (n,) of the utility; NaN where all trainings had the row
    stderr: ndarray  #: (n,) of the value; infinite where too few trainings lacked the row
    votes: ndarray  #: (n, c) shares of the trainings that say each class, (n, 1) the prediction
    trainings: ndarray  #: (groups, n) how many were without the row

    def check(self, s: Study, where: str) -> None:
        """Each row must have been left out once.

        Raises
        ------
        DataError
            It was not.
        """
        never = np.flatnonzero(self.trainings.sum(0) == 0)
        if len(never):
            raise DataError(
                f"{s.method}: {len(never)} of {len(s.data)} rows are {where} (the first has id {s.data.ids[never[0]]!r}), so nothing can "
                "be said of them: ask for more n_models."
            )


def without(s: Study, subsets: Subsets, worth: Worth, group: ndarray, groups: int) -> Without:
    """Ask trainings (m of them, each in a group) about the rows that they were without."""
    m, n = subsets.counts.shape
    c = max(1, len(s.data.classes))
    trainings = np.stack([(subsets.counts[group == g] == 0).sum(0) for g in range(groups)])
    with np.errstate(divide="ignore"):
        weight = np.where(trainings > 0, 1 / trainings, 0) / np.maximum(1, (trainings > 0).sum(0))
    total, squares, votes = np.zeros((groups, n)), np.zeros((groups, n)), np.zeros((n, c))
    step = max(1, AT_ONCE // (n * c))
    for a in range(0, m, step):
        part, of = Subsets(subsets.counts[a : a + step], subsets.p[a : a + step]), group[a : a + step]
        said = s.worth(part, lambda said: said, rows=True)
        out = part.counts == 0
        value = np.where(out, worth(said), 0.0)
        np.add.at(total, of, value)
        np.add.at(squares, of, value**2)
        if s.data.classes:
            likeliest = said == said.max(2, keepdims=True)
            said = likeliest / likeliest.sum(2, keepdims=True)
        votes += np.einsum("kn,knc->nc", out * weight[of], said)
    with np.errstate(invalid="ignore"):
        value = (total / np.maximum(1, trainings)).sum(0) / (trainings > 0).sum(0)
    return Without(value, _stderr(trainings, total, squares, weight), votes, trainings)


def _stderr(trainings: ndarray, total: ndarray, squares: ndarray, weight: ndarray) -> ndarray:
    """(n,) of the mean of means; a group with a single training is taken to vary as the others do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.maximum(squares - total**2 / trainings, 0) / (trainings - 1)
    known = trainings > 1
    usual = np.where(known, variance, 0).sum(0) / np.maximum(1, known.sum(0))
    stderr = np.sqrt((np.where(known, variance, usual) * weight**2 * trainings).sum(0))
    return np.where(known.any(0), stderr, np.inf)
