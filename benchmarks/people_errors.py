"""Errors that people made in CIFAR-10, found on pixels and on patches, without a network.

    python benchmarks/people_errors.py --path folder                        # 5,000 rows, three draws
    python benchmarks/people_errors.py --path folder --rows 2000 --draws 1 --methods cg-score
    python benchmarks/people_errors.py --path folder --sets cifar10n-random1 --features patches both

The folder has cifar10_train.parquet and cifar10n_labels.parquet. ROC AUC and average precision of each method by its defaults, without
validation rows (knn-shapley: rows judged by one another). "likelihood" is that by which features are chosen, before anything is known of
errors; "both" are pixels and patches, weighed by it. What is done is kept in ``benchmarks/out/people_errors.csv``, and not done again.
Writes ``benchmarks/out/people_errors.md``.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown
from sklearn.metrics import average_precision_score, roc_auc_score

import datassay as da

FEATURES = {"pixels": "pixels", "patches": "patches", "both": {"pixels": "pixels", "patches": "patches"}}
OPTIONS = {"knn-shapley": {"judge": "rows"}}
FIELDS = ["set", "rows", "draw", "features", "method", "wrong", "auc", "ap", "seconds", "likelihood"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, required=True, help="folder with the CIFAR-10 file and its human labels")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["cifar10n-aggregate", "cifar10n-random1"])
    parser.add_argument("--features", nargs="+", default=["pixels", "patches"], choices=list(FEATURES))
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
                rows = data.with_features(FEATURES[features], progress=False)
                for method in todo:
                    start = time.perf_counter()
                    values = da.value(rows, method, progress=False, **OPTIONS.get(method, {}))
                    likelihood = values.stats.get("loo_log_likelihood", "")
                    done.append(
                        dict(
                            zip(
                                FIELDS,
                                [
                                    name, options.rows, draw, features, method, f"{wrong.mean():.3f}",
                                    roc_auc_score(wrong, -values.scores), average_precision_score(wrong, -values.scores),
                                    time.perf_counter() - start, likelihood,
                                ],
                                strict=True,
                            )
                        )
                    )  # fmt: skip
                    print(*done[-1].values(), flush=True)
                    with file.open("w", newline="") as out:
                        writer = csv.DictWriter(out, FIELDS)
                        writer.writeheader()
                        writer.writerows(done)
    text = table(done)
    print(text)
    (OUT / "people_errors.md").write_text(text + "\n")


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
            [*key, len(some), mean("wrong"), mean("auc"), mean("ap"), mean("likelihood"), f"{float(mean('seconds')):.0f}"]
        )
    return markdown(["set", "rows", "features", "method", "draws", "wrong", "AUC", "AP", "likelihood", "seconds"], lines)


if __name__ == "__main__":
    main()
