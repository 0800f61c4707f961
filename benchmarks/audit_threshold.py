"""Below which AUC of planted errors must `audit` say that the features can't tell how many labels are wrong?

    python benchmarks/audit_threshold.py --path folder --jobs 2                  eight sets, two kinds, four rates, three draws: 20 min
    python benchmarks/audit_threshold.py --sets digits wine --seeds 1            these need no file

The folder has adult.parquet and mnist_train.parquet. Each set is given as it is, and with columns that tell less: with normal noise of
once, three times and ten times their standard deviation added, whereby classes overlap, but no label gets wrong. `audit` (CG-score
alone) is asked for its bounds with the threshold at 0, so that the lower bound is what the noise model says. Table: for each threshold,
how often the lower bound would be above the number of wrong labels, and how often a bound above 0 that holds would be given up.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from cg_score import OUT
from joblib import Parallel, delayed
from promises import SETS

import datassay as da
from datassay.evaluation import audit as auditing
from datassay.evaluation.datasets import drawn

KINDS = ["uniform", "near"]
RATES = [0.0, 0.05, 0.2, 0.4]
NOISE = [0.0, 1.0, 3.0, 10.0]  # in standard deviations of a column
THRESHOLDS = [0.0, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9]


def cell(name: str, seed: int, noise: float, kind: str, rate: float, folder: Path, train: int) -> dict[str, object]:
    paths = {"adult": folder / "adult.parquet", "mnist": folder / "mnist_train.parquet"}
    data = drawn(name, train=train, val=50, test=50, seed=seed, paths=paths).data.without_validation()
    rng = np.random.default_rng(seed)
    X = np.array(data.X, np.float64)
    X += noise * X.std(axis=0) * rng.standard_normal(X.shape)
    data = da.Dataset(X, data.y, standardise=data.standardised)
    bad, wrong = da.plant(data, kind, rate, seed=seed) if rate else (data, np.zeros(len(data), bool))
    found = auditing.audit(bad, methods="cg-score", seed=seed, progress=False)
    low, high = found.error_bounds
    auc = float(found.table.loc[found.table["method"] == "cg-score", "auc"].iloc[0])
    return {
        "data": name, "seed": seed, "noise": noise, "kind": kind, "rate": rate, "wrong": float(wrong.mean()), "auc": auc,
        "low": low, "high": high,
    }  # fmt: skip


def table(found: pd.DataFrame) -> pd.DataFrame:
    said = found["low"] > 0
    too_high = found["low"] > found["wrong"]
    lines = []
    for threshold in THRESHOLDS:
        kept = found["auc"] >= threshold
        lines.append(
            {
                "threshold": threshold, "cells above it": int(kept.sum()), "lower bound above the truth": int((kept & too_high).sum()),
                "bounds above 0 that hold": int((kept & said & ~too_high).sum()),
                "such bounds given up": int((~kept & said & ~too_high).sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(lines).set_index("threshold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", type=Path, default=Path())
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    cells = [
        (name, seed, noise, kind, rate)
        for name, seed, noise, kind, rate in itertools.product(args.sets, range(args.seeds), NOISE, KINDS, RATES)
        if rate or kind == KINDS[0]
    ]
    found = pd.DataFrame(
        Parallel(n_jobs=args.jobs)(delayed(without_threshold)(*one, args.path, args.train) for one in cells)
    )
    OUT.mkdir(exist_ok=True)
    found.to_csv(OUT / "audit_threshold.csv", index=False)
    print(f"{len(found)} cells; AUC from {found['auc'].min():.2f} to {found['auc'].max():.2f}")
    print(table(found).to_string())
    print(found[found["low"] > found["wrong"]].round(3).to_string())


def without_threshold(*one: object) -> dict[str, object]:
    """In a worker's own process, in which nothing else is asked for."""
    before, auditing.HARDLY = auditing.HARDLY, 0.0
    try:
        return cell(*one)
    finally:
        auditing.HARDLY = before


if __name__ == "__main__":
    main()
