"""AME of groups of rows, of sources or annotators say, and of rows within groups (Lin et al., ICML 2022: hierarchical design).

    first   whole groups are in a subset with probability p; the AME of a group is that of one more unit, as for single rows
    second  rows of the opened groups are drawn once more, with the same p, where their group is in; U is regressed on
            X_jg = coded presence of every group, and for rows i of opened groups g
            X_ji = 1{g in} (1{i in} - p) / (p^2 (1 - p)),   of mean 0 given all else, E[X_ji U] = AME_i given that its group is in
            AME_i = E[1 / (p^2 (1 - p))] beta_i

A row of a group that was not opened has its group's AME, divided by the group's rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines import designs, effects, knockoffs
from datassay.engines.designs import Inclusion, Subsets
from datassay.engines.marginal_effects import MarginalEffects, Selection
from datassay.signals import INTERRUPTED
from datassay.subsets.study import Stop, Study, Utility
from datassay.values import Finding


def grouped(
    s: Study,
    given: Any,
    how: MarginalEffects,
    stop: Stop,
    utility: Utility,
    selection: Selection,
    bootstrap: int,
    opened: int,
) -> Finding:
    """AME of groups, and of the rows of some of them."""
    groups, sign = read(s.data, given), 1.0 if selection.own else -1.0
    outer = first(s, groups, how.distribution, stop, utility)
    group_value, error, shrinkage = how.estimate(outer.inside, outer.U, bootstrap)
    W = how.select(outer.inside, outer.U, groups.place, selection.direction, False)
    chosen = selection.threshold(W) <= W
    value, stderr = (group_value / groups.rows)[groups.of], (error / groups.rows)[groups.of]
    flagged, statistic = chosen[groups.of], W[groups.of]
    worst = np.flatnonzero(chosen)[np.argsort((sign * group_value)[chosen], kind="stable")][:opened]
    stats: dict[str, Any] = {
        "trainings": len(outer.U),
        "model": s.text,
        "stopped": outer.stopped,
        "shrinkage": shrinkage,
        "q": selection.q,
        "groups": len(groups.labels),
        "groups_flagged": [str(groups.labels[g]) for g in np.flatnonzero(chosen)],
        "stderr": stderr,
    }
    if selection.knockoff == "plus" and len(groups.labels) < 1 / selection.q:
        stats["warning"] = (
            f"knockoff+ selects 1 / q = {1 / selection.q:.0f} groups or none, and there are {len(groups.labels)}: take a larger q or "
            "knockoff='plain'"
        )
    if len(worst):
        inner = second(s, groups, how.distribution, stop, utility, worst, selection.direction, how.estimator)
        value[inner.rows], stderr[inner.rows], statistic[inner.rows] = inner.effect, inner.stderr, inner.W
        flagged[inner.rows] = selection.threshold(inner.W) <= inner.W
        stats["trainings"] += inner.trainings
        stats["stopped"] = INTERRUPTED if inner.stopped == INTERRUPTED else outer.stopped
        stats["groups_opened"] = [str(groups.labels[g]) for g in worst]
    what = "in groups" + (", and rows of opened groups," if len(worst) else "")
    stats["flag_rule"] = f"{selection.select}: {what} {selection.rule}"
    columns = {"ame": value, "group_ame": group_value[groups.of], "knockoff_statistic": statistic}
    return Finding(sign * value, flagged, columns, s.suggested(), stats)


class Groups(NamedTuple):
    """Which row is of which group."""

    of: ndarray  #: (n,) codes
    labels: list[Any]  #: (g,)
    place: ndarray  #: (g,) of each among the columns of a design, by its label

    @property
    def rows(self) -> ndarray:
        """(g,) rows in each."""
        return np.bincount(self.of)


def read(data: Dataset, groups: Any) -> Groups:
    """Check what was given as groups."""
    given = groups.to_numpy() if hasattr(groups, "to_numpy") else np.asarray(groups)
    if given.shape != (len(data),):
        raise DataError(f"ame: groups must have one entry for each of {len(data)} rows, got shape {given.shape}.")
    if pd.isna(given).any():
        raise DataError(f"ame: row {int(np.argmax(pd.isna(given)))} has no group: give it one.")
    codes, labels = pd.factorize(given)
    if len(labels) < 4:
        raise DataError(f"ame: groups must be 4 or more, got {len(labels)}: value the rows one by one, without groups.")
    return Groups(codes, labels.tolist(), designs.places(labels.tolist()))


class First(NamedTuple):
    """Trainings on whole groups."""

    inside: Subsets  #: of groups
    U: ndarray
    stopped: str


def first(s: Study, groups: Groups, distribution: Inclusion, stop: Stop, utility: Utility) -> First:
    """Train on random groups."""

    def inside(start: int, stop: int) -> Subsets:
        return designs.in_places(lambda a, b: distribution.draw(len(groups.labels), s.seed, a, b), groups.place)(start, stop)

    def draw(start: int, stop: int) -> Subsets:
        drawn = inside(start, stop)
        return Subsets(np.ascontiguousarray(drawn.counts[:, groups.of]), np.full(stop - start, np.nan))

    collected = s.collect(draw, stop)
    return First(inside(0, len(collected.subsets.p)), s.utilities_of(collected.subsets, utility), collected.stopped)


class Second(NamedTuple):
    """Effects of the rows of opened groups."""

    rows: ndarray  #: their positions
    effect: ndarray
    stderr: ndarray
    W: ndarray  #: knockoff statistics
    trainings: int
    stopped: str


def second(
    s: Study,
    groups: Groups,
    distribution: Inclusion,
    stop: Stop,
    utility: Utility,
    opened: ndarray,
    direction: str,
    how: str,
) -> Second:
    """Train on random groups, of the opened ones on random rows, and take the rows' effects apart."""
    n, rows = len(groups.of), np.flatnonzero(np.isin(groups.of, opened))

    def inside(start: int, stop: int) -> Subsets:
        return designs.in_places(lambda a, b: distribution.draw(len(groups.labels), s.seed + 1, a, b), groups.place)(
            start, stop
        )

    def within(p: ndarray, start: int, stream: int) -> ndarray:
        drawn = [np.random.default_rng([s.seed, stream, start + j]).random(n) for j in range(len(p))]
        return np.reshape(drawn, (len(p), n))[:, s.place][:, rows] < p[:, None]

    def draw(start: int, stop: int) -> Subsets:
        g = inside(start, stop)
        counts = g.counts.astype(bool)[:, groups.of]
        counts[:, rows] &= within(g.p, start, designs.WITHIN)
        return Subsets(counts.astype(np.uint8), np.full(len(g.p), np.nan))

    collected = s.collect(draw, stop)
    m = len(collected.subsets.p)
    U, g = s.utilities_of(collected.subsets, utility), inside(0, m)
    p, there = g.p, g.counts.astype(bool)[:, groups.of]
    one, other = within(p, 0, designs.WITHIN), within(p, 0, designs.WITHIN + 1)

    def coded(keep: ndarray) -> ndarray:
        return there[:, rows] * (keep - p[:, None]) / (p**2 * (1 - p))[:, None]

    p_law = distribution.quantile((np.arange(1000) + 0.5) / 1000)
    v = float(np.mean(1 / (p_law**2 * (1 - p_law))))
    Z = np.hstack([effects.covariates(p), effects.coded(g.counts.astype(bool), p, distribution.variance)])
    if len(groups.labels) > m // 4:
        Z = effects.covariates(p)
    fitted = effects.ridge(coded(one), U, Z, errors=True)
    W = knockoffs.joint(
        coded(one), coded(other), U, effects.covariates(p), how=how, direction=direction, strata=p, seed=s.seed
    )
    assert fitted.stderr is not None
    return Second(rows, v * fitted.coef, v * fitted.stderr, W, m, collected.stopped)
