"""Values and their data as one plain dict: numbers, text, lists, pictures as data URIs; the page only places them."""

from __future__ import annotations

from typing import Any

import numpy as np

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines import twins
from datassay.reporting.nearest import nearest, similarities
from datassay.reporting.plain import named, plain
from datassay.reporting.rows import Cells, Entries, Pictures, rows_of
from datassay.reporting.words import Words
from datassay.values import Values

_BINS = 40
_CLASSES = 12  # with a histogram of their own
_PAIRS = 15
_GROUPS, _OF_GROUP = 20, 6  # of rows that are nearly the same, and of rows of each


def summarize(values: Values, data: Dataset, *, top: int = 100, evidence: int = 3) -> dict[str, Any]:
    """What was run, what was found, and the most suspicious rows with the rows that speak for and against them.

    Parameters
    ----------
    values, data
        What a method found, and the data set it was given.
    top
        How many of the most suspicious rows to show.
    evidence
        How many nearest rows of the given and of the suggested label to show beside each of them.

    Raises
    ------
    DataError
        If the values were computed on other data.
    """
    check_same(values, data)
    if top < 1 or evidence < 0:
        raise DataError(f"a report needs top >= 1 and evidence >= 0, got top={top} and evidence={evidence}.")
    classes = [plain(c) for c in data.classes]
    suggested = _suggested_codes(values, data)
    flagged = int(values.flagged.sum())
    n_shown = min(top, len(data))
    rows = rows_of(data, pictures=n_shown * (1 + 2 * evidence))
    suspects = _suspects(values, data, suggested, n_shown, evidence, rows)
    return {
        "finding": _finding(values, n_shown, data.task),
        "wrong_labels": values.stats.get("wrong_labels"),
        "false_finds": _false_finds(values),
        "method": values.method,
        "flag_rule": values.common.get("flag_rule"),
        "flagged": flagged,
        "flagged_shown": sum(s["flagged"] for s in suspects),
        "seconds": plain(values.common.get("seconds")),
        "options": named(values.options, len(data)),
        "stats": named(
            {k: v for k, v in values.stats.items() if k not in ("flag_rule", "seconds", "wrong_labels")}, len(data)
        ),
        "versions": dict(values.versions),
        "data": {
            "rows": len(data),
            "columns": int(data.X.shape[1]),
            "task": data.task,
            "kind": rows.kind,
            "hash": data.hash,
            "dropped": len(data.dropped),
            "validation_rows": 0 if data.X_val is None else int(data.X_val.shape[0]),
            "classes": [
                {
                    "label": label,
                    "rows": int((data.codes == code).sum()),
                    "flagged": int(values.flagged[data.codes == code].sum()),
                }
                for code, label in enumerate(classes)
            ],
            "targets": [float(v) for v in np.quantile(data.codes, [0, 0.5, 1])] if data.task == "regression" else [],
        },
        "scores": _distribution(values, data, classes),
        "confusions": _confusions(values, data, suggested, classes),
        "columns": list(values.columns),
        "twins": _twins(values, data, rows),
        "suspects": suspects,
    }


def check_same(values: Values, data: Dataset) -> None:
    """Refuse values of other rows; values made by hand carry no hash, then the ids must agree."""
    same = values.data_hash == data.hash if values.data_hash else values.ids.tolist() == data.ids.tolist()
    if not same:
        raise DataError(
            f"these values were computed on other data ({len(values)} rows, hash {values.data_hash or 'unknown'}) than "
            f"this ({len(data)} rows, hash {data.hash}): "
            "give the data that was valued, read in the same way, or value this data first."
        )


def _finding(values: Values, n_shown: int, task: str) -> str:
    """The headline: counts that the data can carry; where the method has no predictions, the flags alone."""
    flagged, n = int(values.flagged.sum()), len(values)
    if headline := values.headline("label" if task == "classification" else "target"):
        return headline[0].upper() + headline[1:]
    if flagged == 0:
        return f"No row of {n:,} is flagged; the {n_shown:,} lowest scores are below"
    return f"{flagged:,} of {n:,} rows {'is' if flagged == 1 else 'are'} flagged; start with {'it' if flagged == 1 else 'these'}"


def _false_finds(values: Values) -> dict[str, Any] | None:
    """Of the first k suspects the share that is right, at most: for 40 k up to where most may be right; and a few k in words."""
    most = values.columns.get("false_share_most")
    if most is None:
        return None
    by_rank, n = most[np.argsort(values.ranks())], len(values)
    least = np.round((1 - by_rank) * np.arange(1, n + 1)).astype(int)  # wrong rows among the first k
    reach = max(int(np.argmax(least >= 0.99 * least[-1])) + 1, min(n, 20))
    k = np.unique(np.round(np.linspace(1, min(n, 2 * reach), _BINS)).astype(int))
    some = sorted({min(n, one) for one in (20, 100, 500, reach) if one <= 2 * reach})
    return {
        "k": k.tolist(),
        "most": by_rank[k - 1].tolist(),
        "words": [{"k": one, "least": int(least[one - 1])} for one in some],
    }


def _suggested_codes(values: Values, data: Dataset) -> np.ndarray:
    """(n,) the class each row is suggested to be of; -1 where none is."""
    if values.suggested_label is None or data.task == "regression":
        return np.full(len(data), -1)
    index = {label: code for code, label in enumerate(data.classes)}
    return np.array([index.get(label, -1) for label in values.suggested_label], dtype=np.int64)


def _distribution(values: Values, data: Dataset, classes: list[Any]) -> dict[str, Any]:
    """Histograms with common edges.

    Far tails count in the outermost bars: what lies beyond 3 interquartile ranges, but at most 1 % of the rows a side.
    """
    finite = np.isfinite(values.scores)
    scores, flagged, codes = values.scores[finite], values.flagged[finite], data.codes[finite]
    if not len(scores):
        return {"edges": [], "below": 0, "above": 0, "not_finite": int((~finite).sum()), "all": None, "classes": []}
    least, q1, q3, most = np.quantile(scores, [0, 0.25, 0.75, 1])
    first, last = np.quantile(scores, 0.01, method="lower"), np.quantile(scores, 0.99, method="higher")
    low = max(least, min(first, q1 - 3 * (q3 - q1)))
    high = min(most, max(last, q3 + 3 * (q3 - q1)))
    if low == high:  # nearly all scores are one number
        low, high = (least, most) if least < most else (least - 0.5, most + 0.5)
    edges = np.linspace(low, high, _BINS + 1)

    def bars(mask: np.ndarray) -> dict[str, Any]:
        where = np.clip(scores, low, high)
        return {
            "rows": int(mask.sum()),
            "flagged": int(flagged[mask].sum()),
            "counts": np.histogram(where[mask], edges)[0].tolist(),
            "flagged_counts": np.histogram(where[mask & flagged], edges)[0].tolist(),
        }

    alone = list(range(len(classes)))
    if len(classes) > _CLASSES:
        most_flagged = np.bincount(codes[flagged], minlength=len(classes))
        sizes = np.bincount(codes, minlength=len(classes))
        alone = sorted(np.lexsort((-sizes, -most_flagged))[: _CLASSES - 1].tolist())
    per_class = [{"label": classes[c], **bars(codes == c)} for c in alone]
    if len(alone) < len(classes):
        per_class.append({"label": None, "others": len(classes) - len(alone), **bars(~np.isin(codes, alone))})
    return {
        "edges": edges.tolist(),
        "below": int((scores < low).sum()),
        "above": int((scores > high).sum()),
        "not_finite": int((~finite).sum()),
        "all": bars(np.ones(len(scores), bool)),
        "classes": per_class,
    }


def _confusions(values: Values, data: Dataset, suggested: np.ndarray, classes: list[Any]) -> dict[str, Any]:
    """Of the flagged rows, how many of each class are suggested to be of which other."""
    if data.task == "regression":
        return {"pairs": [], "other_pairs": 0, "without": 0}
    confused = values.flagged & (suggested >= 0) & (suggested != data.codes)
    pairs, counts = np.unique(np.stack([data.codes[confused], suggested[confused]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        "pairs": [
            {"given": classes[pairs[i, 0]], "suggested": classes[pairs[i, 1]], "rows": int(counts[i])}
            for i in order[:_PAIRS]
        ],
        "other_pairs": int(counts[order[_PAIRS:]].sum()),
        "without": int((values.flagged & ~confused).sum()),
    }


def _twins(values: Values, data: Dataset, rows: Pictures | Cells | Entries) -> dict[str, Any] | None:
    """Groups of rows that are nearly the same and have different labels, the surest first; of a group the most suspicious rows first."""
    if data.task == "regression":
        return None
    ranks = values.ranks()
    found = twins.twins(data.X, data.codes, np.argsort(ranks))
    groups = []
    for members, gap in zip(found.groups[:_GROUPS], found.gap, strict=False):
        members = members[np.argsort(ranks[members], kind="stable")]
        other = members[np.argmax(data.codes[members] != data.codes[members[0]])]
        shown = [int(members[0]), int(other), *(int(i) for i in members[1:] if i != other)][:_OF_GROUP]
        own, others = rows.show(shown[0], shown[1:])
        groups.append(
            {
                "equal": gap == 0,
                "times": None if gap == 0 else float(f"{1 / gap:.3g}"),
                "more": len(members) - len(shown),
                "rows": [
                    {"id": plain(data.ids[i]), "label": plain(data.y[i]), "rank": int(ranks[i])} | look
                    for i, look in zip(shown, [own, *others], strict=True)
                ],
            }
        )
    return {"groups": groups, "more": len(found.groups) - len(groups), "looked": found.looked} if groups else None


def _suspects(
    values: Values, data: Dataset, suggested: np.ndarray, top: int, evidence: int, rows: Pictures | Cells | Entries
) -> list[dict[str, Any]]:
    """The ``top`` most suspicious rows, worst first."""
    order = np.argsort(values.ranks())[:top]
    stderr = values.common.get("stderr")
    stderr = stderr if isinstance(stderr, np.ndarray) and stderr.shape == (len(data),) else None
    suspects, words = [], Words(data)
    for rank, (row, similarity) in enumerate(zip(order.tolist(), similarities(data.X, order), strict=True), start=1):
        sought = _groups(data, row, int(suggested[row]))
        groups = [(head, nearest(similarity, among, evidence)) for head, among in sought]
        own, others = rows.show(row, [int(i) for _, found in groups for i in found])
        pictured = iter(others)
        suspects.append(
            {
                "rank": rank,
                "id": plain(data.ids[row]),
                "score": plain(values.scores[row]),
                **({"stderr": plain(stderr[row])} if stderr is not None else {}),
                "flagged": bool(values.flagged[row]),
                "given_label": plain(data.y[row]),
                "suggested_label": None if values.suggested_label is None else _label(values.suggested_label[row]),
                "columns": {name: plain(column[row]) for name, column in values.columns.items()},
                **own,
                **({"words": words.of(row, int(suggested[row]))} if words.columns else {}),
                "evidence": [
                    head
                    | {
                        "rows": [
                            {
                                "id": plain(data.ids[i]),
                                "label": plain(data.y[i]),
                                "similarity": round(float(similarity[i]), 4),
                                **next(pictured),
                            }
                            for i in found
                        ]
                    }
                    for head, found in groups
                    if len(found)
                ],
            }
        )
    return suspects


def _label(label: Any) -> Any:
    """A suggested label; NaN, as pandas writes "none", is none."""
    return None if (label := plain(label)) == "nan" else label


def _groups(data: Dataset, row: int, suggested: int) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Which rows to search for the nearest: the given label's, and the suggested one's or else all other labels'."""
    if data.task == "regression":
        return [({"kind": "any", "label": None}, np.ones(len(data), bool))]
    code = int(data.codes[row])
    same = ({"kind": "given", "label": plain(data.classes[code])}, data.codes == code)
    if suggested in (-1, code):
        return [same, ({"kind": "other", "label": None}, data.codes != code)]
    return [same, ({"kind": "suggested", "label": plain(data.classes[suggested])}, data.codes == suggested)]
