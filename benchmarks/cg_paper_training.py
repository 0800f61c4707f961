"""The CG-score paper's experiments with trained networks (Ki, Choi & Chung, ICLR 2023) at the size of one CPU core.

    python benchmarks/cg_paper_training.py pruning window --rows 5000 --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper_training.py table1 dynamics times --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper_training.py window --mnist mnist_train.parquet --rows 200 --seeds 1   # a small version; every part has one

Parts: ``table1`` (rank agreement with C-score, forgetting, EL2N), ``pruning`` (Fig. 2, with the rivals of appendix F), ``dynamics``
(Fig. 4: learning speed and kernel velocity), ``window`` (Fig. 6), ``times`` (Table 4). "paper" is the score as in ``cg_paper.py``, which
also says what the files are and where results go. The network is a small one.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import torch
from cg_paper import METHODS, RATE, VAL, drawn, mean_of, normalised, run, small, value
from cg_quality import PAPER
from cg_score import by_downdate, markdown
from scipy.stats import spearmanr

import datassay as da
from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.training import Recipe, Run, outputs, spawned
from datassay.evaluation import by_tenths, kernel_velocity, levels
from datassay.evaluation.subsets import by_class, removed, windows
from datassay.methods import METHODS as METHOD_TABLE
from datassay.networks.problem import Problem, problem

VELOCITY = 20  # rows of a group whose kernel is watched; the paper: 125
RECIPE = Recipe(epochs=10, batch_size=64, optimiser="adam", lr=2e-3, weight_decay=0.0, schedule="cosine")
REMOVED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
OFFSETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
TABLE4 = {  # seconds for CIFAR-10 on an A100
    **{f"the authors' procedure, 1:{ratio}": seconds for ratio, seconds in zip((1, 2, 3, 4), (608, 1497, 2773, 4388), strict=True)},
    "EL2N": 323, "forgetting": 3322, "TracIn": 3425, "CRAIG": 5263,
}  # fmt: skip

C_SCORE = value("c-score", network=True, n_models=100, training=replace(RECIPE, epochs=8))
RANDOM = "random"


def main() -> None:
    parts = {"table1": table1, "pruning": pruning, "dynamics": dynamics, "window": window, "times": times}
    run(__doc__, parts, cifar_alone=("times",))


def kept(args: argparse.Namespace, score: Any, data: da.Dataset, name: str, seed: int, title: str) -> np.ndarray:
    """Scores, kept with the results."""
    work = partial(listed, score, data, name, seed)
    return np.array(args.lines.get(work, data=name, rows=args.rows, seed=seed, scores=title))


def listed(score: Callable[..., np.ndarray], *given: Any) -> list[float]:
    return score(*given).tolist()


def at_random(data: da.Dataset, name: str, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, 1)).random(len(data))


def accuracy(p: Problem, rows: np.ndarray, seed: int) -> float:
    """On the test rows, of a training on these rows, of as many steps as one on all rows has."""
    steps, some = RECIPE.epochs * math.ceil(len(p.x) / RECIPE.batch_size), torch.from_numpy(np.flatnonzero(rows))
    recipe = replace(RECIPE, epochs=round(steps / math.ceil(len(some) / RECIPE.batch_size)))
    net = Run(p.make(0, seed), p.loss, p.x[some], p.y[some], recipe, seed=spawned(seed, 0)).through()
    return float((outputs(net, p.x_val).argmax(1) == p.y_val).float().mean())


# -------------------------------------------------------------------------------------------------------------- the parts


def table1(args: argparse.Namespace) -> str:
    """Table 1: Spearman with scores that need trainings; all so that high is worth keeping."""
    published = {"CG-score": (0.557, 0.432, 0.365), "CG'": (0.115, 0.110, 0.136)}
    prime = value(inverse=False, classes="own", alone=True)
    mine: dict[str, Any] = {
        "CG-score": METHODS["CG-score, paper"],
        "CG-score, channels normalised": METHODS["CG-score, paper, channels normalised"],
        "CG-score, default": METHODS["CG-score, default"],
        "CG'": prime,
        "CG', channels normalised": lambda data, name, seed: prime(normalised(data), name, seed),
    }
    others: dict[str, Any] = {
        "C-score": C_SCORE,
        "forgetting": value("forgetting", network=True, runs=3, epochs=20),
        "EL2N": value("el2n", network=True, runs=3, epochs=20),
        "forgetting, 6 epochs": METHODS["forgetting"],
        "EL2N, 5 epochs": METHODS["EL2N"],
    }
    agree: dict[tuple[str, str, str], list[float]] = {}
    for name, seed, data, _ in drawn(args, 0.0):
        found = {title: kept(args, score, data, name, seed, title) for title, score in (mine | others).items()}
        for title in mine:
            for other in others:
                agree.setdefault((name, title, other), []).append(spearmanr(found[title], found[other]).statistic)
    table: list[list[object]] = [
        [f"published (CIFAR-10, 50,000), {t}", *(f"{v:.3f}" for v in p), "", ""] for t, p in published.items()
    ]
    table += [
        [f"{name}, {title}", *(mean_of(agree[name, title, other]) for other in others)]
        for name in args.files
        for title in mine
    ]
    what = f"{args.rows:,} rows as they are, seeds: {args.seeds}; C-score from 100 trainings; forgetting and EL2N: three runs of 20 epochs."
    return f"{what}\n\n{markdown(['', *others], table)}"


def pruning(args: argparse.Namespace) -> str:
    """Fig. 2 and appendix F: accuracy when the most regular rows are left out, or the most irregular ones, the same share of each class."""
    scores: dict[str, Any] = {
        **{title: METHODS[title] for title in ("CG-score, paper", "CG-score, default", "EL2N", "forgetting")},
        "TracIn": METHODS["TracIn, self-influence, last layer"],
        "CRAIG": METHODS["CRAIG"],
        RANDOM: at_random,
    }
    table, cells = [], {}
    for name, seed, data, _ in drawn(args, 0.0):
        p = problem(data, small(data), "cpu", "pruning")
        for title, score in {"": None, **scores}.items():
            place = by_class(kept(args, score, data, name, seed, title), data.codes) if score else np.ones(len(data))
            masks = (
                {"regular": removed(place, REMOVED)["high"], "irregular": removed(place, REMOVED)["low"]} if score else {}
            )
            todo = [(side, f, mask) for side, some in masks.items() for f, mask in zip(REMOVED, some, strict=True)]
            for side, f, mask in todo or [("", 0.0, np.ones(len(data), bool))]:
                if side == "irregular" and (title == RANDOM or f not in (0.2, 0.4)):
                    continue
                key = {"data": name, "rows": args.rows, "seed": seed, "by": title, "side": side, "removed": f}
                cells.setdefault((name, title, side, f), []).append(args.lines.get(partial(accuracy, p, mask, seed), **key))
    for name in args.files:
        for side in ("regular", "irregular"):
            for title in scores:
                line = [mean_of(cells[name, title, side, f]) if (name, title, side, f) in cells else "" for f in REMOVED]
                if any(line):
                    order = "" if title == RANDOM else f", {side} rows first"
                    table.append([f"{name}, {title}{order}", mean_of(cells[name, "", "", 0.0]), *line])
    what = f"{args.rows:,} training rows, {VAL:,} test rows, seeds: {args.seeds}; test accuracy."
    return f"{what}\n\n{markdown(['removed', '0', *(f'{f:.0%}' for f in REMOVED)], table)}"


def window(args: argparse.Namespace) -> str:
    """Fig. 6: trained on half of the rows, from low CG-scores to high, when a fifth of the labels is wrong."""
    titles, cells = ("CG-score, paper", "CG-score, default"), {}
    for name, seed, data, wrong in drawn(args, RATE):
        p = problem(data, small(data), "cpu", "window")
        for title in titles:
            place = by_class(kept(args, METHODS[title], data, name, seed, title), data.codes)
            for offset, mask in zip(OFFSETS, windows(place, OFFSETS), strict=True):
                key = {"data": name, "rows": args.rows, "seed": seed, "by": title, "offset": offset}
                line = [args.lines.get(partial(accuracy, p, mask, seed), **key), wrong[mask].mean()]
                cells.setdefault((name, title, offset), []).append(line)
    table = []
    for name, title in ((name, title) for name in args.files for title in titles):
        reached, spoilt = zip(*(zip(*cells[name, title, offset], strict=True) for offset in OFFSETS), strict=True)
        table.append([f"{name}, {title}: accuracy", *map(mean_of, reached)])
        table.append(["wrong labels in the window", *(f"{np.mean(share):.3f}" for share in spoilt)])
    what = f"{args.rows:,} rows, {VAL:,} test rows, {RATE:.0%} wrong labels, seeds: {args.seeds}."
    return f"{what}\n\n{markdown(['the window begins at', *(f'{o:.0%}' for o in OFFSETS)], table)}"


def dynamics(args: argparse.Namespace) -> str:
    """Fig. 4: loss, accuracy and kernel velocity of ten groups, from low CG-scores to high."""
    titles, found = ("CG-score, paper", "CG-score, default"), {}
    for name, seed, data, _ in drawn(args, 0.0):
        for title in titles:
            work = partial(groups, -kept(args, METHODS[title], data, name, seed, title), data, seed)
            line = args.lines.get(work, data=name, rows=args.rows, seed=seed, groups=title)
            found.setdefault((name, title), []).append(line)
    tables = []
    for (name, title), lines in found.items():
        loss, right, speed = (np.mean([line[k] for line in lines], axis=0) for k in range(3))
        early = len(loss) // 3
        shown = {
            "mean loss over the epochs": loss.mean(0), "loss in the last epoch": loss[-1],
            f"right in epoch {early}": right[early - 1], "right in the last epoch": right[-1],
            "1,000 x kernel velocity, mean": 1000 * speed.mean(0), "after the first epoch": 1000 * speed[1:].mean(0),
        }  # fmt: skip
        table = [
            [t, *(f"{v:.3f}" for v in row), f"{spearmanr(np.arange(10), row).statistic:.2f}"] for t, row in shown.items()
        ]
        header = ["group, low scores first", *map(str, range(1, 11)), "Spearman with the order"]
        tables.append(f"{name}, {title}:\n\n{markdown(header, table)}")
    what = f"{args.rows:,} rows as they are, seeds: {args.seeds}; {RECIPE.epochs} epochs; {VELOCITY} rows of each group for the velocity."
    return "\n\n".join([what, *tables])


def groups(hard: np.ndarray, data: da.Dataset, seed: int) -> list[Any]:
    net, alone = small(data), data.without_validation()
    loss, right = by_tenths(alone, hard, net, training=RECIPE, seed=seed)
    some = levels(hard, 10, min(VELOCITY, len(data) // 10))
    speed = kernel_velocity(alone, some, net, training=RECIPE, seed=seed, progress=False)
    return [loss.tolist(), right.tolist(), speed.tolist()]


def times(args: argparse.Namespace) -> str:
    """Table 4: the authors' procedure, our stochastic scheme, our exact score, and methods that train, one run of each."""
    table: list[list[object]] = []
    for name, seed, data, _ in drawn(args, 0.0):
        found = {w: args.lines.get(work, data=name, rows=args.rows, seed=seed, what=w) for w, work in timed(data).items()}
        for what, took in found.items():
            theirs = TABLE4.get(what.split(",")[0] if "authors" not in what else what)
            beside = [f"{theirs:,}", f"{theirs / TABLE4['EL2N']:.2f}"] if theirs else ["", ""]
            ratios = [f"{took / found[base]:.3g}" for base in ("EL2N, 20 epochs", "exact, all classes, ridge 0")]
            table.append([what, f"{took:.3g}", *ratios, *beside])
    header = ["one run of", "seconds", "of EL2N's", "of the exact score's", "published", "of EL2N's, published"]
    what = (
        f"{args.rows:,} rows of CIFAR-10; processor seconds of one core. The authors' procedure from 20 rows of each class."
    )
    return f"{what}\n\n{markdown(header, table)}"


def timed(data: da.Dataset) -> dict[str, Callable[[], float]]:
    """Networks: the default one of datassay, a ResNet of 8 layers."""
    alone = data.without_validation()

    def of(rows: da.Dataset, *method: Any, **options: Any) -> Callable[[], float]:
        here = {"n_jobs": 1} if "n_jobs" in signature(METHOD_TABLE[method[0]].load()).parameters else {}
        return partial(seconds_of, partial(da.value, rows, *method, progress=False, **(here | options)))

    work: dict[str, Callable[[], float]] = {}
    for ratio in (1, 2, 3, 4):
        work[f"the authors' procedure, 1:{ratio}"] = partial(authors, alone, ratio)
        work[f"the same scheme here, 1:{ratio}"] = of(alone, "cg-score", **PAPER, negatives=ratio, repeats=1)
    work["exact, all classes, ridge 0"] = of(alone, "cg-score", **PAPER)
    work["CG-score, default"] = of(alone, "cg-score")
    work["EL2N, 20 epochs"] = of(data, "el2n", runs=1, epochs=20)
    for title in ("forgetting", "TracIn", "CRAIG"):
        work[f"{title}, default"] = of(data, title.lower())
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
        y, few = np.where(data.codes[rows] == c, 1.0, -1.0), min(some, len(inside))
        start = time.process_time()
        inverse = np.linalg.inv(arc_cosine(U[rows]))
        middle = time.process_time()
        for i in range(few):
            by_downdate(inverse, y, i)
        total += middle - start + (time.process_time() - middle) * len(inside) / few
    return total


if __name__ == "__main__":
    main()
