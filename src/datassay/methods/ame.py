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
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
from numpy import ndarray

from datassay.checks import Count, DataError, Jobs, Number, Positive, Seed, Share, Whole
from datassay.data.dataset import Dataset
from datassay.engines import designs, effects, knockoffs, semivalues
from datassay.engines.designs import Inclusion, Subsets
from datassay.methods import ame_groups
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.study import INTERRUPTED, Stop, Study, Utility, stop_when, study, symmetric
from datassay.subsets.utilities import query_utility, utility_of

GRID = (0.2, 0.4, 0.6, 0.8)


@method("ame", SUBSETS)
def ame(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    inclusion: float | Sequence[float] = GRID,
    epsilon: float | None = None,
    regression: Literal["ridge", "lasso"] = "ridge",
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
    antithetic: bool = False,
    budget: str | float | None = None,
    stderr: Positive | None = None,
    settled: Annotated[float, Number(above=0, most=1)] | None = None,
    training: Any = None,
    device: str = "auto",
    store: str | Path | None = None,
    reuse: bool = False,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
) -> Finding:
    """Average marginal effect of every row on a model, from trainings on random subsets; harmful rows selected with error control.

    Parameters
    ----------
    data
        n rows, and m validation rows whose labels are right.
    model
        A scikit-learn estimator, a torch `nn.Module` (drawn anew for each subset), or a function from a seed to one. None: logistic
        regression (ridge regression for amounts) on scaled columns.
    n_models
        Trainings. More make all values more certain, see ``stats["stderr"]``.
    inclusion
        The probabilities p with which rows are in a subset, each equally often; a single one gives weighted Banzhaf values.
    epsilon
        Shapley mode: p uniform on [epsilon, 1 - epsilon] instead of the grid, by the paper's p-coding. A Shapley value differs from
        this by at most 4 epsilon R, where R is the most that a row changes the utility: ``stats["shapley_bound"]``.
    regression, rule
        "ridge", penalty by leave-one-out; or "lasso", penalty by 20-fold cross-validation: the largest within a standard error of
        the best ("1se") or the best ("min").
    standardise
        Utilities are measured in standard deviations of those of subsets of the same size, and the result brought back to the mean
        one. False: as in the paper, where what happens in small subsets weighs most.
    utility
        What a training is worth on the validation rows. Classification: "margin" (None; mean log-odds of the labels), "accuracy",
        "log-likelihood", "probability"; regression: "squared-error". Or any scikit-learn scorer, by name or as scorer(model, X, y),
        which gets the validation rows' positions as X and may only ask the model about them.
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
    store, reuse
        A file in which trainings are kept, for this and all other methods that train on subsets; trainings that are there are not
        done again. reuse=True: train nothing, use all that it has for this model with these p.

    Returns
    -------
    Values
        scores (n,): the AME, high = raises the utility = worth keeping. Columns: ``ame``, in the paper's sign; ``knockoff_statistic``,
        which is at least ``stats["threshold"]`` for rows that are flagged. ``stats["stderr"]`` (n,): by how much scores differ from
        trainings to other trainings; what the penalty takes away from them is not in it. Suggested label: by models of the other
        folds.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(1, 1, (30, 3)), rng.normal(-1, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X, y, X_val=[[1, 1, 1], [-1, -1, -1]], y_val=["a", "b"])
    >>> values = da.value(data, method="ame", n_models=400)
    >>> values.suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    given = dict(locals())
    _check(given)
    stop = stop_when("ame", n_models, budget, stderr, settled)
    s = study("ame", data, model, training=training, device=device, store=store, seed=seed, n_jobs=n_jobs, progress=progress)
    own = True
    if query is None:
        worth = utility_of(data, utility, "ame")
    else:
        worth, own = query_utility(data, query, label, "ame", probability=utility == "probability")
    law = _design(inclusion, epsilon)
    if antithetic:
        symmetric("ame", law)
    ends = s.ends(worth)
    how = _How(law, epsilon is not None, regression, rule, standardise, ends, seed, n_jobs, reuse)
    direction = "harmful" if (select == "harmful") == own else "helpful"
    if groups is not None:
        return _grouped(s, given, how, stop, worth, direction, own)
    if len(data) <= 20 and 2 ** len(data) <= n_models and not reuse and budget is None:
        return _exactly(s, given, how, worth, own)
    if reuse:
        got, U = s.stored(worth, law)
    else:
        draw = s.drawn(lambda a, b: law.draw(len(data), seed, a, b, antithetic=antithetic))
        got = s.collect(draw, stop, look=lambda x: how.estimate(x, s.worth(x, worth), 0)[:2])
        U = s.worth(got.subsets, worth)
    value, error, shrinkage = how.estimate(got.subsets, U, bootstrap)
    scores = value if own else -value
    columns = {"ame": value}
    stats: dict[str, Any] = {
        "trainings": len(U),
        "model": s.text,
        "stopped": got.stopped,
        "looks": got.looks,
        "stderr": error,
        "shrinkage": shrinkage,
        "utility_of_none": ends[0],
        "utility_of_all": ends[1],
    }
    if epsilon is not None:
        bounded = query is None and utility in ("accuracy", "probability")
        R = 1.0 if bounded else float(np.ptp(np.r_[U, ends]))
        stats |= {"shapley_bound": 4 * epsilon * R, "shapley_bound_R": "1, the utility's range" if bounded else "range seen"}
    if knockoff is None:
        flagged = scores < -2 * error if select == "harmful" else scores > 2 * error
        stats["flag_rule"] = f"{select}: score {'below 0' if select == 'harmful' else 'above 0'} by two standard errors"
    else:
        W = how.select(got.subsets, U, s.place, direction, antithetic)
        threshold = knockoffs.threshold(W, q, plus=knockoff == "plus")
        flagged, columns["knockoff_statistic"] = threshold <= W, W
        stats |= {"q": q, "threshold": threshold if np.isfinite(threshold) else None}
        name = "knockoff+" if knockoff == "plus" else "knockoffs"
        stats["flag_rule"] = f"{select}, selected by {name} at a false discovery rate of {q:g}"
    suggested = s.suggested()
    return Finding(scores.copy(), flagged, columns, suggested, stats)


def _exactly(s: Study, given: dict[str, Any], how: _How, worth: Utility, own: bool) -> Finding:
    """Of few rows, all subsets are trained: there is nothing to estimate, and nothing to select by chance."""
    n = len(s.data)
    every = designs.all_subsets(n)
    s.train(every)
    value = semivalues.exact(s.worth(every, worth), how.law_of_size(n))
    scores = value.copy() if own else -value
    flagged = scores < 0 if given["select"] == "harmful" else scores > 0
    stats = {"trainings": 2**n, "stopped": "all subsets: exact", "stderr": np.zeros(n)}
    stats["flag_rule"] = f"{given['select']}: the exact score is {'below' if given['select'] == 'harmful' else 'above'} 0"
    suggested = s.suggested()
    return Finding(scores, flagged, {"ame": value}, suggested, stats)


def _grouped(s: Study, given: dict[str, Any], how: _How, stop: Stop, worth: Utility, direction: str, own: bool) -> Finding:
    """AME of groups, and of the rows of some of them."""
    data, q, sign = s.data, given["q"], 1.0 if own else -1.0
    groups = ame_groups.read(data, given["groups"])
    found = ame_groups.first(s, groups, how.law, stop, worth)
    group_value, error, shrinkage = how.estimate(found.inside, found.U, given["bootstrap"])
    plus = given["knockoff"] != "plain"
    W = how.select(found.inside, found.U, groups.place, direction, False)
    tau = knockoffs.threshold(W, q, plus=plus)
    chosen = tau <= W
    value, stderr = (group_value / groups.rows)[groups.of], (error / groups.rows)[groups.of]
    flagged, statistic = chosen[groups.of], W[groups.of]
    worst = np.flatnonzero(chosen)[np.argsort((sign * group_value)[chosen], kind="stable")][: given["opened"]]
    stats: dict[str, Any] = {
        "trainings": len(found.U),
        "model": s.text,
        "stopped": found.stopped,
        "shrinkage": shrinkage,
        "q": q,
    }
    if plus and len(groups.labels) < 1 / q:
        stats["warning"] = (
            f"knockoff+ selects 1 / q = {1 / q:.0f} groups or none, and there are {len(groups.labels)}: take a larger q or knockoff='plain'"
        )
    stats |= {"groups": len(groups.labels), "groups_flagged": [str(groups.labels[g]) for g in np.flatnonzero(chosen)]}
    if len(worst):
        inner = ame_groups.second(s, groups, how.law, stop, worth, worst, direction, how.regression)
        value[inner.rows], stderr[inner.rows], statistic[inner.rows] = inner.effect, inner.stderr, inner.W
        flagged[inner.rows] = knockoffs.threshold(inner.W, q, plus=plus) <= inner.W
        stats["trainings"] += inner.trainings
        stats["stopped"] = INTERRUPTED if inner.stopped == INTERRUPTED else found.stopped
        stats["groups_opened"] = [str(groups.labels[g]) for g in worst]
    name = "knockoff+" if plus else "knockoffs"
    what = "in groups" + (", and rows of opened groups," if len(worst) else "")
    stats |= {
        "flag_rule": f"{given['select']}: {what} selected by {name} at a false discovery rate of {q:g}",
        "stderr": stderr,
    }
    columns = {"ame": value, "group_ame": group_value[groups.of], "knockoff_statistic": statistic}
    suggested = s.suggested()
    return Finding(sign * value, flagged, columns, suggested, stats)


def _check(given: dict[str, Any]) -> None:
    if given["reuse"] and given["store"] is None:
        raise DataError("ame: reuse=True takes trainings from a store: name one, store='trainings.sqlite'.")
    if given["groups"] is not None and (given["reuse"] or given["epsilon"] is not None or given["knockoff"] is None):
        raise DataError("ame: groups go with a grid of inclusion and with knockoffs, and not with reuse or epsilon.")
    if given["groups"] is not None and (given["antithetic"] or given["stderr"] or given["settled"]):
        raise DataError("ame: antithetic, stderr and settled are for single rows: leave them out where there are groups.")
    if given["epsilon"] is not None and (given["reuse"] or given["inclusion"] is not GRID):
        raise DataError("ame: epsilon draws subsets of its own: leave inclusion and reuse out.")
    if given["regression"] == "lasso" and given["knockoff"] is None and given["bootstrap"] < 2:
        raise DataError("ame: knockoff=None flags by standard errors, and those of the LASSO need bootstrap from 2 on.")
    if given["query"] is None and given["label"] is not None:
        raise DataError("ame: label is for a query: give the position of a validation row as query, too.")
    if given["query"] is not None and given["utility"] not in (None, "log-odds", "probability"):
        raise DataError("ame: the utility of a query is the 'log-odds' of one class, or its 'probability'.")


def _design(inclusion: float | Sequence[float], epsilon: float | None) -> Inclusion:
    try:
        if epsilon is None:
            grid = (inclusion,) if isinstance(inclusion, Real) else inclusion
            return Inclusion("grid", tuple(float(p) for p in grid))  # type: ignore[union-attr]
        if not isinstance(epsilon, Real) or not 0 < epsilon < 0.5:
            raise ValueError(f"epsilon must be between 0 and 0.5, got {epsilon!r}.")
        return Inclusion("log-odds", (epsilon, 1 - epsilon))
    except (ValueError, TypeError) as error:
        raise DataError(f"ame: {error}") from None


class _How(NamedTuple):
    """How effects are estimated."""

    law: Inclusion
    shapley: bool
    regression: str
    rule: str
    standardise: bool
    ends: tuple[float, float]
    seed: int
    n_jobs: int | None
    reuse: bool

    def columns(self, keep: ndarray, p: ndarray) -> tuple[ndarray, float]:
        """Coded masks, and the factor from their coefficients to effects."""
        if self.shapley:
            return effects.centred(keep, p), 1.0
        v = effects.inclusion_variance(p) if self.reuse else self.law.variance
        return effects.coded(keep, p, v), float(np.sqrt(v))

    def prepared(self, size: ndarray, U: ndarray, n: int) -> tuple[ndarray, ndarray, ndarray]:
        """U less its mean for subsets of such a size, in standard deviations for it; columns that stay unpenalised; the means."""
        curve = semivalues.curve_of(size, U, n, self.ends)
        u = U - curve[size]
        some = (size > 0) & (size < n)  # what none and all are worth is known: there the spread is 0
        if self.standardise and some.any():
            spread = semivalues.scale(size[some], n, u[some])(size)
            u = u * (spread[some].mean() / spread)
        return u, semivalues.of_size(size, n, min(4, len(np.unique(size)) - 1)), curve

    def law_of_size(self, n: int) -> ndarray:
        """(n,) of the size of the subset of other rows, whose mean effects are wanted."""
        u = (np.arange(1000) + 0.5) / 1000
        low, high = self.law.parameters[0], self.law.parameters[-1]
        return semivalues.inclusion_law(n, low + (high - low) * u if self.shapley else self.law.quantile(u))

    def estimate(self, subsets: Subsets, U: ndarray, bootstrap: int) -> tuple[ndarray, ndarray, float]:
        """(n,) effects, (n,) standard errors, and the penalty."""
        keep, p = subsets.counts.astype(bool), subsets.p
        n = keep.shape[1]
        u, Z, curve = self.prepared(keep.sum(axis=1), U, n)
        X, factor = self.columns(keep, p)
        # standard errors go by what differs among trainings of one p, where there are several
        levels = p if self.law.kind == "grid" and np.unique(p, return_counts=True)[1].min() > 1 else None
        if self.regression == "ridge":
            found = effects.ridge(X, u, Z, errors=True, strata=levels)
            coef, error, penalty = found.coef, cast(ndarray, found.stderr), float(found.alpha)
        else:
            fit = effects.lasso(X, u, Z, rule=self.rule, strata=p, seed=self.seed, n_jobs=self.n_jobs)
            coef, penalty = fit.coef, float(fit.alpha)

            def again(rows: ndarray) -> ndarray:
                return effects.lasso(X[rows], u[rows], Z[rows], alpha=penalty, n_jobs=1).coef

            error = np.full(n, np.nan)
            if bootstrap:
                error = effects.bootstrap(again, len(u), times=bootstrap, strata=levels, seed=self.seed, n_jobs=self.n_jobs)
        effect = factor * coef
        # what all rows have in common is what one more row adds, whichever
        return effect - effect.mean() + semivalues.mean_of(self.law_of_size(n), curve), factor * error, penalty

    def select(self, subsets: Subsets, U: ndarray, place: ndarray, direction: str, antithetic: bool) -> ndarray:
        """(n,) W: by how much rows stand out from their knockoffs. U is prepared by p alone, of which both are drawn: the size of a
        subset would tell its rows from the knockoffs."""
        keep, p = subsets.counts.astype(bool), subsets.p
        n = keep.shape[1]
        u, _, _ = self.prepared(np.rint(p * n).astype(np.int64), U, n)
        if self.reuse:  # pairs of antithetic subsets could be told from their knockoffs: one of each stays
            first = _without_twins(keep)
            keep, p, u = keep[first], p[first], u[first]
        other = knockoffs.knockoff_masks(p, n, self.seed, antithetic=antithetic)[:, place]
        X, K = self.columns(keep, p)[0], self.columns(other, p)[0]
        Z = effects.covariates(p)
        return knockoffs.joint(
            X, K, u, Z, how=self.regression, direction=direction, strata=p, seed=self.seed, n_jobs=self.n_jobs
        )


def _without_twins(keep: ndarray) -> ndarray:
    """Positions of subsets of which no earlier one has just the rows that they leave out.

    >>> _without_twins(np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]], bool)).tolist()
    [0, 2]
    """
    seen: set[bytes] = set()
    chosen = []
    for j, mask in enumerate(keep):
        if np.packbits(~mask).tobytes() not in seen:
            chosen.append(j)
            seen.add(np.packbits(mask).tobytes())
    return np.array(chosen)
