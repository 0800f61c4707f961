"""Semivalues of rows from trainings on subsets: those of a design, all that the store has, or of few rows all that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.checks import refuse
from datassay.data.dataset import Dataset
from datassay.engines import designs, semivalues
from datassay.engines.designs import Inclusion, Subsets
from datassay.engines.ranks import of_twice, spearman
from datassay.subsets.study import FEWEST, Drawn, Stop, Study, Utility, stop_when, study_of, symmetric
from datassay.values import Finding

FEW = 20  # rows up to which there may be no more subsets than trainings are asked for
NO_STORE = "reuse=True takes trainings from a store: name one, store='trainings.sqlite'"

Law = Callable[[int], ndarray]  #: of the size of the subset of other rows, for n rows: (n,)


def semivalue(
    method: str,
    data: Dataset,
    model: Any,
    n_models: int,
    utility: Utility,
    inclusion: Inclusion,
    law: Law,
    shared: Drawn,
    *,
    estimator: str,
    standardise: bool,
    others: dict[str, Utility],
) -> Finding:
    """A semivalue from subsets that were drawn row by row; the values are exact where all subsets were trained.

    Raises
    ------
    DataError
        There is no store whose trainings could be used again, or antithetic subsets would have other probabilities.
    """
    stop, s, n = stop_when(method, n_models, shared), study_of(method, data, model, shared), len(data)
    reuse, antithetic, adjusted = shared["reuse"], shared["antithetic"], estimator == "msr-adjusted"
    pairs = adjusted and not reuse and inclusion.symmetric
    antithetic = antithetic or pairs
    if antithetic:
        symmetric(method, inclusion)
    refuse(method, (reuse and shared["store"] is None, NO_STORE))
    if not reuse and (value := exactly(s, stop, utility, law)) is not None:
        return harm(s, value, {"trainings": 2**n, "stopped": "all subsets: exact", "stderr": np.zeros(n)})
    ends = s.ends(utility)

    def estimated(subsets: Subsets, v: ndarray, *, errors: bool = True) -> semivalues.Estimate:
        keep, drawn = subsets.counts.astype(bool), semivalues.mixture(n, subsets.p)
        by = estimator if estimator in ("ridge", "msr-adjusted") else "differences"
        return semivalues.estimate(
            keep, v, drawn, law(n), ends=ends, by=by, standardise=standardise and by == "ridge", errors=errors, pairs=pairs
        )

    if reuse:
        collected, v = s.stored(utility)
    else:
        collected, v = s.sample(
            inclusion, stop, utility, antithetic=antithetic, look=lambda subsets, u: estimated(subsets, u)[:2]
        )
    found = estimated(collected.subsets, v)
    stats = s.about(collected) | {
        "stderr": found.stderr,
        "effective_trainings": round(found.effective, 1),
        "shrinkage": found.shrinkage,
        "utility_of_none": ends[0],
        "utility_of_all": ends[1],
    }
    stats |= order_kept(
        s, collected.subsets, v, found.value, lambda *some: estimated(*some, errors=False).value, {} if reuse else others
    )
    return harm(s, found.value, stats)


def order_kept(
    s: Study,
    subsets: Subsets,
    v: ndarray,
    scores: ndarray,
    estimated: Callable[[Subsets, ndarray], ndarray],
    others: dict[str, Utility],
) -> dict[str, dict[str, float]]:
    """For ``stats``, from the trainings that are there: rank correlations of the scores with those of other trainings and utilities.

    ``halves``: of the scores by every other pair of trainings and by the rest; ``seed``: what that says of as many trainings with
    another seed; and by other utilities, of the same trainings, under their names.
    """
    first = np.arange(len(v)) // 2 % 2 == 0  # antithetic neighbours stay together
    if (~first).sum() < FEWEST:
        return {}
    one, other = (estimated(Subsets(subsets.counts[some], subsets.p[some]), v[some]) for some in (first, ~first))
    halves = spearman(one, other)
    kept = {"halves": halves, "seed": of_twice(halves)}
    return {
        "order_kept": kept
        | {name: spearman(scores, estimated(subsets, s.utilities_of(subsets, utility))) for name, utility in others.items()}
    }


def exactly(s: Study, stop: Stop, utility: Utility, law: Law) -> ndarray | None:
    """(n,) from all subsets, where there are no more of them than trainings asked for, and time for all."""
    n = len(s.data)
    if n > FEW or 2**n > stop.n_models or stop.seconds < np.inf:
        return None
    every = designs.all_subsets(n)
    s.train(every)
    return semivalues.exact(s.utilities_of(every, utility), law(n))


def harm(s: Study, value: ndarray, stats: dict[str, Any]) -> Finding:
    """Values in a column by the name of the method, of which those below 0 are flagged; labels by models of the other folds."""
    name = s.method.replace("-", " ")
    stats = stats | {"flag_rule": f"{name.title()} value below 0: on average the row does harm"}
    return Finding(value.copy(), np.asarray(value < 0), {name.replace(" ", "_"): value}, s.suggested(), stats)
