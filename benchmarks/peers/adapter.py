"""What every peer's ``run.py`` shares: read the rows, run one method, time it, write its scores.

A method is a function ``(rows, seed, limit) -> (scores, note)``; scores are **higher = keep**, and each ``run.py``
turns its library's sign where that is needed. ``limit`` is a time limit in seconds, for methods that have no end of
their own. The clock runs over the valuation alone: imports come before it, and so does one call on a few rows, which
pays for what is loaded at first use (lazy imports, worker processes).
"""

import argparse
import contextlib
import json
import platform
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


Method = Callable[[Rows, int, float], tuple[np.ndarray, str]]


def main(methods: dict[str, Method], *packages: str) -> None:
    """Run the method that the command line names, with the versions of ``packages`` beside its scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path, help="npz with X, y, X_val, y_val")
    parser.add_argument("target", type=Path, help="npz to write: scores, seconds, note, versions")
    parser.add_argument("--method", choices=methods, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=200.0, help="seconds, for methods that run until stopped")
    call = parser.parse_args()

    with np.load(call.source, allow_pickle=False) as arrays:
        rows = Rows(*(arrays[name] for name in Rows._fields))
    method = methods[call.method]

    with contextlib.suppress(Exception):  # a failure that matters comes again below
        method(Rows(rows.X[:100], rows.y[:100], rows.X_val[:50], rows.y_val[:50]), call.seed, 1.0)

    start = time.perf_counter()
    scores, note = method(rows, call.seed, call.limit)
    seconds = time.perf_counter() - start

    scores = np.asarray(scores, dtype=float)
    if scores.shape != rows.y.shape or not np.isfinite(scores).all():
        raise ValueError(f"{call.method}: shape {scores.shape} for {len(rows.y)} rows, or values that are not finite")
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    np.savez(call.target, scores=scores, seconds=seconds, note=note, versions=json.dumps(versions))
