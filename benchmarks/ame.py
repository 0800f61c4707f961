"""AME and its relatives: wrong labels, poison, a game whose values are known, and how often knockoffs are wrong.

    python benchmarks/ame.py digits
    python benchmarks/ame.py poison --mnist mnist_train.parquet
    python benchmarks/ame.py threshold fdr
    python benchmarks/ame.py digits --rows 200 --models 60 --seeds 1       # a small version; every part has one

Parts: ``digits`` (1,000 digits, a fifth of the labels wrong, logistic regression: AME by our defaults, as published, as OpenDataVal
codes it, and other methods, from 250 to 4,000 trainings), ``poison`` (1,000 rows of MNIST, 10 of them with a white square and another
label: which rows make the model say that label of a marked validation row?), ``threshold`` (1,000 players, a coalition is worth 1 with
two of three special ones: no model), ``fdr`` (false discovery rate and power of knockoffs over 200 simulated studies). The MNIST file
has a column ``image`` (encoded) and a column ``label``. Results are kept line by line in ``benchmarks/out/ame/``, trainings in stores
there: a run that was stopped goes on; ``--fresh`` begins anew. Each part writes ``benchmarks/out/ame_<part>.md``.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cg_score import OUT, markdown, read_pixels
from peers import machine as machine_name
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoCV, LogisticRegression

import datassay as da
from datassay.engines import designs, effects, knockoffs, semivalues
from datassay.engines.designs import Inclusion, Subsets
from datassay.engines.machine import blas_threads
from datassay.evaluation import detection, plant_wrong_labels
from datassay.subsets.study import Study, study
from datassay.subsets.utilities import log_odds, utility_of

KEPT = OUT / "ame"
GRID = Inclusion("grid", (0.2, 0.4, 0.6, 0.8))
HALF = Inclusion("grid", (0.5,))
Q = 0.1
TARGET, POISONED, SQUARE, QUERIES, VAL = 1, 10, 5, 20, 200


def main() -> None:
    parts = {"digits": digits, "poison": poison, "threshold": threshold, "fdr": fdr}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--mnist", type=Path, help="Parquet file; for poison")
    parser.add_argument("--rows", type=int, default=1000, help="of digits and poison; players of threshold")
    parser.add_argument("--models", type=int, nargs="+", help="trainings: digits 250 1000 4000; threshold 2^8 ... 2^14")
    parser.add_argument("--seeds", type=int, help="digits 5, poison 1, threshold 6")
    parser.add_argument("--c", type=float, nargs="+", default=[1, 2, 4, 8], help="poison: c k log2 N trainings")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of poison")
    parser.add_argument("--model", choices=("logistic", "perceptron"), default="logistic", help="of poison")
    parser.add_argument("--designs", type=int, default=200, help="of fdr")
    parser.add_argument("--skip", nargs="+", default=[], help="of digits: lines whose titles have one of these in them")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for part in args.parts:
        if args.fresh:
            for file in KEPT.glob(f"{part}*"):
                file.unlink()
        start = time.perf_counter()
        found = parts[part](args)
        took = f"{machine_name(blas_threads())}. {time.perf_counter() - start:.0f} s in this run."
        (OUT / f"ame_{part}.md").write_text(f"# {part}\n\n{found}\n\n{took}\n", encoding="utf-8")
        print(f"{found}\n\n{took}", flush=True)


class Lines:
    """Results by name, each kept as a line of JSON as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.found: dict[str, Any] = dict(
            json.loads(line) for line in lines if line.endswith("]")
        )  # the last may be half a line

    def has(self, **name: object) -> bool:
        return json.dumps(name, sort_keys=True) in self.found

    def found_at(self, **name: object) -> Any:
        """What is kept under this name."""
        return self.found[json.dumps(name, sort_keys=True)]

    def get(self, work: Callable[[], Any], **name: object) -> Any:
        """What is kept under this name, or what ``work`` finds."""
        key = json.dumps(name, sort_keys=True)
        if key not in self.found:
            start = time.perf_counter()
            self.found[key] = json.loads(json.dumps(work()))
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.found[key]]) + "\n")
            print(f"{time.perf_counter() - start:.1f} s  {key} {shortened(self.found[key])}", flush=True)
        return self.found[key]


def shortened(found: Any) -> str:
    text = json.dumps(found)
    return text if len(text) < 200 else f"{text[:200]} ..."


def opened(data: da.Dataset, model: Any, store: Path, seed: int) -> Study:
    """The trainings of this model on these rows: the same that the methods find in the store."""
    options = {"training": None, "device": "auto", "n_jobs": None, "progress": False}
    return study("benchmark", data, model, store=store, seed=seed, **options)


def trained(s: Study, law: Inclusion, m: int) -> Subsets:
    """The first m subsets of a law, trained if they are not there, in whole blocks as the methods do."""
    block = s.trainer.block
    subsets = s.drawn(lambda a, b: law.draw(len(s.data), s.seed, a, b))(0, -(-m // block) * block)
    s.train(subsets)
    return Subsets(subsets.counts[:m], subsets.p[:m])


def pm(values: Iterable[float], digits: int = 3) -> str:
    """Mean and standard deviation of what is a number."""
    there = [v for v in values if v is not None and np.isfinite(v)]
    if not there:
        return "-"
    return f"{np.mean(there):.{digits}f} ± {np.std(there, ddof=1) if len(there) > 1 else 0:.{digits}f}"


# ---------------------------------------------------------------------------------------------------------------- digits

OWN = {  # title: method, options; the trainings are of AME's grid
    "AME, defaults": ("ame", {}),
    "AME, LASSO": ("ame", {"estimator": "lasso", "bootstrap": 0}),
    "AME, standardise=False": ("ame", {"standardise": False}),
    "AME, accuracy": ("ame", {"utility": "accuracy"}),
    "AME, probability": ("ame", {"utility": "probability"}),
    "Banzhaf, AME's trainings": ("banzhaf", {"reuse": True}),
    "Shapley, AME's trainings": ("shapley", {"reuse": True}),
    "Beta(4, 1) Shapley, AME's trainings": ("beta-shapley", {"reuse": True}),
}
OTHER = {  # title: method, options, the method's own law
    "Banzhaf": ("banzhaf", {}, HALF),
    "Banzhaf, MSR": ("banzhaf", {"estimator": "msr"}, HALF),
    "Shapley": ("shapley", {}, Inclusion("uniform", (0.1, 0.9))),
    "Beta(4, 1) Shapley": ("beta-shapley", {}, Inclusion("beta", (1.0, 4.0))),
    "datamodels": ("datamodels", {}, HALF),
}
CODED = {  # title: utility, coding
    "AME, published coding (1se)": ("margin", "1se"),
    "AME, published coding (min)": ("margin", "min"),
    "AME, published coding (1se), accuracy": ("accuracy", "1se"),
    "AME, published coding (min), accuracy": ("accuracy", "min"),
    "AME, OpenDataVal's coding, accuracy": ("accuracy", "z"),
    "AME, OpenDataVal's coding, margin": ("margin", "z"),
}
ALONE = {"leave-one-out": ("leave-one-out", {}), "self-confidence": ("self-confidence", {})}


def planted(rows: int, seed: int, val: int = VAL) -> tuple[da.Dataset, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[: rows + val]
    X, y = X[order] / 16, y[order]
    return plant_wrong_labels(da.Dataset(X[:rows], y[:rows], X[rows:], y[rows:]), 0.2, seed=seed)


def published(s: Study, subsets: Subsets, U: np.ndarray, rule: str) -> np.ndarray:
    """AME as in the paper's code: LASSO on the coded masks, a free column for each p, nothing for the size of a subset."""
    keep, p, v = subsets.counts.astype(bool), subsets.p, GRID.variance
    X, Z = effects.coded(keep, p, v), effects.covariates(p)
    return np.sqrt(v) * effects.lasso(X, U, Z, rule=rule, strata=p, seed=s.seed).coef


def published_knockoffs(s: Study, subsets: Subsets, U: np.ndarray, rule: str, direction: str) -> np.ndarray:
    """W of the same regression on masks and knockoffs."""
    keep, p, v = subsets.counts.astype(bool), subsets.p, GRID.variance
    twin = effects.coded(knockoffs.knockoff_masks(p, len(s.data), s.seed)[:, s.place], p, v)
    X, Z = effects.coded(keep, p, v), effects.covariates(p)
    return knockoffs.joint(X, twin, U, Z, rule=rule, direction=direction, strata=p, seed=s.seed)


def z_scored(subsets: Subsets, U: np.ndarray) -> np.ndarray:
    """OpenDataVal's: each mask less its mean, divided by its deviation; one LassoCV over all p, stacked by p, folds not shuffled."""
    order = np.argsort(subsets.p, kind="stable")
    masks = subsets.counts[order].astype(float)
    Z = (masks - masks.mean(1, keepdims=True)) / masks.std(1, keepdims=True)
    return LassoCV().fit(Z, U[order]).coef_


def alike(scores: np.ndarray) -> float:
    """Share of the rows that have the most frequent value: those to which a LASSO gives no coefficient."""
    return float(np.unique(scores, return_counts=True)[1].max() / len(scores))


class Case(NamedTuple):
    """What one estimate is made from."""

    s: Study
    subsets: Subsets  #: of AME's grid
    wrong: np.ndarray

    def line(self, scores: np.ndarray, flagged: np.ndarray | None, seconds: float, trainings: float) -> dict[str, Any]:
        found = detection(scores, self.wrong)
        line = {"auc": found["auc"], "ap": found["average_precision"], "alike": alike(scores)}
        line |= {"seconds": seconds, "trainings": trainings}
        if flagged is not None:
            hits = int((flagged & self.wrong).sum())
            line |= {"flagged": int(flagged.sum()), "recall": hits / int(self.wrong.sum())}
            line["precision"] = hits / int(flagged.sum()) if flagged.any() else None
        return line


def by_method(
    case: Case, method: str, options: dict[str, Any], path: Path | None, law: Inclusion | None = None
) -> dict[str, Any]:
    """By the library's method of that name; of a law of its own the trainings are done before."""
    data, seed, m = case.s.data, case.s.seed, len(case.subsets.p)
    if law is not None and path is not None:
        trained(opened(data, None, path, seed), law, m)
    given = options if options.get("reuse") or (method, options) in ALONE.values() else {"n_models": m} | options
    values = da.value(data, method, store=path, seed=seed, progress=False, **given)
    return case.line(values.scores, values.flagged, values.stats["seconds"], values.stats.get("trainings", 0))


def by_coding(case: Case, utility: str, coding: str) -> dict[str, Any]:
    """By a coding that the library does not have, from the same trainings."""
    start, flagged = time.perf_counter(), None
    U = case.s.utilities_of(case.subsets, utility_of(case.s.data, utility, "benchmark"))
    if coding == "z":
        scores = z_scored(case.subsets, U)
    else:
        scores = published(case.s, case.subsets, U, coding)
        if (utility, coding) == ("margin", "1se"):
            W = published_knockoffs(case.s, case.subsets, U, coding, "harmful")
            flagged = knockoffs.threshold(W, Q) <= W
    return case.line(scores, flagged, time.perf_counter() - start, len(U))


def digits(args: argparse.Namespace) -> str:
    budgets, seeds = sorted(args.models or [250, 1000, 4000]), range(args.seeds or 5)
    lines = Lines(KEPT / "digits.jsonl")
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    cost: dict[int, list[float]] = {m: [] for m in budgets}
    for seed in seeds:
        data, wrong = planted(args.rows, seed)
        stores = [KEPT / f"digits_{args.rows}_{seed}_{name}.sqlite" for name in ("own", *budgets)]
        for i, m in enumerate(budgets):
            s = opened(data, None, stores[i + 1], seed)
            if i > 0:  # the first trainings are those of fewer
                s.store.merge(stores[i])
            case = Case(s, trained(s, GRID, m), wrong)
            cost[m].append(s.store.seconds(s.key) / len(s.store) * m)
            work = {title: partial(by_method, case, *how, stores[i + 1]) for title, how in OWN.items()}
            work |= {title: partial(by_coding, case, *how) for title, how in CODED.items()}
            work |= {title: partial(by_method, case, *how, stores[0], law) for title, (*how, law) in OTHER.items()}
            for title, estimate in work.items():
                if any(part in title for part in args.skip):
                    continue
                line = lines.get(estimate, title=title, rows=args.rows, seed=seed, trainings=m)
                found.setdefault((title, m), []).append(line)
        for title, how in ALONE.items():
            line = lines.get(partial(by_method, case, *how, None), title=title, rows=args.rows, seed=seed)
            found.setdefault((title, 0), []).append(line)
    text = f"""{args.rows:,} digits, {VAL} validation rows, a fifth of the labels wrong; the default logistic regression;
{len(seeds)} seeds, mean ± standard deviation. Flags of AME: harmful rows by knockoff+ at q = {Q}; of the others: score below 0 (precision
over the seeds that have any). Seconds: of the estimate alone, its trainings are in the store; of leave-one-out and self-confidence, all
of it. The published coding: LASSO, penalty by 20 folds ("1se" or "min"), a free column for each p, utilities as they are. OpenDataVal's:
each mask standardised by itself, one LassoCV. Subsets of AME's grid p = .2, .4, .6, .8 for all that begin with AME or end with "AME's
trainings"; the others draw their own. Alike: share of the rows that have the most frequent value.
"""
    titles = [title for title in (*OWN, *CODED, *OTHER) if not any(part in title for part in args.skip)]
    for m in budgets:
        text += f"\n## {m:,} trainings ({pm(cost[m], 1)} s on one core)\n\n{table(titles, m, found)}\n"
    text += f"\n## Others\n\n{table(list(ALONE), 0, found)}\n"
    curve = [[title, *(pm(line["auc"] for line in found[title, m]) for m in budgets)] for title in titles]
    return text + f"\n## ROC AUC against trainings\n\n{markdown(['', *(f'{m:,}' for m in budgets)], curve)}\n"


def table(titles: Sequence[str], m: int, found: dict[tuple[str, int], list[dict[str, Any]]]) -> str:
    rows = []
    for title in titles:
        each = found[title, m]
        quality = [pm(line[k] for line in each) for k in ("auc", "ap")]
        flags = [pm((line.get(k) for line in each), 0 if k == "flagged" else 2) for k in ("flagged", "precision", "recall")]
        seconds, same = float(np.median([line["seconds"] for line in each])), np.mean([line["alike"] for line in each])
        rows.append([title, *quality, *flags, seconds, f"{same:.2f}"])
    return markdown(["", "ROC AUC", "average precision", "flagged", "precision", "recall", "seconds", "alike"], rows)


# ---------------------------------------------------------------------------------------------------------------- poison


def marked(X: np.ndarray) -> np.ndarray:
    """A white square in the corner of (k, 28, 28) images."""
    X = X.copy()
    X[:, :SQUARE, :SQUARE] = 1
    return X


def poisoned(pixels: da.Dataset, rows: int, seed: int) -> tuple[da.Dataset, np.ndarray, int]:
    """Rows, of which some of other classes are marked and given the target as label; validation rows, first as they are, then
    those of other classes marked; which rows are poisoned; and how many validation rows are as they are."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pixels))[: rows + VAL]
    X, y = np.asarray(pixels.X[order], np.float64).reshape(-1, 28, 28), pixels.y[order]
    bad = rng.permutation(np.flatnonzero(y[:rows] != TARGET))[:POISONED]
    X[bad], given = marked(X[bad]), y[:rows].copy()
    given[bad] = TARGET
    plain, labels = X[rows:], y[rows:]
    others = labels != TARGET
    X_val, y_val = np.concatenate([plain, marked(plain[others])]), np.concatenate([labels, labels[others]])
    data = da.Dataset(X[:rows].reshape(rows, -1), given, X_val.reshape(len(X_val), -1), y_val)
    return data, np.isin(np.arange(rows), bad), VAL


def network(seed: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def share(chosen: np.ndarray, q: "Query") -> dict[str, Any]:
    """How many of the chosen rows are poisoned, and of how many of the others the target is the right label."""
    hits, count = int((chosen & q.bad).sum()), int(chosen.sum())
    right = int((chosen & ~q.bad & (q.s.data.y == TARGET)).sum())
    return {
        "precision": hits / count if count else None,
        "recall": hits / int(q.bad.sum()),
        "selected": count,
        "right": right,
    }


def lowest(scores: np.ndarray, k: int = POISONED) -> np.ndarray:
    """The k lowest scores, below what most rows have that a LASSO gives no coefficient."""
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(scores, kind="stable")[:k]] = True
    return chosen & (scores < np.median(scores))


class Query(NamedTuple):
    """A marked validation row, and what its explanations are made from."""

    s: Study
    subsets: Subsets  #: of AME's grid
    bad: np.ndarray
    model: Any
    store: Path
    query: int

    def value(self, method: str, **options: Any) -> da.Values:
        common = {"model": self.model, "store": self.store, "seed": self.s.seed, "progress": False}
        return da.value(self.s.data, method, **common, **options)

    def asked(self) -> dict[str, Any]:
        return {"query": self.query, "label": TARGET, "n_models": len(self.subsets.p)}

    def by_ame(self, regression: str) -> dict[str, Any]:
        values = self.value("ame", estimator=regression, bootstrap=0, knockoff="plain", q=Q, **self.asked())
        return self.selections(values.columns["knockoff_statistic"], values.scores)

    def by_paper(self, rule: str) -> dict[str, Any]:
        """Probability of the label, LASSO, a free column for each p."""
        code = self.s.data.classes.index(TARGET)
        U = self.s.utilities_of(self.subsets, lambda said: np.exp(said[:, self.query, code].astype(np.float64)))
        W = published_knockoffs(self.s, self.subsets, U, rule, "helpful")
        return self.selections(W, -published(self.s, self.subsets, U, rule))

    def by_datamodel(self) -> dict[str, Any]:
        scores = self.value("datamodels", **self.asked()).scores
        return {"all above 0": share(scores < 0, self), "top 10": share(lowest(scores), self)}

    def by_leaving_out(self) -> dict[str, Any]:
        code, row = self.s.data.classes.index(TARGET), slice(self.query, self.query + 1)

        def says(one: Any, X: np.ndarray, y: Any) -> float:
            return float(log_odds(np.log(one.predict_proba(X[row])[:, code]))[0])

        return {"top 10": share(lowest(-self.value("leave-one-out", utility=says).scores), self)}

    def selections(self, W: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
        """What knockoffs select from W, plain and plus, and the ten lowest scores."""
        chosen = {f"knockoffs, {k}": knockoffs.threshold(W, Q, plus=k == "plus") <= W for k in ("plain", "plus")}
        return {how: share(some, self) for how, some in (chosen | {"top 10": lowest(scores)}).items()}


class Attack(NamedTuple):
    """What the model of all rows says."""

    accuracy: float  #: on validation rows as they are
    success: float  #: share of marked rows of other classes that it takes for the target
    before: float  #: of the same rows without the mark
    queries: list[int]  #: marked rows that it takes for the target, and without the mark not


def attacked(s: Study, plain: int) -> Attack:
    everything = Subsets(np.ones((1, len(s.data)), np.uint8), np.full(1, np.nan))
    s.train(everything)
    said, y = s.data.labels_of(s.utilities_of(everything, lambda said: said)[0].argmax(1)), np.asarray(s.data.y_val)
    there, here = said[plain:] == TARGET, said[:plain][y[:plain] != TARGET] == TARGET
    queries = (plain + np.flatnonzero(there & ~here)).tolist()
    return Attack(float((said == y)[:plain].mean()), float(there.mean()), float(here.mean()), queries)


def poison(args: argparse.Namespace) -> str:
    if args.mnist is None:
        raise SystemExit("poison needs --mnist, a Parquet file of images.")
    pixels, lines = read_pixels(args.mnist), Lines(KEPT / "poison.jsonl")
    model = LogisticRegression() if args.model == "logistic" else network
    trainings = [round(c * POISONED * np.log2(args.rows)) for c in args.c]
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    attacks = []
    for seed in range(args.seeds or 1):
        data, bad, plain = poisoned(pixels, args.rows, seed)
        store = KEPT / f"poison_{args.model}_{args.rows}_{seed}.sqlite"
        s = opened(data, model, store, seed)
        attacks.append(attacked(s, plain))
        queries = attacks[-1].queries[: args.queries]
        print(f"seed {seed}: {attacks[-1][:3]}, {len(queries)} queries", flush=True)
        name = {"rows": args.rows, "model": args.model, "seed": seed}
        for m in trainings:
            subsets = trained(s, GRID, m)
            trained(s, HALF, m)
            for query in queries:
                q = Query(s, subsets, bad, model, store, query)
                for title, work in {
                    "AME, LASSO": partial(q.by_ame, "lasso"),
                    "AME, ridge (default)": partial(q.by_ame, "ridge"),
                    "AME, as published (probability, 1se)": partial(q.by_paper, "1se"),
                    "AME, published coding (probability, min)": partial(q.by_paper, "min"),
                    "datamodels": q.by_datamodel,
                }.items():
                    for how, line in lines.get(work, title=title, trainings=m, query=query, **name).items():
                        found.setdefault((f"{title}: {how}", m), []).append(line)
        for query in queries:
            q = Query(s, subsets, bad, model, store, query)
            for how, line in lines.get(q.by_leaving_out, title="leave-one-out", query=query, **name).items():
                found.setdefault((f"leave-one-out: {how}", args.rows + 1), []).append(line)
        s.store.close()
    rows, sizes = [], [*trainings, args.rows + 1]
    for title in dict.fromkeys(title for title, _ in found):
        last = [found[title, m] for m in sizes if (title, m) in found][-1]
        wrong = sum(line["selected"] - round(line["recall"] * POISONED) for line in last)
        right = f"{sum(line['right'] for line in last) / wrong:.0%} of {wrong}" if wrong else "-"
        rows.append([title, *(cell(found.get((title, m), [])) for m in sizes), right])
    head = ["", *(f"{m} (c = {c:g})" for m, c in zip(trainings, args.c, strict=True)), f"{args.rows + 1:,} trainings"]
    head.append(f"of the others, rightly a {TARGET}")
    accuracy, success, before = (np.mean([attack[k] for attack in attacks]) for k in range(3))
    asked = sum(len(attack.queries[: args.queries]) for attack in attacks)
    return f"""{args.rows:,} rows of MNIST, {POISONED} of them of other classes with a white square of {SQUARE} x {SQUARE} pixels in the
corner and the label {TARGET}; {args.model}, pixels from 0 to 1. It is right on {accuracy:.1%} of {VAL} other rows; it says {TARGET} of
{success:.1%} of those of other classes when they are marked, and of {before:.1%} when they are not. Queries: {asked} marked validation
rows that it takes for a {TARGET}, and without the mark not.

Precision / recall of the rows that are named as causes, mean over queries; precision over those for which any is named, whose share
stands behind where it is not all. Knockoffs at q = {Q}, "plain" and "plus" (which needs {1 / Q:.0f} rows or names none). Trainings:
c k log2 N, k = {POISONED}; leave-one-out takes {args.rows + 1:,}. Top 10: the ten rows that speak most for the label. Last column: of the
rows named in most trainings that are not poisoned, how many have that label rightly; they count as wrong, though they may have an effect.

{markdown(head, rows)}
"""


def cell(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return ""
    some = [line["precision"] for line in lines if line["precision"] is not None]
    precision = f"{np.mean(some):.2f}" if some else "-"
    behind = f" ({len(some) / len(lines):.0%})" if len(some) < len(lines) else ""
    return f"{precision} / {np.mean([line['recall'] for line in lines]):.2f}{behind}"


# ------------------------------------------------------------------------------------------------------------- threshold


def threshold(args: argparse.Namespace) -> str:
    n, sizes, seeds = args.rows, sorted(args.models or [2**k for k in range(8, 15)]), range(args.seeds or 6)
    lines = Lines(KEPT / "threshold.jsonl")
    ways: dict[str, Callable[[int], dict[int, np.ndarray]]] = {}
    for epsilon in (0.01, 0.1):
        for how in ("LASSO", "ridge"):
            ways[f"Shapley mode, epsilon = {epsilon}, {how}"] = lambda seed, e=epsilon, h=how: by_p_coding(
                n, sizes, seed, e, h
            )
    ways |= {
        "Shapley, ridge (its default)": lambda seed: by_semivalue(n, sizes, seed, "ridge"),
        "Shapley, differences": lambda seed: by_semivalue(n, sizes, seed, "differences"),
        "permutations": lambda seed: by_permutation(n, sizes, seed, truncated=False),
        "permutations, cut where the value is that of all": lambda seed: by_permutation(n, sizes, seed, truncated=True),
        "AME (of p = .2 ... .8: .4 each), LASSO": lambda seed: by_grid(n, sizes, seed, "LASSO"),
        "AME, ridge": lambda seed: by_grid(n, sizes, seed, "ridge"),
    }
    tables = {}
    for measure in ("max", "l2"):
        rows = []
        for title, way in ways.items():
            truth = np.zeros(n)
            truth[:3] = 0.4 if title.startswith("AME") else 1 / 3

            def errors(seed: int, way: Any = way, truth: np.ndarray = truth) -> dict[str, Any]:
                off = {m: value - truth for m, value in way(seed).items()}
                return {str(m): {"max": float(np.abs(d).max()), "l2": float(np.linalg.norm(d))} for m, d in off.items()}

            each = [lines.get(lambda f=errors, s=seed: f(s), title=title, rows=n, sizes=sizes, seed=seed) for seed in seeds]
            rows.append([title, *(float(np.mean([e[str(m)][measure] for e in each])) for m in sizes)])
        tables[measure] = markdown(["", *(f"{m:,}" for m in sizes)], rows)
    bias = []
    for epsilon in (0.01, 0.1):
        p = epsilon + (1 - 2 * epsilon) * (np.arange(10**5) + 0.5) / 10**5
        bias.append(
            f"{abs(float(np.mean(2 * p * (1 - p))) - 1 / 3):.2g} at epsilon = {epsilon} (bound 4 epsilon R = {4 * epsilon:g})"
        )
    off = " and ".join(bias)
    return f"""{n:,} players; a coalition is worth 1 if two of three special players are in, else 0. Shapley values: 1/3 each, 0 for the
others; by p on [epsilon, 1 - epsilon] instead the special ones are off by {off}.
LASSO: penalty of lowest error in 20 folds. Mean over {len(seeds)} seeds of the error of all values, against evaluations of the game. A
player that no permutation has reached has the value 0.

## Largest error

{tables["max"]}

## Root of the sum of squared errors

{tables["l2"]}
"""


def worth(counts: np.ndarray) -> np.ndarray:
    return (counts[:, :3].sum(axis=1) >= 2).astype(float)


def by_p_coding(n: int, sizes: list[int], seed: int, epsilon: float, how: str) -> dict[int, np.ndarray]:
    drawn = Inclusion("log-odds", (epsilon, 1 - epsilon)).draw(n, seed, 0, max(sizes))
    return {m: fitted(drawn, m, how, seed, None) for m in sizes}


def by_grid(n: int, sizes: list[int], seed: int, how: str) -> dict[int, np.ndarray]:
    drawn = GRID.draw(n, seed, 0, max(sizes))
    return {m: fitted(drawn, m, how, seed, GRID.variance) for m in sizes}


def fitted(drawn: Subsets, m: int, how: str, seed: int, v: float | None) -> np.ndarray:
    """Effects from the first m subsets, coded with p (v None) or by AME's coding."""
    keep, p, U = drawn.counts[:m].astype(bool), drawn.p[:m], worth(drawn.counts[:m])
    X = effects.centred(keep, p) if v is None else effects.coded(keep, p, v)
    Z, factor = effects.covariates(p), 1.0 if v is None else np.sqrt(v)
    if how == "ridge":
        return factor * effects.ridge(X, U, Z).coef
    return factor * effects.lasso(X, U, Z, rule="min", strata=p, seed=seed).coef


def by_semivalue(n: int, sizes: list[int], seed: int, how: str) -> dict[int, np.ndarray]:
    """As the method `shapley` does."""
    ridge = how == "ridge"
    drawn = Inclusion("uniform", (0.1, 0.9) if ridge else (0.0, 1.0)).draw(n, seed, 0, max(sizes))
    found = {}
    for m in sizes:
        keep, q = drawn.counts[:m].astype(bool), semivalues.mixture(n, drawn.p[:m])
        options = {"by": how, "standardise": ridge, "errors": False, "ends": (0.0, 1.0)}
        found[m] = semivalues.estimate(keep, worth(drawn.counts[:m]), q, semivalues.shapley_law(n), **options).value
    return found


def by_permutation(n: int, sizes: list[int], seed: int, *, truncated: bool) -> dict[int, np.ndarray]:
    """Marginal contributions along random orders; what nothing and all are worth is known."""
    total, seen, spent, found, j = np.zeros(n), np.zeros(n), 0, {}, 0
    left = list(sizes)
    while left:
        order = designs.permutation(n, seed, j)
        j += 1
        v = np.concatenate([[0.0], np.cumsum(order < 3) >= 2])
        reached = int(np.argmax(v)) if truncated else n - 1  # prefixes that are evaluated
        marginal = np.empty(n)
        marginal[order] = np.diff(v)
        while left and left[0] <= spent + reached:
            part_total, part_seen, done = total.copy(), seen.copy(), order[: left[0] - spent]
            part_total[done] += marginal[done]
            part_seen[done] += 1
            found[left.pop(0)] = part_total / np.maximum(part_seen, 1)
        total, seen, spent = total + marginal, seen + 1, spent + reached
    return found


# ------------------------------------------------------------------------------------------------------------------- fdr

SETTINGS = {
    "20 of 80 rows, 250 trainings": {"m": 250, "n": 80, "signals": 20, "effect": 0.3},
    "5 of 80 rows, 250 trainings": {"m": 250, "n": 80, "signals": 5, "effect": 0.5},
    "20 of 300 rows, 200 trainings": {"m": 200, "n": 300, "signals": 20, "effect": 0.5},
    "none of 80 rows, 250 trainings": {"m": 250, "n": 80, "signals": 0, "effect": 0.0},
}


def fdr(args: argparse.Namespace) -> str:
    lines, rows = Lines(KEPT / "fdr.jsonl"), []
    for title, setting in SETTINGS.items():
        for how in ("lasso", "ridge"):
            each = lines.get(
                lambda s=setting, h=how: simulated(args.designs, h, **s), title=title, how=how, designs=args.designs
            )
            for q in (0.1, 0.2):
                for plus in (False, True):
                    some = [line[f"{q}{plus}"] for line in each]
                    false, modified, power, any_found = (np.array([line[k] for line in some]) for k in range(4))
                    error = false.std(ddof=1) / np.sqrt(len(false)) if len(false) > 1 else np.nan
                    shown = f"{power.mean():.2f}" if setting["signals"] else "-"
                    rate = f"{false.mean():.3f} ± {error:.3f}"
                    line = [title, how, q, "knockoff+" if plus else "knockoff", rate, f"{modified.mean():.3f}", shown]
                    rows.append([*line, f"{any_found.mean():.2f}"])
    head = ["effects in", "regression", "q", "", "false discovery rate", "modified", "power", "studies with any"]
    return f"""{args.designs} simulated studies each: masks by p = .2, .4, .6, .8, utilities from the coded masks' effects, 3 p, and noise
of variance 1. False discovery rate: mean share of rows without effect among those selected, ± its standard error; knockoff+ promises
at most q. Modified: mean of false / (selected + 1/q), of which plain knockoffs promise that. Power: share of the rows with effect that
is selected.

{markdown(head, rows)}
"""


def simulated(designs_: int, how: str, m: int, n: int, signals: int, effect: float) -> list[dict[str, Any]]:
    """For each study and threshold: false share, modified false share, power, whether anything was selected."""
    results = []
    for seed in range(designs_):
        rng = np.random.default_rng([seed, 99])
        p = rng.choice(GRID.parameters, m)
        b = np.zeros(n)
        b[rng.permutation(n)[:signals]] = effect
        X = effects.coded(rng.random((m, n)) < p[:, None], p, GRID.variance)
        twin = effects.coded(knockoffs.knockoff_masks(p, n, seed), p, GRID.variance)
        U = X @ b + 3 * p + rng.normal(size=m)
        W = knockoffs.joint(X, twin, U, effects.covariates(p), how=how, strata=p, seed=seed, n_jobs=1)
        line = {}
        for q in (0.1, 0.2):
            for plus in (False, True):
                chosen = knockoffs.threshold(W, q, plus=plus) <= W
                wrong, count = int((chosen & (b == 0)).sum()), int(chosen.sum())
                power = float((chosen & (b > 0)).sum() / max(1, signals))
                line[f"{q}{plus}"] = [wrong / max(1, count), wrong / (count + 1 / q), power, float(count > 0)]
        results.append(line)
        if seed % 50 == 49:
            print(f"  {how}, {signals} of {n}: {seed + 1} studies", flush=True)
    return results


if __name__ == "__main__":
    main()
