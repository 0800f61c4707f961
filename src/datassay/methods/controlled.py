"""``flag="fdr"``: flags among which at most a share q is expected to be right, by comparison with validation rows that are right.

    value the n training rows and the m validation rows together, all as training rows: right rows among the n are then exchangeable
    with the m, if both come from the same source, since leave-one-out scores don't depend on the order of the rows

The p-values, the rule and the bounds for all cut-offs are those of `engines.conformal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines import conformal
from datassay.values import Finding

SURE = 0.975  # of the lower bound; with the upper one 95 %


def controlled(name: str, data: Dataset, q: float, find: Callable[[Dataset], Finding]) -> Finding:
    """What ``find`` says of all rows together, cut to the training rows, with flags by the validation rows.

    Raises
    ------
    DataError
        There are no validation rows.
    """
    if data.y_val is None:
        raise DataError(
            f"{name} with flag='fdr' needs validation rows whose labels are right, X_val and y_val (file: --val), beside which the "
            "training rows are looked at."
        )
    n, m = len(data), len(data.y_val)
    found = find(data.joined())
    scores, right = found.scores[:n], found.scores[n:]
    p = conformal.p_values(scores, right)
    flagged = conformal.step_up(p, q)
    least = conformal.wrong_at_least(scores, right, SURE)
    order = np.argsort(scores, kind="stable")
    most_right = np.empty(n)
    most_right[order] = 1 - least / np.arange(1, n + 1)
    columns = {column: values[:n] for column, values in found.columns.items()}
    columns |= {"conformal_p": p, "false_share_most": most_right}
    stats = {key: _cut(value, n, m) for key, value in found.stats.items()}
    stats["flag_rule"] = (
        f"beside {m:,} validation rows that are right: of the flagged rows at most {q:.0%} are expected to be right"
    )
    stats["fdr"] = {"q": q, "right_rows": m, "fewest": math.ceil(n / (q * (m + 1)))}
    if "wrong_labels" in stats:
        R = columns.get(
            "probability_wrong_most"
        )  # of the training rows alone, with its sampling error as in `engines.noise_model`
        most = n if R is None else math.ceil(R.sum() + 1.96 * math.sqrt(float((R * (1 - R)).sum())))
        stats["wrong_labels"] = tightened(stats["wrong_labels"], n, int(least[-1]), most, int(flagged.sum()))
    if not flagged.any() and stats["fdr"]["fewest"] > n / 20:
        few = f"with {m:,} validation rows no fewer than {stats['fdr']['fewest']:,} rows can be flagged at q={q:g}: more are needed"
        stats["warning"] = "; ".join([*([stats["warning"]] if "warning" in stats else []), few])
    suggested = None if found.suggested is None else found.suggested[:n]
    return Finding(scores, flagged, columns, suggested, stats, found.options)


def tightened(said: dict[str, Any], n: int, least: int, most: int, likely: int) -> dict[str, Any]:
    """``stats["wrong_labels"]`` of n rows, with what rows that are right say: all wrong labels are in the n.

    >>> said = {"low": 0, "high": 400, "likely": 90, "told": False, "random": 30.0}
    >>> tightened(said, 1000, 40, 210, 35)
    {'low': 40, 'high': 210, 'likely': 35, 'told': False, 'random': 40.0}
    """
    low = max(min(said["low"], n), least)
    high = max(min(said["high"], n, most), low)
    told = bool(said["told"] or high - low <= 0.03 * n)
    random = float(min(max(said["random"], low), high))
    return said | {"low": low, "high": high, "likely": likely, "told": told, "random": random}


def _cut(value: Any, n: int, m: int) -> Any:
    return value[:n] if isinstance(value, ndarray) and value.shape[:1] == (n + m,) else value
