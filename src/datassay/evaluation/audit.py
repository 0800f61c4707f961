"""`audit`: which method to trust on these data, and how many of its suspects to expect to be wrong.

Known errors are planted in copies of the rows, methods look for them, and one that none clearly beats values the rows as they are.

    u_j   share of the other rows whose score is below that of planted row j           (method, copy)
    H(u)  least concave majorant of the distribution of the u_j                        (Grenander's estimate of a falling density)
    e     share of wrong labels: among the rows whose class models that didn't see them are surest of, how many have another label
    c     = e / ((K - 1)(1 - e)), K classes: so many planted labels are right, since their rows had been wrong; these rows are spread as
          right ones are, u = e H + (1 - e) R, so that what is seen is (1 - c) H + c u, and H follows
    G(u)  = min(H(u), u / e)
    P(row i is wrong) = e G'(r_i / n),     expected hits among the first k suspects = e n G(k / n)        r_i: rank of row i

The rows that nothing was done to are, among themselves, evenly spread over u. So if a share e of them is wrong in the way of the planted
ones, then a row at u is wrong with probability e H'(u), and that can't be above 1: G is H with its slope held to 1/e, the excess moved on
to the next rows. e is the rate at which labels disagree where there is no doubt about the class; it counts on errors that don't seek the
doubtful rows. People's errors do: then there are more of them than e says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray
from scipy.optimize import isotonic_regression
from scipy.stats import t as student
from tqdm import tqdm

from datassay.checks import DataError, Number, of_kind, one_of, whole
from datassay.data.dataset import Dataset
from datassay.engines import machine
from datassay.evaluation.cells import uninterrupted
from datassay.evaluation.detection import detection
from datassay.evaluation.error_share import error_share, share_at_random
from datassay.evaluation.planting import KINDS, LABELS, plant
from datassay.evaluation.tasks import stream
from datassay.methods import EXTRAS, METHODS, check_options, find, takes, value
from datassay.methods.spec import method_of
from datassay.planning import probed
from datassay.signals import came
from datassay.units import in_seconds
from datassay.values import Values

HARDLY = (
    0.7  # AUC of the planted errors below which features that tell so little can't tell the share of wrong labels, either
)
FIRST = (
    "cg-score"  # of the methods: on labels it is within .02 of the best in 94 % of the cases of docs/comparing-measured.md
)
ENOUGH = 200  # rows of a copy, at least, if it is to be taken without trying others
SEEN = 100  # planted rows, over all copies, on which that is decided
EXPLAINED = 0.6  # share of the labels that disagree that errors at random must explain, if the planted errors are to be such
LINEAR = 300  # columns times classes, at most, if a linear model is asked for the share of wrong labels where nothing else is tried
GOOD = 0.7  # AUC that it must then have, less twice its standard error
WORSE = 0.03  # of AUC on the first copy: who is so far behind is not tried again


class Expected(NamedTuple):
    """Of the first k suspects."""

    k: int
    hits: float  #: expected to be wrong
    half: float  #: half of the interval that has 95 % of what may come

    def __str__(self) -> str:
        return f"of the first {self.k} suspects expect {self.hits:.0f} +- {self.half:.0f} to be wrong"


@dataclass(frozen=True, eq=False)
class Audit:
    """What `audit` found."""

    method: str | Callable[..., Any]  #: the one to take: a name, or the function that was given
    options: dict[str, Any]  #: its options
    table: (
        pd.DataFrame
    )  #: a line a method, the chosen one first: method, auc, sd, average_precision, precision, copies, seconds, error
    kind: str  #: of the planted errors
    rate: float  #: their share
    repeats: int  #: copies
    rows: int  #: rows of a copy
    error_rate: (
        float | None
    )  #: e, the share of wrong labels; None where it can't be estimated: regression, noise in features
    error_rate_sd: float | None
    classes: int
    places: ndarray  #: u of the planted rows by the chosen method, over all copies
    seconds: float
    left_out: dict[str, str]  #: methods that were not tried, and why
    error_bounds: tuple[float, float] | None = None  #: between which the share lies, whatever kind of errors people made
    told: bool = True  #: whether these are so near to each other that the share is known
    early: bool = False  #: whether the first method did so well that no other was tried

    @property
    def name(self) -> str:
        """Of the method to take."""
        return find(self.method)[0]

    def chance(self, n: int) -> ndarray:
        """(n,) the probability to be wrong of the first suspect, the second, ...; falling.

        Where the data can't tell the share of wrong labels, the middle between what its two bounds say.
        """
        return self._chances(n)[0]

    def _chances(self, n: int) -> tuple[ndarray, ndarray, ndarray]:
        """(n,) each: the probability to be wrong, the least and the most."""
        p = self._each(n, self._e)
        if self.told or self.error_bounds is None:
            return p, p, p
        few, many = (self._each(n, max(share, 1e-9)) for share in self.error_bounds)
        least, most = np.minimum(few, many), np.maximum(few, many)
        return (least + most) / 2, least, most

    def _each(self, n: int, e: float) -> ndarray:
        """(n,) the probability to be wrong of the first suspect, the second, ..., if a share e is."""
        return np.clip(np.diff(self._hits(np.arange(n + 1), n, e)), 0, 1)

    def expected(self, k: int, n: int) -> Expected:
        """How many of the first k of n suspects are wrong; the interval has the doubt about e, H and the draw of the errors.

        Where the data can't tell e, it reaches from what the lower bound of the share promises to what the upper one does, and the
        number is its middle.
        """
        whole("expected", 1, k=k, n=n)
        k = min(k, n)
        e, sd = self._e, self.error_rate_sd or 0.0
        hits = float(self._hits(np.array([k]), n, e)[0])
        at, m = float(self._found(np.array(k / n), e)), len(self.places)
        free = e * n * at  # before k holds it
        doubt = math.hypot(sd * n * at, e * n * math.sqrt(max(at * (1 - at), 0.25 / m) / m))
        p = np.minimum(self._each(n, e)[:k], 1 - 0.5 / (1 + m * at))  # so many planted rows can't say that all are wrong
        by_draw = float((p * (1 - p)).sum())
        low, high = (min(max(free + side * 1.96 * doubt, 0.0), float(k)) for side in (-1, 1))
        half = max(math.hypot(side, 1.96 * math.sqrt(by_draw)) for side in (hits - low, high - hits))
        if self.told or self.error_bounds is None:
            return Expected(k, hits, half)
        least, most = (float(self._hits(np.array([k]), n, max(share, 1e-9))[0]) for share in self.error_bounds)
        least, most = max(0.0, min(least, hits - half)), min(float(k), max(most, hits + half))
        return Expected(k, (least + most) / 2, (most - least) / 2)

    @property
    def _e(self) -> float:
        if self.error_rate is None:
            raise DataError("how many rows are wrong can be told of labels that are classes, and of these alone.")
        return max(self.error_rate, 1e-9)

    def _hits(self, k: ndarray, n: int, e: float) -> ndarray:
        """Expected hits among the first k: e n min(H(k / n), k / (n e))."""
        return np.minimum(e * n * self._found(k / n, e), k)

    def _found(self, u: ndarray, e: float) -> ndarray:
        """H(u), of planted rows that are wrong: of those that were wrong before, one in K - 1 has become right."""
        x, y = concave_majorant(self.places)
        c = min(e / max(self.classes - 1, 1) / (1 - min(e, 0.9)), 0.9)
        y = np.clip(np.maximum.accumulate((y - c * x) / (1 - c)), 0, 1)
        return np.asarray(np.interp(u, x, y))

    def calibrate(self, values: Values) -> Values:
        """The values of these data by the method of the audit, with a column ``probability_wrong``, by each row's rank; as they are
        where nothing is known of the share of wrong labels (regression, say). Where the data tell its bounds alone, it is the middle
        between ``probability_wrong_least`` and ``probability_wrong_most``.

        Raises
        ------
        DataError
            They are by another method.
        """
        if values.method != self.name:
            raise DataError(f"the audit is of {self.name}, and these are values by {values.method}.")
        if self.error_rate is None:
            return values
        if "probability_wrong" in values.columns:  # its own, by each row's prediction and not by its rank alone
            return replace(values, stats=values.stats | {"audit": self._about()})
        p, least, most = (each[values.ranks() - 1] for each in self._chances(len(values)))
        columns = values.columns | {"probability_wrong": p}
        if not self.told:
            columns |= {"probability_wrong_least": least, "probability_wrong_most": most}
        wrong_labels = {} if "wrong_labels" in values.stats else {"wrong_labels": self._wrong_labels(values)}
        return replace(values, columns=columns, stats=values.stats | {"audit": self._about()} | wrong_labels)

    def _about(self) -> dict[str, Any]:
        """For ``stats``."""
        numbers = {name: float(getattr(self, name) or 0.0) for name in ("error_rate", "error_rate_sd", "rate", "seconds")}
        return numbers | {"kind": self.kind, "repeats": self.repeats, "methods": self.table["method"].tolist()}

    def _wrong_labels(self, values: Values) -> dict[str, Any]:
        """For ``stats``, of a method without predictions: the bounds of the audit."""
        low, high = self.error_bounds or (0.0, 1.0)
        n, likely = len(values), int(values.flagged.sum())
        return {"low": math.floor(low * n), "high": math.ceil(high * n), "likely": likely, "told": self.told}

    def share_in_words(self) -> str:
        """What is known of the share of wrong labels."""
        if self.error_rate is None or self.error_bounds is None:
            return "the share of wrong labels can't be told"
        low, high = self.error_bounds
        between = f"between {low:.1%} and {high:.1%} of the labels are wrong"
        if self.told:
            return f"about {self.error_rate:.1%} of the labels are wrong, {between.removesuffix(' of the labels are wrong')}"
        return f"{between}, and predictions can't tell where: check some rows"

    def __repr__(self) -> str:
        copies = "a copy" if self.repeats == 1 else f"{self.repeats} copies"
        head = f"Audit: take {self.name}, by errors planted in {copies} ({self.kind}, {self.rate:.0%})"
        share = "" if self.error_rate is None else f"\n{self.share_in_words()}"
        table = self.table.drop(columns="error") if "error" in self.table else self.table
        if self.early:
            share += f"\n{self.name} finds them well, and others are seldom better by much: none was tried (methods='all' tries all)"
        return f"{head}{share}\n{table.round(3).to_string(index=False)}"


def audit(
    data: Dataset,
    methods: Sequence[str | Mapping[str, Any]] | str | None = None,
    *,
    budget: str | float = "1 min",
    kind: str | None = None,
    rate: float | None = None,
    repeats: int = 8,
    rows: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> Audit:
    """Plant known errors in copies of the data, see which method finds them, and estimate how many of its suspects are wrong.

    Parameters
    ----------
    data
        n rows; methods that need validation rows are tried where there are some.
    methods
        Names, with options if need be, as for `evaluate`. Default: CG-score, and if that finds the planted errors badly (AUC .7 or
        less, give or take twice its standard error), or there are fewer than 200 rows or no classes, all others, too. "all": all that
        the data allow, the quickest first, on the first copy for half of the budget; on the next copies those that are not clearly worse.
    budget
        Time for all methods and copies: "1 min", or seconds; a method that by its plan takes more than a tenth of it on a copy is not
        tried. Methods that are named are run on all copies, whatever it takes.
    kind, rate
        Of the errors: one of `datassay.evaluation.planting.KINDS` but "human". Default: labels, "uniform" where errors that fall at random
        explain the labels that disagree with the others, else "near", where classes meet, as people err. Their share of the rows; default:
        0.05, of fewer than 400 rows 0.1.
    repeats
        Copies, each with other errors; fewer where the budget ends.
    rows
        Of more rows so many are drawn, the same for all methods.
    seed, progress
        All randomness, but for what fits the budget on this machine; a bar on stderr.

    Returns
    -------
    Audit
        The method, a table of all that were tried, and ``expected(k, n)``, ``calibrate(values)``. Of the methods that can't be told from
        the best, it is the first in `METHODS`, or the first that was named: paired over the planted rows, the difference of their
        places is within its 95 % interval, by Bonferroni for all of them.

    Raises
    ------
    DataError
        Too few rows, no method that fits, an invalid option.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> found = da.audit(da.Dataset(X, y), ["cg-score", "random"], repeats=2)
    >>> found.method, bool(found.error_rate < 0.05)
    ('cg-score', True)
    """
    start = time.perf_counter()
    if not isinstance(data, Dataset):
        raise DataError(
            f"audit needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    if kind is not None:
        one_of("audit", tuple(k for k in KINDS if k != "human"), kind=kind)
    if rate is not None:
        of_kind("audit", Number(above=0, below=0.5), rate=rate)
    whole("audit", 1, repeats=repeats)
    whole("audit", 20, rows=rows)
    whole("audit", 0, seed=seed)
    one_of("audit", (True, False), progress=progress)
    seconds = in_seconds(budget, "budget")
    if len(data) < 20:
        raise DataError(f"audit needs 20 rows, got {len(data)}.")
    sample = _sample(data, rows, seed)
    rate = rate or (0.05 if len(sample) >= 400 else 0.1)
    every = methods == "all" or methods == ["all"]
    candidates, left_out = (
        ([(FIRST, FIRST, {}, 0.0)], {}) if methods is None else _candidates(data, sample, None if every else methods)
    )
    kernel = value(sample, FIRST, progress=False) if data.classes and (kind is None or kind in LABELS) else None
    if kind is None:
        kind = "uniform" if kernel is None or share_at_random(kernel) >= EXPLAINED else "near"
    copies = [plant(sample, kind, rate, seed=stream(seed, 10))]
    seeds = [
        stream(seed, 2 * r + 11) % 2**31 for r in range(repeats)
    ]  # of the methods: other random numbers than the errors'
    trials: dict[str, _Trial] = {}
    early = methods is None and bool(data.classes) and len(sample) >= ENOUGH
    if early:
        enough = min(repeats, math.ceil(SEEN / max(int(copies[0][1].sum()), 1)))
        copies += [plant(sample, kind, rate, seed=stream(seed, 2 * r + 10)) for r in range(1, enough)]
        trials = _run_trials(candidates, copies, seeds, math.inf, left_out, progress)
        early = _good(trials[FIRST])
    if not early:
        if methods is None:
            candidates, left_out = _candidates(data, sample, None)  # which measures the machine
        copies += [plant(sample, kind, rate, seed=stream(seed, 2 * r + 10)) for r in range(len(copies), repeats)]
        trials = _run_trials(
            candidates, copies, seeds, seconds if methods is None or every else math.inf, left_out, progress
        )
    if not any(t.auc for t in trials.values()):
        first = next(iter(trials))
        raise DataError(f"audit: every method failed; {first}: {trials[first].error}")
    linear = not early or sample.X.shape[1] * len(sample.classes) <= LINEAR
    share = None if kernel is None else error_share(sample, kernel, seed, linear=linear)
    order = METHODS if methods is None or every else None
    best = _best_method(trials, [title for title, *_ in candidates if title in trials], order)
    _, method, options, _ = next(one for one in candidates if one[0] == best)
    ranks = np.concatenate(trials[best].places)
    found_hardly = float(np.mean(trials[best].auc)) < HARDLY
    return Audit(
        method,
        options,
        _table(trials, best),
        kind,
        rate,
        len(trials[best].places),
        len(sample),
        None if share is None else share.e,
        None if share is None else share.sd,
        len(data.classes),
        ranks,
        time.perf_counter() - start,
        left_out,
        None if share is None else (0.0 if found_hardly else share.low, share.high),
        share is not None and share.told and not found_hardly,
        early,
    )


@dataclass
class _Trial:
    """What a method did on the copies."""

    places: list[ndarray] = field(default_factory=list)  #: u of the planted rows of each copy
    auc: list[float] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    error: str = ""


def _sample(data: Dataset, rows: int, seed: int) -> Dataset:
    """At most so many rows, of every class at least two."""
    if len(data) <= rows:
        return data
    order = np.random.default_rng([seed, 4]).permutation(len(data))
    first = np.zeros(len(data), bool)
    for c in range(len(data.classes)):
        first[order[data.codes[order] == c][:2]] = True
    chosen = np.concatenate([np.flatnonzero(first), order[~first[order]]])[: max(rows, int(first.sum()))]
    return data.take(np.sort(chosen))


Candidate = tuple[
    str, str | Callable[..., Any], dict[str, Any], float
]  # title, method, options, seconds on a copy by its plan


def _candidates(data: Dataset, sample: Dataset, methods: Any) -> tuple[list[Candidate], dict[str, str]]:
    """What can be tried, the quickest first, and what can't and why."""
    if methods is not None:
        candidates = [methods] if isinstance(methods, (str, Mapping)) or callable(methods) else list(methods)
        if not candidates:
            raise DataError("audit needs a method.")
        named = [method_of(one) for one in candidates]
        for _, method, options in named:
            name, entry = find(method)
            if options and not entry.missing():
                check_options(name, entry, options)
        return [(*one, 0.0) for one in named], {}
    left_out: dict[str, str] = {}
    found: list[Candidate] = []
    rates, room = probed(), machine.available_memory() or math.inf
    for name, m in METHODS.items():
        if name == "random":
            continue
        if m.validation and data.X_val is None:
            left_out[name] = "needs validation rows"
        elif "classes" in m.requires and data.task == "regression":
            left_out[name] = "is about classes"
        elif extra := m.missing():
            left_out[name] = f"needs {EXTRAS[extra][1]}: pip install 'datassay[{extra}]'"
        elif not (ways := m.costs(data, rates)):
            left_out[name] = "says nothing of its costs: name it to try it"
        elif min(cost.memory for cost in ways) > room:
            left_out[name] = "needs more memory than is free for all rows"
        else:
            found.append((name, name, {}, min(cost.seconds for cost in m.costs(sample, rates))))
    return sorted(found, key=lambda one: one[3]), left_out


def _run_trials(
    candidates: list[Candidate],
    copies: list[tuple[Dataset, ndarray]],
    seeds: list[int],
    seconds: float,
    left_out: dict[str, str],
    progress: bool,
) -> dict[str, _Trial]:
    """All on the first copy, for half of the time; on the next those that are not clearly worse, as long as there is time for all of
    them."""
    start = time.perf_counter()
    trials: dict[str, _Trial] = {}
    ratios: list[float] = []  # of what it took to what the plan said
    bar = tqdm(total=len(copies), desc="audit", disable=None if progress else True, leave=False, unit="copy")
    with bar:
        for r in range(len(copies)):
            if r == 0:
                now = candidates
            else:
                now = [
                    one
                    for one in candidates
                    if one[0] in trials and not trials[one[0]].error and _may_be_best(trials, one[0], seconds)
                ]
                if time.perf_counter() - start + sum(trials[one[0]].seconds[-1] for one in now) > 0.75 * seconds:
                    break
            for one in now:
                title, _, _, plan_says = one
                bar.set_postfix_str(title)
                if r == 0 and trials:
                    expected = plan_says * (float(np.median(ratios)) if ratios else 1.0)
                    if expected > seconds / 10 or time.perf_counter() - start + expected > seconds / 2:
                        left_out[title] = "takes more than its share of the budget"
                        continue
                seconds_taken = _run_trial(trials.setdefault(title, _Trial()), one, *copies[r], seeds[r])
                if r == 0 and plan_says and seconds_taken:
                    ratios.append(min(1.0, seconds_taken / plan_says))
            bar.update()
        if any(t.auc for t in trials.values()):  # what is left of the time makes the chosen one better known
            best = _best_method(
                trials, [title for title, *_ in candidates if title in trials], METHODS if seconds < math.inf else None
            )
            trial = trials[best]
            one = next(one for one in candidates if one[0] == best)
            while (
                len(trial.auc) < len(copies)
                and not trial.error
                and time.perf_counter() - start + trial.seconds[-1] <= seconds
            ):
                _run_trial(trial, one, *copies[len(trial.auc)], seeds[len(trial.auc)])
                bar.update()
    return trials


def _good(first: _Trial) -> bool:
    """Whether the first method finds the planted rows well enough."""
    u = np.concatenate(first.places) if first.places else np.ones(1)
    doubt = float(u.std()) / math.sqrt(len(u))
    return bool(1 - u.mean() - 2 * doubt > GOOD)


def _run_trial(trial: _Trial, one: Candidate, copy: Dataset, wrong: ndarray, seed: int) -> float:
    """Value one copy; seconds, 0 if the method failed."""
    _, method, options, _ = one
    begun = time.perf_counter()
    try:
        values = value(copy, method, seed=seed, **options, **_silent(method))
    except Exception as error:  # a method that fails is a line in the table, and the others go on
        if came():  # a library made an error of its own of the interrupt
            raise KeyboardInterrupt from error
        trial.error = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        return 0.0
    uninterrupted(values)
    trial.places.append(place(values.scores, wrong))
    trial.measures.append(detection(values.scores, wrong))
    trial.auc.append(trial.measures[-1]["auc"])
    trial.seconds.append(time.perf_counter() - begun)
    return trial.seconds[-1]


def _silent(method: str | Callable[..., Any]) -> dict[str, bool]:
    """No bar inside the bar."""
    return {"progress": False} if takes("progress", method) else {}


def _may_be_best(trials: dict[str, _Trial], title: str, seconds: float) -> bool:
    """Whether the method may still be the best: methods that were named all stay."""
    best = max(float(np.mean(t.auc)) for t in trials.values() if t.auc)
    return seconds == math.inf or float(np.mean(trials[title].auc)) >= best - WORSE


def _best_method(trials: dict[str, _Trial], titles: list[str], first: Iterable[str] | None) -> str:
    """The first, in this order, of those that can't be told from the best, by the planted rows of the copies that both have seen.

    The best of many is so by chance, too: hence Bonferroni.
    """
    order = titles if first is None else [name for name in first if name in titles]
    tried = {title: trials[title] for title in order if trials[title].auc and not trials[title].error}
    copies = sorted((len(t.auc) for t in tried.values()), reverse=True)
    least = copies[1] if len(copies) > 1 else copies[0]  # the chosen one may have more
    last = {title: np.concatenate(t.places[:least]) for title, t in tried.items() if len(t.auc) >= least}
    best = min(last, key=lambda title: float(last[title].mean()))
    for title, ranks in last.items():
        more = ranks - last[best]
        m = len(more)
        doubt = (
            float(more.std(ddof=1)) / math.sqrt(m) * float(student.ppf(1 - 0.025 / len(last), m - 1)) if m > 1 else math.inf
        )
        if more.mean() <= doubt:
            return title
    return best


def _table(trials: dict[str, _Trial], chosen: str) -> pd.DataFrame:
    """A line a method: the chosen one, then the others by AUC."""
    lines = []
    for title, t in trials.items():
        line: dict[str, Any] = {"method": title}
        for name in ("auc", "average_precision", "precision"):
            line[name] = float(np.mean([m[name] for m in t.measures])) if t.measures else math.nan
        line["sd"] = float(np.std(t.auc, ddof=1)) if len(t.auc) > 1 else math.nan
        lines.append(
            line | {"copies": len(t.auc), "seconds": float(np.sum(t.seconds)), "error": t.error, "first": title == chosen}
        )
    frame = pd.DataFrame(lines)
    names = ["method", "auc", "sd", "average_precision", "precision", "copies", "seconds", "error"]
    return frame.sort_values(["first", "auc"], ascending=False, kind="stable", ignore_index=True)[names]


def place(scores: ndarray, wrong: ndarray) -> ndarray:
    """u: for each planted row the share of the other rows that are below it, equal ones counted half.

    >>> place(np.array([1.0, 2.0, 0.0, 5.0]), np.array([False, True, False, False])).round(2).tolist()
    [0.67]
    """
    others = np.sort(scores[~wrong])
    low, high = np.searchsorted(others, scores[wrong], "left"), np.searchsorted(others, scores[wrong], "right")
    return (low + high) / 2 / len(others)


def concave_majorant(ranks: ndarray) -> tuple[ndarray, ndarray]:
    """The least concave function above the distribution of the places, from (0, 0) to (1, 1): its corners.

    >>> concave_majorant(np.array([0.1, 0.1, 0.1, 0.5]))
    (array([0. , 0.1, 0.5, 1. ]), array([0.  , 0.75, 1.  , 1.  ]))
    """
    x = np.unique(np.concatenate([[0.0], ranks, [1.0]]))
    y = np.searchsorted(np.sort(ranks), x, "right") / len(ranks)
    widths = np.diff(x)
    corners = isotonic_regression(np.diff(y) / widths, weights=widths, increasing=False).blocks
    return x[corners], y[corners]
