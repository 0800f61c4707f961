"""Wide tables: seconds to read one and make a Dataset of it, beside pandas' seconds to read it.

    python benchmarks/wide.py
    python benchmarks/wide.py --columns 5000 --columns 20000
    python benchmarks/wide.py --rows 500                  # genes: 500 samples of 20,000

Tables of generated rows, as CSV and as Parquet. CPU seconds, the least of three, in turns with pandas; and of the CG-score and KNN-Shapley
of what was read, once. The exit status is 1 where datassay takes more than three times as long as pandas to read.
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
    parser.add_argument("--rows", type=int, default=100)
    args = parser.parse_args()
    worst = 0.0
    print("| rows | columns | file | pandas, s | datassay, s | ratio | CG-score, s | KNN-Shapley, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for columns in args.columns or [20_000]:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(args.rows, columns)).round(4), columns=[f"c{j}" for j in range(columns)])
        frame = frame.assign(label=np.arange(args.rows) % 2)
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
                data = da.read(path, label="label")
                valued = [
                    seconds(lambda: da.value(data, method, progress=False, **asked))  # noqa: B023
                    for method, asked in (("cg-score", {}), ("knn-shapley", {"judge": "rows"}))
                ]
                print(
                    f"| {args.rows} | {columns:,} | {kind} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} | "
                    f"{' | '.join(f'{s:.2f}' for s in valued)} |",
                    flush=True,
                )
    raise SystemExit(int(worst > MOST))


if __name__ == "__main__":
    main()
