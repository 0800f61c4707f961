"""`explain`: which rows made a model say this, for and against, and what it would say without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy import ndarray

from datassay.checks import Count, DataError, one_of, whole
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.methods import METHODS, takes, value
from datassay.values import Values

ADDS_UP = (
    "influence",
    "trak",
    "boostin",
    "datamodels",
)  # methods whose scores of several rows say, added, what the answer loses without all of them
SHOWN = 12  # positions that are kept of the rows that are asked about: a page shows so many


def explain(
    data: Dataset,
    model: Any = None,
    query: int | Sequence[int] | Literal["validation"] = "validation",
    method: str | None = None,
    *,
    label: Any = None,
    verify: bool = False,
    remove: Count = 25,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Values:
    """How much every row speaks for an answer of a model that was trained on them.

    Parameters
    ----------
    data
        n rows; validation rows, if the question is about these.
    model
        As the method takes it. None: logistic regression, or ridge regression for regression targets.
    query
        Positions of rows, of validation rows where there are any, else of the training rows themselves; "validation": all of them. The
        answer is the log-odds of one row's label (regression: the prediction), or the mean log-likelihood of several rows' labels.
    method
        One that judges by validation rows and takes a model: "influence", "ame", "datamodels", ... None: the cheapest that fits
        the model, "influence" for linear models, "trak" for networks, "boostin" for boosted trees, and "ame" for all others.
    label
        Of one row: the class whose log-odds are the answer; None: its own label.
    verify
        Train again without the rows that speak most for the answer, and without as many that are drawn from the same classes.
    remove
        How many rows that are, and how many the forecast is about.
    options
        Of the method, by their names.
    seed
        All randomness follows from it.

    Returns
    -------
    Values
        scores (n,): how much the row speaks for the answer, in the method's own unit; flagged: rows that speak against it. ``stats``:
        ``method`` and ``why`` it was taken; ``answer``, what was asked in words; ``asked``, the first of these rows; where scores add up
        ``forecast``, what the answer loses without the ``remove`` rows (``together``: by a fit without all of them, of linear models;
        else their scores, added); with ``verify`` ``verified``: the answer ``before``, ``after``,
        and ``after_random``. `report` makes a page of it.

    Raises
    ------
    DataError
        There is no such row, class or method, or the method can't be asked this.

    Examples
    --------
    >>> import datassay as da
    >>> data = da.datasets.drawn("wine", train=90, val=40, test=20).data
    >>> found = da.explain(data, query=3, verify=True)
    >>> found.stats["method"], found.stats["answer"]
    ('influence', "the log-odds of 'class_0' for validation row 3")
    >>> said = found.stats["verified"]
    >>> said["after"] < said["after_random"] < said["before"]
    True
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"explain needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    one_of("explain", (True, False), verify=verify)
    whole("explain", 1, remove=remove)
    asked = _asked(data, query, label)
    name, why = (method, "it was asked for") if method is not None else _cheapest(model)
    chosen = dict(options or {})
    entry = METHODS.get(name)
    if entry is None or not (entry.validation and takes("model", name)):
        fit = ", ".join(m for m in METHODS if METHODS[m].validation and takes("model", m))
        raise DataError(f"explain needs a method that trains a model and judges by validation rows ({fit}), got {name!r}.")
    if taken := [option for option in ("model", "query", "label", "seed") if option in chosen]:
        raise DataError(f"explain: {taken[0]} is an argument of explain itself: leave it out of options.")
    if asked.code is not None and takes("query", name):
        chosen |= {"query": 0} | ({} if label is None else {"label": label})
    elif label is not None:
        raise DataError(
            f"explain: {name} can't be asked about one class: leave label out, or take influence, trak, boostin, ame or datamodels."
        )
    elif asked.code is None and takes("utility", name) and data.task == "classification":
        chosen = {"utility": "log-likelihood"} | chosen
    found = value(asked.data, name, seed=seed, model=model, **chosen)
    other = asked.code is not None and data.task == "classification" and asked.code != int(asked.data.codes_val[0])  # type: ignore[index]
    scores = -found.scores if other else found.scores.copy()
    stats = dict(found.stats) | {"method": name, "why": why, "answer": asked.words}
    stats["asked"] = {"rows": asked.rows[:SHOWN], "of": len(asked.rows), "validation": data.X_val is not None}
    stats["flag_rule"] = "speaks against the answer"
    strongest = np.argsort(-scores, kind="stable")[: min(int(remove), len(data) - 1)]
    if name in ADDS_UP:
        together = _together(asked, model, chosen, found, strongest)
        lost = float(scores[strongest].sum()) if together is None else together
        stats["forecast"] = {"rows": len(strongest), "lost": lost, "together": together is not None}
    if verify:
        stats["verified"] = _verified(asked, model, found, strongest, seed)
    return replace(found, scores=scores, flagged=scores < 0, stats=stats, data_hash=data.hash)


class _Asked(NamedTuple):
    data: Dataset  #: the rows that are asked about are its validation rows
    rows: list[int]  #: their positions in the data that was given
    code: int | None  #: of one row: the class whose log-odds are asked for, 0 in regression
    words: str


def _asked(data: Dataset, query: Any, label: Any) -> _Asked:
    """What is asked."""
    there = data.X_val is not None
    kind = "validation row" if there else "row"
    total = len(data.y_val) if data.y_val is not None else len(data)
    single = isinstance(query, (int, np.integer)) and not isinstance(query, bool)
    if isinstance(query, str):
        if query != "validation":
            raise DataError(f"explain: query must be 'validation' or positions of rows, got {query!r}.")
        if not there:
            raise DataError(
                "explain: query='validation' needs validation rows, X_val and y_val (file: --val), or name a row."
            )
        rows = np.arange(total)
    else:
        rows = np.atleast_1d(np.asarray(query))
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or not 0 <= rows.min() <= rows.max() < total:
            raise DataError(
                f"explain: query must be the position of a {kind}, from 0 to {total - 1}, or several, got {query!r}."
            )
    about = data.take_validation(rows) if there else data.judged_by(rows)
    if not single:
        if label is not None:
            raise DataError("explain: label is for a question about one row.")
        what = "mean log-likelihood of the labels" if data.task == "classification" else "mean squared error, with a minus,"
        return _Asked(about, rows.tolist(), None, f"the {what} of {len(rows):,} {kind}{'s' if len(rows) > 1 else ''}")
    which = f"{kind} {int(query)}" if there else f"row {plain(data.ids[int(query)])!r}"
    if data.task == "regression":
        if label is not None:
            raise DataError("explain: label is a class, and this is regression.")
        return _Asked(about, rows.tolist(), 0, f"the prediction for {which}")
    assert about.codes_val is not None
    code = int(about.codes_val[0])
    if label is not None:
        known = [plain(c) for c in data.classes]
        if plain(label) not in known:
            raise DataError(f"explain: label must be one of the classes {known[:10]}, got {label!r}.")
        code = known.index(plain(label))
    return _Asked(about, rows.tolist(), code, f"the log-odds of {plain(data.classes[code])!r} for {which}")


def _cheapest(model: Any) -> tuple[str, str]:
    """The method for this model, and why."""
    if model is None:
        return "influence", "the default model is linear: one fit tells"
    if not hasattr(model, "fit"):
        return "trak", "a network: a few trainings tell, approximately"
    from datassay.subsets.boosted import KNOWN
    from datassay.subsets.trainers import is_linear

    if type(model).__name__ in KNOWN:
        return "boostin", "boosted trees: one fit tells, approximately"
    if is_linear(model):
        return "influence", "the model is linear: one fit tells"
    return "ame", "any model can be asked by trainings on subsets"


def _together(asked: _Asked, model: Any, chosen: Mapping[str, Any], found: Values, strongest: ndarray) -> float | None:
    """What the answer of a linear model loses without all of the rows, which is fitted without them; None: of others."""
    if found.stats.get("way") != "Newton's step without the row":
        return None
    from datassay.methods.influence import without_group

    asks = {option: chosen[option] for option in ("utility", "query", "label") if option in chosen}
    return without_group(asked.data, model, strongest, **asks)


def _verified(asked: _Asked, model: Any, found: Values, strongest: ndarray, seed: int) -> dict[str, Any]:
    """The answer by models that are really trained: on all rows, without the strongest, and without as many of the same classes."""
    from datassay.engines.designs import Subsets
    from datassay.subsets.study import study
    from datassay.subsets.utilities import query_utility, utility_of

    data, n = asked.data, len(asked.data)
    training = None
    if isinstance(kept := found.options.get("training"), Mapping):
        from datassay.networks.recipes import recorded  # which imports torch

        training = recorded(kept)
    rng = np.random.default_rng([seed, 1])
    drawn = [
        rng.choice(np.flatnonzero(data.codes == c), int((data.codes[strongest] == c).sum()), replace=False)
        for c in (range(len(data.classes)) if data.classes else ())
    ]
    random = np.concatenate(drawn) if drawn else rng.choice(n, len(strongest), replace=False)
    counts = np.ones((3, n), np.uint8)
    counts[1, strongest], counts[2, random] = 0, 0
    trained = study(
        "explain", data, model, training=training, device="auto", store=None, seed=seed, n_jobs=None, progress=False, tol=1e-9,
        same_seed=True,
    )  # fmt: skip
    subsets = Subsets(counts, np.full(3, np.nan))
    trained.train(subsets)
    if asked.code is None:
        utility = utility_of(data, None if data.task == "regression" else "log-likelihood", "explain")
    else:
        utility, _ = query_utility(data, 0, data.classes[asked.code] if data.classes else None, "explain")
    before, after, after_random = (float(u) for u in trained.utilities_of(subsets, utility))
    return {"rows": len(strongest), "before": before, "after": after, "after_random": after_random}
