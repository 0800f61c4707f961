"""What the papers of DVGS and LossVal report beyond finding wrong rows, made here at the size of one core, beside what they published.

    python benchmarks/papers.py dvgs-filtering dvgs-grid dvgs-scaling --adult adult.parquet
    python benchmarks/papers.py lossval-curves --curves lossval_paper_curves.parquet
    python benchmarks/papers.py lossval-time
    python benchmarks/papers.py lossval-curves --seeds 1 --rates 0.2        # a small version; --seeds makes every part small

Parts: ``dvgs-filtering`` (1,000 rows of Adult, a fifth of the labels wrong: what is left when the lowest or the highest values are
dropped), ``dvgs-grid`` (similarity, learning rate, balance, dropout: mean AUC of each level), ``dvgs-scaling`` (seconds against rows and
against T), ``lossval-curves`` (the paper's protocol on 2dplanes and fried, which are generated: corruptions found, rows removed and
added), ``lossval-time`` (100 and 1,000 rows of a set of pol's shape). The papers' other tables are in ``training_methods.py``,
``lossval.py`` and ``ame.py``. The Adult file has a column ``income``; the file of curves is that of the published baselines, and without it
the published numbers of single data sets are left out. Results are kept line by line in ``benchmarks/out/papers/``: a run that was
stopped goes on; ``--fresh`` begins anew. Each part writes ``benchmarks/out/papers_<part>.md``.
"""

import argparse
import inspect
import itertools
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ame import Lines, opened, pm
from cg_score import OUT, markdown
from lossval import KINDS, PAPER_KIND, fried, planes, spoil
from peers import machine as machine_name
from sklearn.metrics import roc_auc_score
from torch import nn
from training_methods import adult_rows

import datassay as da
from datassay.engines.designs import Subsets
from datassay.engines.training import Recipe
from datassay.evaluation import detection, plant_wrong_labels
from datassay.evaluation.detection import found_area, found_curve
from datassay.evaluation.subsets import FRACTIONS, accuracies, by_class, removed
from datassay.methods import METHODS

KEPT = OUT / "papers"
STEPS = tuple(np.round(np.arange(0, 0.96, 0.05), 2))  # shares of the rows that LossVal's paper removes
HALF = 11  # so many of these, up to 50 %, are in its averages
SEEDS = {"dvgs-filtering": 5, "dvgs-grid": 2, "dvgs-scaling": 1, "lossval-curves": 2, "lossval-time": 1}
Versions = dict[str, tuple[str, dict[str, Any]]]


def main() -> None:
    parts: dict[str, Callable[[argparse.Namespace, Lines], str]] = {
        "dvgs-filtering": filtering, "dvgs-grid": grid, "dvgs-scaling": scaling, "lossval-curves": curves, "lossval-time": times,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--adult", type=Path, help="Parquet file with a column income; for the parts of DVGS")
    parser.add_argument("--curves", type=Path, help="Parquet file of published curves; for lossval-curves")
    parser.add_argument("--seeds", type=int, help=f"default {SEEDS}")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2], help="of lossval-curves")
    parser.add_argument("--rows", type=int, nargs="+", help="of dvgs-scaling and lossval-time")
    parser.add_argument(
        "--skip", nargs="+", default=[], help="of lossval-time: lines whose titles have one of these in them"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    args = parser.parse_args()
    if args.adult is None and any(part.startswith("dvgs") for part in args.parts):
        parser.error("the parts of DVGS need --adult.")
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    seeds = args.seeds
    for part in args.parts:
        if args.fresh:
            (KEPT / f"{part}.jsonl").unlink(missing_ok=True)
        args.seeds = seeds or SEEDS[part]
        start = time.perf_counter()
        text = parts[part](args, Lines(KEPT / f"{part}.jsonl"))
        took = f"{machine_name(1)}. {time.perf_counter() - start:.0f} s in this run."
        (OUT / f"papers_{part}.md").write_text(f"# {part}\n\n{text}\n\n{took}\n", encoding="utf-8")
        print(f"{text}\n\n{took}", flush=True)


def values_of(data: da.Dataset, method: str, options: dict[str, Any], seed: int) -> da.Values:
    """In this process; the CG-score is that of the rows alone: it would use validation rows."""
    given = data.without_validation() if method == "cg-score" else data
    known = inspect.signature(METHODS[method].load()).parameters
    quiet = {name: value for name, value in (("progress", False), ("n_jobs", 1)) if name in known}
    return da.value(given, method, seed=seed, **quiet, **options)


# ------------------------------------------------------------------------------------------------------------------ DVGS

FILTERS: Versions = {
    "DVGS, published": ("dvgs", {"faithful": True}),
    "DVGS, default": ("dvgs", {}),
    "CG-score": ("cg-score", {}),
    "random": ("random", {}),
}


SIDES = {"low": "lowest", "low of each class": "lowest of each class", "high": "highest"}


def filtering(args: argparse.Namespace, lines: Lines) -> str:
    found = {
        title: [lines.get(partial(filtered, args.adult, seed, *how), title=title, seed=seed) for seed in range(args.seeds)]
        for title, how in FILTERS.items()
    }
    tables = []
    for measure in ("accuracy", "AUROC"):
        rows: list[list[object]] = []
        for title, side in itertools.product(FILTERS, SIDES):
            curve = 100 * np.mean([line[measure][side] for line in found[title]], axis=0)
            if measure == "accuracy" or title != "random":
                rows.append([f"{title}: {SIDES[side]} dropped", *(f"{v:.1f}" for v in curve), f"{curve.mean():.1f}"])
        tables.append(f"{measure}, %:\n\n" + markdown(["", *(f"{q:g}" for q in FRACTIONS), "mean"], rows))
    auc = "; ".join(f"{title}: {pm(line['auc'] for line in found[title])}" for title in FILTERS)
    return f"""1,000 rows of Adult, 400 validation rows, 20 % wrong labels; judged on 5,000 other rows; logistic regression;
{args.seeds} seeds. Columns: the share that is dropped. AUC of the wrong labels: {auc}.

{tables[0]}

{tables[1]}"""


def filtered(path: Path, seed: int, method: str, options: dict[str, Any]) -> dict[str, Any]:
    data, wrong = adult_rows(path, seed, noise=False)
    frame = pd.read_parquet(path)
    mine = frame.sample(1400, random_state=seed)  # as adult_rows draws
    others = frame.drop(index=mine.index).sample(5000, random_state=seed)
    train, test = (some.drop(columns="income") for some in (mine.iloc[:1000], others))
    judged = da.Dataset(train, data.y, test, others["income"].to_numpy())  # the columns of data.X
    scores = values_of(data, method, options, seed).scores
    masks = removed(by_class(scores, None))
    masks["low of each class"] = removed(by_class(scores, data.codes))["low"]
    right = accuracies(judged, judged.X_val, judged.y_val, masks, None, seed=seed)
    areas = aurocs(da.Dataset(judged.X, judged.y, judged.X_val, judged.y_val), masks, seed)
    return {
        "auc": detection(scores, wrong)["auc"],
        "accuracy": {side: list(map(float, right[side])) for side in masks},
        "AUROC": areas,
    }


def aurocs(data: da.Dataset, masks: dict[str, np.ndarray], seed: int) -> dict[str, list[float]]:
    """Of the same trainings: how well their log-odds order the validation rows of two classes."""
    s, areas = opened(data, None, None, seed), {}
    for side, mask in masks.items():
        subsets = Subsets(mask.astype(np.uint8), np.full(len(mask), np.nan))
        s.train(subsets)
        said = np.nan_to_num(s.utilities_of(subsets, lambda said: said), neginf=-1e9)
        areas[side] = [float(roc_auc_score(data.codes_val, one[:, 1] - one[:, 0])) for one in said]
    return areas


LEVELS: dict[str, tuple[Any, ...]] = {
    "similarity": ("distance", "cosine", "scalar", "dot"),
    "lr": (1e-3, 1e-4, 1e-2),
    "balanced": (False, True),
    "dropout": (0.0, 0.5),
}
MARGINALS = {  # published
    ("similarity", "distance"): 0.837, ("similarity", "cosine"): 0.832, ("similarity", "scalar"): 0.762, ("similarity", "dot"): 0.731,
    ("lr", 1e-3): 0.833, ("lr", 1e-4): 0.806, ("lr", 1e-2): 0.733, ("balanced", False): 0.812, ("balanced", True): 0.770,
    ("dropout", 0.0): 0.798, ("dropout", 0.5): 0.791,
}  # fmt: skip


def grid(args: argparse.Namespace, lines: Lines) -> str:
    runs = []
    for seed, *level in itertools.product(range(args.seeds), *LEVELS.values()):
        cell = dict(zip(LEVELS, level, strict=True))
        runs.append(cell | {"seed": seed, "auc": lines.get(partial(grid_cell, args.adult, seed, **cell), seed=seed, **cell)})
    table = pd.DataFrame(runs)
    rows: list[list[object]] = []
    for name, some in LEVELS.items():
        for level in some:
            each = table[table[name] == level].groupby("seed").auc.mean()
            rows.append(
                [name, f"{level:g}" if isinstance(level, float) else level, pm(each), f"{MARGINALS[name, level]:.3f}"]
            )
    shown = table.groupby(["similarity", "lr", "dropout"]).auc.mean().unstack(["dropout", "lr"])
    columns = list(itertools.product(LEVELS["dropout"], LEVELS["lr"]))
    cross = [[s, *(f"{shown.loc[s, c]:.3f}" for c in columns)] for s in LEVELS["similarity"]]
    means = table.groupby(list(LEVELS)).auc.mean()
    best = ", ".join(f"{name} {level}" for name, level in zip(LEVELS, means.idxmax(), strict=True))
    return f"""1,000 rows of Adult, 400 validation rows, 20 % wrong labels; {len(means)} settings, one restart of 100 steps each,
{args.seeds} seeds. Mean AUC of all runs with this level, ± deviation over the seeds. The best setting
({best}) has {means.max():.3f}, the worst {means.min():.3f}.

{markdown(["", "level", "here", "published"], rows)}

Similarity against dropout and learning rate, mean over balance and seeds:

{markdown(["", *(f"dropout {d:g}, lr {lr:g}" for d, lr in columns)], cross)}"""


def grid_cell(path: Path, seed: int, similarity: Any, lr: float, balanced: bool, dropout: float) -> float:
    """``faithful`` is the network with dropout .5; the recipe is given, so that its balance is not the published one."""
    data, wrong = adult_rows(path, seed, noise=False)
    recipe = Recipe(epochs=100, batch_size=500, optimiser="adam", lr=lr, weight_decay=0.0, balanced=balanced)
    options = {"similarity": similarity, "runs": 1, "training": recipe, "faithful": dropout > 0}
    return detection(values_of(data, "dvgs", options, seed).scores, wrong)["auc"]


EVERY = (1, 2, 5, 10)


def scaling(args: argparse.Namespace, lines: Lines) -> str:
    sizes = args.rows or [1000, 2000, 4000, 8000, 16000]
    runs: dict[tuple[int, int], list[dict[str, float]]] = {}
    for seed, n, every in itertools.product(range(args.seeds), sizes, EVERY):
        line = lines.get(partial(scaling_cell, args.adult, seed, n, every), rows=n, every=every, seed=seed)
        runs.setdefault((n, every), []).append(line)
    best = {cell: min(line["seconds"] for line in some) for cell, some in runs.items()}
    rows: list[list[object]] = [
        [f"{n:,}", *(f"{best[n, t]:.2f}" for t in EVERY), *(f"{np.mean([r['auc'] for r in runs[n, t]]):.3f}" for t in EVERY)]
        for n in sizes
    ]
    if len(sizes) > 1:
        log = np.log(sizes)
        rows.append(["n^", *(f"{np.polyfit(log, np.log([best[n, t] for n in sizes]), 1)[0]:.2f}" for t in EVERY), *[""] * 4])
        last = sizes[-2:]
        slope = [np.log(best[last[1], t] / best[last[0], t]) / np.log(last[1] / last[0]) for t in EVERY]
        rows.append(["n^, last two", *(f"{v:.2f}" for v in slope), *[""] * 4])
    rows.append(["published, 45,000", "39", "", "8", "", *[""] * 4])
    top = sizes[-1]
    ratios = ", ".join(f"{best[top, 1] / best[top, t]:.1f} (T = {t})" for t in EVERY[1:])
    return f"""Adult, 400 validation rows, 20 % wrong labels; defaults, one restart of 100 steps; seconds of one thread's processor
time, the least of {args.seeds} seeds, and mean AUC. At {top:,} rows T = 1 takes so many times as long: {ratios}. Published: 4.9 (T = 5).

{markdown(["rows", *(f"T = {t}, s" for t in EVERY), *(f"T = {t}, AUC" for t in EVERY)], rows)}"""


def scaling_cell(path: Path, seed: int, n: int, every: int) -> dict[str, float]:
    frame = pd.read_parquet(path).sample(n + 400, random_state=seed)
    X, y = frame.drop(columns="income"), frame["income"].to_numpy()
    data, wrong = plant_wrong_labels(da.Dataset(X.iloc[:n], y[:n], X.iloc[n:], y[n:]), 0.2, seed=seed)
    values_of(data, "dvgs", {"runs": 1, "epochs": 1}, seed)  # what is loaded once is not timed
    start = time.process_time()
    values = values_of(data, "dvgs", {"runs": 1, "every": every}, seed)
    return {"seconds": time.process_time() - start, "auc": detection(values.scores, wrong)["auc"]}


# --------------------------------------------------------------------------------------------------------------- LossVal

CURVES: Versions = {
    "LossVal-5 as released": ("lossval", {"faithful": True, "epochs": 5}),
    "LossVal-30 as released": ("lossval", {"faithful": True}),
    "LossVal, default": ("lossval", {}),
    "KNN-Shapley, K = 100": ("knn-shapley", {"k": 100}),
    "LAVA": ("lava", {}),
    "CG-score": ("cg-score", {}),
    "random": ("random", {}),
}
BASELINES = {"KNN-Shapley, K = 100": "KNN-Shapley", "LAVA": "LAVA", "random": "Random"}  # their names in the published file
AVERAGES = {  # published, over six data sets: found among labels, features, both; accuracy when the highest are removed
    "LossVal-5 as released": (81.61, 53.96, 67.29, 71.00),
    "LossVal-30 as released": (83.10, 55.13, 67.91, 71.81),
    "KNN-Shapley, K = 100": (72.49, 62.78, 68.22, 69.39),
    "LAVA": (54.75, 81.18, 68.76, 72.89),
}
SETS = {"2dplanes": planes, "fried": fried}


def curves(args: argparse.Namespace, lines: Lines) -> str:
    found = []
    for seed, data, kind, rate, title in itertools.product(range(args.seeds), SETS, KINDS, args.rates, CURVES):
        cell = {"data": data, "kind": kind, "rate": rate}
        line = lines.get(partial(curve_cell, seed, title, **cell), seed=seed, title=title, **cell)
        found.append(cell | {"seed": seed, "title": title} | line)
    sides = []
    for title in BASELINES:  # those that take no time
        cells = [{"data": d, "kind": k, "rate": r} for d, k, r in itertools.product(SETS, KINDS, args.rates)]
        each = [
            lines.get(partial(one_sided, seed, title, **c), one_sided=True, seed=seed, title=title, **c)
            for seed in range(args.seeds)
            for c in cells
        ]
        sides.append(f"{title} {np.mean(each):.0f}")
    table = pd.DataFrame(found)
    theirs = published(args.curves, args.rates) if args.curves else {}

    def cell(title: str, curve: str, data: str, kind: str | None) -> str:
        some = table[(table.title == title) & (table.data == data) & ((table.kind == kind) | (kind is None))]
        text = pm(some.groupby("seed")[curve].mean(), 1)
        there = theirs.get((BASELINES.get(title), curve, data, kind))
        return text if there is None else f"{text} ({there:.1f})"

    rows = [
        [
            title,
            *(cell(title, "found", d, k) for d, k in itertools.product(SETS, KINDS)),
            *(f"{v:.1f}" for v in AVERAGES.get(title, ())[:3]),
        ]
        for title in CURVES
    ]
    rows = [row + [""] * (10 - len(row)) for row in rows]
    head = ["", *(f"{d}, {k}" for d, k in itertools.product(SETS, KINDS)), *(f"published, six sets: {k}" for k in KINDS)]
    names = {
        "remove_high": "highest removed",
        "remove_low": "lowest removed",
        "add_high": "highest added",
        "add_low": "lowest added",
    }
    kept = [
        [
            title,
            *(cell(title, c, d, None) for d, c in itertools.product(SETS, names)),
            *(f"{v:.1f}" for v in AVERAGES.get(title, ())[3:]),
        ]
        for title in CURVES
    ]
    kept = [row + [""] * (10 - len(row)) for row in kept]
    kept_head = [
        "",
        *(f"{d}: {names[c]}" for d, c in itertools.product(SETS, names)),
        "published, six sets: highest removed",
    ]
    rates = ", ".join(f"{r:g}" for r in args.rates)
    best = np.mean([np.minimum(np.arange(21) / 20 / r, 1).mean() for r in args.rates])
    return f"""1,000 rows, 100 validation rows, 3,000 test rows; noise in training and validation rows, rates {rates};
{args.seeds} seeds, mean ± deviation over these. In brackets: the published number of the same data set, where the file of curves has it.

Share of the corrupted rows among the lowest values, mean of the curve at 0, 5, ... 100 % of the rows, in %. By chance 50,
at best {100 * best:.1f}.

{markdown(head, rows)}

Accuracy on test rows, %, mean over the kinds of noise: of 0 to 50 % removed; of 5 to 50 % added (low first removed and high first added
are the two halves of one curve). Logistic regression.

{markdown(kept_head, kept)}

Share of the more frequent class among the 300 highest values, %: {", ".join(sides)}.{whole(args.curves)}"""


def spoilt(seed: int, data: str, kind: str, rate: float) -> tuple[da.Dataset, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The rows of the F1 table of ``lossval.py``, which of them are corrupted, and test rows."""
    rng = np.random.default_rng([seed, round(1000 * rate), KINDS.index(kind)])
    X, y = SETS[data](rng, 1100)
    X_train, y_train, bad = spoil(X[:1000], y[:1000], kind, rate, rng)
    X_val, y_val, _ = spoil(X[1000:], y[1000:], kind, rate, rng)  # as published
    return da.Dataset(X_train, y_train, X_val, y_val), bad, SETS[data](rng, 3000)


def one_sided(seed: int, title: str, **cell: Any) -> float:
    """Share of the more frequent class among the highest three tenths of the values, in %."""
    given, _, _ = spoilt(seed, **cell)
    highest = given.codes[np.argsort(-values_of(given, *CURVES[title], seed).scores, kind="stable")[:300]]
    return 100 * float(max(highest.mean(), 1 - highest.mean()))


def curve_cell(seed: int, title: str, **cell: Any) -> dict[str, float]:
    given, bad, test = spoilt(seed, **cell)
    scores = values_of(given, *CURVES[title], seed).scores
    right = accuracies(given, *test, removed(by_class(scores, None), STEPS), None, seed=seed)
    high, low = (100 * right[side] for side in ("high", "low"))
    return {
        "found": 100 * float(found_curve(scores, bad, points=21)[1].mean()),
        "area": 100 * found_area(scores, bad),
        "remove_high": float(high[:HALF].mean()),
        "remove_low": float(low[:HALF].mean()),
        "add_high": float(low[HALF - 1 :].mean()),  # what is left without the lowest 95 % are the highest 5 %
        "add_low": float(high[HALF - 1 :].mean()),
    }


def published(path: Path, rates: list[float]) -> dict[tuple[object, ...], float]:
    """Means of the published curves of each data set, in %: all points of those found, of those removed up to half."""
    paper = pd.read_parquet(path)
    paper = paper[
        paper.dataset.isin(list(SETS)) & paper.noise_rate.isin(rates) & paper.method.isin(list(BASELINES.values()))
    ]
    means = {}
    names = {"corruption_found": "found", "remove_highest_first": "remove_high", "remove_lowest_first": "remove_low"}
    for (curve, method, data), some in paper.groupby(["curve", "method", "dataset"]):
        if curve == "corruption_found":
            for kind in KINDS:
                means[method, "found", data, kind] = 100 * some[some.noise_kind == PAPER_KIND[kind]].value_mean.mean()
        else:
            means[method, names[curve], data, None] = 100 * some[some.fraction < 0.51].value_mean.mean()
    return means


def whole(path: Path | None) -> str:
    """What the file has of all six data sets: the published averages, if they are taken so."""
    if path is None:
        return ""
    paper = pd.read_parquet(path).query("task_type == 'classification'")
    highest = paper[(paper.curve == "remove_highest_first") & (paper.fraction < 0.51)].groupby("method").value_mean.mean()
    all_points = paper[paper.curve == "corruption_found"].groupby("method").value_mean.mean()
    text = "; ".join(
        f"{name} {100 * all_points[name]:.2f} found, {100 * highest[name]:.2f} left" for name in BASELINES.values()
    )
    return f" The same means of the published curves of all six data sets, over all kinds and rates: {text}."


def perceptron(seed: int) -> nn.Module:
    """The paper's: five layers of 100."""
    sizes = [26, 100, 100, 100, 100]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(100, 11))


BRIEF = {"model": perceptron, "training": Recipe(epochs=5, batch_size=128, optimiser="adam", lr=0.01, weight_decay=0.0)}
TIMED: dict[
    str, tuple[str, dict[str, Any], tuple[float, ...]]
] = {  # method, options, published seconds of 100 and 1,000 rows
    "LossVal-5 as released": ("lossval", {"faithful": True, "epochs": 5}, (0.28, 1.82)),
    "LossVal-30 as released": ("lossval", {"faithful": True}, (1.32, 10.6)),
    "LossVal, default": ("lossval", {}, ()),
    "KNN-Shapley, K = 100": ("knn-shapley", {"k": 100}, (0.02, 0.16)),
    "LAVA": ("lava", {}, (0.06, 0.10)),
    "CG-score": ("cg-score", {}, ()),
    "DVGS": ("dvgs", {}, ()),
    "Banzhaf, 1,000 linear models": ("banzhaf", {}, ()),
    "Banzhaf, 1,000 perceptrons": ("banzhaf", BRIEF, (1.9, 127)),
    "AME, 1,000 linear models": ("ame", {}, ()),
    "AME, 1,000 perceptrons": ("ame", BRIEF, (7.8, 509)),
    "Shapley, 1,000 linear models": ("shapley", {}, (234, 196)),
    "leave-one-out, linear models": ("leave-one-out", {}, ()),
    "leave-one-out, perceptrons": ("leave-one-out", BRIEF, (3.5, 245)),
    "Data-OOB, 1,000 trees": ("data-oob", {"n_models": 1000}, (3.2, 245)),
    "DVRL, 2,000 iterations": ("dvrl", {"iterations": 2000}, (3.5, 33)),
}


def times(args: argparse.Namespace, lines: Lines) -> str:
    sizes = args.rows or [100, 1000]
    rows: list[list[object]] = []
    for title, (method, options, theirs) in TIMED.items():
        if any(part in title for part in args.skip):
            continue
        best = [
            min(
                lines.get(partial(timed, n, seed, method, options), title=title, rows=n, seed=seed)
                for seed in range(args.seeds)
            )
            for n in sizes
        ]
        rows.append([title, *(f"{s:.2g}" if s < 10 else f"{s:.0f}" for s in best), *(theirs or ("", ""))])
        rows[-1][1 + len(sizes) :] = [str(v) for v in rows[-1][1 + len(sizes) :]]
    head = ["", *(f"{n:,} rows, s" for n in sizes), "published, 100", "published, 1,000"]
    return f"""Rows of 26 columns around the means of 11 classes (pol's shape), 100 validation rows; seconds of one thread's
processor time, the least of {args.seeds} runs, with all that the method does. Perceptrons: five layers of 100, 5 epochs in batches of 128.

{markdown(head, rows)}"""


def of_pol(n: int, seed: int) -> da.Dataset:
    rng = np.random.default_rng(seed)
    y = rng.permutation(n + 100) % 11
    X = rng.normal(size=(11, 26))[y] + rng.normal(size=(n + 100, 26))
    return da.Dataset(X[:n], y[:n], X[n:], y[n:], task="classification")


@cache
def warm() -> None:
    """What is loaded once is not timed."""
    for name, few in {"lossval": {"epochs": 1}, "banzhaf": {"n_models": 20}, "knn-shapley": {}, "cg-score": {}}.items():
        values_of(of_pol(50, 0), name, few, 0)


def timed(n: int, seed: int, method: str, options: dict[str, Any]) -> float:
    warm()
    data = of_pol(n, seed)
    start = time.process_time()
    values_of(data, method, options, seed)
    return time.process_time() - start


if __name__ == "__main__":
    main()
