"""Whether the interval of `gain` and of `curate` without validation rows holds, by simulation.

    python benchmarks/gain_interval.py --draws 60 --rows 300

Three overlapping clouds in ten columns, of which any number of rows can be drawn; labels are wrong at the rate, uniformly or where the
clouds meet. Rows are changed

    chance      as many rows as are wrong, or 5 %, dropped by chance: no gain is there to be shown
    spoil       3 % of the rows get another class by chance: a loss
    drop        flagged rows of the CG-score are dropped             relabel      the rule of `curate`
    truth       wrong labels are mended

and the true difference is that of the two models, trained on all rows, on 20,000 new rows with right labels. Printed: how often the
interval holds it; how often its lower end is above it (claims too much; 2.5 % is what the interval promises); how often a gain is shown,
and how often one is shown where the true difference is not above 0.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

import datassay as da
from datassay.decisions.curate import decide

COLUMNS, SPREAD = 10, 1.0


def clouds(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    true = np.arange(rows) % 3
    return 1.5 * np.eye(3, COLUMNS)[true] + SPREAD * rng.normal(size=(rows, COLUMNS)), true


def changed(way: str, data: da.Dataset, true: np.ndarray, rng: np.random.Generator, seed: int) -> da.Dataset:
    n, wrong = len(data), data.y != true
    if way == "chance":
        return data.take(np.sort(rng.permutation(n)[max(int(wrong.sum()), n // 20) :]))
    if way in ("spoil", "truth"):
        y = data.y.copy()
        some = np.flatnonzero(wrong) if way == "truth" else rng.permutation(n)[: n * 3 // 100]
        y[some] = true[some] if way == "truth" else (y[some] + rng.integers(1, 3, len(some))) % 3
        return da.Dataset(data.X, y, ids=data.ids)
    lines = decide(da.value(data, "cg-score", seed=seed, progress=False), way)
    return da.apply(data, lines) if len(lines) else data


def one(kind: str, rate: float, rows: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    X, true = clouds(rows, rng)
    right = da.Dataset(X, true)
    data = da.plant(right, kind, rate, seed=seed)[0] if rate else right
    X_new, y_new = clouds(20_000, rng)
    found = []

    def note(asked: str, way: str, said: Any, after: da.Dataset) -> None:
        judges = (da.Dataset(d.X, d.y, X_new, y_new, ids=d.ids) for d in (data, after))
        truth = da.gain(*judges, seed=seed, progress=False).difference
        found.append({"kind": kind, "rate": rate, "asked": asked, "way": way, "true": truth, "difference": said.difference,
                      "low": said.low, "high": said.high})  # fmt: skip

    for way in ("chance", "spoil", "drop", "relabel", "truth"):
        after = changed(way, data, true, rng, seed)
        if len(after) == len(data) and (after.y == data.y).all():
            continue
        note("gain", way, da.gain(data, after, seed=seed, progress=False), after)
    for way in ("drop", "relabel"):
        curated = da.curate(data, rule=way, seed=seed, progress=False)
        if curated.gain is not None:
            note("curate", way, curated.gain, curated.data)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--errors", nargs="+", default=["none", "uniform", "near"])
    args = parser.parse_args()
    lines: list[dict[str, Any]] = []
    for seed in range(args.draws):
        for kind in args.errors:
            lines += one("uniform" if kind == "none" else kind, 0.0 if kind == "none" else 0.1, args.rows, seed)
        if (seed + 1) % 10 == 0 or seed + 1 == args.draws:
            print(table(pd.DataFrame(lines)).to_string(), flush=True)


def table(found: pd.DataFrame) -> pd.DataFrame:
    none = found["true"] <= 0
    found = found.assign(
        holds=(found["low"] <= found["true"]) & (found["true"] <= found["high"]),
        too_much=found["low"] > found["true"],
        shown=found["low"] > 0,
        falsely=(found["low"] > 0) & none,
    )
    groups = found.groupby(["asked", "kind", "rate", "way"])[["true", "difference", "holds", "too_much", "shown", "falsely"]]
    return groups.mean().round(4).assign(draws=groups.size())


if __name__ == "__main__":
    main()
