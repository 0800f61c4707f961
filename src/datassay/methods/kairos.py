"""KAIROS (Zhu et al., NeurIPS 2025, arXiv 2506.23799): what a row adds to the distance between training and validation rows.

    mmd_influence_i  = (n - 1) / 2 (MMD^2(all rows) - MMD^2(without row i))     MMD: maximum mean discrepancy to the validation rows
    label_distance_i = |e(y_i) - E[e(y) | x_i]|^2                               MMD^2 between the row's label and the labels that the
                                                                                validation rows lead to expect where it lies

    score_i = -((1 - label_weight) mmd_influence_i + label_weight label_distance_i)

e(y): indicators of the classes; in regression y in standard deviations of the validation labels. E by kernel ridge regression on the
validation rows, with the same kernel. No model is trained on the training rows, so that their errors mislead nothing.

Differs from the paper: it takes the derivative of MMD^2 in a row's mass, whose order differs from this one, of leaving rows out, by
O(1 / n^2). From the released code: the width of the kernel follows the data, where that has 3 in whatever unit the features are; labels are
expected by the kernel, where that fits a logistic regression; squared distances, as in the paper, where that takes their root.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, Number, Positive, Seed, Share
from datassay.data.dataset import Dataset
from datassay.engines import mmd, noise_model
from datassay.engines.progress import progress_bar
from datassay.engines.robust import top
from datassay.engines.transport import centred, half_squared_distances
from datassay.engines.two_means import suspicious
from datassay.methods.definition import Finding, method

WIDTH = 0.3  # of the median squared distance: h^2
LEAST = 1e-3  # probability of a class


@method("kairos")
def kairos(
    data: Dataset,
    *,
    label_weight: Annotated[float, Number(least=0, most=1)] = 0.1,
    bandwidth: Positive | None = None,
    flag: Share | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Finding:
    """What every row adds to the kernel distance between the training rows and validation rows, of features and of labels.

    Parameters
    ----------
    data
        n rows, and m validation rows with the right labels.
    label_weight
        What the label counts beside the features. 1: labels alone; 0: features alone.
    bandwidth
        h of the kernel exp(-|x - x'|^2 / (2 h^2)), in the unit of the features. None: h^2 is .3 times the median squared distance
        between training and validation rows. A larger one is better at wrong labels, and worse at noise in the features.
    flag
        None: labels that are most likely wrong by a noise model; targets that are too far. A number: this share of the rows, the lowest.
    seed
        For the 4,000 validation rows from which labels are expected, where there are more.

    Returns
    -------
    Values
        scores (n,), high = worth keeping. Columns ``mmd_influence`` and ``label_distance`` (n,), high = suspicious, without unit;
        ``probability_wrong`` (see `noise_model`). Suggested label: that which the validation rows lead to expect. ``stats``: ``mmd``
        (squared), ``bandwidth``, ``penalty``, ``wrong_labels``.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> y[7] = 1                                                       # a wrong label
    >>> values = da.value(da.Dataset(X[:300], y[:300], X[300:600], y[300:600]), method="kairos")
    >>> bool(values.flagged[7]), int(values.suggested_label[7])
    (True, 7)
    """
    x, z = centred(data.X, data.X_val, "kairos")
    n, m = len(x), len(z)
    h = bandwidth or _width(x, z)
    if not 0 < h * h < np.inf:
        raise DataError(f"kairos: the square of the bandwidth {h:g} is beyond double precision: scale the columns.")
    Y, codes_val = data.codes, data.codes_val
    assert codes_val is not None
    pick = np.sort(np.random.default_rng(seed).permutation(m)[: mmd.MOST]) if m > mmd.MOST else np.arange(m)
    with progress_bar(f"kairos, {n} rows", n + m, progress=progress) as bar:
        own = mmd.row_sums(x, None, h, bar.update)
        other = float(mmd.row_sums(z, None, h, bar.update).mean()) / m
        left = mmd.leave_one_out(own, mmd.row_sums(x, z, h), m, other)
        influence = (n - 1) / 2 * (left.whole - left.without)
        if data.classes:
            known = np.eye(len(data.classes))
            labels, given = known[codes_val], known[Y]
        else:
            unit = codes_val.std() or 1.0
            labels, given = codes_val[:, None] / unit, Y[:, None] / unit
        found = mmd.expected(z[pick], labels[pick], h)(x)
    distance = ((given - found.labels) ** 2).sum(1)
    scores = -((1 - label_weight) * influence + label_weight * distance)
    columns: dict[str, ndarray] = {"mmd_influence": influence, "label_distance": distance}
    stats: dict[str, Any] = {"mmd": left.whole, "bandwidth": h, "penalty": found.penalty}
    if data.classes:
        p = found.labels.clip(LEAST)
        p /= p.sum(1, keepdims=True)
        noise: noise_model.NoiseModel | noise_model.Outliers = noise_model.of_probabilities(p, Y)
        suggested, rule = data.labels_of(top(found.labels, Y)), noise_model.RULE
    else:
        noise = noise_model.outliers(Y - found.labels[:, 0] * unit)
        suggested, rule = found.labels[:, 0] * unit, "the target is too far from what is expected to be one of the others"
    stats["wrong_labels"] = noise.wrong_labels()
    flagged = noise.flagged
    if flag is not None:
        flagged, rule = suspicious(scores, flag)
    return Finding(scores, flagged, columns | noise.columns(), suggested, stats | {"flag_rule": rule})


def _width(x: ndarray, z: ndarray) -> float:
    """h: of the median squared distance, or of a hundredth of the mean where most rows are the same."""
    some = half_squared_distances(x[np.linspace(0, len(x) - 1, min(len(x), 1000)).astype(int)], z)
    square = 2 * max(float(np.median(some)), float(some.mean(dtype=float)) / 100)
    return float(np.sqrt(WIDTH * square)) or 1.0
