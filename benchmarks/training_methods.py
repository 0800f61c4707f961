"""Methods that read gradients and training dynamics, beside what is published of them and beside one another.

    python benchmarks/training_methods.py adult noise --adult adult.parquet
    python benchmarks/training_methods.py images --mnist mnist_train.parquet --cifar10 cifar10_train.parquet
    python benchmarks/training_methods.py table --mnist mnist_train.parquet --cifar10 cifar10_train.parquet --rows 4000

Parts: ``adult`` (DVGS's first experiment: 1,000 rows, 400 validation rows, a fifth of the labels wrong; and our defaults), ``images``
(5,000 rows, 1,000 validation rows; DVGS with one of its defaults changed at a time), ``noise`` (its fourth: Spearman with the noise in
the features, sigma ~ U(0, 3)), ``variants`` (epochs and options of the others on tables), ``table`` (every method on pixels: how it
finds wrong labels, seconds, rank agreement with the others and with CG-score). The Adult file has a column ``income``; the other files
a column ``image`` (encoded) and a column ``label``. Each part writes ``benchmarks/out/training_<part>.md``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cg_score import OUT, markdown, read_pixels
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits

import datassay as da
from datassay.evaluation import detection, plant_wrong_labels
from datassay.networks.defaults import resnet

METHODS = ("cg-score", "knn-shapley", "dvgs", "tracin", "in-run-shapley", "el2n", "grand", "forgetting", "aum", "craig")
DVGS = {
    "published": {"faithful": True},
    "defaults, balanced": {"balanced": True},
    "defaults": {},
    "defaults, dot": {"similarity": "dot"},
    "defaults, distance": {"similarity": "distance"},
    "defaults, every 5 steps": {"every": 5},
}
VARIANTS: list[tuple[str, dict[str, object]]] = [
    *(("el2n", {"epochs": epochs}) for epochs in (1, 2, 3, 5, 10, 20)),
    ("grand", {}),
    ("grand", {"layers": "last"}),
    *(("forgetting", {"epochs": epochs}) for epochs in (3, 6, 10, 20, 40)),
    *(("aum", {"epochs": epochs}) for epochs in (6, 10, 20, 40)),
    ("aum", {"threshold_samples": False}),
    ("tracin", {}),
    ("tracin", {"layers": "last"}),
    ("tracin", {"influence": "self"}),
    ("craig", {}),
    ("in-run-shapley", {}),
    ("in-run-shapley", {"order": 2}),
    ("in-run-shapley", {"runs": 3}),
]


def main() -> None:
    parts = {"adult": adult, "images": images, "noise": noise, "variants": variants, "table": table}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    for name in ("adult", "mnist", "cifar10"):
        parser.add_argument(f"--{name}", type=Path, help="Parquet file")
    parser.add_argument("--rows", type=int, default=4000, help="of the table")
    parser.add_argument("--val", type=int, default=1000, help="validation rows of the table")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clean", action="store_true", help="table: no wrong labels are planted; rank agreement alone")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of the table")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    for part in args.parts:
        start = time.perf_counter()
        found = parts[part](args)
        took = f"{time.perf_counter() - start:.0f} s in all, {torch.get_num_threads()} threads."
        text = f"# {part}\n\n{found}\n\n{took}\n"
        OUT.mkdir(exist_ok=True)
        (OUT / f"training_{part}{'_clean' if args.clean else ''}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


def draw(data: da.Dataset, rows: int, val: int, seed: int, *, rate: float = 0.2) -> tuple[da.Dataset, np.ndarray]:
    """Random rows with wrong labels planted, and random others as validation rows with right ones."""
    order = np.random.default_rng(seed).permutation(len(data))
    train, rest = data.take(np.sort(order[:rows])), np.sort(order[rows : rows + val])
    shown = data.shown if data.shown is not data.X else data.X
    drawn = da.Dataset(np.asarray(shown[np.sort(order[:rows])]), train.y, np.asarray(shown[rest]), data.y[rest])
    return plant_wrong_labels(drawn, rate, seed=seed) if rate else (drawn, np.zeros(rows, bool))


def adult_rows(path: Path, seed: int, noise: bool) -> tuple[da.Dataset, np.ndarray]:
    """1,000 rows and 400 validation rows of Adult; wrong labels, or noise added to the standardised and one-hot columns."""
    frame = pd.read_parquet(path).sample(1400, random_state=seed)
    X, y = frame.drop(columns="income"), frame["income"].to_numpy()
    data = da.Dataset(X.iloc[:1000], y[:1000], X.iloc[1000:], y[1000:], ids=np.arange(1000))
    if not noise:
        return plant_wrong_labels(data, 0.2, seed=seed)
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(0, 3, 1000)
    Z = np.asarray(data.X) + sigma[:, None] * rng.normal(size=data.X.shape)
    return da.Dataset(Z, y[:1000], np.asarray(data.X_val), y[1000:], ids=np.arange(1000)), sigma


def pm(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}"


def adult(args: argparse.Namespace) -> str:
    rows = []
    for name, options in DVGS.items():
        auc, ap, seconds = [], [], []
        for seed in range(args.seeds):
            data, wrong = adult_rows(args.adult, seed, noise=False)
            values = da.value(data, "dvgs", seed=seed, device=args.device, progress=False, **options)
            found = detection(values.scores, wrong)
            auc.append(found["auc"])
            ap.append(found["average_precision"])
            seconds.append([values.stats[f"seconds{part}"] for part in ("", "_training", "_similarity")])
        rows.append([name, pm(auc), pm(ap), *np.round(np.mean(seconds, 0), 2)])
    return "1,000 rows, 400 validation rows, 3 restarts.\n\n" + markdown(
        ["DVGS", "ROC AUC", "average precision", "seconds", "training", "similarity"], rows
    )


def noise(args: argparse.Namespace) -> str:
    rows = []
    for name, options in DVGS.items():
        found = []
        for seed in range(args.seeds):
            data, sigma = adult_rows(args.adult, seed, noise=True)
            values = da.value(data, "dvgs", seed=seed, runs=10, device=args.device, progress=False, **options)
            found.append(spearmanr(values.scores, sigma).statistic)
        rows.append([name, pm(found)])
    return "Spearman of value and sigma, 10 restarts.\n\n" + markdown(["DVGS", "Spearman"], rows)


def images(args: argparse.Namespace) -> str:
    plain = {"target": "batch", "centred": False}
    ways = {
        "defaults (ResNet-8, 2 restarts, once an epoch)": {},
        "every third epoch": {"every": 24},
        "every third epoch, not centred": {"every": 24, "centred": False},
        "every third epoch, not centred, of a batch": plain | {"every": 24},
        "not centred, of a batch, 3 restarts": plain | {"runs": 3},
        "every third epoch, all layers": {"every": 24}
        | {"grad_params": list(dict(resnet(torch.zeros(1, 1, 28, 28), 10).named_parameters()))},
        "published (perceptron, 1 restart)": {"faithful": True, "runs": 1},
    }
    rows = []
    for path in filter(None, (args.mnist, args.cifar10)):
        data = read_pixels(path)
        for name, options in ways.items():
            auc, ap, seconds = [], [], []
            for seed in range(args.seeds):
                drawn, wrong = draw(data, 5000, 1000, seed)
                values = da.value(drawn, "dvgs", seed=seed, device=args.device, progress=False, **options)
                found = detection(values.scores, wrong)
                auc.append(found["auc"])
                ap.append(found["average_precision"])
                seconds.append([values.stats[f"seconds{part}"] for part in ("", "_training", "_similarity")])
            rows.append([path.stem, name, pm(auc), pm(ap), *np.round(np.mean(seconds, 0), 1)])
            print(*rows[-1], flush=True)
    head = ["images", "DVGS", "ROC AUC", "average precision", "seconds", "training", "similarity"]
    return (
        "5,000 rows, 1,000 validation rows, a fifth of the labels wrong; restarts side by side on two cores.\n\n"
        + markdown(head, rows)
    )


def variants(args: argparse.Namespace) -> str:
    """Epochs and options on tables: 1,000 digits, 400 rows of breast cancer, 2,000 digits of MNIST as rows of numbers."""
    sets = {}
    for name, load, n in (("digits", load_digits, 1000), ("breast cancer", load_breast_cancer, 400)):
        X, y = load(return_X_y=True)
        sets[name] = draw(da.Dataset(X, y), n, len(y) - n, 0)
    if args.mnist:
        pixels = read_pixels(args.mnist)
        rows = np.random.default_rng(0).permutation(len(pixels))[:2500]
        flat = np.asarray(pixels.X[np.sort(rows)]).reshape(2500, -1)
        sets["MNIST rows"] = draw(da.Dataset(flat, pixels.y[np.sort(rows)]), 2000, 500, 0)
    lines = []
    for method, options in VARIANTS:
        line: list[object] = [f"{method} {', '.join(f'{k}={v}' for k, v in options.items())}"]
        for data, wrong in sets.values():
            values = da.value(data, method, device=args.device, progress=False, **options)
            line.append(f"{detection(values.scores, wrong)['auc']:.3f}")
            if method == "craig":
                others = [detection(values.columns["share"], wrong), detection(-values.columns["distance"], wrong)]
                line[-1] = f"{line[-1]} (share {others[0]['auc']:.3f}, distance {others[1]['auc']:.3f})"
        lines.append(line)
    return "AUC of planted wrong labels, a fifth of the rows.\n\n" + markdown(["", *sets], lines)


def table(args: argparse.Namespace) -> str:
    tables = []
    for name, path in (("MNIST", args.mnist), ("CIFAR-10", args.cifar10)):
        if path is None:
            continue
        data, wrong = draw(read_pixels(path), args.rows, args.val, 0, rate=0 if args.clean else 0.2)
        found, lines = {}, []
        for method in args.methods:
            given = data.without_validation() if method == "cg-score" else data
            options = {} if method in ("cg-score", "knn-shapley") else {"device": args.device}
            if method == "tracin":
                self_influence = da.value(data, "tracin", influence="self", progress=False, **options)
                found["tracin, self"] = self_influence
            found[method] = da.value(given, method, progress=False, **options)
            print(name, method, f"{found[method].stats['seconds']:.1f} s", flush=True)
        for method, values in found.items():
            scored = {"auc": np.nan, "average_precision": np.nan} if args.clean else detection(values.scores, wrong)
            hits = (values.flagged & wrong).sum()
            flags = [hits / max(wrong.sum(), 1), hits / max(values.flagged.sum(), 1)]
            lines.append([method, scored["auc"], scored["average_precision"], *flags, f"{values.stats['seconds']:.1f}"])
        head = ["method", "ROC AUC", "average precision", "flag recall", "flag precision", "seconds"]
        ranks = spearmanr(np.array([v.scores for v in found.values()]), axis=1).statistic
        agree = [[m, *(f"{r:.2f}" for r in line)] for m, line in zip(found, ranks, strict=True)]
        text = f"## {name}\n\n{markdown(head, lines)}\n\nSpearman between the scores:\n\n{markdown(['', *found], agree)}"
        OUT.mkdir(exist_ok=True)
        (OUT / f"training_table_{name}{'_clean' if args.clean else ''}.md").write_text(text, encoding="utf-8")
        tables.append(text)
    what = "no wrong labels planted" if args.clean else "a fifth of the labels wrong"
    return f"{args.rows:,} rows, {args.val:,} validation rows, {what}, defaults.\n\n" + "\n\n".join(tables)


if __name__ == "__main__":
    main()
