"""Are as many of the first 100 suspects wrong as `audit` expects? Planted errors of two kinds, and errors that people made.

    python benchmarks/audit_hits.py --path folder               about half an hour of one core; what is done is not done again
    python benchmarks/audit_hits.py --sets digits iris --seeds 1

The folder has adult.parquet, mnist_train.parquet, cifar10_train.parquet and cifar10n_labels.parquet. An audit of default settings is told
nothing of the errors; the rows are then valued by what it recommends. Sets with fewer than 400 rows are asked about their first quarter.
Tables: share of the cases in which the expected number is within 10 of what is found, in which that lies within the interval, and the
interval's half; and how far the share of wrong labels is off where the audit says that it can tell. Lines are kept in
``benchmarks/out/audit_hits.csv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from cg_score import OUT
from promises import SETS

import datassay as da
from datassay.evaluation.datasets import drawn

PEOPLE = ["cifar10n-aggregate", "cifar10n-random1"]
KEYS = ["data", "features", "kind", "rate", "seed"]
FIRST = 100


def cells(args: argparse.Namespace) -> Iterator[tuple[str, str, str, float, int]]:
    for seed in range(args.seeds):
        for name in args.sets:
            if name in PEOPLE:
                yield from ((name, features, "people", 0.0, seed) for features in ("pixels", "patches"))
            else:
                yield from (
                    (name, "as they are", kind, rate, seed) for kind in ("uniform", "near") for rate in (0.05, 0.1, 0.2)
                )


def rows_of(
    name: str, features: str, kind: str, rate: float, seed: int, args: argparse.Namespace
) -> tuple[da.Dataset, np.ndarray]:
    paths = {
        "adult": args.path / "adult.parquet", "mnist": args.path / "mnist_train.parquet",
        "cifar10": args.path / "cifar10_train.parquet", "cifar10n": args.path / "cifar10n_labels.parquet",
    }  # fmt: skip
    people = name in PEOPLE
    split = drawn(name, train=args.people_rows if people else args.train, val=50, test=50, seed=seed, paths=paths)
    data = split.data.without_validation()
    if people:
        bad, wrong = da.plant(data, "human", 0, seed=seed, human=split.human)
        return bad.with_features(features, progress=False), wrong
    if not data.standardised:
        data = da.Dataset(data.X, data.y, standardise=False)
    return da.plant(data, kind, rate, seed=seed)


def cell(data: da.Dataset, wrong: np.ndarray, seed: int) -> dict[str, object]:
    found = da.audit(data, seed=seed, progress=False)
    values = da.value(data, found.method, seed=seed, **found.options)
    k = FIRST if len(data) >= 4 * FIRST else len(data) // 4
    said = found.expected(k, len(data))
    hits = int(wrong[values.ranks() <= k].sum())
    low, high = found.error_bounds or (np.nan, np.nan)
    return {
        "rows": len(data), "wrong": float(wrong.mean()), "k": k, "expected": said.hits, "half": said.half, "hits": hits,
        "method": found.name, "early": found.early, "planted kind": found.kind, "share": found.error_rate, "low": low, "high": high,
        "told": found.told, "seconds": found.seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", type=Path, default=Path())
    parser.add_argument("--sets", nargs="+", default=[*SETS, *PEOPLE])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--people-rows", type=int, default=2000)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    file = OUT / "audit_hits.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    there = {tuple(row[key] for key in KEYS) for row in rows}
    for key in cells(args):
        if key not in there:
            rows.append(dict(zip(KEYS, key, strict=True)) | cell(*rows_of(*key, args), key[-1]))
            pd.DataFrame(rows).to_csv(file, index=False)
            print(rows[-1], flush=True)
    table(pd.DataFrame(rows))


def table(found: pd.DataFrame) -> None:
    off = (found["expected"] - found["hits"]).abs()
    found = found.assign(
        off=off, within=off <= 10 * found["k"] / FIRST, inside=off <= found["half"] + 0.5,
        holds=(found["low"] <= found["wrong"]) & (found["wrong"] <= found["high"]),
    )  # fmt: skip
    means = ["expected", "hits", "off", "within", "inside", "half", "holds", "told", "early", "seconds"]
    print(
        found.groupby(["kind", "features"])[means]
        .mean()
        .round(3)
        .assign(cases=found.groupby(["kind", "features"]).size())
        .to_string()
    )
    print(found.groupby(["data", "features", "kind"])[means].mean().round(2).to_string())
    told = found[found["told"].astype(bool)]
    print(f"told: {len(told)} of {len(found)}, off by {(told['share'] - told['wrong']).abs().mean():.4f} on average")


if __name__ == "__main__":
    main()
