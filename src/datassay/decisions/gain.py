"""`gain`: is a model better for what was done to the rows?

The same model is trained on the rows as they were and as they are now, and asked about the same rows that neither training saw:

    d_j = right(after, j) - right(before, j)        of test row j, a mean over the trainings in which it was held out
    difference = mean of d,  low and high = difference -+ t sqrt(var(d) / m)          (regression: squared errors over the variance)

Validation rows are the test rows where there are some. Else both data sets are cut into the same folds by id, and test rows are those that
nothing was done to: labels that were changed say nothing of which was right. Then wrong labels among the test rows count against what is
right, in both alike: the difference is nearer to 0 than it would be on clean rows. Folds share training rows, so the variance grows by the
factor 1 + m_test / m_train of Nadeau & Bengio (2003).

Without validation rows this holds for decisions that somebody made who looked at the rows. A rule that saw these labels has fitted the rows
to them, neighbours of a test row included: by simulation it is given a gain of about one point where there is none
(benchmarks/gain_interval.py). The proof of `curate` values the rows anew without each fold, and does not.

Beside it, the same for as many rows dropped at random in the same classes: what dropping alone does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.stats import t as student
from sklearn.model_selection import KFold, StratifiedKFold

from datassay.checks import DataError, Whole, of_kind
from datassay.data.dataset import Dataset
from datassay.engines.designs import Subsets
from datassay.subsets.study import study


@dataclass(frozen=True)
class Gain:
    """What changed, in shares of the test rows (regression: of their variance)."""

    difference: float  #: after less before; above 0: better
    low: float
    high: float  #: of the 95 % interval
    before: float  #: accuracy (regression: share of variance explained)
    after: float
    random: float | None  #: difference by as many rows dropped at random in the same classes; None where none was dropped
    test_rows: int
    held_out: str  #: "validation rows", or how many folds
    relabelled: int
    dropped: int

    @property
    def shown(self) -> bool:
        """Whether the interval is above 0."""
        return self.low > 0

    def __str__(self) -> str:
        share = f"{self.difference:+.2%} ({self.low:+.2%} to {self.high:+.2%}) on {self.test_rows:,} {self.held_out}"
        beside = "" if self.random is None else f"; as many rows dropped at random: {self.random:+.2%}"
        if self.low > 0:
            return f"Better by {share}{beside}."
        if self.high < 0:
            return f"Worse: {share}{beside}."
        return f"No gain can be shown: {share}{beside}."


def gain(
    before: Dataset,
    after: Dataset,
    *,
    model: Any = None,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Gain:
    """Compare a model trained on the rows before with one trained on the rows after.

    Parameters
    ----------
    before, after
        The same rows by their ids; ``after`` may lack some and have other labels. Validation rows, if any, must be the same, and right.
    model
        A scikit-learn estimator, a torch `nn.Module`, or a function from a seed to one. None: logistic regression, or ridge regression.
    folds
        Of the rows, where there are no validation rows.
    repeats
        Partitions; with validation rows: trainings of a model that is random.
    seed, n_jobs, progress
        All randomness; workers; a bar on stderr.

    Returns
    -------
    Gain
        ``difference``, ``low``, ``high``: of accuracy (regression: of the share of variance explained).

    Raises
    ------
    DataError
        The two are not of the same rows, or nothing was changed.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> true = np.arange(300) % 3
    >>> X = 3 * np.eye(3)[true] + rng.normal(size=(300, 3))
    >>> y = np.where(np.arange(300) < 90, (true + 1) % 3, true)                # 90 labels are wrong
    >>> X_val, y_val = 3 * np.eye(3)[true] + rng.normal(size=(300, 3)), true
    >>> found = da.gain(da.Dataset(X, y, X_val, y_val), da.Dataset(X, true, X_val, y_val), progress=False)
    >>> bool(found.difference >= 0), found.relabelled, found.held_out
    (True, 90, 'validation rows')
    """
    of_kind("gain", Whole(2), folds=folds)
    of_kind("gain", Whole(1), repeats=repeats)
    where = _rows(before, after)
    there = where >= 0
    if before.task == "regression":
        changed = there & (before.codes != after.codes[where])
    else:
        changed = there & np.array([a != b for a, b in zip(before.y.tolist(), after.y[where].tolist(), strict=True)])
    dropped = ~there
    if not changed.any() and not dropped.any():
        raise DataError("gain: nothing was changed between before and after: there is no difference to measure.")
    code = _codes_after(before, after, where)
    ways = [(np.ones(len(before), bool), before.codes), (there, code)]
    if dropped.any():
        ways.append((dropped_at_random(before, dropped, seed), before.codes))
    if before.X_val is not None:
        X, codes, extra, held_out = before.X_val, before.codes_val, 1.0, "validation rows"
        cut, test = None, None
    else:
        test = np.flatnonzero(there & ~changed)
        if len(test) < 20:
            raise DataError(
                f"gain: only {len(test)} rows were left as they are, and the others can't say which label was right: give "
                "validation rows."
            )
        X, codes, extra = before.X[test], before.codes[test], 1 + 1 / (folds - 1)
        held_out = (
            f"rows that were left as they are, each held out ({folds} folds, {repeats} times; a rule that "
            "saw these labels is given too much)"
        )
        cut = partitions(before, folds, repeats, seed)
    assert codes is not None
    trained = Trained(before, X, codes, model, seed, n_jobs, progress)
    right = [trained.right(rows, labels, cut, test) for rows, labels in ways]
    d, m = right[1] - right[0], len(codes)
    half = float(student.ppf(0.975, m - 1)) * float(np.sqrt(extra * d.var(ddof=1) / m))
    other = right[2] if len(right) > 2 else None
    return Gain(
        float(d.mean()),
        float(d.mean()) - half,
        float(d.mean()) + half,
        float(right[0].mean()),
        float(right[1].mean()),
        None if other is None else float((other - right[0]).mean()),
        m,
        held_out,
        int(changed.sum()),
        int(dropped.sum()),
    )


@dataclass(frozen=True)
class Trained:
    """Trainings on rows of one data set, asked about the same test rows."""

    data: Dataset
    X: Any  #: of the test rows
    codes: ndarray  #: their labels
    model: Any
    seed: int
    n_jobs: int | None
    progress: bool

    def right(self, rows: ndarray, labels: ndarray, folds: ndarray | None, test: ndarray | None) -> ndarray:
        """(m,) share of the trainings on these rows with these labels in which a test row is predicted as it is labelled; regression: 1
        less the squared error over the variance of the test rows."""
        data = self.data
        y, y_test = (data.labels_of(labels), data.labels_of(self.codes)) if data.classes else (labels, self.codes)
        there = Dataset(data.X, y, self.X, y_test, ids=data.ids, task=data.task)
        s = study(
            "gain", there, self.model, training=None, device="auto", store=None, seed=self.seed, n_jobs=self.n_jobs,
            progress=self.progress, same_seed=True,
        )  # fmt: skip
        held = (
            np.zeros((1, len(data)), bool) if folds is None else np.concatenate([folds == f for f in range(folds.max() + 1)])
        )
        counts = (rows & ~held).astype(np.uint8)
        subsets = Subsets(counts, np.full(len(counts), np.nan))
        s.train(subsets)
        said = s.utilities_of(subsets, lambda outputs: outputs)
        if data.classes:
            hit = (said.argmax(-1) == there.codes_val).astype(float)
        else:
            hit = 1 - (said[..., 0] - self.codes) ** 2 / self.codes.var()
        if test is None:
            out: ndarray = hit.mean(0)
            return out
        asked = held[:, test]  # each test row by the trainings without it
        return np.asarray((hit * asked).sum(0) / asked.sum(0))


def _rows(before: Dataset, after: Dataset) -> ndarray:
    """(n,) where each row of before is in after, -1 where it is not."""
    for name, data in (("before", before), ("after", after)):
        if not isinstance(data, Dataset):
            raise DataError(
                f"gain needs {name} as a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
            )
    if before.task != after.task:
        raise DataError(f"gain: before is {before.task} and after is {after.task}: pass task= to both.")
    row_of = {one: row for row, one in enumerate(before.ids.tolist())}
    where = np.full(len(before), -1)
    for row, one in enumerate(after.ids.tolist()):
        if one not in row_of:
            raise DataError(
                f"gain: after has a row with id {one!r}, and before has none: both need the ids of the same rows (--id)."
            )
        where[row_of[one]] = row
    return where


def _codes_after(before: Dataset, after: Dataset, where: ndarray) -> ndarray:
    """(n,) labels of after in the numbers of before, of rows that are gone those of before."""
    there = where >= 0
    code = before.codes.copy()
    if not before.classes:
        code[there] = after.codes[where[there]]
        return code
    number = {label: c for c, label in enumerate(before.classes)}
    for row in np.flatnonzero(there):
        label = after.classes[after.codes[where[row]]]
        if label not in number:
            raise DataError(f"gain: row {before.ids[row]!r} has the label {label!r} after, which no row has before.")
        code[row] = number[label]
    return code


def partitions(data: Dataset, folds: int, repeats: int, seed: int) -> ndarray:
    """(repeats, n) folds, classes spread evenly."""
    cut = StratifiedKFold if data.classes else KFold
    if len(data) < folds:
        raise DataError(f"gain needs {folds} rows for {folds} folds, got {len(data)}.")
    out = np.empty((repeats, len(data)), np.int64)
    for r in range(repeats):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes smaller than the number of folds
            for f, (_, held) in enumerate(cut(folds, shuffle=True, random_state=seed + r).split(data.X, data.codes)):
                out[r, held] = f
    return out


def dropped_at_random(data: Dataset, dropped: ndarray, seed: int) -> ndarray:
    """(n,) rows that stay if as many as were dropped go, in each class."""
    rng, stays = np.random.default_rng(seed), np.ones(len(data), bool)
    strata = data.codes if data.classes else np.zeros(len(data), np.int64)
    for c in np.unique(strata):
        mine = np.flatnonzero(strata == c)
        stays[rng.permutation(mine)[: int(dropped[mine].sum())]] = False
    return stays
