"""Confident learning (Northcutt, Jiang & Chuang, JAIR 2021): how many labels of each class are wrong, and which.

    t_k  = mean of p(k | x) over the rows labelled k                     what "confident" means for class k; p by models of other folds
    C_jk = number of rows labelled j whose likeliest class among those with p(k | x) >= t_k is k
    Q_jk = C_jk / sum_k C_jk * number of rows labelled j / n             the joint distribution of given and true labels

Flagged, by ``filter``:

    prune_by_noise_rate   for all j != k the n Q_jk rows labelled j with the largest p(k | x) - p(j | x)
    prune_by_class        for each j the sum_{k != j} n Q_jk rows labelled j with the smallest p(j | x)
    both                  rows that both would flag
    confident_learning    rows that C counts off its diagonal
    predicted_neq_given   rows of which another class is likelier

Differs from the paper, as cleanlab 2.9 does: n Q is rounded to whole rows, and the rows of a class stay as many; a diagonal of C counts
1 at least, and one row of a class is never flagged; a threshold is met up to a millionth; rows of which no other class is likelier are
not flagged. Differs from cleanlab: where several classes reach their thresholds, the likeliest *of these* is counted, as in the paper
(there: the likeliest of all, even if it doesn't reach its own), the given one among equals; of a class all of whose rows would be
flagged, one error less of the commonest kind is counted (there: one less of each kind); equal rows are told apart by their ids.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Unpack, get_args

import numpy as np
from numpy import ndarray

from datassay.checks import Count, DataError, Whole
from datassay.data.dataset import Dataset
from datassay.engines import designs, noise_model
from datassay.engines.margins import confidences
from datassay.engines.robust import top
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.held_out import class_probabilities
from datassay.subsets.study import Trained

NAME = "confident-learning"
Filter = Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]
FILTERS = get_args(Filter)
NEAR = 1e-6  # of a threshold, of another class


@method("confident-learning", SUBSETS, renamed={"rank": "rank_by"})
def confident_learning(
    data: Dataset,
    model: Any = None,
    *,
    folds: Annotated[int, Whole(2)] = 5,
    repeats: Count = 1,
    rank_by: Literal["self_confidence", "normalized_margin"] = "self_confidence",
    filter: Filter = "prune_by_noise_rate",
    probabilities: Any = None,
    **shared: Unpack[Trained],
) -> Finding:
    """Rows whose labels are wrong, as many of each kind as out-of-fold probabilities say that there are.

    Parameters
    ----------
    data
        n rows of c classes.
    filter
        Which rows are flagged, see the head of the file.
    rank_by
        Which column is the score.
    probabilities
        (n, c), instead of a model's: of each row's classes in the order of ``data.classes``, by a model that has not seen the row.

    Returns
    -------
    Values
        scores (n,): the column named by ``rank_by``, low = suspicious. Columns: ``self_confidence``, ``normalized_margin``. ``stats``:
        ``classes``, ``thresholds``, ``confident_joint`` (C, given labels by true ones), ``calibrated_joint`` (n Q in whole rows),
        ``noise_matrix`` (probability of each given label for each true one, columns sum to 1), ``estimated_errors`` (rows off the
        diagonal of n Q); ``wrong_labels``, with columns ``probability_wrong``, ``_least`` and ``_most``: see `noise_model`. Suggested
        label: the likeliest class.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> p = np.repeat([[0.9, 0.1], [0.2, 0.8]], 5, axis=0)
    >>> data = da.Dataset(np.eye(10), ["a"] * 4 + ["b"] * 6)           # the fifth is more likely an "a"
    >>> values = da.value(data, method="confident-learning", probabilities=p)
    >>> values.flagged.nonzero()[0].tolist(), values.stats["confident_joint"]
    ([4], [[4, 0], [1, 5]])
    """
    codes = data.codes
    p, classes, stats, options = class_probabilities(NAME, data, model, probabilities, folds, repeats, shared)
    if len(classes) > len(data.classes):
        raise DataError(
            f"{NAME} counts the labels of each class, and no row has {classes[-1]!r}: leave its column out, or take noise-model."
        )
    t = thresholds(p, codes)
    C, guess = confident_joint(p, codes, t)
    joint = calibrated(C, np.bincount(codes))
    place = designs.places(data.ids.tolist())
    likeliest = top(np.where(np.arange(p.shape[1]) == codes[:, None], p + NEAR, p), codes)
    if filter == "confident_learning":
        flagged = (guess >= 0) & (guess != codes)
    elif filter == "predicted_neq_given":
        flagged = np.ones(len(codes), bool)
    else:
        flagged = np.ones(len(codes), bool)
        if filter in ("prune_by_class", "both"):
            flagged &= prune_by_class(p, codes, joint, place)
        if filter in ("prune_by_noise_rate", "both"):
            flagged &= prune_by_noise_rate(p, codes, joint, place)
    flagged &= likeliest != codes
    columns = confidences(p, codes)
    noise = noise_model.of_probabilities(p, codes)
    columns |= noise.columns()
    stats |= {
        "wrong_labels": noise.wrong_labels(),
        "flag_rule": f"{filter}, {int(joint.sum() - np.trace(joint))} wrong labels estimated",
        "classes": list(data.classes),
        "thresholds": t.tolist(),
        "confident_joint": C.tolist(),
        "calibrated_joint": joint.tolist(),
        "noise_matrix": (joint / np.maximum(joint.sum(0), 1)).tolist(),
        "estimated_errors": int(joint.sum() - np.trace(joint)),
    }
    suggested = data.labels_of(likeliest)
    return Finding(columns[rank_by].copy(), flagged, columns, suggested, stats, options)


def thresholds(p: ndarray, codes: ndarray) -> ndarray:
    """(c,) mean probability of a class over the rows that have it as label.

    >>> thresholds(np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 0, 1])).round(2).tolist()
    [0.7, 0.9]
    """
    return np.bincount(codes, p[np.arange(len(codes)), codes]) / np.bincount(codes)


def confident_joint(p: ndarray, codes: ndarray, t: ndarray) -> tuple[ndarray, ndarray]:
    """C (c, c), given labels by true ones; and (n,) the class for which each row is counted, -1 for none.

    >>> C, guess = confident_joint(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]), np.array([0, 0, 1]), np.array([0.6, 0.7]))
    >>> C.tolist(), guess.tolist()
    ([[1, 0], [0, 1]], [0, -1, 1])
    """
    reached = p >= t - NEAR
    guess = np.where(reached.any(1), top(np.where(reached, p, -1.0), codes), -1)
    C = np.zeros((p.shape[1], p.shape[1]), np.int64)
    np.add.at(C, (codes[guess >= 0], guess[guess >= 0]), 1)
    np.fill_diagonal(C, np.maximum(np.diagonal(C), 1))
    return C, guess


def calibrated(C: ndarray, counts: ndarray) -> ndarray:
    """(c, c) whole rows, as many of each given label as there are, in the proportions of C; one on the diagonal at least.

    >>> calibrated(np.array([[3, 1], [1, 1]]), np.array([9, 3])).tolist()
    [[7, 2], [1, 2]]
    """
    share = C / C.sum(1, keepdims=True) * counts[:, None]
    joint = np.floor(share + 1e-9).astype(np.int64)
    for j, missing in enumerate(counts - joint.sum(1)):
        joint[j, np.argsort(share[j] - joint[j], kind="stable")[::-1][:missing]] += (
            1  # of equal remainders the later, as cleanlab
        )
        if joint[j, j] == 0:
            joint[j, joint[j].argmax()] -= 1
            joint[j, j] = 1
    return joint


def prune_by_class(p: ndarray, codes: ndarray, joint: ndarray, place: ndarray) -> ndarray:
    """(n,) of each class as many as are wrong, the least probable."""
    flagged = np.zeros(len(codes), bool)
    for j, wrong in enumerate(joint.sum(1) - np.diagonal(joint)):
        rows = np.flatnonzero(codes == j)
        flagged[rows[np.lexsort((place[rows], p[rows, j]))[:wrong]]] = True
    return flagged


def prune_by_noise_rate(p: ndarray, codes: ndarray, joint: ndarray, place: ndarray) -> ndarray:
    """(n,) of each class and each other one as many as belong there, by how much likelier it is."""
    flagged = np.zeros(len(codes), bool)
    for j in range(len(joint)):
        rows = np.flatnonzero(codes == j)
        for k in np.flatnonzero(joint[j]):
            if k != j:
                order = np.lexsort((place[rows], p[rows, j] - p[rows, k]))
                flagged[rows[order[: joint[j, k]]]] = True
    return flagged
