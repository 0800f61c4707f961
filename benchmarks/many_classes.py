"""Many classes of few rows: self-confidence beside the same folds by scikit-learn, and beside what its plan said.

    python benchmarks/many_classes.py
    python benchmarks/many_classes.py --classes 500

Generated rows, 12 of a class, 20 columns. CPU seconds, the least of three (``--times``), in turns; beside the plan, which says how long one
waits, the seconds by the clock. scikit-learn fits five folds at its default penalty to its default tolerance; then at the penalty that
datassay chooses, until no number of the gradient is above 1e-7, which is about as exact as datassay's length of 1e-6. datassay chooses the
penalty, fits five folds and the noise model. The exit status is 1 where the plan is off by more than a factor of 2.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import datassay as da
from datassay.subsets import default_model

METHOD = "self-confidence"


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the CPU, and by the clock."""
    start, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - start, time.perf_counter() - clock


def folds(data: da.Dataset, model: LogisticRegression) -> tuple[float, float]:
    """Seconds of five folds by scikit-learn."""
    return seconds(lambda: cross_val_predict(model, data.X, data.y, cv=5, method="predict_proba"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, action="append")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    off = 1.0
    print(
        "| classes | scikit-learn, s | as exactly, s | datassay, s | ratio | planned, s | waited / planned |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for classes in args.classes or [30, 100, 500]:
        rng = np.random.default_rng(0)
        y = np.repeat(np.arange(classes), 12)
        data = da.Dataset(rng.normal(size=(classes, 20))[y] + rng.normal(size=(len(y), 20)), y, standardise=True)
        da.value(data.take(np.arange(240)), METHOD, progress=False)  # imports are not part of a run
        plan = da.plan(data, METHOD).table.iloc[0]["seconds"]
        C = default_model.default_C(data)[0]
        each = []
        for _ in range(args.times):
            default_model._choice.cache_clear()
            each.append(
                (
                    folds(data, LogisticRegression(max_iter=1000)),
                    folds(data, LogisticRegression(C=C, tol=1e-7, max_iter=10_000)),
                    seconds(lambda: da.value(data, METHOD, progress=False)),  # noqa: B023
                )
            )
        theirs, exactly, ours = (min(cpu for cpu, _ in times) for times in zip(*each, strict=True))
        waited = min(clock for *_, (_, clock) in each)
        off = max(off, waited / plan, plan / waited)
        print(
            f"| {classes} | {theirs:.2f} | {exactly:.2f} | {ours:.2f} | {ours / theirs:.2f} | {plan:.2f} | {waited / plan:.2f} |",
            flush=True,
        )
    raise SystemExit(int(off > 2))


if __name__ == "__main__":
    main()
