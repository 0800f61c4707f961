"""What every peer's ``run.py`` shares: read the rows, run one method, measure it, write its scores.

A method is a function ``(rows, seed, trainings)`` that returns a `Found`, or a tuple of its first fields; scores are **higher = keep**,
and each ``run.py`` turns its library's sign where that is needed. ``trainings`` is how many models a method that trains on subsets may
train. The clock runs over the valuation alone: imports come before it, and so does one call on a few rows, which pays for what is
loaded at first use (lazy imports, worker processes). Memory is the peak of the process, the imported libraries included.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Training rows, some of them mislabelled, and validation rows with correct labels."""

    X: np.ndarray
    y: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray


class Found(NamedTuple):
    """What a method says."""

    scores: np.ndarray  # (n,), higher = keep
    note: str = ""
    trainings: int = 0  # models that were trained; 0: the method trains none
    flags: np.ndarray | None = None  # (n,) bool: its own verdict, where that is what it is used for


Method = Callable[[Rows, int, int], tuple]


def most() -> int:
    """Bytes, the most that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage knows what the process that started this one held, and takes that for the least
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def workers() -> int:
    """Bytes, the most that the largest worker has held, times their number; they are ended, as only then it is known."""
    cores = int(os.environ.get("LOKY_MAX_CPU_COUNT", "1"))
    if cores == 1 or "joblib" not in sys.modules:
        return 0
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    return cores * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(methods: dict[str, Method], *packages: str) -> None:
    """Run the method that the command line names, with the versions of ``packages`` beside its scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path, help="npz with X, y, X_val, y_val")
    parser.add_argument("target", type=Path, help="npz to write: scores, flags, seconds, bytes, trainings, note, versions")
    parser.add_argument("--method", choices=methods, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", type=int, default=1000, help="of methods that train on subsets")
    call = parser.parse_args()

    with np.load(call.source, allow_pickle=False) as arrays:
        rows = Rows(*(arrays[name] for name in Rows._fields))
    method = methods[call.method]

    with contextlib.suppress(Exception):  # a failure that matters comes again below
        method(Rows(rows.X[:100], rows.y[:100], rows.X_val[:50], rows.y_val[:50]), call.seed, 4)
    before = most()

    start, cpu = time.perf_counter(), time.process_time()
    found = Found(*method(rows, call.seed, call.trainings))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu

    scores = np.asarray(found.scores, dtype=float)
    if scores.shape != rows.y.shape or not np.isfinite(scores).all():
        raise ValueError(f"{call.method}: shape {scores.shape} for {len(rows.y)} rows, or values that are not finite")
    flags = np.zeros(0, bool) if found.flags is None else np.asarray(found.flags, bool)
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    measured = {
        "seconds": seconds,
        "cpu": cpu,
        "before": before,
        "peak": most() + workers(),
        "trainings": found.trainings,
        "note": found.note,
    }
    np.savez(call.target, scores=scores, flags=flags, versions=json.dumps(versions), **measured)
