"""What `curate` wins back, and whether what it says of itself is so, on data whose right labels are known.

    python benchmarks/curate.py [--seeds 3] [--data digits breast-cancer] [--rates 0 .05 .2]

A third of the rows are test rows with right labels. The other labels are wrong at the rate (uniform), and `curate` sees these rows alone.
Printed for each run: what right labels would win over the noisy ones on the test rows, what each rule wins there, and what `curate` said
by rows that its rule had not seen. In points of accuracy; "shown": the file would have been written.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import datassay as da
from datassay.evaluation.datasets import drawn


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=["digits", "breast-cancer"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.05, 0.2])
    args = parser.parse_args()
    for name in args.data:
        for rate in args.rates:
            for seed in range(args.seeds):
                one(name, rate, seed)


def one(name: str, rate: float, seed: int) -> None:
    split = drawn(name, seed=seed, train=1200, val=10, test=600)
    right = da.Dataset(split.data.X, split.data.y, split.X_test, split.y_test)
    noisy = right if rate == 0 else da.plant(right, "uniform", rate, seed=seed)[0]
    best = 0.0 if rate == 0 else da.gain(noisy, right, seed=seed, progress=False).difference
    said = [f"{name} {rate:.0%} seed {seed}: right labels {100 * best:+.2f}"]
    for rule in ("relabel", "drop"):
        begin = time.perf_counter()
        found = da.curate(noisy.without_validation(), rule=rule, seed=seed, progress=False)
        won = 0.0
        if len(found.decisions):
            won = da.gain(noisy, da.apply(noisy, found.decisions), seed=seed, progress=False).difference
        g = found.gain
        words = (
            "nothing to decide"
            if g is None
            else f"said {100 * g.difference:+.2f} ({100 * g.low:+.2f} to {100 * g.high:+.2f})"
        )
        shown = ", shown" if found.shown else ""
        said.append(
            f"{rule} {100 * won:+.2f}, {words}{shown}, {len(found.decisions)} rows, {time.perf_counter() - begin:.0f} s"
        )
    print("; ".join(said), flush=True)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
