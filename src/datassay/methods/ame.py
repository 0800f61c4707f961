"""AME, the average marginal effect (Lin, Zhang, Lecuyer, Li, Panda & Sen, ICML 2022): what a row adds, on average over random subsets.

    AME_i = E_p E_S [U(S + i) - U(S)]       S: every other row with probability p, p from a grid; U: utility of the model trained on S
    X_ji = 1 / (sqrt(v) p_j) if row i is in subset j, -1 / (sqrt(v) (1 - p_j)) if not;   v = E[1 / (p (1 - p))]
    AME = sqrt(v) beta of the least squares of U on X                                      (exact over all subsets; engines.effects)

beta by the LASSO, as in the paper, or by ridge regression. Rows with an effect are selected by knockoffs: a second mask for each
training, drawn alike and never used, goes into the same LASSO; a row must stand out further than the knockoffs do
(engines.knockoffs), so that at most a share q of the selected are wrongly so, in expectation.

Differs from the paper's code: U(p), and how U grows with the size of the subset, are taken out before (not by a column for each p
alone); utilities are standardised for subsets of a size (``standardise``); ridge regression by default, since for the values of all
rows few are 0; knockoff+ on the harmful side. That code divides by v where sqrt(v) is a factor; ranks are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Unpack

import numpy as np

from datassay.checks import Count, Number, Share, Whole, refuse
from datassay.data.dataset import Dataset
from datassay.engines.designs import Inclusion
from datassay.engines.marginal_effects import MarginalEffects, Selection
from datassay.methods.ame_groups import grouped
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.semivalues import NO_STORE, exactly, order_kept
from datassay.subsets.study import Drawn, grid, stop_when, study_of, symmetric
from datassay.subsets.utilities import other_utility, query_utility, utility_of

GRID = (0.2, 0.4, 0.6, 0.8)


@method("ame", SUBSETS, renamed={"regression": "estimator"})
def ame(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    inclusion: float | Sequence[float] = GRID,
    epsilon: Annotated[float, Number(above=0, below=0.5)] | None = None,
    estimator: Literal["ridge", "lasso"] = "ridge",
    rule: Literal["1se", "min"] = "1se",
    standardise: bool = True,
    utility: Any = None,
    query: Annotated[int, Whole(0)] | None = None,
    label: Any = None,
    select: Literal["harmful", "helpful"] = "harmful",
    q: Share = 0.1,
    knockoff: Literal["plus", "plain"] | None = "plus",
    bootstrap: Annotated[int, Whole(0)] = 20,
    groups: Any = None,
    opened: Annotated[int, Whole(0)] = 0,
    **shared: Unpack[Drawn],
) -> Finding:
    """Average marginal effect of every row on a model, from trainings on random subsets; harmful rows selected with error control.

    Parameters
    ----------
    inclusion
        The probabilities p with which rows are in a subset, each equally often; a single one gives weighted Banzhaf values.
    epsilon
        Shapley mode: p uniform on [epsilon, 1 - epsilon] instead of the grid, by the paper's p-coding. A Shapley value differs from
        this by at most 4 epsilon R, where R is the most that a row changes the utility: ``stats["shapley_bound"]``.
    estimator, rule
        "ridge", penalty by leave-one-out; or "lasso", penalty by 20-fold cross-validation: the largest within a standard error of
        the best ("1se") or the best ("min").
    standardise
        Utilities are measured in standard deviations of those of subsets of the same size, and the result brought back to the mean
        one. False: as in the paper, where what happens in small subsets weighs most.
    query, label
        Instead: the log-odds of class ``label`` (None: its own label) for validation row number ``query`` (utility "probability": its
        probability). With a wrong label, say the
        one that a model gives it, rows with large effects are its causes, and their scores are low.
    select, q, knockoff
        Which rows are flagged: the harmful (negative score), or the helpful; at most a share q of them wrongly, in expectation, by
        knockoff+ ("plus"; selects 1/q rows or none) or, in a weaker sense, by knockoffs ("plain"). None: score below 0 by
        two standard errors.
    bootstrap
        Resamplings of the trainings for the LASSO's standard errors (ridge: jackknife); 0: none.
    groups, opened
        (n,) labels, of sources or annotators say: whole groups are drawn, and each has one AME, column ``group_ame``. With ``opened``,
        so many of the flagged groups (the lowest first) are taken apart: n_models more trainings value their rows one by one. Other
        rows have their group's AME, divided by the number of its rows.
    reuse
        Train nothing: use all trainings of this model and these rows with these p that the store has.

    Returns
    -------
    Values
        scores (n,): the AME, high = raises the utility = worth keeping. Columns: ``ame``, in the paper's sign; ``knockoff_statistic``,
        which is at least ``stats["threshold"]`` for rows that are flagged. ``stats["stderr"]`` (n,): by how much scores differ from
        trainings to other trainings; what the penalty takes away from them is not in it. Suggested label: by models of the other
        folds.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="ame", n_models=400)
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 6)
    """
    reuse, antithetic = shared["reuse"], shared["antithetic"]
    refuse(
        "ame",
        (reuse and shared["store"] is None, NO_STORE),
        (
            groups is not None and (reuse or epsilon is not None or knockoff is None),
            "groups go with a grid of inclusion and with knockoffs, and not with reuse or epsilon",
        ),
        (
            groups is not None and (antithetic or shared["stderr"] or shared["settled"]),
            "antithetic, stderr and settled are for single rows: leave them out where there are groups",
        ),
        (
            epsilon is not None and (reuse or inclusion is not GRID),
            "epsilon draws subsets of its own: leave inclusion and reuse out",
        ),
        (
            estimator == "lasso" and knockoff is None and bootstrap < 2,
            "knockoff=None flags by standard errors, and those of the LASSO need bootstrap from 2 on",
        ),
        (
            query is None and label is not None,
            "label is for a query: give the position of a validation row as query, too",
        ),
        (
            query is not None and utility not in (None, "log-odds", "probability"),
            "the utility of a query is the 'log-odds' of one class, or its 'probability'",
        ),
    )
    distribution = grid("ame", inclusion) if epsilon is None else Inclusion("log-odds", (epsilon, 1 - epsilon))
    if antithetic:
        symmetric("ame", distribution)
    stop = stop_when("ame", n_models, shared)
    s = study_of("ame", data, model, shared)
    own = True
    if query is None:
        training_utility = utility_of(data, utility, "ame")
    else:
        training_utility, own = query_utility(data, query, label, "ame", probability=utility == "probability")
    ends = s.ends(training_utility)
    effects_model = MarginalEffects(
        distribution, epsilon is not None, estimator, rule, standardise, ends, shared["seed"], shared["n_jobs"], reuse
    )
    selection = Selection(select, q, knockoff, own)
    if groups is not None:
        return grouped(s, groups, effects_model, stop, training_utility, selection, bootstrap, opened)
    below = "below" if select == "harmful" else "above"
    if not reuse and (value := exactly(s, stop, training_utility, effects_model.law_of_size)) is not None:
        stats = {"trainings": 2 ** len(data), "stopped": "all subsets: exact", "stderr": np.zeros(len(data))}
        stats["flag_rule"] = f"{select}: the exact score is {below} 0"
        scores = value.copy() if own else -value
        return Finding(scores, selection.beyond(scores, 0.0), {"ame": value}, s.suggested(), stats)
    if reuse:
        collected, U = s.stored(training_utility, distribution)
    else:
        collected, U = s.sample(
            distribution,
            stop,
            training_utility,
            antithetic=antithetic,
            look=lambda subsets, u: effects_model.estimate(subsets, u)[:2],
        )
    value, error, shrinkage = effects_model.estimate(collected.subsets, U, bootstrap)
    scores, columns = value if own else -value, {"ame": value}
    stats = s.about(collected) | {
        "stderr": error,
        "shrinkage": shrinkage,
        "utility_of_none": ends[0],
        "utility_of_all": ends[1],
    }
    if estimator == "ridge":  # a LASSO would take as long again for each half
        others = other_utility(data, utility, "ame") if query is None and not reuse else {}
        stats |= order_kept(s, collected.subsets, U, value, lambda *some: effects_model.estimate(*some)[0], others)
    if epsilon is not None:
        bounded = query is None and utility in ("accuracy", "probability")
        R = 1.0 if bounded else float(np.ptp(np.r_[U, ends]))
        stats |= {"shapley_bound": 4 * epsilon * R, "shapley_bound_R": "1, the utility's range" if bounded else "range seen"}
    if knockoff is None:
        flagged = selection.beyond(scores, 2 * error)
        stats["flag_rule"] = f"{select}: score {below} 0 by two standard errors"
    else:
        W = effects_model.select(collected.subsets, U, s.place, selection.direction, antithetic)
        threshold = selection.threshold(W)
        flagged, columns["knockoff_statistic"] = threshold <= W, W
        stats |= {"q": q, "threshold": threshold if np.isfinite(threshold) else None}
        stats["flag_rule"] = f"{select}, {selection.rule}"
    return Finding(scores.copy(), flagged, columns, s.suggested(), stats)
