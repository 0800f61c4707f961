"""Wide tables: seconds to read one and make a Dataset of it, beside pandas' seconds to read it.

    python benchmarks/wide.py
    python benchmarks/wide.py --columns 5000 --columns 20000

Tables of 100 generated rows, as CSV and as Parquet. CPU seconds, the least of three, in turns with pandas. The exit status is 1 where
datassay takes more than three times as long as pandas.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import datassay as da

MOST = 3.0


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--columns", type=int, action="append")
    args = parser.parse_args()
    worst = 0.0
    print("| columns | file | pandas, s | datassay, s | ratio |\n| --- | --- | --- | --- | --- |")
    for columns in args.columns or [20_000]:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(100, columns)).round(4), columns=[f"c{j}" for j in range(columns)])
        frame = frame.assign(label=np.arange(100) % 2)
        with tempfile.TemporaryDirectory() as folder:
            for kind, write, read in (
                ("csv", frame.to_csv, pd.read_csv),
                ("parquet", frame.to_parquet, pd.read_parquet),
            ):
                path = Path(folder) / f"wide.{kind}"
                write(path, index=False)
                both = [(seconds(lambda: read(path)), seconds(lambda: da.read(path, label="label"))) for _ in range(3)]  # noqa: B023
                theirs, ours = (min(times) for times in zip(*both, strict=True))
                worst = max(worst, ours / theirs)
                print(f"| {columns:,} | {kind} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |", flush=True)
    raise SystemExit(int(worst > MOST))


if __name__ == "__main__":
    main()
