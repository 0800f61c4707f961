"""LossVal, LAVA and DVRL: the published table, each hazard alone, time beside plain training, and other methods beside them.

    python benchmarks/lossval.py table --paper lossval_paper_f1.parquet
    python benchmarks/lossval.py hazards side --adult adult.parquet --mnist mnist_train.parquet
    python benchmarks/lossval.py time shift chance
    python benchmarks/lossval.py table --repeats 2 --rates 0.2             # a small version; --repeats and --seeds make every part small

Parts: ``table`` (the paper's protocol on 2dplanes and fried, which are generated here: 1,000 rows, 100 validation rows, noise in labels,
features or both, in training and validation rows; F1 of the lower of two groups), ``hazards`` (Adult and digits, what the released
procedure and ours do differently, one change at a time), ``side`` (Adult, digits, 5,000 rows of MNIST: other methods beside), ``time``
(an epoch of 1,000 and 5,000 rows beside plain weighted training and beside geomloss in the loop), ``shift`` (half of the rows come from
elsewhere than the validation rows), ``chance`` (DVRL of the same rows by other seeds: how much of what it finds is chance, and CPU
seconds on one thread). Results are kept line by line in ``benchmarks/out/lossval/``: a run that was stopped goes on;
``--fresh`` begins anew. Each part writes ``benchmarks/out/lossval_<part>.md``.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ame import Lines, pm
from cg_score import OUT, markdown, read_pixels
from joblib import Parallel, delayed
from peers import machine as machine_name
from peers import rows as planted_rows
from sklearn.datasets import load_breast_cancer, load_digits

import datassay as da
from datassay.engines.training import Recipe, Run
from datassay.engines.two_means import lower_group
from datassay.evaluation import datasets as sets
from datassay.evaluation import detection
from datassay.methods.lossval import lossval
from datassay.networks.problem import problem

KEPT = OUT / "lossval"
KINDS = ("labels", "features", "mixed")
PAPER_KIND = {"labels": "noisy_label", "features": "noisy_feature", "mixed": "mixed"}
VERSIONS: dict[str, dict[str, Any]] = {
    "LossVal-5 as released": {"faithful": True, "epochs": 5},
    "LossVal-30 as released": {"faithful": True},
    "default": {},
}
HAZARDS: dict[str, dict[str, Any]] = {
    "default": {},
    "no transport": {"transport_power": 0.0},
    "losses alone, not clipped": {"transport_power": 0.0, "clip": None},
    "p = 2": {"transport_power": 2.0},
    "losses not clipped": {"clip": None},
    "clip 8": {"clip": 8.0},
    "masses of a batch": {"masses": "batch"},
    "raw masses": {"masses": "raw"},
    "weights free": {"weights": "free"},
    "weights not below 0": {"weights": "positive"},
    "Adam on the weights": {"weight_steps": "adam", "weight_lr": 0.2},
    "Adam, absent rows still": {"weight_steps": "lazy-adam", "weight_lr": 0.2},
    "30 epochs": {"epochs": 30},
    "released": {"faithful": True},
    "released, no transport": {"faithful": True, "transport_power": 0.0},
    "released, not squared": {"faithful": True, "transport_power": 1.0},
    "released, masses normalised": {"faithful": True, "masses": "batch"},
    "released, weights not below 0": {"faithful": True, "weights": "positive"},
    "released, absent rows still": {"faithful": True, "weight_steps": "lazy-adam"},
    "released, log of the mean": {"faithful": True, "objective": "log"},
}
SIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "lossval": ("lossval", {}),
    "lossval, losses alone": ("lossval", {"transport_power": 0.0, "clip": None}),
    "lossval, as released": ("lossval", {"faithful": True}),
    "lava": ("lava", {}),
    "dvrl": ("dvrl", {}),
    "knn-shapley": ("knn-shapley", {}),
    "cg-score": ("cg-score", {}),
}


def left_out(data: str, method: str, kind: str) -> bool:
    """On MNIST: the released procedure, whose every step has all pairs of 1,000 validation rows; DVRL but for wrong labels."""
    return data == "mnist" and (method == "lossval, as released" or (method == "dvrl" and kind != "labels"))


def main() -> None:
    parts = {"table": table, "hazards": hazards, "side": side, "time": times, "shift": shift, "chance": chance}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--paper", type=Path, help="Parquet file of published F1; for table")
    parser.add_argument("--adult", type=Path, help="Parquet file with a column income; for hazards, side")
    parser.add_argument("--mnist", type=Path, help="Parquet file of images; for side")
    parser.add_argument("--repeats", type=int, default=25, help="of table")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2], help="of table")
    parser.add_argument("--seeds", type=int, default=5, help="of hazards, side, shift")
    parser.add_argument("--rate", type=float, default=0.2, help="of hazards, side")
    parser.add_argument("--skip", nargs="+", default=[], help="of side: methods to leave out")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 5000], help="of time")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread; not for time")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        if args.fresh:
            (KEPT / f"{part}.jsonl").unlink(missing_ok=True)
        start = time.perf_counter()
        found = parts[part](args)
        took = f"{machine_name(torch.get_num_threads())}. {time.perf_counter() - start:.0f} s in this run."
        (OUT / f"lossval_{part}.md").write_text(f"# {part}\n\n{found}\n\n{took}\n", encoding="utf-8")
        print(f"{found}\n\n{took}", flush=True)


def in_turn(part: str, cells: list[dict[str, Any]], work: Any, args: argparse.Namespace) -> Lines:
    """Every cell, several at a time, kept as they come."""
    lines = Lines(KEPT / f"{part}.jsonl")
    left = [cell for cell in cells if not lines.has(**cell)]
    for cell, found in Parallel(args.jobs, return_as="generator_unordered")(delayed(one)(work, cell, args) for cell in left):
        lines.get(lambda found=found: found, **cell)
    return lines


def one(work: Any, cell: dict[str, Any], args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    torch.set_num_threads(1)
    return cell, work(args, **cell)


def planes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """2dplanes with two classes: is the target above its mean?"""
    X, t = sets.planes(rng, n)
    return X, (t > 0).astype(int)


def fried(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Friedman's function with two classes."""
    X, t = sets.fried(rng, n)
    return X, (t > 14.41).astype(int)


def spoil(
    X: np.ndarray, y: np.ndarray, kind: str, rate: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Other labels, or N(0, 1) added to all columns, or each for half of the rows; and which rows."""
    X, y = X.copy(), y.copy()
    rows = rng.permutation(len(X))[: round(rate * len(X))]
    half = len(rows) // 2
    of_labels = {"labels": rows, "features": rows[:0], "mixed": rows[:half]}[kind]
    of_features = {"labels": rows[:0], "features": rows, "mixed": rows[half:]}[kind]
    classes = int(y.max()) + 1
    y[of_labels] = (y[of_labels] + rng.integers(1, classes, len(of_labels))) % classes
    X[of_features] += rng.normal(size=(len(of_features), X.shape[1]))
    bad = np.zeros(len(X), bool)
    bad[rows] = True
    return X, y, bad


def f1(scores: np.ndarray, bad: np.ndarray) -> float:
    low = lower_group(np.asarray(scores, float))
    return float(2 * (low & bad).sum() / max(1, low.sum() + bad.sum()))


def table_cell(args: argparse.Namespace, data: str, kind: str, rate: float, repeat: int, version: str) -> dict[str, float]:
    rng = np.random.default_rng([repeat, round(1000 * rate), KINDS.index(kind)])
    X, y = (planes if data == "2dplanes" else fried)(rng, 1100)
    X_train, y_train, bad = spoil(X[:1000], y[:1000], kind, rate, rng)
    X_val, y_val, _ = spoil(X[1000:], y[1000:], kind, rate, rng)  # the published protocol spoils validation rows, too
    values = lossval(da.Dataset(X_train, y_train, X_val, y_val), seed=repeat, progress=False, **VERSIONS[version])
    return {"f1": f1(values.scores, bad), "auc": detection(values.scores, bad)["auc"]}


def table(args: argparse.Namespace) -> str:
    sets = ("2dplanes", "fried")
    names = ("data", "kind", "rate", "repeat", "version")
    cells = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(sets, KINDS, args.rates, range(args.repeats), VERSIONS)
    ]
    cells.sort(key=lambda cell: cell["repeat"])
    lines = in_turn("table", cells, table_cell, args)
    paper = None
    if args.paper is not None:
        paper = pd.read_parquet(args.paper).query("lossval_lr == 0.01 and loss == 'Weighted CE loss with squared Sinkhorn'")
    rows, overall = [], {}
    for version, data in itertools.product(VERSIONS, sets):
        row: list[object] = [version, data]
        for kind in KINDS:
            found = np.array(
                [
                    [
                        lines.found_at(data=data, kind=kind, rate=r, repeat=k, version=version)["f1"]
                        for k in range(args.repeats)
                    ]
                    for r in args.rates
                ]
            )
            overall.setdefault(version, []).append(found.mean())
            error = np.sqrt((found.var(1, ddof=1) / args.repeats).sum()) / len(args.rates) if args.repeats > 1 else np.nan
            text = f"{found.mean():.3f} ± {error:.3f}"
            if paper is not None and "LossVal" in version:
                epochs = 5 if "-5" in version else 30
                mine = (paper.dataset == data) & (paper.noise_kind == PAPER_KIND[kind]) & (paper.lossval_epochs == epochs)
                there = paper[mine]
                there = there[there.noise_rate.isin(args.rates)]
                their = np.sqrt((there.std_f1**2 / there.n).sum()) / len(there)
                away = (found.mean() - there.mean_f1.mean()) / np.hypot(error, their)
                text += f" (published {there.mean_f1.mean():.3f} ± {their:.3f}: {away:+.1f} se)"
            row.append(text)
        rows.append(row)
    if paper is not None:
        there = paper[paper.dataset.isin(sets) & paper.noise_rate.isin(args.rates)]
        for epochs, some in there.groupby("lossval_epochs"):
            overall[f"published LossVal-{epochs:.0f}"] = some.groupby(["dataset", "noise_kind"]).mean_f1.mean()
    means = "; ".join(f"{version}: {np.mean(values):.3f}" for version, values in overall.items())
    head = f"F1, mean over rates {', '.join(f'{r:g}' for r in args.rates)} and {args.repeats} repeats ± standard error."
    return f"{head}\n\n{markdown(['', 'data', *KINDS], rows)}\n\nMean over data and kinds: {means}."


def drawn(args: argparse.Namespace, data: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised columns of training and validation rows, or pixels from 0 to 1."""
    rng = np.random.default_rng(seed)
    if data == "adult":
        frame = pd.read_parquet(args.adult).sample(1400, random_state=seed)
        whole = da.Dataset(frame.drop(columns="income"), frame["income"].to_numpy())
        X, y, n = np.asarray(whole.X), whole.codes, 1000
    elif data == "mnist":
        pixels = read_pixels(args.mnist)
        rows = rng.permutation(len(pixels))[:6000]
        X, y, n = np.asarray(pixels.X)[rows].astype(np.float32), pixels.codes[rows], 5000
    elif data in ("2dplanes", "fried"):
        X, y = (planes if data == "2dplanes" else fried)(rng, 1200)
        n = 1000
    else:
        X, y = (load_digits if data == "digits" else load_breast_cancer)(return_X_y=True)
        rows = rng.permutation(len(X))[:1200]
        n = 1000 if data == "digits" else 400
        X, y = X[rows], y[rows]
        spread = X[:n].std(0)
        X = (X - X[:n].mean(0)) / np.where(spread > 0, spread, 1)
    return X[:n], y[:n], X[n:], y[n:]


def spoilt(args: argparse.Namespace, data: str, kind: str, seed: int) -> tuple[da.Dataset, np.ndarray]:
    """Rows of which some are wrong; validation rows are right."""
    X, y, X_val, y_val = drawn(args, data, seed)
    X, y, bad = spoil(X, y, kind, args.rate, np.random.default_rng(seed + 1000))
    columns = [f"x{j}" for j in range(X.shape[1])]
    if data == "mnist":
        return da.Dataset(X.astype(np.float32), y, X_val, y_val), bad
    frames = pd.DataFrame(X, columns=columns), pd.DataFrame(X_val, columns=columns)
    return da.Dataset(frames[0], y, frames[1], y_val, standardise=False).as_standardised(), bad


def measured(values: da.Values, bad: np.ndarray) -> dict[str, float]:
    found = detection(values.scores, bad)
    return {
        "auc": found["auc"],
        "ap": found["average_precision"],
        "f1": f1(values.scores, bad),
        "seconds": values.stats["seconds"],
    }


def hazards_cell(args: argparse.Namespace, data: str, kind: str, seed: int, version: str) -> dict[str, float]:
    given, bad = spoilt(args, data, kind, seed)
    return measured(lossval(given, seed=seed, progress=False, **HAZARDS[version]), bad)


def hazards(args: argparse.Namespace) -> str:
    sets = ["digits", *(["adult"] if args.adult else [])]
    cells = [
        {"data": d, "kind": k, "seed": s, "version": v}
        for s, v, d, k in itertools.product(range(args.seeds), HAZARDS, sets, KINDS)
    ]
    lines = in_turn("hazards", cells, hazards_cell, args)
    rows = []
    for version in HAZARDS:
        row: list[object] = [version]
        means = []
        for data, kind in itertools.product(sets, KINDS):
            found = [lines.found_at(data=data, kind=kind, seed=s, version=version) for s in range(args.seeds)]
            auc, ap = (np.mean([f[name] for f in found]) for name in ("auc", "ap"))
            row.append(f"{auc:.3f} / {ap:.2f}")
            means.append([auc, ap])
        rows.append([*row, "{:.3f} / {:.2f}".format(*np.mean(means, 0))])
    head = ["", *(f"{d}, {k}" for d, k in itertools.product(sets, KINDS)), "mean"]
    return f"ROC AUC / average precision, {args.rate:.0%} of the rows wrong, {args.seeds} seeds.\n\n{markdown(head, rows)}"


def side_cell(args: argparse.Namespace, data: str, kind: str, seed: int, method: str) -> dict[str, float]:
    given, bad = spoilt(args, data, kind, seed)
    name, options = SIDE[method]
    bar = {} if name in ("cg-score", "knn-shapley") else {"progress": False}
    return measured(da.value(given, name, seed=seed, **bar, **options), bad)


def side(args: argparse.Namespace) -> str:
    sets = [*(["adult"] if args.adult else []), "digits", "cancer", "2dplanes", *(["mnist"] if args.mnist else [])]
    methods = [method for method in SIDE if method not in args.skip]
    cells = [
        {"data": d, "kind": k, "seed": s, "method": m}
        for s, d, m, k in itertools.product(range(args.seeds), sets, methods, KINDS)
        if (d != "mnist" or s == 0) and not left_out(d, m, k)
    ]
    lines = in_turn("side", cells, side_cell, args)
    tables = []
    for data in sets:
        rows = []
        for method in methods:
            row: list[object] = [method]
            seconds = []
            for kind in KINDS:
                if left_out(data, method, kind):
                    row += ["-", "-", "-"]
                    continue
                seeds = range(1 if data == "mnist" else args.seeds)
                found = [lines.found_at(data=data, kind=kind, seed=s, method=method) for s in seeds]
                row += [
                    pm([f["auc"] for f in found]),
                    *(f"{np.mean([f[name] for f in found]):.3f}" for name in ("ap", "f1")),
                ]
                seconds += [f["seconds"] for f in found]
            rows.append([*row, f"{np.mean(seconds):.2g}" if seconds else "-"])
        head = [data, *(f"{kind}: {name}" for kind in KINDS for name in ("AUC", "AP", "F1")), "seconds"]
        tables.append(markdown(head, rows))
    return f"{args.rate:.0%} of the rows wrong, {args.seeds} seeds (MNIST 1).\n\n" + "\n\n".join(tables)


def times(args: argparse.Namespace) -> str:
    """Seconds an epoch: best of several, all in this process."""
    head = (
        "One network (the default one) and batches of 32; milliseconds an epoch, best of several. The first epoch of lossval, which "
        "solves the transport from nothing, is in."
    )
    rows = [row for n in args.rows for row in times_of(n)]
    return f"{head}\n\n" + markdown(["rows", "validation rows", "", "ms an epoch", "of plain"], rows)


def times_of(n: int, epochs: int = 4) -> list[list[object]]:
    from geomloss import SamplesLoss

    X, y = fried(np.random.default_rng(0), n + n // 10)
    data = da.Dataset(X[:n].astype(np.float32), y[:n], X[n:].astype(np.float32), y[n:])
    p = problem(data, None, "cpu", "benchmark")
    x, x_val, target, w = p.x, p.x_val, p.y, torch.ones(n)
    recipe = Recipe(epochs=epochs, batch_size=32, optimiser="adam", lr=1e-3, weight_decay=0.0)

    def plain(reduce: Any) -> float:
        run = Run(p.make(0, 0), p.loss, x, target, recipe, reduce=reduce)
        start = time.perf_counter()
        run.through()
        return (time.perf_counter() - start) / epochs

    def weighted(at: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        return (w[at] * losses).sum() / w[at].sum()

    def released(at: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        mine = w[at].requires_grad_()
        diameter = 1.1 * torch.cdist(x[at], x_val).max().item()
        S = SamplesLoss("sinkhorn", diameter=diameter)(mine, x[at], torch.ones(len(x_val)), x_val)
        return (mine * losses).sum() * S.abs() ** 2

    def ours(epochs: int, **options: Any) -> float:
        return lossval(data, epochs=epochs, progress=False, **options).stats["seconds_training"] / epochs

    base = min(plain(weighted) for _ in range(5))
    lines = {
        "plain weighted training": base,
        "lossval, 10 epochs": min(ours(10, batch_size=32) for _ in range(3)),
        "lossval, faithful": min(ours(3, faithful=True, model=p.make(0, 0)) for _ in range(2)),
        "as released, geomloss in the loop": min(plain(released) for _ in range(2)),
    }
    return [[n, len(x_val), name, f"{1000 * t:.1f}", f"{t / base:.2f}"] for name, t in lines.items()]


def shift_cell(args: argparse.Namespace, data: str, seed: int, version: str) -> dict[str, float]:
    """Half of the rows are of classes 0 to 4 as all validation and test rows are; the others of digits 5 to 9, turned upside down."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))
    near, far = (rows[(y[rows] < 5) == side] for side in (True, False))
    near, far = near[:850], far[:400]
    images = X.reshape(-1, 8, 8)
    turned = images[far][:, ::-1].reshape(len(far), -1)
    X_train = np.concatenate([images[near[:400]].reshape(400, -1), turned])
    y_train = np.concatenate([y[near[:400]], y[far] - 5])
    val, test = near[400:500], near[500:]
    given = da.Dataset(X_train, y_train, X[val], y[val])
    values = lossval(given, seed=seed, progress=False, transport_power=float(version))
    net = problem(given, None, "cpu", "benchmark").make(0, seed)
    net.load_state_dict(torch.load(values.stats["model_file"], weights_only=True))
    net.eval()
    with torch.no_grad():
        right = net(torch.from_numpy(X[test].astype(np.float32))).argmax(1).numpy() == y[test]
    bad = np.arange(len(X_train)) >= 400
    return {"auc": detection(values.scores, bad)["auc"], "accuracy": float(right.mean())}


def shift(args: argparse.Namespace) -> str:
    powers = ("0", "0.5", "1", "2", "4")
    cells = [{"data": "digits", "seed": s, "version": v} for s, v in itertools.product(range(args.seeds), powers)]
    lines = in_turn("shift", cells, shift_cell, args)
    rows = []
    for v in powers:
        found = [lines.found_at(data="digits", seed=s, version=v) for s in range(args.seeds)]
        rows.append([f"p = {v}", pm([f["auc"] for f in found]), pm([f["accuracy"] for f in found])])
    head = ["transport", "AUC of the rows from elsewhere", "accuracy on test rows like the validation rows"]
    return f"{args.seeds} seeds.\n\n{markdown(head, rows)}"


CHANCE: dict[str, dict[str, Any]] = {
    "default": {},
    "one selector": {"runs": 1},
    "all rows in each": {"selector_batch": 2000},
    "all rows, steps of .01": {"selector_batch": 2000, "selector_lr": 0.01},
}


def chance_cell(args: argparse.Namespace, data: str, seed: int, version: str) -> dict[str, float]:
    """The rows are those of peers.py."""
    rows, bad = planted_rows(data, 0)
    given = da.Dataset(rows["X"], rows["y"], rows["X_val"], rows["y_val"])
    start = time.process_time()
    values = da.value(given, "dvrl", seed=seed, n_jobs=1, progress=False, **CHANCE[version])
    return {"auc": detection(values.scores, bad)["auc"], "seconds": time.process_time() - start}


def chance(args: argparse.Namespace) -> str:
    sets = ("digits", "breast-cancer")
    cells = [{"data": d, "seed": s, "version": v} for s, v, d in itertools.product(range(args.seeds), CHANCE, sets)]
    lines = in_turn("chance", cells, chance_cell, args)
    rows = []
    for d, v in itertools.product(sets, CHANCE):
        found = [lines.found_at(data=d, seed=s, version=v) for s in range(args.seeds)]
        auc = [f["auc"] for f in found]
        rows.append([d, v, pm(auc), f"{min(auc):.3f}", f"{np.mean([f['seconds'] for f in found]):.1f}"])
    head = ["", "", "AUC, mean and standard deviation", "lowest", "CPU s"]
    return f"{args.seeds} seeds.\n\n{markdown(head, rows)}"


if __name__ == "__main__":
    main()
