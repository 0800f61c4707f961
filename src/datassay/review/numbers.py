"""What stands beside a review: how much was found, how much is left, and whether it is worth going on.

Left are all wrong labels less those that were found. How many there are in all is told by rows that were drawn from the whole ranking
(`check_sample`) and looked at without being marked, in the order of drawing up to the first that nobody has looked at yet: an interval
that holds whenever one stops. A drawn row about which nobody is sure counts as right for the lower bound and as wrong for the upper one.
Before thirty drawn rows are answered it is what the values say of themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.evaluation.checking import wrong_among
from datassay.values import Values

LAST = 50  #: rows of the ranking by which one stops
STOP = 0.1  #: share of wrong ones among them below which the next are hardly worth a look
FEWEST = 30  #: drawn rows from which on they tell more than the values


def left(values: Values, drawn: Sequence[int], answers: Sequence[int | None], found: int, right: int) -> dict[str, Any]:
    """``low`` and ``high`` of the wrong labels that nobody has found yet, and ``by``: what they are known from.

    Parameters
    ----------
    values
        Of all n rows.
    drawn, answers
        Rows in the order of drawing; 1 wrong, 0 right, None: nobody is sure.
    found, right
        Rows of the whole review that are wrong, and that are right.
    """
    n, known = len(values), values.stats.get("wrong_labels")
    if len(drawn) >= FEWEST:
        low, high = _by_drawn(values, drawn, answers, None)
        by = f"{len(drawn)} rows drawn from all"
    elif known:
        low, high, by = known["low"], known["high"], "the values alone"
    else:
        low, high, by = 0, n, "nothing yet"
    low, high = max(int(low), found), min(int(high), n - right)
    return {"low": low - found, "high": max(high, low) - found, "by": by}


def of_group(
    values: Values, inside: ndarray, drawn: Sequence[int], answers: Sequence[int | None], found: int, right: int
) -> dict[str, Any]:
    """``low`` and ``high`` of the wrong labels in a group of rows, found or not, and ``by`` as for `left`.

    Before there are enough drawn rows they are what the two readings of the noise model expect, with their sampling errors, or what was
    found and what may be.
    """
    n = int(inside.sum())
    least, most = (values.columns.get(f"probability_wrong_{name}") for name in ("least", "most"))
    if len(drawn) >= FEWEST:
        low, high = _by_drawn(values, drawn, answers, inside)
        by = "drawn rows"
    elif least is not None and most is not None:
        r, R = least[inside], most[inside]
        low = max(0, int(np.floor(r.sum() - 1.96 * np.sqrt(np.sum(r * (1 - r))))))
        high = min(n, int(np.ceil(R.sum() + 1.96 * np.sqrt(np.sum(R * (1 - R))))))
        by = "the values alone"
    else:
        low, high, by = 0, n, "nothing yet"
    low, high = min(max(low, found), n - right), max(min(high, n - right), found)
    return {"rows": n, "found": found, "low": min(low, high), "high": high, "by": by}


def _by_drawn(
    values: Values, drawn: Sequence[int], answers: Sequence[int | None], inside: ndarray | None
) -> tuple[int, int]:
    low = wrong_among(values, drawn, [a or 0 for a in answers], inside=inside)[0]
    return low, wrong_among(values, drawn, [1 if a is None else a for a in answers], inside=inside)[1]


def pace(seconds: Sequence[float]) -> float | None:
    """Seconds for a row: the median of the last 30, longer than a twentieth of a second; None before there are 3."""
    some = [s for s in seconds if s > 0.05][-30:]
    return float(np.median(some)) if len(some) >= 3 else None


def advice(last: Sequence[int], to_go: int, left_high: int) -> str:
    """Whether to go on, in a sentence."""
    wrong = sum(last)
    if left_high == 0:
        return "No wrong label is left."
    if len(last) < LAST:
        return f"Go on: whether to stop shows after {LAST} suspects ({len(last)} so far)."
    if wrong < STOP * len(last):
        return f"You may stop: of the last {LAST} suspects {wrong} were wrong, and the next will hardly have more."
    return f"Go on: of the last {LAST} suspects {wrong} were wrong" + (f", and {to_go:,} are left." if to_go else ".")
