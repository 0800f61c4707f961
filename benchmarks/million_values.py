"""Values of many rows written, read and reported: seconds, and bytes on the disk.

    python benchmarks/million_values.py                      1,000,000 rows of 20 columns; a minute
    python benchmarks/million_values.py --rows 100000 --columns 4

Random rows and scores, a twentieth flagged, with a suggestion and a probability each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import datassay as da


def timed(what: str, work: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    print(f"{what:8s} {time.perf_counter() - wall:6.2f} s, {time.process_time() - cpu:6.2f} s of CPU", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    args = parser.parse_args()
    n, rng = args.rows, np.random.default_rng(0)
    y = rng.integers(3, size=n)
    data = da.Dataset(rng.standard_normal((n, args.columns)), y)
    values = replace(
        da.value(data, "random"), columns={"probability_wrong": rng.random(n)}, flagged=rng.random(n) < 0.05, suggested_label=(y + 1) % 3
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder) / "values.parquet", Path(folder) / "report.html"
        timed("save", lambda: values.save(file))
        read = timed("load", lambda: da.Values.load(file))
        timed("report", lambda: da.report(read, data, page))
        print(*(f"{one.name} {one.stat().st_size / 1e6:.2f} MB" for one in sorted(Path(folder).iterdir())), sep="; ")


if __name__ == "__main__":
    main()
