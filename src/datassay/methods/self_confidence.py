"""Self-confidence: how probable a model that has not seen the row's label holds it to be.

    self_confidence_i   = p(y_i | x_i)
    normalized_margin_i = (p(y_i | x_i) - max_{k != y_i} p(k | x_i) + 1) / 2
    regression          = -|e_i - median e| / (1.4826 median |e - median e|)       e_i = y_i - prediction

p by models of the other folds, or by a model of the validation rows alone, whose labels are right. It is what nearly everyone tries
first, and hard to beat where there are clean rows enough to train on: other methods should be compared with it. Northcutt, Jiang &
Chuang (JAIR 2021) rank rows by these two numbers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Unpack

import numpy as np
from numpy import ndarray

from datassay.checks import Count, DataError, Whole
from datassay.data.dataset import Dataset
from datassay.engines import noise_model
from datassay.engines.designs import Subsets
from datassay.engines.margins import confidences
from datassay.engines.robust import FAR, robust_z, top
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.held_out import TOL, out_of_sample_predictions
from datassay.subsets.study import Flagged, Study, study_of

NAME = "self-confidence"


@method("self-confidence", SUBSETS, renamed={"rank": "rank_by"})
def self_confidence(
    data: Dataset,
    model: Any = None,
    *,
    folds: Annotated[int, Whole(2)] = 5,
    repeats: Count = 1,
    rank_by: Literal["self_confidence", "normalized_margin"] = "self_confidence",
    judge: Literal["folds", "validation"] = "folds",
    **shared: Unpack[Flagged],
) -> Finding:
    """Probability of every row's label by models that were trained without it: on the other folds, or on the validation rows.

    Parameters
    ----------
    data
        n rows; for ``judge="validation"`` validation rows whose labels are right, two of each class at least.
    judge
        "folds": models of the rows in the other folds. "validation": a model of the validation rows alone, asked about all rows.
    rank_by
        Which column is the score; of two classes both give the same order. Classes only.
    flag
        "likely": most likely wrong, by a noise model on these probabilities (engines.noise_model). "other": another class is likelier
        than the given one; regression: three standard deviations from the median.
        "fdr": of the flagged rows at most the share ``q`` is expected to be right, by validation rows.
    folds, repeats
        Folds of a partition; partitions, whose probabilities are averaged. By validation rows: trainings of a model that is random.

    Returns
    -------
    Values
        scores (n,): the probability of the given label, high = worth keeping. Columns: ``self_confidence``, ``normalized_margin``;
        regression: ``residual``, label less prediction, and the score is minus its distance from the median in standard deviations.
        ``probability_wrong``, between ``probability_wrong_least`` and ``probability_wrong_most``, and ``stats["wrong_labels"]``: see
        `noise_model`. Suggested label: the likeliest class.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="self-confidence")
    >>> values.suspects(1)[["id", "flagged", "given_label", "suggested_label"]]
       id  flagged given_label suggested_label
    3   3     True           b               a
    """
    by_folds = judge == "folds"
    rows = data if by_folds else _judged(data)
    s = study_of(NAME, rows, model, shared, tol=TOL, few=True)
    if not by_folds and not s.trainer.random:
        repeats = 1
    each = out_of_sample_predictions(s, repeats, (lambda t: t.out_of_fold(folds)) if by_folds else _predict_all)
    stats: dict[str, Any] = {"model": s.text, "trainings": repeats * (folds if by_folds else 1)}
    if data.task == "regression":
        residual = data.codes - each[..., 0]
        columns = {"residual": residual.mean(0)}
        scores, flagged, suggested = (
            -robust_z(columns["residual"]),
            robust_z(columns["residual"]) > FAR,
            each[..., 0].mean(0),
        )
        stats["flag_rule"] = f"the residual is more than {FAR:g} standard deviations from the median"
        noise: noise_model.NoiseModel | noise_model.Outliers = noise_model.outliers(columns["residual"])
    else:
        if not by_folds:  # classes whose labels don't sort are in the order in which they come
            each = each[..., [rows.classes.index(label) for label in data.classes]]
        p = each.mean(0)
        columns = confidences(p, data.codes)
        likeliest = top(p, data.codes)
        scores, flagged, suggested = columns[rank_by].copy(), likeliest != data.codes, data.labels_of(likeliest)
        stats["flag_rule"] = "another class is likelier than the given one"
        noise = noise_model.of_probabilities(p, data.codes)
        if repeats > 1:
            spread = np.std([confidences(one, data.codes)[rank_by] for one in each], axis=0, ddof=1)
            stats["stderr"] = spread / np.sqrt(repeats)
    columns |= noise.columns()
    stats["wrong_labels"] = noise.wrong_labels()
    if shared["flag"] == "likely":
        flagged, stats["flag_rule"] = noise.flagged, noise_model.RULE
    return Finding(scores, flagged, columns, suggested, stats)


def _judged(data: Dataset) -> Dataset:
    """The validation rows as training rows, and the training rows as those about which the model is asked."""
    if data.X_val is None or data.y_val is None or data.codes_val is None:
        raise DataError(
            f"{NAME} with judge='validation' needs validation rows, X_val and y_val (file: --val), to train on (flag='fdr' "
            "compares with them, and leaves none)."
        )
    if data.classes:
        counts = np.bincount(data.codes_val, minlength=len(data.classes))
        if counts.min() < 2:
            few = data.classes[int(counts.argmin())]
            raise DataError(
                f"{NAME} with judge='validation' trains on the validation rows alone, and {counts.min()} of them are of class "
                f"{few!r}: at least two of each class are needed; or take judge='folds'."
            )
    shape = data.shown.shape[1:] if isinstance(data.shown, ndarray) else ()
    if int(np.prod(shape)) != data.X.shape[1]:  # not what is valued
        shape = data.X.shape[1:]

    def shaped(X: Any) -> Any:
        return X.reshape(len(X), *shape) if isinstance(X, ndarray) else X

    return Dataset(shaped(data.X_val), data.y_val, shaped(data.X), data.y, task=data.task)


def _predict_all(s: Study) -> ndarray:
    """(n, c) what a model of all rows says of the validation rows."""
    everything = Subsets(np.ones((1, len(s.data)), np.uint8), np.full(1, np.nan))
    s.train(everything)
    return s.utilities_of(everything, lambda predictions: predictions)[0].astype(np.float64)
