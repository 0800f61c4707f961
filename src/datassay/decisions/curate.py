"""`curate`: value, decide by a rule, and prove that the rule helps, on rows that it has never seen.

The rule decides about all rows at once. Whether it helps is asked of the rule, not of these decisions, since every label took part in them:

    for each of the folds     the other rows are valued alone, the rule decides about them, one model is trained on them as they are and one
                              as the rule leaves them, and both are asked about the rows of the fold, all of them, with their given labels
    d_j                       right(after, j) - right(before, j) of row j; its mean, and the interval of `gain`, corrected for folds alike

Labels of the fold may be wrong, for both models alike: the difference is then nearer to 0 than on clean rows. With validation rows the
rule decides about all training rows without them, and they are asked, once.

    relabel    flagged rows whose suggestion is probable enough get it, other flagged rows are dropped
    drop       flagged rows are dropped
    sure       rows whose label is more likely wrong than right though all overlap of classes be ambiguity (the lower promise) get the
               suggestion, and no others are touched: of clean rows hardly any

"best" asks relabel and sure in the same folds and takes the one whose interval begins higher; since there are two, each is one of 97.5 %.

At least half of the rows of each class stay as they are, the least suspicious.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from scipy.stats import t as student

from datassay.checks import DataError, Whole, of_kind, one_of
from datassay.data.dataset import Dataset
from datassay.decisions.apply import done
from datassay.decisions.gain import Gain, Trained, dropped_at_random, gain, partitions
from datassay.decisions.records import Settled, rows_hash, settled, text
from datassay.methods import value
from datassay.values import Values

RULES = ("relabel", "drop", "sure")
BEST = ("relabel", "sure")  #: which "best" asks
SURE = 0.9  #: probability from which on a suggestion is taken
EVEN = (
    0.5  #: the same of the lower promise, which takes overlap for ambiguity; where a method makes none, `SURE` of the other
)
WORDS = {
    "relabel": "flagged rows are relabelled, or dropped where no label is probable",
    "drop": "flagged rows are dropped",
    "sure": "rows whose label is surely wrong are relabelled",
}


@dataclass(frozen=True)
class Curated:
    """What `curate` found."""

    values: Values
    decisions: pd.DataFrame  #: as `apply` takes them
    data: Dataset  #: with the decisions done
    gain: Gain | None  #: None where nothing is to be decided
    rule: str  #: in words

    @property
    def shown(self) -> bool:
        """Whether the rule is shown to help."""
        return self.gain is not None and self.gain.shown


def curate(
    data: Dataset,
    *,
    method: str = "cg-score",
    rule: str = "best",
    model: Any = None,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Curated:
    """Value the rows, decide by a rule, and measure whether the rule helps a model.

    Parameters
    ----------
    data
        n rows; validation rows, if any, must be right: they take no part in the decisions, and judge.
    method
        By which the rows are valued.
    rule
        "relabel": flagged rows get the suggested label where the given one is wrong with a probability of .9, else they are dropped;
        "drop": flagged rows are dropped; "sure": rows whose label is surely wrong get the suggestion, others are left as they are;
        "best": "relabel" or "sure", whichever wins more.
    model
        As in `gain`.
    folds, repeats
        Of the proof, where there are no validation rows: each time the rows are valued anew.
    seed, n_jobs, progress
        All randomness; workers; a bar on stderr.

    Returns
    -------
    Curated
        ``decisions`` and the ``data`` with these done; ``gain`` with ``difference``, ``low``, ``high`` and ``shown``.

    Raises
    ------
    DataError
        An option is none, or too few rows would be left.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> true = np.arange(600) % 3
    >>> X = 2 * np.eye(3)[true] + rng.normal(size=(600, 3))
    >>> y = np.where(np.arange(600) < 90, 0, true)                            # careless labels
    >>> found = da.curate(da.Dataset(X, y), progress=False)
    >>> len(found.decisions) > 30, len(found.data) <= 600
    (True, True)
    """
    one_of("curate", ("best", *RULES), rule=rule)
    of_kind("curate", Whole(2), folds=folds)
    of_kind("curate", Whole(1), repeats=repeats)
    if not isinstance(data, Dataset):
        raise DataError(
            f"curate needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    alone = data if data.X_val is None else data.without_validation()
    values = value(alone, method=method, seed=seed)
    asked = BEST if rule == "best" else (rule,)
    lines = {one: decide(values, one, alone.task).assign(data=rows_hash(data)) for one in asked}
    lines = {one: found for one, found in lines.items() if len(found)}
    if not lines:
        nothing = decide(values, asked[0], alone.task).assign(data=rows_hash(data))
        return Curated(values, nothing, data, None, WORDS[asked[0]])
    decided = {one: settled(found, alone) for one, found in lines.items()}
    after = {one: done(data, how) for one, how in decided.items()}
    if data.X_val is not None:
        gains = {
            one: gain(data, after[one], model=model, repeats=repeats, seed=seed, n_jobs=n_jobs, progress=progress)
            for one in lines
        }
    else:
        gains = _crossed(alone, decided, method, model, folds, repeats, seed, n_jobs, progress)
    gains = {one: _among(found, len(asked)) for one, found in gains.items()}
    best = max(gains, key=lambda one: gains[one].low)
    return Curated(values, lines[best], after[best], gains[best], WORDS[best])


def _among(found: Gain, rules: int) -> Gain:
    """The gain with an interval that holds though it be the best of so many."""
    wider = float(student.ppf(1 - 0.025 / rules, found.test_rows - 1) / student.ppf(0.975, found.test_rows - 1))
    half = wider * (found.high - found.difference)
    return replace(found, low=found.difference - half, high=found.difference + half)


def decide(values: Values, rule: str, task: str = "classification") -> pd.DataFrame:
    """What the rule decides, in the form of a file of decisions: of flagged rows alone, or of those that are surely wrong."""
    p, given, suggested = values.columns.get("probability_wrong"), values.given_label, values.suggested_label
    other = np.zeros(len(values), bool)
    if given is not None and suggested is not None:
        other = np.array([s != g for s, g in zip(suggested.tolist(), given.tolist(), strict=True)], bool)
    likely = other & (p >= SURE) if p is not None else np.zeros(len(values), bool)
    least = values.columns.get("probability_wrong_least")
    takes = likely if rule == "relabel" else other & (least >= EVEN) if least is not None else likely
    rows = _most_suspicious(values, task, takes if rule == "sure" else values.flagged)
    action, new = [], []
    for row in rows.tolist():
        relabels = rule != "drop" and takes[row]
        action.append("relabel" if relabels else "drop")
        new.append(text(suggested[row]) if relabels and suggested is not None else "")
    labels = [""] * len(rows) if given is None else [text(label) for label in given[rows].tolist()]
    ids = [text(one) for one in values.ids[rows].tolist()]
    return pd.DataFrame({"id": ids, "given_label": labels, "new_label": new, "action": action, "who": "rule"})


def _most_suspicious(values: Values, task: str, chosen: ndarray) -> ndarray:
    """Of the chosen rows those of the lowest scores, of no class more than half of its rows; regression: not more than half of all."""
    rows = np.flatnonzero(chosen)
    if values.given_label is None or task == "regression":
        return np.sort(rows[np.argsort(values.scores[rows], kind="stable")][: len(values) // 2])
    classes, codes = np.unique([repr(label) for label in values.given_label.tolist()], return_inverse=True)
    left = np.bincount(codes, minlength=len(classes)) // 2
    kept = []
    for row in rows[np.argsort(values.scores[rows], kind="stable")].tolist():
        if left[codes[row]] > 0:
            left[codes[row]] -= 1
            kept.append(row)
    return np.sort(np.array(kept, np.int64))


def _crossed(
    data: Dataset, decided: dict[str, Settled], method: str, model: Any, folds: int, repeats: int, seed: int, n_jobs: int | None,
    progress: bool,
) -> dict[str, Gain]:  # fmt: skip
    """By rule: both models on rows that neither they nor the rule have seen."""
    cut, n = partitions(data, folds, repeats, seed), len(data)
    right = {rule: np.zeros((3, n)) for rule in decided}
    for r in range(repeats):
        for fold in range(folds):
            rest, held = np.flatnonzero(cut[r] != fold), np.flatnonzero(cut[r] == fold)
            if data.classes and len(np.unique(data.codes[rest])) < len(data.classes):
                raise DataError(f"curate: a class has fewer rows than the {folds} folds: give fewer, or validation rows.")
            part = data.take(rest)
            for rule, found in _ways(part, data, held, method, list(decided), model, seed, n_jobs, progress).items():
                right[rule][:, held] += found / repeats
    return {rule: _gain(right[rule], decided[rule], folds, repeats) for rule in decided}


def _gain(right: ndarray, decided: Settled, folds: int, repeats: int) -> Gain:
    """Of (3, n) shares of the trainings in which a row was predicted as it is labelled: as it is, by the rule, by chance."""
    n, d = right.shape[1], right[1] - right[0]
    half = float(student.ppf(0.975, n - 1)) * float(np.sqrt((1 + 1 / (folds - 1)) * d.var(ddof=1) / n))
    relabelled, dropped = (int((decided.action == action).sum()) for action in ("relabel", "drop"))
    return Gain(
        difference=float(d.mean()),
        low=float(d.mean()) - half,
        high=float(d.mean()) + half,
        before=float(right[0].mean()),
        after=float(right[1].mean()),
        random=float((right[2] - right[0]).mean()) if dropped else None,
        test_rows=n,
        held_out=f"rows that the rule had not seen, with their given labels ({folds} folds, {repeats} time{'s'[: repeats > 1]})",
        relabelled=relabelled,
        dropped=dropped,
    )


def _ways(
    part: Dataset, data: Dataset, held: ndarray, method: str, rules: list[str], model: Any, seed: int, n_jobs: int | None,
    progress: bool,
) -> dict[str, ndarray]:  # fmt: skip
    """By rule (3, held): whether each row is predicted as it is labelled by a model of the part, of what the rule or chance leaves."""
    values, everything = value(part, method=method, seed=seed), np.ones(len(part), bool)
    trained = Trained(part, data.X[held], data.codes[held], model, seed, n_jobs, progress)
    before, ways = trained.right(everything, part.codes, None, None), {}
    for rule in rules:
        found = settled(decide(values, rule, part.task), part)
        stays = found.action != "drop"
        code = np.where(found.action == "relabel", found.code, part.codes)
        after = trained.right(stays, code, None, None)
        by_chance = before if stays.all() else trained.right(dropped_at_random(part, ~stays, seed), part.codes, None, None)
        ways[rule] = np.stack([before, after, by_chance])
    return ways
