"""Data-OOB (Kwon & Zou, ICML 2023): how often models of a bagging that did not draw a row say its label.

    psi_i = sum_b 1[w_bi = 0] T(y_i, f_b(x_i)) / sum_b 1[w_bi = 0]          w_bi: how often row i is in bag b, n draws with replacement
    T = 1[y = f(x)], equally likely classes in equal shares; regression: -(y - f(x))^2

f_b: a weak learner, trained on bag b. No validation rows. A row is missing from a bag with probability (1 - 1/n)^n, about .37.

Differs from the paper: 500 bags instead of 1000; where its code has fully grown trees of a random forest, here are extremely randomised
trees (Geurts, Ernst & Wehenkel 2006) with three rows in a leaf, which find more wrong labels on most data
(docs/methods/data-oob.md). The mean over bags comes with its standard error.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

from sklearn.tree import ExtraTreeClassifier, ExtraTreeRegressor

from datassay.checks import Count
from datassay.data.dataset import Dataset
from datassay.engines import designs, noise_model
from datassay.engines.robust import FAR, robust_z, top
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.held_out import outside, utility_of_rows
from datassay.subsets.study import FlaggedStopped, stop_when, study_of

NAME = "data-oob"
LEAF = 3  # rows


@method("data-oob", SUBSETS)
def data_oob(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 500,
    utility: Literal["accuracy", "probability", "margin", "squared-error"] | None = None,
    **shared: Unpack[FlaggedStopped],
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
    flag
        "likely": most likely wrong, by a noise model on the votes (engines.noise_model). "other": more of these models vote for another
        class than for the given one; regression: label less mean prediction is three standard deviations from the median.
        "fdr": of the flagged rows at most the share ``q`` is expected to be right, by validation rows.

    Returns
    -------
    Values
        scores = the column ``data_oob`` (n,), high = worth keeping, as in the paper; standard errors in ``stats``. Suggested label: the
        class for which most of these models vote. Columns ``probability_wrong``, between ``probability_wrong_least`` and
        ``probability_wrong_most``, and ``stats["wrong_labels"]``: see `noise_model`.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_iris
    >>> data, wrong = da.plant(da.Dataset(*load_iris(return_X_y=True)), "uniform", 0.1)      # of 150 labels 15 are wrong now
    >>> values = da.value(data, method="data-oob", n_models=100)
    >>> int(wrong[values.flagged].sum()), int(values.flagged.sum())
    (12, 12)
    """
    row_utility = utility_of_rows(data, utility, NAME)
    stop = stop_when(NAME, n_models, shared)
    if model is None and shared["training"] is None:
        model = (ExtraTreeRegressor if data.task == "regression" else ExtraTreeClassifier)(min_samples_leaf=LEAF)
    s = study_of(NAME, data, model, shared)
    result, stats = outside(s, lambda a, b: designs.bags(len(data), s.seed, a, b), stop, row_utility, "in every bag")
    stats["fewest_out_of_bag"] = int(result.trainings.min())
    if data.task == "regression":
        suggested, flagged = result.votes[:, 0], robust_z(data.codes - result.votes[:, 0]) > FAR
        noise: noise_model.NoiseModel | noise_model.Outliers = noise_model.outliers(data.codes - suggested)
        stats["flag_rule"] = f"label less out-of-bag prediction is more than {FAR:g} standard deviations from the median"
    else:
        most = top(result.votes.round(9), data.codes)  # sums of the same shares may differ in the last digit
        suggested, flagged = data.labels_of(most), most != data.codes
        stats["flag_rule"] = "more out-of-bag models vote for another class than for the given one"
        noise = noise_model.of_probabilities(result.votes, data.codes, votes=stats["fewest_out_of_bag"])
    columns = {"data_oob": result.value} | noise.columns()
    stats["wrong_labels"] = noise.wrong_labels()
    if shared["flag"] == "likely":
        flagged, stats["flag_rule"] = noise.flagged, noise_model.RULE
    return Finding(result.value.copy(), flagged, columns, suggested, stats)
