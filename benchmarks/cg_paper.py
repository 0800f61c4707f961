"""The CG-score paper's experiments (Ki, Choi & Chung, ICLR 2023) at the size of one CPU core, beside what it published.

    python benchmarks/cg_paper.py table2 --rows 4000 --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py curves noise features --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py table5 --cifar10 cifar10_train.parquet
    python benchmarks/cg_paper.py curves --mnist mnist_train.parquet --rows 200 --seeds 1        # a small version; every part has one

Parts: ``table2`` (sign rule and first fifth under 20 % wrong labels), ``table5`` (the score beside its three terms), ``curves`` (Figs. 3
and 13: wrong labels found), ``noise`` (Fig. 15: half and four fifths of the labels wrong), ``features`` (Figs. 17 and 18). What it trains
networks for is in ``cg_paper_training.py``, Fig. 1 and A.3 in ``cg_quality.py``. "paper" is its stochastic score: ridge 0, the own class
against three (MNIST) or four (CIFAR-10) times as many others, ten draws. The Parquet files have a column ``image`` (encoded) and a column
``label``. Results are kept line by line in ``benchmarks/out/cg_paper/``: a run that was stopped goes on; ``--fresh`` begins anew. Each part
writes ``benchmarks/out/cg_paper_<part>.md``.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ame import Lines, pm
from cg_quality import PAPER, RATE
from cg_score import OUT, markdown, read_pixels
from peers import machine as machine_name
from scipy.stats import spearmanr
from torch import nn
from training_methods import draw

import datassay as da
from datassay.evaluation import detection
from datassay.evaluation.detection import found_curve
from datassay.networks.defaults import Standardise
from datassay.networks.features import network_features
from datassay.networks.problem import problem

KEPT = OUT / "cg_paper"
RATIO = {"MNIST": 3, "CIFAR-10": 4}  # A.2
VAL = 2000  # clean rows, for KNN-Shapley
POINTS = 21  # of a detection curve: every 5 % of the rows
ROWS = 2000
PUBLISHED = {"MNIST": "FMNIST, 60,000", "CIFAR-10": "CIFAR-10, 50,000"}


def main() -> None:
    parts = {"table2": table2, "table5": table5, "curves": curves, "noise": noise, "features": features}
    run(__doc__, parts, cifar_alone=("table5",))


def run(doc: str, parts: dict[str, Callable[[argparse.Namespace], str]], *, cifar_alone: tuple[str, ...]) -> None:
    """The command line of a script with these parts."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
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
    if not args.cifar10 and set(cifar_alone) & set(args.parts):
        parser.error(f"--cifar10 is needed by {', '.join(cifar_alone)}.")
    args.files = {name: read_pixels(path) for name, path in files.items()}
    KEPT.mkdir(parents=True, exist_ok=True)
    sizes, every = args.rows or [ROWS], args.files
    for part in args.parts:
        if args.fresh:
            (KEPT / f"{part}.jsonl").unlink(missing_ok=True)
        args.lines, args.sizes = Lines(KEPT / f"{part}.jsonl"), sizes
        args.rows = sizes[0]
        args.files = {name: rows for name, rows in every.items() if name == "CIFAR-10" or part not in cifar_alone}
        start = time.perf_counter()
        text = parts[part](args)
        took = f"{machine_name(torch.get_num_threads())}, one thread. {time.perf_counter() - start:.0f} s in this run."
        (OUT / f"cg_paper_{part}.md").write_text(f"# {part}\n\n{text}\n\n{took}\n", encoding="utf-8")
        print(f"{text}\n\n{took}", flush=True)


# ------------------------------------------------------------------------------------------------- rows, scores, networks


def normalised(data: da.Dataset) -> da.Dataset:
    """The training rows, every channel less its mean, by its standard deviation, as images enter the paper's networks."""
    data = data.without_validation()
    X = np.asarray(data.X)
    X = X.reshape(len(X), -1, data.shown.shape[3] if data.shown.ndim == 4 else 1)
    return data.with_features(((X - X.mean((0, 1))) / X.std((0, 1))).reshape(len(X), -1))


def cg(data: da.Dataset, name: str, seed: int = 0) -> da.Values:
    """The paper's stochastic score, of the ratio that it has for this data set."""
    return da.value(data.without_validation(), **PAPER, negatives=RATIO[name], seed=seed, flag="sign", progress=False)


def small(data: da.Dataset) -> Callable[[int], nn.Module]:
    """Three convolutions of stride 2 and a linear layer."""
    some = problem(data, None, "cpu", "cg_paper").sample()
    width = 64 * math.ceil(some.shape[2] / 8) ** 2

    def make(seed: int) -> nn.Module:
        layers: list[nn.Module] = [Standardise(some)]
        for i, o in ((some.shape[1], 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, len(data.classes)))

    return make


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
        "paper, all others as negatives": lambda data, name, seed: da.value(data, **PAPER, flag="sign", progress=False),
        "default": lambda data, name, seed: da.value(data, seed=seed, progress=False),
        "default, channels normalised": lambda data, name, seed: da.value(normalised(data), seed=seed, progress=False),
    }
    published = {"MNIST": (0.983, 0.072, 0.773, 0.898), "CIFAR-10": (0.715, 0.208, 0.462, 0.562)}
    for rows in args.sizes:
        for name, seed, data, wrong in drawn(args, RATE, rows=rows):
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


def curves(args: argparse.Namespace) -> str:
    """Figs. 3 and 13: the share of the wrong labels among the rows with the worst scores."""
    return looked_through(args, (RATE,))


def noise(args: argparse.Namespace) -> str:
    """Fig. 15: half, and four fifths, of the labels wrong."""
    return looked_through(args, (0.5, 0.8))


def looked_through(args: argparse.Namespace, rates: tuple[float, ...]) -> str:
    looked, tables = (10, 20, 30, 40, 60, 80), []
    for rate, name in itertools.product(rates, args.files):
        lines: dict[str, list[Any]] = {}
        for _, seed, data, wrong in drawn(args, rate, only=name):
            for method in METHODS:
                work = partial(detected, METHODS[method], data, name, seed, wrong)
                line = args.lines.get(work, data=name, rate=rate, rows=args.rows, seed=seed, method=method)
                lines.setdefault(method, []).append(line)
        table: list[list[object]] = [["oracle", "1", "1", *(f"{min(x / 100 / rate, 1):.2f}" for x in looked)]]
        for method, some in lines.items():
            curve = np.mean([line[2] for line in some], axis=0)
            share = [f"{curve[x * (POINTS - 1) // 100]:.2f}" for x in looked]
            table.append([method, mean_of(line[0] for line in some), mean_of(line[1] for line in some), *share])
        header = ["", "ROC AUC", "average precision", *(f"found in {x} %" for x in looked)]
        tables.append(f"{name}, {rate:.0%} wrong labels:\n\n{markdown(header, table)}")
    return "\n\n".join([f"{args.rows:,} rows, seeds: {args.seeds}.", *tables])


def detected(score: Any, data: da.Dataset, name: str, seed: int, wrong: np.ndarray) -> list[Any]:
    scores = score(data, name, seed)
    scored = detection(scores, wrong)
    return [scored["auc"], scored["average_precision"], found_curve(scores, wrong, POINTS)[1].tolist()]


def value(
    *method: Any, network: bool = False, alone: bool = False, **options: Any
) -> Callable[[da.Dataset, str, int], np.ndarray]:
    """Scores by this method and these options; ``alone``: of the rows without validation rows."""

    def score(data: da.Dataset, name: str, seed: int) -> np.ndarray:
        rows, model = (data.without_validation() if alone else data), ({"model": small(data)} if network else {})
        return da.value(rows, *method, **model, seed=seed, progress=False, **options).scores

    return score


METHODS: dict[str, Callable[[da.Dataset, str, int], np.ndarray]] = {
    "CG-score, paper": lambda data, name, seed: cg(data, name, seed).scores,
    "partial CG-score, paper": lambda data, name, seed: -cg(data, name, seed).columns["cross_term"],
    "CG-score, paper, channels normalised": lambda data, name, seed: cg(normalised(data), name, seed).scores,
    "CG-score, default": value(alone=True),
    "KNN-Shapley": value("knn-shapley"),
    "self-confidence (linear)": value("self-confidence"),
    "EL2N": value("el2n", network=True),
    "forgetting": value("forgetting", network=True),
    "TracIn, self-influence, last layer": value("tracin", network=True, influence="self", layers="last"),
    "CRAIG": value("craig", network=True),
}


def features(args: argparse.Namespace) -> str:
    """Figs. 17 and 18: the score of what enters a network's last layer, after so many epochs."""
    epochs, table = (0, 1, 5, 10, 20), []
    for (name, seed, noisy, wrong), (*_, clean, _) in zip(drawn(args, RATE), drawn(args, 0.0), strict=True):
        alone = noisy.without_validation(), clean.without_validation()
        for after in epochs:
            work = partial(in_features, *alone, wrong, name, seed, after)
            args.lines.get(work, data=name, rows=args.rows, seed=seed, epochs=after)
    for name, after in itertools.product(args.files, epochs):
        seeds = [{"data": name, "rows": args.rows, "seed": seed} for seed in range(args.seeds)]
        paper, default, scores = zip(*(args.lines.found_at(**at, epochs=after) for at in seeds), strict=True)
        pixels = [args.lines.found_at(**at, epochs=0)[2] for at in seeds]
        agree = mean_of(spearmanr(a, b).statistic for a, b in zip(scores, pixels, strict=True))
        title = f"features after {after} epoch{'s' * (after > 1)}" if after else "pixels"
        table.append([name, title, mean_of(paper), mean_of(default), agree if after else ""])
    header = ["", "rows are", "ROC AUC, paper", "ROC AUC, default", "no wrong labels: Spearman with the pixels' score"]
    what = f"{args.rows:,} rows, seeds: {args.seeds}; ResNet-8; {RATE:.0%} wrong labels for the AUC, in the network's training too."
    return f"{what}\n\n{markdown(header, table)}"


def in_features(noisy: da.Dataset, clean: da.Dataset, wrong: np.ndarray, name: str, seed: int, epochs: int) -> list[Any]:
    if epochs:
        noisy, clean = (network_features(data, epochs=epochs, seed=seed, progress=False) for data in (noisy, clean))
    values = cg(noisy, name, seed), da.value(noisy, seed=seed, progress=False)
    return [*(detection(v.scores, wrong)["auc"] for v in values), cg(clean, name, seed).scores.tolist()]


if __name__ == "__main__":
    main()
