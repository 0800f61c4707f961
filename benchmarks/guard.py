"""Did anything get slower? Eleven rows of speed, each as a ratio to a plain operation of numpy, scikit-learn or torch in the same run.

    python benchmarks/guard.py                     three minutes on an idle machine; exit status 1 if a ratio got worse by a third
    python benchmarks/guard.py cg-score lossval    these alone
    python benchmarks/guard.py --keep              the ratios become those to which later runs are compared

Row and operation take turns; a ratio is the median over the turns, in CPU seconds of one thread, so that another process on the machine
disturbs little. The ratios lie in benchmarks/guard.json, with the versions by which they were measured. By hand before a landing, not
in CI: machines differ in what a product costs beside a loop. What got worse is measured once more before it is called so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits

import datassay as da

KEPT = Path(__file__).with_name("guard.json")
WORSE = 4 / 3
TURNS = 5
ENOUGH = 12.0  # seconds of a row, after which no turn begins


def cpu(work: Callable[[], object]) -> float:
    """Seconds of this process and of those that it waited for."""
    before = used()
    work()
    return used() - before


def used() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def rows_of_digits(n: int, held: int = 0) -> da.Dataset:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    first, rest = order[:n], order[n : n + held]
    data = da.Dataset(X[first], y[first], *((X[rest], y[rest]) if held else ()))
    return da.plant(data, "uniform", 0.1)[0]


def valued(data: da.Dataset, method: str, **options: Any) -> Callable[[], object]:
    return lambda: da.value(data, method, seed=0, progress=False, **options)


def product(n: int, k: int, p: int, times: int = 1) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((n, k)), rng.standard_normal((k, p))

    def work() -> None:
        for _ in range(times):
            A @ B

    return work


def epochs(n: int, p: int, hidden: int, times: int) -> Callable[[], object]:
    """Plain training of a perceptron in batches of 32."""
    X, y = torch.randn(n, p), torch.randint(0, 10, (n,))
    network = torch.nn.Sequential(torch.nn.Linear(p, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))

    def work() -> None:
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(times):
            for batch in torch.randperm(n).split(32):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(network(X[batch]), y[batch]).backward()
                optimiser.step()

    return work


def started(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def kept_and_shown(n: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    data = da.Dataset(rng.standard_normal((n, 4)), rng.integers(3, size=n))
    values = da.value(data, "random")

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            values.save(Path(folder) / "values.parquet")
            da.report(da.Values.load(Path(folder) / "values.parquet"), data, Path(folder) / "page.html")

    return work


def sorted_columns(n: int) -> Callable[[], object]:
    X = np.random.default_rng(0).standard_normal((n, 4))
    return lambda: np.sort(X, axis=0)


def forest(data: da.Dataset, trees: int) -> Callable[[], object]:
    return lambda: RandomForestClassifier(trees, random_state=0, n_jobs=1).fit(data.X, data.y)


def pairs() -> dict[str, tuple[str, Callable[[], object], Callable[[], object]]]:
    """By row: what it is compared to, the row, the operation."""
    digits, held = rows_of_digits(1000), rows_of_digits(1000, 300)
    whole = rows_of_digits(1797)
    wide = da.Dataset(np.random.default_rng(0).standard_normal((10000, 64)), np.arange(10000) % 10)
    return {
        "import": ("import of numpy and scipy.linalg", started("import datassay"), started("import numpy, scipy.linalg")),
        "cg-score": ("product 1,797 x 1,797 x 1,797", valued(whole, "cg-score"), product(1797, 1797, 1797, 2)),
        "landmarks": (
            "product 10,000 x 500 x 500, ten times",
            valued(wide, "cg-score", approx="landmarks", landmarks=500),
            product(10000, 500, 500, 10),
        ),
        "knn-shapley": (
            "product 1,797 x 64 x 1,797, ten times", valued(whole, "knn-shapley", judge="rows"), product(1797, 64, 1797, 10),
        ),
        "self-confidence": ("random forest of 50 trees", valued(digits, "self-confidence"), forest(digits, 50)),
        "data-oob": ("random forest of 50 trees", valued(digits, "data-oob"), forest(digits, 50)),
        "shapley": ("product 1,797 x 1,797 x 1,797", valued(held, "shapley", n_models=300), product(1797, 1797, 1797, 2)),
        "lossval": ("5 epochs of plain training", valued(held, "lossval", epochs=10), epochs(1000, 64, 100, 5)),
        "tracin": ("5 epochs of plain training", valued(held, "tracin"), epochs(1000, 64, 100, 5)),
        "audit": (
            "product 1,797 x 1,797 x 1,797", lambda: da.audit(digits, progress=False, seed=0), product(1797, 1797, 1797, 2),
        ),
        "save, load, report": ("sort of 4 columns of 200,000 rows", kept_and_shown(200000), sorted_columns(200000)),
    }  # fmt: skip


def ratio(row: Callable[[], object], operation: Callable[[], object]) -> tuple[float, float]:
    """Median of the turns after a first one, in which imports and caches are paid; and the row's CPU seconds."""
    cpu(operation), cpu(row)
    begin, found, seconds = time.perf_counter(), [], []
    for _ in range(TURNS):
        floor = cpu(operation)
        seconds.append(cpu(row))
        found.append(seconds[-1] / max((floor + cpu(operation)) / 2, 1e-9))
        if time.perf_counter() - begin > ENOUGH:
            break
    return median(found), median(seconds)


def versions() -> dict[str, str]:
    return {module.__name__: module.__version__ for module in (np, scipy, sklearn, torch)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", help="some rows alone")
    parser.add_argument("--keep", action="store_true", help="store the ratios")
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"versions": {}, "ratios": {}}
    torch.set_num_threads(1)
    all_pairs, begin = pairs(), time.perf_counter()
    if unknown := [name for name in args.rows if name not in all_pairs]:
        sys.exit(f"guard.py has no row {unknown[0]!r}; it has: {', '.join(all_pairs)}.")
    worse = []
    print(f"{'row':20s} {'CPU s':>8s} {'ratio':>8s} {'kept':>8s}  beside")
    for name in args.rows or all_pairs:
        beside, row, operation = all_pairs[name]
        with threadpool_limits(1):
            found, seconds = ratio(row, operation)
            before = kept["ratios"].get(name)
            if before and found > WORSE * before:
                found = min(found, ratio(row, operation)[0])
        slower = bool(before and found > WORSE * before)
        print(
            f"{name:20s} {seconds:8.3f} {found:8.2f} {before or float('nan'):8.2f}  {beside}{'   WORSE' if slower else ''}",
            flush=True,
        )
        if slower:
            worse.append(name)
        if args.keep:
            kept["ratios"][name] = round(found, 3)
    print(f"{time.perf_counter() - begin:.0f} s")
    if args.keep:
        KEPT.write_text(json.dumps({"versions": versions(), "ratios": kept["ratios"]}, indent=1) + "\n")
    elif kept["versions"] != versions():
        print(f"The ratios that are kept are of {kept['versions']}, these of {versions()}.")
    if worse:
        sys.exit(f"Worse by a third: {', '.join(worse)}.")


if __name__ == "__main__":
    main()
