"""The CG-score paper's experiments (Ki, Choi & Chung, ICLR 2023) at the size of two CPU cores, beside what it published.

    python benchmarks/cg_paper.py table2 table5 noise curves times --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py table1 dynamics features --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py pruning window --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py window --cifar10 cifar10_train.parquet --rows 500 --seeds 1      # a small version; every part has one

Parts: ``table1`` (rank agreement with C-score, forgetting, EL2N), ``table2`` (sign rule and first fifth under 20 % wrong labels),
``table5`` (the score beside its three terms), ``times`` (Table 4), ``pruning`` (Fig. 2), ``curves`` (Figs. 3, 13), ``dynamics`` (Fig. 4),
``window`` (Fig. 6), ``noise`` (Fig. 15: half and four fifths of the labels wrong), ``features`` (Figs. 17, 18). Fig. 1 and A.3 are in
``cg_quality.py``. "paper" is its stochastic score: ridge 0, the own class against three (MNIST) or four (CIFAR-10) times as many others,
ten draws. Networks are small ones. The Parquet files have a column ``image`` (encoded) and a column ``label``. Results are kept line by
line in ``benchmarks/out/cg_paper/``: a run that was stopped goes on; ``--fresh`` begins anew. Each part writes
``benchmarks/out/cg_paper_<part>.md``.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ame import Lines, pm
from cg_quality import PAPER
from cg_score import OUT, by_downdate, markdown, read_pixels
from peers import machine as machine_name
from scipy.stats import spearmanr
from torch import nn
from training_methods import draw

import datassay as da
from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.training import Recipe, Run, outputs, spawned
from datassay.evaluate import by_tenths, detection, kernel_velocity, levels
from datassay.evaluate.detection import found
from datassay.evaluate.subsets import by_class, removed, windows
from datassay.features import network_features
from datassay.networks import Problem, Standardise, problem

KEPT = OUT / "cg_paper"
RATIO = {"MNIST": 3, "CIFAR-10": 4}  # A.2
VAL = 2000  # rows that judge, or test
GROUP = 20  # rows whose kernel is watched; the paper: 125
POINTS = 21  # of a detection curve: every 5 % of the rows
RECIPE = Recipe(epochs=10, batch_size=64, optimiser="adam", lr=2e-3, weight_decay=0.0, schedule="cosine")
ROWS = 2000
CIFAR_ALONE = ("table1", "table5", "times", "dynamics")
PUBLISHED = {"MNIST": "FMNIST, 60,000", "CIFAR-10": "CIFAR-10, 50,000"}


def main() -> None:
    parts = {
        "table1": table1, "table2": table2, "table5": table5, "times": times, "pruning": pruning, "curves": curves,
        "dynamics": dynamics, "window": window, "noise": noise, "features": features,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--mnist", type=Path, help="Parquet file")
    parser.add_argument("--cifar10", type=Path, help="Parquet file")
    parser.add_argument("--rows", type=int, nargs="+", help=f"training rows, default {ROWS}; more than one size for table2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    args = parser.parse_args()
    files = {name: path for name, path in (("MNIST", args.mnist), ("CIFAR-10", args.cifar10)) if path}
    if not files:
        parser.error("give --mnist or --cifar10, or both.")
    args.files = {name: read_pixels(path) for name, path in files.items()}
    if not args.cifar10 and set(CIFAR_ALONE) & set(args.parts):
        parser.error(f"{', '.join(CIFAR_ALONE)} need --cifar10.")
    KEPT.mkdir(parents=True, exist_ok=True)
    sizes, every = args.rows, args.files
    for part in args.parts:
        if args.fresh:
            (KEPT / f"{part}.jsonl").unlink(missing_ok=True)
        args.lines, args.sizes = Lines(KEPT / f"{part}.jsonl"), sizes or [ROWS]
        args.rows = args.sizes[0]
        args.files = {name: rows for name, rows in every.items() if name == "CIFAR-10" or part not in CIFAR_ALONE}
        start = time.perf_counter()
        text = parts[part](args)
        took = f"{machine_name(torch.get_num_threads())}, one thread. {time.perf_counter() - start:.0f} s in this run."
        (OUT / f"cg_paper_{part}.md").write_text(f"# {part}\n\n{text}\n\n{took}\n", encoding="utf-8")
        print(f"{text}\n\n{took}", flush=True)


# ------------------------------------------------------------------------------------------------- rows, scores, networks


def normalised(data: da.Dataset) -> da.Dataset:
    """Every channel less its mean, by its standard deviation, as images enter the paper's networks."""
    X = np.asarray(data.X)
    X = X.reshape(len(X), -1, data.shown.shape[3] if data.shown.ndim == 4 else 1)
    return data.with_features(((X - X.mean((0, 1))) / X.std((0, 1))).reshape(len(X), -1))


def cg(data: da.Dataset, name: str, seed: int = 0, ratio: int | None = None) -> da.Values:
    """The paper's stochastic score, of the ratio that it has for this data set."""
    return da.value(data, **PAPER, negatives=ratio or RATIO[name], seed=seed, flag="sign", progress=False)


def small(data: da.Dataset) -> Callable[[int], nn.Module]:
    """Three convolutions of stride 2 and a linear layer."""
    some = problem(data, None, "cpu", "cg_paper").some()
    width = 64 * math.ceil(some.shape[2] / 8) ** 2

    def make(seed: int) -> nn.Module:
        layers: list[nn.Module] = [Standardise(some)]
        for i, o in ((some.shape[1], 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, len(data.classes)))

    return make


def accuracy(p: Problem, x: Any, y: Any, rows: np.ndarray, seed: int) -> float:
    """On the test rows, of a training on these rows, of as many steps as one on all rows has."""
    steps, kept = RECIPE.epochs * math.ceil(len(x) / RECIPE.batch_size), torch.from_numpy(np.flatnonzero(rows))
    epochs = round(steps / math.ceil(len(kept) / RECIPE.batch_size))
    recipe = replace(RECIPE, epochs=epochs)
    net = Run(p.make(0, seed), p.loss, x[kept], y[kept], recipe, seed=spawned(seed, 0)).through()
    return float((outputs(net, p.x_val).argmax(1) == p.y_val).float().mean())


def mean_of(values: Iterable[float]) -> str:
    """Of several seeds with their standard deviation."""
    values = list(values)
    return pm(values) if len(values) > 1 else f"{values[0]:.3f}"


def drawn(
    args: argparse.Namespace, rate: float, *, rows: int | None = None, only: str | None = None
) -> Iterator[tuple[str, int, da.Dataset, np.ndarray]]:
    """For each file and seed: training rows with wrong labels planted, test rows, and which labels are wrong."""
    for name, data in args.files.items():
        for seed in range(args.seeds) if only in (None, name) else ():
            yield name, seed, *draw(data, rows or args.rows, VAL, seed, rate=rate)


# -------------------------------------------------------------------------------------------------------------- the parts


def table2(args: argparse.Namespace) -> str:
    """Table 2: labels that the sign of the partial score marks, and the fifth with the highest scores."""
    settings: dict[str, Callable[[da.Dataset, str, int], da.Values]] = {
        "paper": cg,
        "paper, channels normalised": lambda data, name, seed: cg(normalised(data), name, seed),
        "paper, ratio 1:1": lambda data, name, seed: cg(data, name, seed, ratio=1),
        "paper, all others as negatives": lambda data, name, seed: da.value(data, **PAPER, flag="sign", progress=False),
        "default": lambda data, name, seed: da.value(data, seed=seed, progress=False),
        "default, channels normalised": lambda data, name, seed: da.value(normalised(data), seed=seed, progress=False),
    }
    published = {"MNIST": (0.983, 0.072, 0.773, 0.898), "CIFAR-10": (0.715, 0.208, 0.462, 0.562)}
    for rows in args.sizes:
        for name, seed, data, wrong in drawn(args, 0.2, rows=rows):
            alone = data.without_validation()
            for setting, score in settings.items():
                work = partial(marked, score, alone, name, seed, wrong)
                args.lines.get(work, data=name, rows=rows, seed=seed, setting=setting)
    table: list[list[object]] = []
    for name in args.files:
        table.append([f"published ({PUBLISHED[name]})", "", *(f"{v:.3f}" for v in published[name]), ""])
        for rows in args.sizes:
            for setting in settings:
                lines = [args.lines.found_at(data=name, rows=rows, seed=s, setting=setting) for s in range(args.seeds)]
                table.append([f"{name}, {setting}", f"{rows:,}", *(f"{v:.3f}" for v in np.mean(lines, axis=0))])
    header = ["", "rows", "recall", "clean rows marked", "precision", "wrong among the first 20 %, recall", "ROC AUC"]
    return f'20 % wrong labels, seeds: {args.seeds}. "paper" marks by sign, the default by leave-one-out.\n\n{markdown(header, table)}'


def marked(score: Any, data: da.Dataset, name: str, seed: int, wrong: np.ndarray) -> list[float]:
    values = score(data, name, seed)
    hits = (values.flagged & wrong).sum()
    scored = detection(values.scores, wrong)
    rates = [hits / wrong.sum(), values.flagged[~wrong].mean(), hits / max(values.flagged.sum(), 1)]
    return [*map(float, rates), scored["precision"], scored["auc"]]


def table5(args: argparse.Namespace) -> str:
    """Table 5: Spearman of the stochastic score with its terms, by ratio, on CIFAR-10 as it is."""
    published = {1: (-0.759, 0.912, -0.015), 2: (-0.461, 0.948, 0.066), 3: (-0.136, 0.962, 0.121), 4: (0.132, 0.970, 0.163)}
    table = []
    for ratio, theirs in published.items():
        table.append([f"1:{ratio}", "published (CIFAR-10, 50,000)", *(f"{v:.3f}" for v in theirs)])
        for name, seed, data, _ in drawn(args, 0.0):
            for form in ("pixels", "channels normalised"):
                work = partial(terms, data.without_validation(), form, ratio, seed)
                line = args.lines.get(work, data=name, rows=args.rows, seed=seed, form=form, ratio=ratio)
                table.append([f"1:{ratio}", f"{name}, {form}", *(f"{v:.3f}" for v in line)])
    return f"{args.rows:,} rows, ten draws.\n\n{markdown(['ratio', '', 'a²', '2ab', 'b²'], table)}"


def terms(data: da.Dataset, form: str, ratio: int, seed: int) -> list[float]:
    rows = data if form == "pixels" else normalised(data)
    columns = da.value(rows, **PAPER, negatives=ratio, seed=seed, progress=False).columns
    return [float(spearmanr(columns["cg_score"], columns[term]).statistic) for term in ("a2", "cross_term", "b2")]


def curves(args: argparse.Namespace, rates: tuple[float, ...] = (0.2,), methods: tuple[str, ...] | None = None) -> str:
    """Figs. 3 and 13: the share of the wrong labels among the rows with the worst scores."""
    looked, tables = (10, 20, 30, 40, 60, 80), []
    for rate, name in itertools.product(rates, args.files):
        lines: dict[str, list[Any]] = {}
        for _, seed, data, wrong in drawn(args, rate, only=name):
            for method in methods or METHODS:
                work = partial(detected, METHODS[method], data, name, seed, wrong)
                line = args.lines.get(work, data=name, rate=rate, rows=args.rows, seed=seed, method=method)
                lines.setdefault(method, []).append(line)
        table: list[list[object]] = [["oracle", "1", "1", *(f"{min(x / 100 / rate, 1):.2f}" for x in looked)]]
        for method, some in lines.items():
            curve = np.mean([line[2] for line in some], axis=0)
            share = [f"{curve[x * (POINTS - 1) // 100]:.2f}" for x in looked]
            table.append([method, mean_of(line[0] for line in some), mean_of(line[1] for line in some), *share])
        header = ["", "ROC AUC", "average precision", *(f"found in {x} %" for x in looked)]
        tables.append(f"## {name}, {rate:.0%} wrong labels\n\n{markdown(header, table)}")
    return "\n\n".join([f"{args.rows:,} rows, seeds: {args.seeds}.", *tables])


def detected(score: Any, data: da.Dataset, name: str, seed: int, wrong: np.ndarray) -> list[Any]:
    scores = score(data, name, seed)
    scored = detection(scores, wrong)
    return [scored["auc"], scored["average_precision"], found(scores, wrong, POINTS)[1].tolist()]


METHODS: dict[str, Callable[[da.Dataset, str, int], np.ndarray]] = {
    "CG-score, paper": lambda data, name, seed: cg(data.without_validation(), name, seed).scores,
    "partial CG-score, paper": lambda data, name, seed: -cg(data.without_validation(), name, seed).columns["cross_term"],
    "CG-score, paper, channels normalised": lambda data, name, seed: (
        cg(normalised(data.without_validation()), name, seed).scores
    ),
    "CG-score, default": lambda data, name, seed: da.value(data.without_validation(), seed=seed, progress=False).scores,
    "KNN-Shapley": lambda data, name, seed: da.value(data, "knn-shapley", progress=False).scores,
    "self-confidence (linear)": lambda data, name, seed: da.value(data, "self-confidence", seed=seed, progress=False).scores,
    "EL2N": lambda data, name, seed: da.value(data, "el2n", model=small(data), seed=seed, progress=False).scores,
    "forgetting": lambda data, name, seed: da.value(data, "forgetting", model=small(data), seed=seed, progress=False).scores,
    "TracIn, self-influence, last layer": lambda data, name, seed: (
        da.value(data, "tracin", model=small(data), influence="self", layers="last", seed=seed, progress=False).scores
    ),
}


def noise(args: argparse.Namespace) -> str:
    """Fig. 15: half, and four fifths, of the labels wrong."""
    return curves(args, (0.5, 0.8), ("CG-score, paper", "CG-score, default", "EL2N"))


def times(args: argparse.Namespace) -> str:
    """Table 4, one run of each: the authors' procedure, our stochastic scheme, our exact score, EL2N after 20 epochs."""
    table: list[list[object]] = []
    published = (608, 1497, 2773, 4388, 323)
    for name, seed, data, _ in drawn(args, 0.0):
        seconds = {
            what: args.lines.get(work, data=name, rows=args.rows, seed=seed, what=what) for what, work in timed(data).items()
        }
        base, exact = seconds["EL2N, 20 epochs, ResNet-8"], seconds["exact, all classes, ridge 0"]
        theirs = {f"the authors' procedure, 1:{r}": s for r, s in zip((1, 2, 3, 4), published, strict=False)}
        theirs["EL2N, 20 epochs, ResNet-8"] = published[4]
        for what, took in seconds.items():
            beside = f"{theirs[what] / published[4]:.2f}" if theirs.get(what) else ""
            table.append([name, what, took, f"{took / base:.3f}", f"{took / exact:.2f}", beside])
    header = ["", "one run of", "seconds", "of EL2N", "of exact", "published, of EL2N"]
    what = (
        f"{args.rows:,} rows; seconds of one core; the authors' procedure timed on 20 rows of each class and multiplied up."
    )
    return f"{what}\n\n{markdown(header, table)}"


def timed(data: da.Dataset) -> dict[str, Callable[[], float]]:
    alone = data.without_validation()

    def value(rows: da.Dataset, *method: Any, **options: Any) -> Callable[[], float]:
        return partial(seconds_of, partial(da.value, rows, *method, progress=False, **options))

    work: dict[str, Callable[[], float]] = {}
    for ratio in range(1, 5):
        work[f"the authors' procedure, 1:{ratio}"] = partial(authors, alone, ratio)
        work[f"the same scheme here, 1:{ratio}"] = value(alone, **PAPER, negatives=ratio, repeats=1, n_jobs=1)
    work["exact, all classes, ridge 0"] = value(alone, **PAPER)
    work["default"] = value(alone)
    work["EL2N, 20 epochs, ResNet-8"] = value(data, "el2n", runs=1, epochs=20)
    work["EL2N, 20 epochs, small network"] = value(data, "el2n", small(data), runs=1, epochs=20)
    return work


def seconds_of(work: Callable[[], Any]) -> float:
    """Of the processor: with one thread that is the time on an idle machine, whatever else runs."""
    start = time.process_time()
    work()
    return time.process_time() - start


def authors(data: da.Dataset, ratio: int, some: int = 20) -> float:
    """One draw for each class: a kernel, an inverse, and for each row of the class a downdated copy of it (``some`` are timed)."""
    U, total, rng = unit_rows(data.X), 0.0, np.random.default_rng(0)
    for c in range(len(data.classes)):
        inside, outside = np.flatnonzero(data.codes == c), np.flatnonzero(data.codes != c)
        rows = np.concatenate([inside, rng.choice(outside, min(len(outside), ratio * len(inside)), replace=False)])
        y, some = np.where(data.codes[rows] == c, 1.0, -1.0), min(some, len(inside))
        start = time.process_time()
        inverse = np.linalg.inv(arc_cosine(U[rows]))
        middle = time.process_time()
        for i in range(some):
            by_downdate(inverse, y, i)
        total += middle - start + (time.process_time() - middle) * len(inside) / some
    return total


def dynamics(args: argparse.Namespace) -> str:
    """Fig. 4: loss, accuracy and kernel velocity of ten groups, from low CG-scores to high."""
    tables = []
    for name, seed, data, _ in drawn(args, 0.0):
        work = partial(groups, METHODS["CG-score, paper"], data, name, seed)
        loss, right, speed = map(np.array, args.lines.get(work, data=name, rows=args.rows, seed=seed, setting="paper"))
        third = len(loss) // 3
        shown = {
            "mean loss over the epochs": loss.mean(0),
            "loss in the last epoch": loss[-1],
            f"right in epoch {third}": right[third - 1],
            "right in the last epoch": right[-1],
            "kernel velocity x 1000, mean": 1000 * speed.mean(0),
            "after the first epoch": 1000 * speed[1:].mean(0),
        }
        table = [
            [title, *(f"{v:.3f}" for v in values), f"{spearmanr(np.arange(10), values).statistic:.2f}"]
            for title, values in shown.items()
        ]
        header = ["group, low scores first", *map(str, range(1, 11)), "Spearman with the order"]
        tables.append(f"## {name}\n\n{markdown(header, table)}")
    what = f"{args.rows:,} rows as they are, {RECIPE.epochs} epochs, {GROUP} rows of each group for the velocity."
    return "\n\n".join([what, *tables])


def groups(score: Any, data: da.Dataset, name: str, seed: int) -> list[Any]:
    scores, net, alone = -score(data, name, seed), small(data), data.without_validation()
    loss, right = by_tenths(alone, scores, net, training=RECIPE, seed=seed)
    some = levels(scores, 10, min(GROUP, len(data) // 10))
    speed = kernel_velocity(alone, some, net, training=RECIPE, seed=seed, progress=False)
    return [loss.tolist(), right.tolist(), speed.tolist()]


def features(args: argparse.Namespace) -> str:
    """Figs. 17 and 18: the score of what enters a network's last layer, after so many epochs."""
    table: list[list[object]] = []
    epochs = (0, 1, 10)
    for (name, seed, noisy, wrong), (*_, clean, _) in zip(drawn(args, 0.2), drawn(args, 0.0), strict=True):
        scores = {}
        for after in epochs:
            work = partial(in_features, noisy.without_validation(), clean.without_validation(), wrong, name, seed, after)
            scores[after] = args.lines.get(work, data=name, rows=args.rows, seed=seed, epochs=after)
        for after, (paper, default, clean_scores) in scores.items():
            agree = spearmanr(clean_scores, scores[0][2]).statistic
            title = f"features after {after} epochs" if after else "pixels"
            table.append([name, title, f"{paper:.3f}", f"{default:.3f}", f"{agree:.2f}" if after else ""])
    header = ["", "rows are", "ROC AUC, paper", "ROC AUC, default", "no wrong labels: Spearman with the pixels' score"]
    return f"{args.rows:,} rows, ResNet-8, 20 % wrong labels for the AUC.\n\n{markdown(header, table)}"


def in_features(noisy: da.Dataset, clean: da.Dataset, wrong: np.ndarray, name: str, seed: int, epochs: int) -> list[Any]:
    if epochs:
        noisy, clean = (network_features(data, epochs=epochs, seed=seed, progress=False) for data in (noisy, clean))
    values = cg(noisy, name, seed), da.value(noisy, seed=seed, progress=False)
    return [*(detection(v.scores, wrong)["auc"] for v in values), cg(clean, name, seed).scores.tolist()]


def table1(args: argparse.Namespace) -> str:
    """Table 1: Spearman with scores that need trainings; all so that high is worth keeping."""
    published = {"CG-score": (0.557, 0.432, 0.365), "CG'-score": (0.115, 0.110, 0.136)}
    network = replace(RECIPE, schedule="constant", lr=1e-3)
    mine: dict[str, Callable[[da.Dataset, str], np.ndarray]] = {
        "CG-score": lambda data, name: cg(data, name).scores,
        "CG-score, channels normalised": lambda data, name: cg(normalised(data), name).scores,
        "CG-score, default": lambda data, name: da.value(data, progress=False).scores,
        "CG'-score": lambda data, name: da.value(data, inverse=False, classes="own", progress=False).scores,
        "CG'-score, channels normalised": lambda data, name: (
            da.value(normalised(data), inverse=False, classes="own", progress=False).scores
        ),
    }
    others: dict[str, Callable[[da.Dataset], np.ndarray]] = {
        "C-score": lambda data: (
            da.value(data, "c-score", model=small(data), n_models=36, training=network, progress=False).scores
        ),
        "forgetting": lambda data: da.value(data, "forgetting", model=small(data), runs=3, epochs=20, progress=False).scores,
        "EL2N": lambda data: da.value(data, "el2n", model=small(data), runs=3, epochs=20, progress=False).scores,
        "forgetting, 6 epochs": lambda data: da.value(data, "forgetting", model=small(data), progress=False).scores,
        "EL2N, 5 epochs": lambda data: da.value(data, "el2n", model=small(data), progress=False).scores,
    }
    table: list[list[object]] = []
    for name, _, data, _ in drawn(args, 0.0):
        alone, found = data.without_validation(), {}
        for title, work in (*mine.items(), *others.items()):
            scores = partial(listed, work, alone, name) if title in mine else partial(listed, work, alone)
            found[title] = args.lines.get(scores, data=name, rows=args.rows, score=title)
        for title in mine:
            table.append(
                [f"{name}, {title}", *(f"{spearmanr(found[title], found[other]).statistic:.3f}" for other in others)]
            )
    for title, theirs in published.items():
        table.insert(
            0 if title == "CG-score" else 1, [f"published, CIFAR-10, {title}", *(f"{v:.3f}" for v in theirs), "", ""]
        )
    return f"{args.rows:,} rows as they are.\n\n{markdown(['', *others], table)}"


def listed(score: Callable[..., np.ndarray], *given: Any) -> list[float]:
    return score(*given).tolist()


def by_chance(data: da.Dataset, name: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(len(data))


def pruning(args: argparse.Namespace) -> str:
    """Fig. 2: accuracy on test rows when the rows with the lowest (or highest) CG-scores are left out, the same share of each class."""
    fractions, tables = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), []
    for name, seed, data, _ in drawn(args, 0.0):
        p, scores = problem(data, small(data), "cpu", "cg_paper"), {}
        x, y = p.x, p.y
        for title in ("CG-score, paper", "CG-score, default", "EL2N", "random"):
            work = partial(listed, METHODS.get(title, by_chance), data, name, seed)
            found = np.array(args.lines.get(work, data=name, rows=args.rows, seed=seed, scores=title))
            masks = removed(by_class(found, data.codes), fractions)
            scores[title] = {"low": masks["high"], "high": masks["low"]}
        cells = [("all", "", 0.0, np.ones(len(data), bool))]
        for title, both in scores.items():
            for side in ("low",) if title == "random" else ("low", "high"):
                for f, mask in zip(fractions, both[side], strict=True):
                    if side == "low" or f == 0.4:
                        cells.append((title, side, f, mask))
        for title, side, f, mask in cells:
            work = partial(accuracy, p, x, y, mask, seed)
            args.lines.get(work, data=name, rows=args.rows, seed=seed, by=title, side=side, removed=f)
    for name in args.files:

        def at(title: str, side: str, f: float, name: str = name) -> str:
            if side == "high" and f != 0.4:
                return ""
            key = {"data": name, "rows": args.rows, "by": title, "side": side, "removed": f}
            return mean_of(args.lines.found_at(seed=s, **key) for s in range(args.seeds))

        table = [
            [f"{title}, {'regular' if side == 'low' else 'irregular'} rows first" if title != "random" else title,
             at("all", "", 0.0), *(at(title, side, f) for f in fractions)]
            for side in ("low", "high") for title in scores if not (title == "random" and side == "high")
        ]  # fmt: skip
        tables.append(f"## {name}\n\n{markdown(['removed', '0', *(f'{f:.0%}' for f in fractions)], table)}")
    return f"{args.rows:,} training rows, {VAL:,} test rows, seeds: {args.seeds}.\n\n" + "\n\n".join(tables)


def window(args: argparse.Namespace) -> str:
    """Fig. 6: trained on half of the rows, from low CG-scores to high, when a fifth of the labels is wrong."""
    offsets, table = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), []
    for name, seed, data, wrong in drawn(args, 0.2):
        p = problem(data, small(data), "cpu", "cg_paper")
        x, y = p.x, p.y
        for title in ("CG-score, paper", "CG-score, default"):
            work = partial(listed, METHODS[title], data, name, seed)
            scores = np.array(args.lines.get(work, data=name, rows=args.rows, seed=seed, scores=title))
            for offset, mask in zip(offsets, windows(by_class(scores, data.codes), offsets), strict=True):
                work = partial(accuracy, p, x, y, mask, seed)
                there = {"data": name, "rows": args.rows, "seed": seed, "by": title, "offset": offset}
                args.lines.get(work, **there)
                args.lines.get(partial(float, wrong[mask].mean()), **there, wrong=True)
    for name in args.files:
        for title in ("CG-score, paper", "CG-score, default"):
            there = [{"data": name, "rows": args.rows, "by": title, "offset": o} for o in offsets]
            seeds = range(args.seeds)
            table.append(
                [f"{name}, {title}: accuracy", *(mean_of(args.lines.found_at(seed=s, **at) for s in seeds) for at in there)]
            )
            spoilt = [np.mean([args.lines.found_at(seed=s, wrong=True, **at) for s in seeds]) for at in there]
            table.append(["wrong labels in the window", *(f"{share:.3f}" for share in spoilt)])
    header = ["offset", *(f"{o:.0%}" for o in offsets)]
    return f"{args.rows:,} rows, {VAL:,} test rows, 20 % wrong labels, seeds: {args.seeds}.\n\n{markdown(header, table)}"


if __name__ == "__main__":
    main()
