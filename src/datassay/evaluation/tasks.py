"""The tasks: what is done to the rows before a method values them, and what is measured of its values afterwards.

Each task is one line in `TASKS`. A case is one data set, kind of error, rate and seed; its validation and test rows are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from scipy.stats import spearmanr

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.evaluation import lds
from datassay.evaluation.datasets import Split
from datassay.evaluation.detection import detection, found_area, found_curve, two_groups
from datassay.evaluation.planting import plant
from datassay.evaluation.subsets import FRACTIONS, OFFSETS, SMALL, accuracies, between, by_class, removed, windows
from datassay.methods import find, takes
from datassay.values import Values

Curve = tuple[ndarray, ndarray]
STREAM = 0xE7A1  # of the spawn keys, that of the errors


class Case(NamedTuple):
    """What a method is given, and what is known about it."""

    data: Dataset  #: with errors
    wrong: ndarray  #: (n,) which rows have one
    split: Split  #: as it was drawn, with test rows
    seed: int
    options: dict[str, Any] = {}  # noqa: RUF012 - that the method must be given  #: of the task
    matrix: ndarray | None = (
        None  #: (n, q) what every row is worth to each of some validation rows, where the task asks for that
    )


class Outcome(NamedTuple):
    """What was measured of one method's values in one case."""

    metrics: dict[str, float]
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Task:
    """A protocol."""

    says: str  #: what is done and measured, in a sentence
    prepare: Callable[[Split, str, float, int], Case]
    measure: Callable[[Case, Values, Learner], Outcome]
    kinds: tuple[str, ...]  #: of errors, or of what else differs; the first are the default
    rates: tuple[float, ...]  #: the default
    main: str  #: the metric by which methods are compared
    higher: bool = True  #: whether more of it is better
    other_kinds: tuple[str, ...] = ()  #: that can be asked for
    same_rows: bool = False  #: seeds are the method's: all see the same rows
    needs: Callable[[Any], bool] = field(default=lambda method: True)  #: methods that it can ask
    classes: bool = False  #: classification only
    matrix: bool = False  #: methods are asked about each of some validation rows


class Learner(NamedTuple):
    """The model that is trained on what values say to keep."""

    model: Any = None
    training: Any = None


# ------------------------------------------------------------------------------------------------------------- before


def stream(seed: int, which: int) -> int:
    """A seed of its own: neither the draw of the rows nor a method's training has these random numbers, whose order of rows would
    otherwise be that of the errors.

    >>> len({stream(0, 0), stream(0, 1), stream(1, 0)})
    3
    """
    return int(np.random.SeedSequence(seed, spawn_key=(STREAM, which)).generate_state(1, np.uint64)[0] >> 1)


def with_errors(split: Split, kind: str, rate: float, seed: int) -> Case:
    """Errors of this kind in the training rows; none at rate 0."""
    if rate == 0 and kind != "human":  # tasks that need errors say so
        return Case(split.data, np.zeros(len(split.data), bool), split, seed)
    planted = stream(seed, 0)
    data, wrong = plant(split.data, kind, rate, seed=planted, human=split.human)
    return Case(data, wrong, split, seed)


def with_poison(split: Split, kind: str, rate: float, seed: int) -> Case:
    """Rows of other classes are marked and given the label of the first class: which made the model fall for a marked row?

    The mark: the tenth of the columns with the least spread (at least three) are set to the largest value of the data. The query is a
    marked validation row of another class, added behind the others.
    """
    data = split.data
    rng = np.random.default_rng(stream(seed, 1))
    k = max(1, round(rate * len(data)))
    X, target = np.array(data.X, float), 0
    others = np.flatnonzero(data.codes != target)
    bad = rng.permutation(others)[:k]
    spread = X.std(0)
    columns = np.argsort(spread, kind="stable")[: max(3, X.shape[1] // 10)]
    mark = X.max()
    X[np.ix_(bad, columns)] = mark
    codes = data.codes.copy()
    codes[bad] = target
    assert data.X_val is not None
    assert data.codes_val is not None
    assert data.y_val is not None
    query_row = rng.choice(np.flatnonzero(data.codes_val != target))
    query = np.array(data.X_val[query_row], float)[None]
    query[:, columns] = mark
    X_val, y_val = np.concatenate([np.asarray(data.X_val, float), query]), np.append(data.y_val, data.y_val[query_row])
    marked = Dataset(X, data.labels_of(codes), X_val, y_val, ids=data.ids, task=data.task)
    wrong = np.isin(np.arange(len(data)), bad)
    label = data.labels_of(np.array([target])).tolist()[0]
    return Case(marked, wrong, split, seed, {"query": len(X_val) - 1, "label": label})


def first_rows(split: Split, kind: str, rate: float, seed: int) -> Case:
    """The first rows of those that were drawn, as many as the kind says: "n=500"."""
    name, _, count = kind.partition("=")
    if name != "n" or not count.isdigit():
        raise DataError(f"the kinds of the task 'time' are sizes such as 'n=500', got {kind!r}.")
    n = int(count)
    if n > len(split.data):
        raise DataError(f"time: {n} rows are asked for, and {len(split.data)} were drawn: raise train.")
    rows = np.random.default_rng(stream(seed, 2)).permutation(len(split.data))[:n]
    return Case(split.data.take(np.sort(rows)), np.zeros(n, bool), split, seed)


# -------------------------------------------------------------------------------------------------------------- after


def detection_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """Where the wrong rows stand among the suspects."""
    scores, wrong = values.scores, case.wrong
    if not wrong.any():
        raise DataError("there is no wrong row to find: the rate must be above 0.")
    n = len(scores)
    first = wrong[np.argsort(scores, kind="stable")]
    flagged = values.flagged
    hits = int((flagged & wrong).sum())
    metrics = detection(scores, wrong) | {
        "f1": two_groups(scores, wrong),
        "found_area": found_area(scores, wrong),
        "recall_10": float(first[: round(0.1 * n)].sum() / wrong.sum()),
        "flag_recall": hits / int(wrong.sum()),
        "flag_precision": hits / int(flagged.sum()) if flagged.any() else float("nan"),
        "flagged": float(flagged.mean()),
    }
    return Outcome(metrics, {"found": found_curve(scores, wrong)})


def removal_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """Accuracy on test rows when the highest, or the lowest, scores are left out; among all rows, and in equal shares of each class."""
    masks = {}
    for name, codes in {"": None, "-by-class": case.data.codes if case.data.classes else None}.items():
        if name and codes is None:
            continue
        for side, mask in removed(by_class(values.scores, codes)).items():
            masks[f"remove-{side}{name}"] = mask
    accuracy = accuracies(
        case.data, case.split.X_test, case.split.y_test, masks, learner.model, training=learner.training, seed=case.seed
    )
    x = np.array(FRACTIONS)
    metrics = {}
    for name, y in accuracy.items():
        metrics[f"{name.replace('-', '_')}_area"] = float(y.mean())
    low = "remove-low-by-class" if case.data.classes else "remove-low"
    high = "remove-high-by-class" if case.data.classes else "remove-high"
    metrics["gap"] = float((accuracy[low] - accuracy[high]).mean())
    metrics["best_gain"] = float(accuracy[low].max() - accuracy[low][0])
    return Outcome(metrics, {name: (x, y) for name, y in accuracy.items()})


def addition_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """Accuracy on test rows of trainings on the highest, or the lowest, scores alone."""
    rank = by_class(values.scores, case.data.codes if case.data.classes else None)
    masks = {
        "add-high": np.stack([between(rank, 1 - f, 1 + 1e-6) for f in SMALL]),
        "add-low": np.stack([between(rank, 0, f) for f in SMALL]),
    }
    for mask in masks.values():
        if case.data.classes:  # at least one row of each class
            for row in mask:
                for c in range(len(case.data.classes)):
                    of_class = np.flatnonzero(case.data.codes == c)
                    if not row[of_class].any():
                        best = rank[of_class].argmax() if mask is masks["add-high"] else rank[of_class].argmin()
                        row[of_class[best]] = True
    accuracy = accuracies(
        case.data, case.split.X_test, case.split.y_test, masks, learner.model, training=learner.training, seed=case.seed
    )
    x = np.array(SMALL)
    metrics = {f"{name.replace('-', '_')}_area": float(y.mean()) for name, y in accuracy.items()}
    metrics["gap"] = metrics["add_high_area"] - metrics["add_low_area"]
    return Outcome(metrics, {name: (x, y) for name, y in accuracy.items()})


def window_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """Accuracy on test rows of trainings on half of each class: from the easiest half (highest scores) to the hardest."""
    rank = by_class(values.scores, case.data.codes if case.data.classes else None)
    masks = {"window": windows(rank)}
    accuracy = accuracies(
        case.data, case.split.X_test, case.split.y_test, masks, learner.model, training=learner.training, seed=case.seed
    )["window"]
    x = np.array(OFFSETS)
    metrics = {"best_offset": float(x[accuracy.argmax()]), "best": float(accuracy.max()), "spread": float(np.ptp(accuracy))}
    return Outcome(metrics, {"window": (x, accuracy)})


def difficulty_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """How the loss of each tenth of the rows, from low scores to high, falls while a network is trained on all of them."""
    from datassay.evaluation.dynamics import by_tenths

    loss, right = by_tenths(case.data, values.scores, learner.model, training=learner.training, seed=case.seed)
    x = np.arange(1, len(loss) + 1.0)
    curves = {f"loss of tenth {g + 1}": (x, loss[:, g]) for g in range(loss.shape[1])}
    curves |= {f"right in tenth {g + 1}": (x, right[:, g]) for g in range(right.shape[1])}
    order = np.arange(loss.shape[1])
    return Outcome({"loss_order": float(-spearmanr(order, loss.mean(0)).statistic)}, curves)


def velocity_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """How fast the kernel of each tenth of the rows, from low scores to high, turns while a network is trained on all of them."""
    from datassay.evaluation.dynamics import kernel_velocity, levels

    size = max(
        2, min(125, len(case.data) // 10, 250 // max(2, len(case.data.classes)))
    )  # a kernel has (size x classes)^2 numbers
    groups = levels(values.scores, 10, size)
    v = kernel_velocity(
        case.data, groups, learner.model, training=learner.training, seed=case.seed, device="cpu", progress=False
    )
    x = np.arange(1, len(v) + 1.0)
    curves = {f"velocity of tenth {g + 1}": (x, v[:, g]) for g in range(v.shape[1])}
    return Outcome({"velocity_order": float(-spearmanr(np.arange(10), v.mean(0)).statistic)}, curves)


def lds_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """How well values that are added up tell what models of half of the rows say; of one query after another."""
    model, training = learner
    if model is None and find(values.method)[1].model == "network":
        from datassay.networks.recipes import recorded

        model, training = lds.default_network(case.data), recorded(values.options.get("training"))
    elif model is None and find(values.method)[1].model == "trees":
        model = lds.default_trees(case.data)
    counts, said = lds.retrained(case.data, model, training, case.seed)
    assert case.matrix is not None
    each = lds.scores(case.matrix, counts, said[:, lds.asked(case.data)])
    metrics = {
        "lds": float(each.mean()),
        "lds_stderr": float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else 0.0,
    }
    if case.wrong.any():
        metrics["auc"] = detection(values.scores, case.wrong)["auc"]
    return Outcome(metrics, {"lds": (np.arange(1, len(each) + 1.0), np.sort(each)[::-1])})


def no_outcome(case: Case, values: Values, learner: Learner) -> Outcome:
    """Values alone: compared afterwards."""
    return Outcome({}, {})


LOWER = (
    "seconds",
    "lds_stderr",
    "remove_high_area",
    "remove_high_by_class_area",
    "add_low_area",
    "flagged",
    "best_offset",
)  # less is better, or no matter

WRONG = ("pair-flip", "near", "confused", "human")
EVERY = (*WRONG, "features", "mixed")
TASKS = {
    "noisy-labels": Task(
        "wrong labels are planted in the training rows; validation rows are right", with_errors, detection_outcome,
        ("uniform",), (0.05, 0.1, 0.2), "auc", other_kinds=WRONG,
    ),
    "noisy-features": Task(
        "normal noise is planted in the features of some training rows", with_errors, detection_outcome,
        ("features",), (0.05, 0.1, 0.2), "auc",
    ),
    "mixed": Task(
        "half of the errors are wrong labels, half noise in features", with_errors, detection_outcome,
        ("mixed",), (0.05, 0.1, 0.2), "auc",
    ),
    "removal": Task(
        "rows are left out by score, a model is trained on the others and judged on test rows", with_errors, removal_outcome,
        ("uniform",), (0.0, 0.2), "gap", other_kinds=EVERY,
    ),
    "addition": Task(
        "a model is trained on the highest, or lowest, scores alone and judged on test rows", with_errors, addition_outcome,
        ("uniform",), (0.0, 0.2), "gap", other_kinds=EVERY,
    ),
    "window": Task(
        "a model is trained on half of the rows, from the easiest half to the hardest", with_errors, window_outcome,
        ("uniform",), (0.2,), "best", other_kinds=EVERY,
    ),
    "difficulty": Task(
        "a network is trained on all rows: the loss of each tenth of the scores, epoch by epoch", with_errors, difficulty_outcome,
        ("uniform",), (0.0,), "loss_order", classes=True,
    ),
    "velocity": Task(
        "a network is trained on all rows: how fast the kernel of each tenth of the scores turns", with_errors, velocity_outcome,
        ("uniform",), (0.0,), "velocity_order", classes=True,
    ),
    "poison": Task(
        "some rows are marked and have another label: which rows are behind a marked validation row's wrong class?",
        with_poison, detection_outcome,
        ("mark",), (0.02,), "average_precision", needs=partial(takes, "query"), classes=True,
    ),
    "lds": Task(
        "models are trained on halves of the rows: do values for one validation row, added up, tell what they say of it?",
        with_errors, lds_outcome, ("uniform",), (0.0,), "lds", other_kinds=EVERY, matrix=True,
        needs=lambda method: takes("matrix", method) or takes("query", method),
    ),
    "stability": Task(
        "the same rows are valued with other seeds of the method", with_errors, no_outcome,
        ("uniform",), (0.1,), "rank_correlation", other_kinds=EVERY, same_rows=True,
    ),
    "time": Task(
        "seconds at several sizes", first_rows, no_outcome, ("n=250", "n=500", "n=1000"), (0.0,), "seconds", higher=False,
    ),
}  # fmt: skip
