"""How well CG-score finds planted wrong labels, setting by setting, and whether the paper's own experiments come out.

    python benchmarks/cg_quality.py pixels --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/cg_quality.py figure1 options
    python benchmarks/cg_quality.py stochastic ridge --mnist mnist_train.parquet --cifar10 cifar10_train.parquet

Parts: ``pixels`` (settings, one change at a time), ``figure1`` (the paper's generated classes), ``stochastic`` (appendix A.3),
``options`` (bias, trusted rows, plain rivals), ``ridge`` (chosen on a sample, or on all rows). The Parquet files have a column
``image`` (encoded) and a column ``label``. Each part writes ``benchmarks/out/cg_<part>.md``.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown, read_pixels
from scipy.stats import pearsonr, spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

import datassay as da
from datassay.engines.gp_loo import RidgePath
from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.machine import blas_threads
from datassay.evaluation import detection, plant_wrong_labels

RATE = 0.2
PAPER = {"ridge": 0.0, "classes": "own"}
SETTINGS = {
    "defaults": {},
    "paper: ridge 0, own class, sign rule": {**PAPER, "flag": "sign"},
    "paper, flag by leave-one-out": PAPER,
    "ridge 0, sum over classes": {"ridge": 0.0},
    "ridge auto, own class, no bias": {"bias": False, "classes": "own"},
    "ridge auto, own class, bias auto": {"classes": "own"},
    "ridge auto, sum, no bias": {"bias": False},
    "ridge auto, sum, bias": {"bias": True},
}


def main() -> None:
    parts = {"pixels": pixels, "figure1": figure1, "stochastic": stochastic, "options": options, "ridge": ridge}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--mnist", type=Path, help="Parquet file, for pixels and ridge")
    parser.add_argument("--cifar10", type=Path, help="Parquet file, for pixels, stochastic and ridge")
    parser.add_argument("--rows", type=int, default=4000, help="random rows of each file")
    parser.add_argument("--seeds", type=int, help="default: pixels 5, figure1 3, options 20, ridge 2")
    parser.add_argument("--repeats", type=int, default=20, help="draws of negatives in stochastic")
    args = parser.parse_args()
    files = {name: path for name, path in (("MNIST", args.mnist), ("CIFAR-10", args.cifar10)) if path}
    if (not files and {"pixels", "ridge"} & set(args.parts)) or (not args.cifar10 and "stochastic" in args.parts):
        parser.error("pixels and ridge need --mnist or --cifar10, stochastic needs --cifar10.")
    args.files = {name: read_pixels(path) for name, path in files.items()}
    for part in args.parts:
        start = time.perf_counter()
        found = parts[part](args)
        took = f"{time.perf_counter() - start:.0f} s in all, {blas_threads()} BLAS threads."
        text = f"# CG-score: {part}\n\n{found}\n\n{took}\n"
        OUT.mkdir(exist_ok=True)
        (OUT / f"cg_{part}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


# ----------------------------------------------------------------------------------------------------------- the parts


def pixels(args: argparse.Namespace) -> str:
    """Every setting on random rows of each file, the same planted labels for all of them."""
    seeds, tables = args.seeds or 5, []
    for name, data in args.files.items():
        found = defaultdict(list)
        for planted, wrong in planted_rows(data, args.rows, seeds):
            for setting, options in SETTINGS.items():
                values = da.value(planted, progress=False, **options)
                hits = (values.flagged & wrong).sum()
                flags = [hits / wrong.sum(), hits / max(values.flagged.sum(), 1)]
                scored = detection(values.scores, wrong)
                seconds = values.stats["seconds"]
                found[setting].append([scored["auc"], scored["average_precision"], *flags, values.stats["ridge"], seconds])
        rows = []
        for setting, lines in found.items():
            (auc, ap, recall, precision, lam, _), sd = np.mean(lines, axis=0), np.std(lines, axis=0, ddof=1)
            rows.append([setting, f"{auc:.4f} ± {sd[0]:.4f}", f"{ap:.4f} ± {sd[1]:.4f}"])
            rows[-1] += [f"{recall:.3f}", f"{precision:.3f}", lam, float(np.median(lines, axis=0)[-1])]
        header = ["setting", "ROC AUC", "average precision", "flag recall", "flag precision", "ridge", "seconds"]
        tables.append(f"## {name}\n\n{markdown(header, rows)}")
    what = f"{args.rows:,} random rows, {RATE:.0%} wrong labels planted, {seeds} seeds: mean ± standard deviation, median seconds."
    return "\n\n".join([what, *tables])


def figure1(args: argparse.Namespace) -> str:
    """Figure 1: 2 x 1000 points in 3000 dimensions, means +-e_1, covariance I / 4, 10 % of the labels flipped."""
    rows = []
    for seed in range(args.seeds or 3):
        y = np.repeat([1, -1], 1000)
        X = np.random.default_rng(seed).normal(scale=0.5, size=(2000, 3000))
        X[:, 0] += y
        planted, wrong = plant_wrong_labels(da.Dataset(X, y), 0.1, seed=seed)
        values = da.value(planted, **PAPER, flag="sign", progress=False)
        scored, flagged = detection(values.scores, wrong), values.flagged
        # the labels as they were, for the correlation with the distance to the boundary
        clean = da.value(da.Dataset(X, y), **PAPER, progress=False).columns["cg_score"]
        rows.append([seed, scored["auc"], scored["precision"], flagged[wrong].mean(), flagged[~wrong].mean()])
        rows[-1] += [spearmanr(clean, y * X[:, 0]).statistic]
    header = ["seed", "ROC AUC", "precision, top 10 %", "sign rule TPR", "sign rule FPR", "no flips: Spearman with y x_1"]
    rows.append(["mean", *np.mean(np.array(rows)[:, 1:], axis=0).tolist()])
    return f'ridge=0, classes="own".\n\n{markdown(header, [[row[0], *(f"{v:.4f}" for v in row[1:])] for row in rows])}'


def stochastic(args: argparse.Namespace) -> str:
    """Appendix A.3 with 400 rows a class in place of 1000: the stochastic score beside the exact one."""
    data, rng = args.files["CIFAR-10"], np.random.default_rng(0)
    pick = np.concatenate([rng.choice(np.flatnonzero(data.codes == c), 400, replace=False) for c in range(10)])
    data, rows = data.take(np.sort(pick)), []
    exact = da.value(data, **PAPER, progress=False).columns["cg_score"]
    published = {1: (0.829, 0.796), 2: (0.914, 0.898), 3: (0.953, 0.943), 4: (0.973, 0.967)}
    for negatives, paper in published.items():
        values = da.value(data, **PAPER, negatives=negatives, repeats=args.repeats, progress=False)
        score, line = values.columns["cg_score"], [f"1:{negatives}"]
        for correlation, theirs in zip((spearmanr, pearsonr), paper, strict=True):
            inside = [correlation(score[data.codes == c], exact[data.codes == c]).statistic for c in range(10)]
            line += [f"{correlation(score, exact).statistic:.3f}", f"{np.mean(inside):.3f}", f"{theirs:.3f}"]
        rows.append([*line, values.stats["seconds"]])
    header = ["ratio", "Spearman", "within classes", "paper", "Pearson", "within classes", "paper", "seconds"]
    what = f"CIFAR-10 pixels, 10 x 400 rows (the paper: 10 x 1000, original pixels), {args.repeats} repeats (the paper: 20)."
    return f'{what}\nStochastic score beside the exact one, both with ridge=0, classes="own".\n\n{markdown(header, rows)}'


def options(args: argparse.Namespace) -> str:
    """Bias and trusted rows beside two plain rivals, on small data with clean validation rows."""
    seeds, tables = args.seeds or 20, []
    for name, load, n, m in (("digits", load_digits, 1000, 200), ("breast cancer", load_breast_cancer, 300, 100)):
        found = defaultdict(list)
        for seed in range(seeds):
            X, y = load(return_X_y=True)
            order = np.random.default_rng(seed).permutation(len(y))
            train, val = order[:n], order[n : n + m]
            X = X / 16 if name == "digits" else StandardScaler().fit(X[train]).transform(X)
            planted, wrong = plant_wrong_labels(da.Dataset(X[train], y[train], X[val], y[val]), RATE, seed=seed)
            for who, scores, seconds in rivals(planted, seed):
                scored = detection(scores, wrong)
                found[who].append([scored["auc"], scored["average_precision"], seconds])
        rows = []
        for who, lines in found.items():
            (auc, ap, _), error = np.mean(lines, axis=0), np.std(lines, axis=0, ddof=1) / np.sqrt(seeds)
            won = np.array(lines)[:, 0] - np.array(found["bias auto, trusted auto (the defaults)"])[:, 0]
            rows.append([who, f"{auc:.4f} ± {error[0]:.4f}", f"{ap:.4f} ± {error[1]:.4f}"])
            rows[-1] += [f"{won.mean():+.4f} ± {won.std(ddof=1) / np.sqrt(seeds):.4f}", float(np.median(lines, axis=0)[-1])]
        header = ["", "ROC AUC", "average precision", "AUC less the defaults'", "seconds"]
        tables.append(f"## {name}: {n} rows, {m} validation rows\n\n{markdown(header, rows)}")
    what = f"{RATE:.0%} wrong labels planted, validation labels clean, {seeds} seeds: mean ± standard error, median seconds."
    return "\n\n".join([what, *tables])


def rivals(planted: da.Dataset, seed: int) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, scores (higher = keep) and seconds of each line of ``options``."""
    alone = planted.without_validation()
    for who, data, kwargs in (
        ("paper: ridge 0, own class", alone, PAPER),
        ("no bias, no validation rows", alone, {"bias": False}),
        ("bias, no validation rows", alone, {"bias": True}),
        ("bias auto, no validation rows", alone, {}),
        ("bias auto, trusted rows", planted, {"trusted": True}),
        ("bias auto, trusted auto (the defaults)", planted, {}),
    ):
        values = da.value(data, seed=seed, progress=False, **kwargs)
        yield who, values.scores, values.stats["seconds"]
    given = (np.arange(len(planted)), planted.codes)
    model = LogisticRegression(max_iter=1000)
    start = time.perf_counter()
    scores = model.fit(planted.X_val, planted.codes_val).predict_proba(planted.X)[given]
    yield "plain: logistic regression on the clean validation rows", scores, time.perf_counter() - start
    start = time.perf_counter()
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, planted.X, planted.codes, cv=folds, method="predict_proba")[given]
    yield "plain: five-fold out-of-fold probability", scores, time.perf_counter() - start


def ridge(args: argparse.Namespace) -> str:
    """Is a ridge chosen on 1000 rows as good as one chosen on all of them, or as the best of a grid?"""
    seeds, grid, rows = args.seeds or 2, np.geomspace(0.01, 10, 13), []
    for name, data in args.files.items():
        for seed, (planted, wrong) in enumerate(planted_rows(data, args.rows, seeds)):

            def auc(values: da.Values, wrong: np.ndarray = wrong) -> float:
                return detection(values.scores, wrong)["auc"]

            chosen = da.value(planted, bias=False, progress=False)
            Y = np.where(planted.codes[:, None] == np.arange(len(planted.classes)), 1.0, -1.0)
            start = time.perf_counter()
            full, _ = RidgePath(arc_cosine(unit_rows(planted.X)), Y).best()
            seconds = time.perf_counter() - start
            at_full = auc(da.value(planted, ridge=full, bias=False, progress=False))
            on_grid = [auc(da.value(planted, ridge=float(lam), bias=False, progress=False)) for lam in grid]
            best = int(np.argmax(on_grid))
            line = [chosen.stats["ridge"], f"{auc(chosen):.4f}", full, f"{at_full:.4f}", seconds]
            rows.append([name, seed, *line, float(grid[best]), f"{on_grid[best]:.4f}"])
    header = ["data", "seed", "ridge of a sample", "AUC", "of all rows", "AUC", "choice, s", "best of a grid", "AUC"]
    what = f"{args.rows:,} random rows, {RATE:.0%} wrong labels planted, no bias; the sample: 1,000 rows."
    return f"{what}\nGrid: {len(grid)} ridges from {grid[0]:g} to {grid[-1]:g}.\n\n{markdown(header, rows)}"


def planted_rows(data: da.Dataset, n: int, seeds: int) -> Iterator[tuple[da.Dataset, np.ndarray]]:
    """For each seed, n random rows with wrong labels planted, and which rows those are."""
    for seed in range(seeds):
        rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:n])
        yield plant_wrong_labels(data.take(rows), RATE, seed=seed)


if __name__ == "__main__":
    main()
