"""C-score, the consistency of a row with the others (Jiang, Zhang, Talwar & Mozer, ICML 2021): is its label what models expect?

    C_i = E_r E_S P[f_S(x_i) = y_i]       S: each other row with probability r; r from .1, .2, ..., .9; f_S: model trained on S

High = regular: a few rows are enough to predict its label. Low = irregular: even all others don't. Estimated by the trainings that were
without row i: the mean over the ratios r of the mean over those of a ratio.

Differs from the paper: each row enters a subset by itself, so that the size varies, where the paper has subsets of r n rows; 50 trainings
for each ratio, where it has 200 and more, of logistic regression, where it has deep networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import numpy as np

from datassay.checks import Count
from datassay.data.dataset import Dataset
from datassay.engines import noise_model
from datassay.engines.robust import top
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.held_out import outside, utility_of_rows
from datassay.subsets.study import FlaggedStopped, grid, stop_when, study_of

NAME = "c-score"
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@method("c-score", SUBSETS, renamed={"ratios": "inclusion"})
def c_score(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 450,
    inclusion: float | Sequence[float] = GRID,
    utility: Literal["accuracy", "probability", "margin"] | None = None,
    **shared: Unpack[FlaggedStopped],
) -> Finding:
    """Consistency of every row: how often models of random subsets of the other rows predict its label.

    Parameters
    ----------
    data
        n rows of c classes.
    n_models
        Trainings, over all probabilities.
    inclusion
        The probabilities with which rows are in a subset, each equally often.
    utility
        What a model is worth for a row: "accuracy" (None), whether it says the label; "probability" of the label; "margin", its
        log-odds.
    flag
        "likely": most likely wrong, by a noise model on the votes (engines.noise_model). "other": more models without the row vote for
        another class than for the given one.
        "fdr": of the flagged rows at most the share ``q`` is expected to be right, by validation rows.

    Returns
    -------
    Values
        scores = the column ``c_score`` (n,), high = regular = worth keeping, as in the paper; standard errors in ``stats``, and how many
        rows were in every subset of some probability: their score is the mean over the others. Suggested label: the class for which
        most models vote, weighted as in the score. Columns ``probability_wrong``, between ``probability_wrong_least`` and
        ``probability_wrong_most``, and ``stats["wrong_labels"]``: see `noise_model`.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="c-score", n_models=90)
    >>> values.suspects(1)[["id", "flagged", "given_label", "suggested_label"]]
       id  flagged given_label suggested_label
    3   3     True           b               a
    """
    stop = stop_when(NAME, n_models, shared)
    distribution = grid(NAME, inclusion)
    s = study_of(NAME, data, model, shared)
    row_utility = utility_of_rows(data, utility, NAME)
    result, stats = outside(
        s,
        lambda a, b: distribution.draw(len(data), s.seed, a, b),
        stop,
        row_utility,
        "in every subset",
        distribution.parameters,
    )
    most = top(result.votes.round(9), data.codes)
    noise = noise_model.of_probabilities(result.votes, data.codes, votes=int(result.trainings.sum(0).min()))
    noise = noise._replace(flagged=noise.flagged & ~_unlearned(noise.flagged, data.codes))
    stats |= {
        "wrong_labels": noise.wrong_labels(),
        "in_every_subset": {
            f"{p:g}": int((one == 0).sum()) for p, one in zip(distribution.parameters, result.trainings, strict=True)
        },
        "flag_rule": "more models without the row vote for another class than for the given one",
    }
    flagged = most != data.codes
    if shared["flag"] == "likely":
        flagged, stats["flag_rule"] = noise.flagged, noise_model.RULE
    return Finding(result.value.copy(), flagged, {"c_score": result.value} | noise.columns(), data.labels_of(most), stats)


def _unlearned(flagged: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n,) the rows of rare classes for which hardly a model votes, so that votes can't tell their right rows from wrong ones.

    That is where most of a class would be flagged, and it has less than a fifth of an even share.

    >>> _unlearned(np.array([True, True, False] + 27 * [False]), np.array(3 * [1] + 27 * [0])).sum()
    np.int64(0)
    >>> _unlearned(np.array([True, True, False] + 57 * [False]), np.array(3 * [1] + 57 * [0])).sum()
    np.int64(3)
    """
    rows = np.bincount(codes)
    most = np.bincount(codes, flagged) > rows / 2
    return np.asarray((most & (rows < len(codes) / (5 * len(rows))))[codes])
