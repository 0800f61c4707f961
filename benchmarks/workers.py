"""What each worker of a Dask cluster costs beside the work: 1, 2 and 4 processes on this machine, one thread each.

    python benchmarks/workers.py                     # minutes; needs distributed
    python benchmarks/workers.py --rows 50000        # larger tasks

CG-score by landmarks and by neighbours, KNN-Shapley, patches of images, trainings on subsets, and TRAK's gradients, by the same
process alone and by a cluster whose workers have done each once before. CPU seconds of the first process (the scheduler in it), and
of all workers together; "more" is what both take beyond the first process alone,
in percent, "first" the share that the first process has of it: with w workers nothing ends sooner than that. Seconds on the wall tell
little where there are fewer cores than processes. The scores have the same bits each time, or it ends with an error. Writes
``benchmarks/out/workers.md``.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from cg_score import OUT, markdown
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

import datassay as da

WORKERS = (1, 2, 4)


def rows(n: int, m: int = 500, d: int = 64) -> da.Dataset:
    """Ten clusters, a tenth of the labels wrong, as float32."""
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.normal(size=(10, d))
    y = rng.integers(0, 10, n + m)
    X = (centres[y] + 2 * rng.normal(size=(n + m, d))).astype(np.float32)
    given = np.where(rng.random(n + m) < 0.1, rng.integers(0, 10, n + m), y)
    return da.Dataset(X[:n], given[:n], X[n:], y[n:])


def images(n: int) -> da.Dataset:
    """Squares of 16 x 16 at ten places, with noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    X = rng.normal(size=(n, 16, 16)).astype(np.float32)
    for i, k in enumerate(y):
        X[i, k : k + 5, k : k + 5] += 2
    return da.Dataset(X, y)


def ways(n: int) -> dict[str, Callable[[], np.ndarray]]:
    """Each gives the scores."""
    data, few, squares = rows(n), rows(1000), images(max(600, n // 10))
    fixed = {"ridge": 0.1, "bias": True, "progress": False}

    def patches() -> np.ndarray:
        return np.asarray(squares.with_features("patches", k=256, progress=False).X)

    return {
        "cg-score, landmarks": lambda: da.value(data, "cg-score", approx="landmarks", **fixed).scores,
        "cg-score, neighbours": lambda: da.value(data, "cg-score", approx="neighbours", **fixed).scores,
        "knn-shapley": lambda: da.value(data, "knn-shapley", progress=False).scores,
        "patches": patches,
        "shapley, 1,000 trees": lambda: (
            da.value(few, "shapley", model=DecisionTreeClassifier(max_depth=6), progress=False).scores
        ),
        "trak, gradients": lambda: (
            da.value(data, "trak", runs=1, epochs=1, projection=512, device="cpu", progress=False).scores
        ),
    }


def cpu(client: Client | None) -> tuple[float, float]:
    """CPU seconds of this process, and of all workers."""
    return time.process_time(), sum(client.run(time.process_time).values()) if client else 0.0


def timed(work: Callable[[], np.ndarray], client: Client | None) -> tuple[np.ndarray, float, float, float]:
    """Its scores; CPU seconds here and there; seconds."""
    before, start = cpu(client), time.perf_counter()
    scores = work()
    seconds, after = time.perf_counter() - start, cpu(client)
    return scores, after[0] - before[0], after[1] - before[1], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", help="ways that contain this")
    call = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of the workers
    import torch

    torch.set_num_threads(1)
    lines = []
    with threadpool_limits(1):
        for name, work in ways(call.rows).items():
            if call.only and call.only not in name:
                continue
            with parallel_config(backend="threading", n_jobs=1):
                work()
                alone, own, _, seconds = timed(work, None)
            lines.append([name, "alone", f"{own:.1f}", "", "", "", f"{seconds:.1f}"])
            print(*lines[-1], flush=True)
            for workers in WORKERS:
                with (
                    LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
                    Client(cluster) as client,
                    parallel_config(backend="dask"),
                ):
                    work()
                    scores, here, there, seconds = timed(work, client)
                if not np.array_equal(alone, scores):
                    raise SystemExit(f"{name}: other bits on {workers} workers.")
                more, first = (here + there) / own - 1, here / (here + there)
                lines.append(
                    [name, workers, f"{here:.1f}", f"{there:.1f}", f"{more:+.0%}", f"{first:.0%}", f"{seconds:.1f}"]
                )
                print(*lines[-1], flush=True)
    head = ["", "workers", "first process, CPU s", "workers, CPU s", "more", "first", "seconds"]
    OUT.mkdir(exist_ok=True)
    text = f"{markdown(head, lines)}\n\n{call.rows:,} rows, {os.cpu_count()} cores.\n"
    (OUT / "workers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
