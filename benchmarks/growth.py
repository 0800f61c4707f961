"""How time and memory of every method grow with the rows.

    python benchmarks/growth.py                                   # 500 to 8,000 rows; an hour of one core
    python benchmarks/growth.py -m cg-score -m lava --sizes 1000 2000 4000

Three classes about three points in 20 columns, a tenth of the labels wrong, 200 validation rows, every method by its defaults, on one
thread. Each method runs in a process of its own, first on 200 rows, which pays for what is loaded at first use, then on more and more; CPU
seconds, and the most memory that the process has held less what it held before. A method that took more than a minute (--most) is not
tried on more rows. The exponents are those of a straight line through the logarithms of the last three sizes, of memory of those that hold
20 MB or more. Lines are kept in ``benchmarks/out/growth.csv`` and not made again. Writes ``benchmarks/out/growth.md``.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from cg_score import OUT, markdown
from plan import held

import datassay as da
from datassay.methods import METHODS, takes

SIZES = [500, 1000, 2000, 4000, 8000]
WARM = 200
LEAST = 0.02  # GB: less is lost among what libraries hold


def rows(n: int) -> da.Dataset:
    rng = np.random.default_rng(0)
    centres = 0.7 * rng.normal(size=(3, 20))
    y = rng.integers(0, 3, n + 200)
    X = centres[y] + rng.normal(size=(n + 200, 20))
    wrong = rng.random(n) < 0.1
    y[:n][wrong] = rng.integers(0, 3, wrong.sum())
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def one(name: str, sizes: list[int], most: float) -> None:
    """A line of JSON a size."""
    import torch

    torch.set_num_threads(1)
    options = {"progress": False} if takes("progress", name) else {}
    options |= {"n_jobs": 1} if takes("n_jobs", name) else {}
    da.value(rows(WARM), name, **options)
    for n in sizes:
        data = rows(n)
        before, cpu, start = held("VmHWM"), time.process_time(), time.perf_counter()
        da.value(data, name, **options)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
        print(
            json.dumps({"method": name, "rows": n, "cpu": cpu, "seconds": seconds, "GB": held("VmHWM"), "before": before}),
            flush=True,
        )
        if cpu > most:
            break


def exponent(sizes: np.ndarray, numbers: np.ndarray) -> float:
    return float(np.polyfit(np.log(sizes[-3:]), np.log(np.maximum(numbers[-3:], 1e-9)), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--method", action="append")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--most", type=float, default=60.0, help="CPU seconds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    call = parser.parse_args()
    if call.one:
        one(call.one, call.sizes, call.most)
        return
    OUT.mkdir(exist_ok=True)
    file = OUT / "growth.csv"
    lines = pd.read_csv(file).to_dict("records") if file.exists() else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in call.method or list(METHODS):
        if any(line["method"] == name for line in lines):
            continue
        words = [sys.executable, __file__, "--one", name, "--most", str(call.most), "--sizes", *map(str, call.sizes)]
        child = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment, check=False)
        for line in map(json.loads, child.stdout.splitlines()):
            lines.append(line)
            print(*line.values(), flush=True)
        if child.returncode:
            print(f"{name}: FAILED ({child.returncode})", flush=True)
        pd.DataFrame(lines).to_csv(file, index=False)
    text = table(pd.DataFrame(lines), call.sizes)
    print(text)
    (OUT / "growth.md").write_text(text + "\n")


def table(found: pd.DataFrame, sizes: list[int]) -> str:
    out = []
    for name, of in found.groupby("method", sort=False):
        n, cpu = of["rows"].to_numpy(), of["cpu"].to_numpy()
        grown = (of["GB"] - of["before"].iloc[0]).to_numpy()
        times = {
            int(row): f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}" for row, seconds in zip(n, cpu, strict=True)
        }
        memory = "under .02" if grown[-1] < LEAST else f"{grown[-1]:.2f}"
        power = "" if len(n) < 3 or grown[-3] < LEAST else f"{exponent(n, grown):.1f}"
        out.append(
            [name, *(times.get(size, "") for size in sizes), f"{exponent(n, cpu):.2f}" if len(n) > 2 else "", memory, power]
        )
    header = ["method", *(f"{size:,} rows: CPU s" for size in sizes), "exponent", "GB at the last", "exponent"]
    return markdown(header, out)


if __name__ == "__main__":
    main()
