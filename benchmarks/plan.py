"""Plans beside what happened: predicted and measured time and memory, each run in a process of its own.

    python benchmarks/plan.py
    python benchmarks/plan.py --case 0 --case 3

Rows are generated. Memory is what the process held at most (VmHWM) beyond what it held before the valuation. The table goes to
``benchmarks/out/plan.md``; the exit status is 1 where a prediction is off by more than a factor of 2 (memory: or 100 MB).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import datassay as da
from datassay.methods import METHODS

OUT = Path(__file__).parent / "out"
CASES = [
    # rows, columns, classes, validation rows, method, which of its ways
    (4_000, 64, 10, 0, "cg-score", {"approx": "exact", "dtype": "float64"}),
    (12_000, 784, 10, 0, "cg-score", {"approx": "exact", "dtype": "float32"}),
    (5_000, 30, 2, 1_000, "cg-score", {"approx": "exact", "dtype": "float32"}),
    (60_000, 784, 10, 0, "cg-score", {"approx": "landmarks", "rank": 2048, "block": 6000}),
    (150_000, 100, 5, 0, "cg-score", {"approx": "landmarks", "rank": 1024, "block": 2000}),
    (40_000, 300, 10, 0, "cg-score", {"approx": "neighbours"}),
    (200_000, 64, 10, 500, "knn-shapley", {}),
    (3_000, 200, 4, 3_000, "knn-shapley", {}),
    (500, 784, 10, 100, "banzhaf", {}),
    (2_000, 60, 2, 100, "ame", {}),
    (500, 64, 10, 100, "leave-one-out", {}),
    (4_000, 100, 5, 0, "c-score", {}),
    (200_000, 20, 3, 0, "self-confidence", {}),
    (2_000, 60, 2, 0, "data-oob", {}),
    (1_000, 2_000, 10, 0, "self-confidence", {}),
]


def held(what: str) -> float:
    """GB, VmRSS now or VmHWM so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(what))


def one(case: int) -> dict[str, object]:
    n, d, c, m, method, options = CASES[case]
    rng = np.random.default_rng(0)
    codes = rng.integers(c, size=n + m)
    X = rng.normal(size=(c, d))[codes] + 1.5 * rng.standard_normal((n + m, d), np.float32)
    X = X.astype(np.float32)
    data = da.Dataset(X[:n], codes[:n], X[n:], codes[n:]) if m else da.Dataset(X, codes)
    da.value(da.Dataset(X[:200], codes[:200], X[200:220], codes[200:220]), method)  # imports are not part of a run
    found = da.plan(data, method)
    (line,) = [row for row in found.table.itertuples() if all(row.options.get(k) == v for k, v in options.items())]
    before = held("VmRSS")
    values = METHODS[method].load()(data, **line.options, progress=False)
    return {
        "method": method, "options": " ".join(f"{k}={v}" for k, v in line.options.items()), "rows": n, "columns": d, "validation": m,
        "predicted s": line.seconds, "measured s": values.stats["seconds"], "predicted GB": line.memory / 1e9,
        "measured GB": held("VmHWM") - before,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, action="append", help="number of a case; may be repeated")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    call = parser.parse_args()
    if call.one is not None:
        print(json.dumps(one(call.one)))
        return 0
    lines, off = [], False
    for case in call.case or range(len(CASES)):
        child = subprocess.run([sys.executable, __file__, "--one", str(case)], check=True, stdout=subprocess.PIPE, text=True)
        line = json.loads(child.stdout.splitlines()[-1])
        line["time off by"] = max(line["predicted s"] / line["measured s"], line["measured s"] / line["predicted s"])
        line["memory off by"] = max(line["predicted GB"] / line["measured GB"], line["measured GB"] / line["predicted GB"])
        small = abs(line["predicted GB"] - line["measured GB"]) < 0.1
        off |= line["time off by"] > 2 or (line["memory off by"] > 2 and not small)
        lines.append(line)
        print(line, flush=True)
    names = list(lines[0])
    text = "| " + " | ".join(names) + " |\n|" + " --- |" * len(names) + "\n"
    for line in lines:
        text += "| " + " | ".join(f"{line[k]:.3g}" if isinstance(line[k], float) else str(line[k]) for k in names) + " |\n"
    OUT.mkdir(exist_ok=True)
    (OUT / "plan.md").write_text(text)
    print(text)
    return int(off)


if __name__ == "__main__":
    sys.exit(main())
