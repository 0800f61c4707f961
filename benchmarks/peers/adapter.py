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


def peak() -> int:
    """Bytes, the most that this process and its workers have held; workers: the largest, times their number."""
    unit = 1 if sys.platform == "darwin" else 1024
    workers = 0
    if (cores := int(os.environ.get("LOKY_MAX_CPU_COUNT", "1"))) > 1 and "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)  # only of children that were waited for is the peak known
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * cores
    return unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + workers)


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    start = time.perf_counter()
    found = Found(*method(rows, call.seed, call.trainings))
    seconds = time.perf_counter() - start

    scores = np.asarray(found.scores, dtype=float)
    if scores.shape != rows.y.shape or not np.isfinite(scores).all():
        raise ValueError(f"{call.method}: shape {scores.shape} for {len(rows.y)} rows, or values that are not finite")
    flags = np.zeros(0, bool) if found.flags is None else np.asarray(found.flags, bool)
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    measured = {"seconds": seconds, "before": before, "peak": peak(), "trainings": found.trainings, "note": found.note}
    np.savez(call.target, scores=scores, flags=flags, versions=json.dumps(versions), **measured)
