"""The share of the labels that is wrong, from rows whose class is beyond doubt."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.stats import beta as binomial

from datassay.data.dataset import Dataset
from datassay.methods import value
from datassay.subsets.study import study
from datassay.values import Values

SURE = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # shares of the rows, those whose class is surest, among which labels are compared


def error_rate(data: Dataset, seed: int = 0) -> tuple[float, float]:
    """Share of the labels that are wrong, and its standard error.

    Each row's class is predicted without the row, by the CG-score's kernel and by a linear model in five folds. Among the rows of which
    a prediction is surest, a share of the labels disagrees. The surest rows are as many as can be before doubt about the class comes
    in; of the two predictions that counts with which fewer disagree. Where the noise model's bounds are near to each other, it is that
    model's (`noise_model`).

    >>> import datassay as da
    >>> X = np.random.default_rng(0).normal(size=(400, 2)) + np.repeat([[4.0, 4.0], [-4.0, -4.0]], 200, axis=0)
    >>> y = np.repeat(["a", "b"], 200)
    >>> y[:20] = "b"
    >>> bool(abs(error_rate(da.Dataset(X, y))[0] - 0.05) < 0.02)
    True
    """
    return error_share(data, value(data, "cg-score", progress=False), seed, linear=True)[:2]


class ErrorShare(NamedTuple):
    """Of wrong labels."""

    e: float
    sd: float
    low: float
    high: float
    told: bool


def share_at_random(kernel: Values) -> float:
    """Share of the labels that disagree with the CG-score's prediction that errors at random explain."""
    assert kernel.suggested_label is not None
    assert kernel.given_label is not None
    disagree = sum(a != b for a, b in zip(kernel.suggested_label.tolist(), kernel.given_label.tolist(), strict=True))
    return min(1.0, kernel.stats["wrong_labels"]["random"] / disagree) if disagree else 1.0


def error_share(data: Dataset, kernel: Values, seed: int, *, linear: bool) -> ErrorShare:
    """The share by `error_rate`, and the noise model's bounds on the CG-score's predictions; where these tell it, its estimate."""
    bounds = kernel.stats["wrong_labels"]
    low, high = bounds["low"] / len(data), bounds["high"] / len(data)
    if bounds["told"]:
        e = bounds["random"] / len(data)
        return ErrorShare(e, max(e - low, high - e) / 1.96, low, high, True)
    e, sd = _by_sure_rows(data, kernel, seed, linear=linear)
    return ErrorShare(min(max(e, low), high), sd, low, high, False)


def _by_sure_rows(data: Dataset, kernel: Values, seed: int, *, linear: bool) -> tuple[float, float]:
    """As `error_rate` says; by the kernel alone unless a ``linear`` model is asked, too."""
    rows, codes = np.arange(len(data)), data.codes
    assert kernel.suggested_label is not None
    guess = np.array([data.classes.index(label) for label in kernel.suggested_label.tolist()])
    predictions = [(guess, np.abs(kernel.columns["loo_margin"]))]
    if linear:
        predictions = [_by_linear_model(data, seed), *predictions]
    best = (math.inf, 0.0, 0.0)
    for predicted, sure in predictions:
        # among the rows of each predicted class: some classes are surer than others, and may have other errors
        order = np.lexsort((-sure, predicted))
        counts = np.bincount(predicted, minlength=len(data.classes))
        at = np.empty(len(data))
        at[order] = (rows - np.repeat(np.cumsum(counts) - counts, counts)) / np.repeat(counts, counts)
        estimates = []
        for share in SURE:
            chosen = at < share
            if (k := int(chosen.sum())) >= 20:
                e = float((predicted != codes)[chosen].mean())
                most = float(binomial.ppf(0.7, e * k + 1, k - e * k)) if e < 1 else 1.0  # Clopper and Pearson's upper limit
                estimates.append((e, math.sqrt((e * (1 - e) + 1 / k) / k), most))
        # the largest share in which no more disagree than in every smaller one, within its doubt: of few rows, few may disagree by chance
        fits = [i for i, (e, _, _) in enumerate(estimates) if all(e <= most for _, _, most in estimates[:i])]
        e, sd, _ = estimates[fits[-1]]
        best = min(best, (e + sd, e, sd))
    return best[1], best[2]


def _by_linear_model(data: Dataset, seed: int) -> tuple[ndarray, ndarray]:
    """(n,) class that models of the other folds predict, and how far it is ahead of the next."""
    s = study(
        "audit", data, None, training=None, device="cpu", store=None, seed=seed, n_jobs=None, progress=False
    )  # fmt: skip
    p = np.exp(s.out_of_fold(5))
    top_two = np.sort(p, axis=1)[:, -2:]
    return p.argmax(1), top_two[:, 1] - top_two[:, 0]
