"""Data Shapley (Ghorbani & Zou, ICML 2019): what a row adds to what came before it, on average over all orders of the rows.

    phi_i = 1/n sum over S without i of  (v(S + i) - v(S)) / C(n - 1, |S|)          v(S): utility of the model trained on S

    permutation  marginal contributions along random orders, the rest of an order 0 once v is near v(N) (TMC-Shapley); n trainings an
                 order, and what each row adds is seen once an order
    ridge        regression of v on all rows' presence in random subsets: KernelSHAP with a penalty, and, standardised, with the
                 assumption that effects are in proportion to the spread at each size (engines.semivalues). One training serves
                 every row. differences: each row for itself, without penalty and assumption, unbiased
    msr-adjusted the regression's own values, and differences of what it leaves, from pairs of a subset and its complement: unbiased
                 (Witter, Liu & Musco, NeurIPS 2025)

All add up to v(N) - v({}) (permutation: where nothing is truncated).

Differs from the paper's code: v({}) is the utility of a model of no rows, all classes alike, not the largest class's; truncation goes by
|v(N) - v(prefix)| <= truncation |v(N) - v({})| five times in a row; and ridge is the default, since an order takes n trainings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Unpack

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from datassay.checks import Count, DataError, Number
from datassay.data.dataset import Dataset
from datassay.engines import designs
from datassay.engines.designs import Inclusion
from datassay.engines.progress import progress_bar
from datassay.engines.semivalues import shapley_law
from datassay.methods.definition import SEMIVALUES, Finding, method
from datassay.signals import INTERRUPTED, taken
from datassay.subsets.semivalues import harm, semivalue
from datassay.subsets.study import Drawn, Stop, Study, Utility, stop_when, study_of
from datassay.subsets.utilities import other_utility, utility_of

INNER = (0.1, 0.9)  # p of subsets from which proportional effects are estimated
ARCSINE = Inclusion("beta", (0.5, 0.5))  # of equal noise in all sizes the one of least variance
AT_ONCE = 8  # orders that are gone along side by side
STEP = 32  # rows of an order that are trained before it is looked whether to go on
PATIENCE = 5  # prefixes in a row that must be near v(N)


@method("shapley", SEMIVALUES, renamed={"by": "estimator"})
def shapley(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    truncation: Annotated[float, Number(least=0, below=1)] = 0.01,
    standardise: bool = True,
    utility: Any = None,
    estimator: Literal["ridge", "differences", "permutation", "msr-adjusted"] = "ridge",
    **shared: Unpack[Drawn],
) -> Finding:
    """Data Shapley value of every row, from trainings on subsets.

    Parameters
    ----------
    truncation
        Of permutations, see above; 0: none.
    estimator
        "ridge", "differences", "msr-adjusted" or "permutation", see above. Permutations are whole, so that a few more trainings are done.
    standardise
        "ridge" as if what a row adds to subsets of one size were in proportion to what it adds to others, with p ~ U(0.1, 0.9): biased
        where that is not so, but nearer to the Shapley value than the unbiased estimates until there are many times n trainings.
    utility
        As for `ame`, but None is "probability", the mean probability of the validation rows' labels: subsets of a few rows, which
        count as much as large ones, make log-odds all noise.

    Returns
    -------
    Values
        scores = the column ``shapley`` (n,), high = worth keeping. Flagged: below 0. Suggested label: by models of the other folds.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="shapley", n_models=400)
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 6)
    >>> bool(abs(values.scores.sum() - (values.stats["utility_of_all"] - values.stats["utility_of_none"])) < 1e-9)
    True
    """
    if estimator == "permutation" and any(shared[option] for option in ("reuse", "antithetic", "stderr", "settled")):
        raise DataError("shapley: reuse, antithetic, stderr and settled are for the other estimators.")
    training_utility = utility_of(data, utility, "shapley", default="probability")
    if estimator == "permutation":
        stop = stop_when("shapley", n_models, shared)
        return _permutations(study_of("shapley", data, model, shared), stop, training_utility, float(truncation))
    return semivalue(
        "shapley",
        data,
        model,
        n_models,
        training_utility,
        ARCSINE
        if estimator == "msr-adjusted"
        else Inclusion("uniform", INNER if standardise and estimator == "ridge" else (0.0, 1.0)),
        shapley_law,
        shared,
        estimator=estimator,
        standardise=standardise,
        others=other_utility(data, utility, "shapley", default="probability"),
    )


def _permutations(s: Study, stop: Stop, training_utility: Utility, truncation: float) -> Finding:
    n = len(s.data)
    if stop.n_models < n:
        raise DataError(
            f"shapley: a permutation takes {n} trainings, one for each row, and n_models is {stop.n_models}: give more, or take "
            "estimator='ridge', where every training serves every row."
        )
    none, everything = s.ends(training_utility)
    near = truncation * abs(everything - none)
    marginals: list[ndarray] = []
    trainings, reason = 0, "as many trainings as were asked for"
    bar = progress_bar(f"shapley, {n} rows, {stop.n_models} trainings", stop.n_models, progress=s.progress)
    with bar:
        try:
            while not marginals or (stop.n_models - trainings >= n - 1 and s.elapsed <= stop.seconds):
                first = len(marginals)
                at_once = max(1, min(AT_ONCE, (stop.n_models - trainings) // (n - 1)))
                at_once = at_once if stop.seconds == np.inf else 1  # an order that is not gone to its end is lost
                orders = [np.argsort(designs.permutation(n, s.seed, first + k)[s.place]) for k in range(at_once)]
                marginals_of_round = _along(s, orders, training_utility, (none, everything), near, bar)
                trainings += sum(t for _, t in marginals_of_round)
                marginals += [m for m, _ in marginals_of_round]
                share = np.median(_error(marginals)) / max(np.std(np.mean(marginals, axis=0)), 1e-300)
                bar.set_postfix_str(f", {len(marginals)} orders, standard error {share:.2f} of the spread")
            if s.elapsed > stop.seconds and stop.n_models - trainings >= n - 1:
                reason = "the time was up"
        except KeyboardInterrupt:
            taken()
            if not marginals:
                raise
            reason = INTERRUPTED
    stats = {
        "trainings": trainings,
        "model": s.text,
        "permutations": len(marginals),
        "stopped": reason,
        "utility_of_none": none,
        "utility_of_all": everything,
        "stderr": _error(marginals),
    }
    return harm(s, np.mean(marginals, axis=0), stats)


def _along(
    s: Study, orders: list[ndarray], training_utility: Utility, ends: tuple[float, float], near: float, bar: tqdm
) -> list[tuple[ndarray, int]]:
    """Marginal contributions of every row along each order, and the trainings that took."""
    n = len(s.data)
    v = [
        np.full(n + 1, ends[1]) for _ in orders
    ]  # of the prefixes; from where it is truncated v(N): nothing is added any more
    reached, going = [0] * len(orders), set(range(len(orders)))
    for values in v:
        values[0] = ends[0]
    while going:
        parts = []
        for k in sorted(going):
            lengths = np.arange(reached[k] + 1, min(reached[k] + STEP, n - 1) + 1)
            parts.append((k, lengths, designs.prefixes(orders[k], lengths.tolist())))
        parts = [part for part in parts if len(part[1])]
        if parts:
            subsets = designs.Subsets(
                np.concatenate([p.counts for *_, p in parts]), np.concatenate([p.p for *_, p in parts])
            )
            s.train(subsets, bar=bar)
            utilities = np.split(
                s.utilities_of(subsets, training_utility), np.cumsum([len(lengths) for _, lengths, _ in parts])[:-1]
            )
            for (k, lengths, _), u in zip(parts, utilities, strict=True):
                v[k][lengths] = u
                reached[k] = int(lengths[-1])
        for k in sorted(going):
            if reached[k] >= n - 1:
                going.discard(k)
            elif near > 0 and (at := _settled(v[k][: reached[k] + 1], ends[1], near)) is not None:
                v[k][at + 1 :] = v[k][at]
                going.discard(k)
    results = []
    for order, values, length in zip(orders, v, reached, strict=True):
        marginal = np.empty(n)
        marginal[order] = np.diff(values)
        results.append((marginal, length))
    return results


def _settled(v: ndarray, everything: float, near: float) -> int | None:
    """The first prefix with which `PATIENCE` in a row are near the end."""
    close = np.abs(v - everything) <= near
    run = np.convolve(close, np.ones(PATIENCE, int))[: len(v)] == PATIENCE
    return int(np.argmax(run)) if run.any() else None


def _error(marginals: list[ndarray]) -> ndarray:
    k = len(marginals)
    return np.std(marginals, axis=0, ddof=1) / np.sqrt(k) if k > 1 else np.full(len(marginals[0]), np.nan)
