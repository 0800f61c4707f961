"""What patches do to digits: wrong labels planted in MNIST, found on pixels, on patches, and on what the labels choose.

    python benchmarks/mnist_patches.py --path mnist_train.parquet              4,000 rows, three draws; half an hour of one core
    python benchmarks/mnist_patches.py --path mnist_train.parquet --draws 1 --rows 2000

ROC AUC and average precision of the CG-score, and its seconds; errors fall at random (20 %, as in its paper) or where classes meet (10 %).
"auto" is the default for images: by the leave-one-out likelihood of a sample, before anything is known of errors. Lines are kept in
``benchmarks/out/mnist_patches.csv`` and not made again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
from cg_score import OUT
from sklearn.metrics import average_precision_score, roc_auc_score

import datassay as da
from datassay.evaluation.datasets import drawn

ERRORS = [("uniform", 0.2), ("near", 0.1)]
FEATURES = ["pixels", "patches", "auto"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    file, keys = OUT / "mnist_patches.csv", ["rows", "errors", "rate", "draw", "features"]
    lines = pd.read_csv(file).to_dict("records") if file.exists() else []
    there = {tuple(line[key] for key in keys) for line in lines}
    for draw in range(args.draws):
        data = drawn("mnist", train=args.rows, val=0, test=0, seed=draw, paths={"": args.path}).data
        for kind, rate in ERRORS:
            bad, wrong = da.plant(data, kind, rate, seed=draw)
            for features in FEATURES:
                key = (args.rows, kind, rate, draw, features)
                if key in there:
                    continue
                start = time.process_time()
                rows = bad.with_features(features, progress=False)
                made, start = time.process_time() - start, time.process_time()
                values = da.value(rows, "cg-score", progress=False)
                lines.append(
                    dict(zip(keys, key, strict=True))
                    | {
                        "auc": roc_auc_score(wrong, -values.scores), "ap": average_precision_score(wrong, -values.scores),
                        "features_s": made, "value_s": time.process_time() - start,
                        "took": ", ".join(rows.features.get("features", {})),
                    }
                )  # fmt: skip
                pd.DataFrame(lines).to_csv(file, index=False)
                print(lines[-1], flush=True)
    found = pd.DataFrame(lines)
    print(
        found.groupby(["rows", "errors", "rate", "features"])[["auc", "ap", "features_s", "value_s"]]
        .mean()
        .round(4)
        .to_string()
    )


if __name__ == "__main__":
    main()
