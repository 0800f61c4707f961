"""LAVA's seconds and memory, and what it finds with all mass moved, with mass that may be lost, and stopped early.

    python benchmarks/lava.py --mnist mnist_train.parquet
    python benchmarks/lava.py --path folder

The first: from 6,250 to 50,000 rows by 1,000 and 2,000 validation rows; pixels from 0 to 1 in float32, the last rows of the file as
validation rows. Memory is the most that one process held, less what the pixels take. Each line is a process of its own. Writes
``benchmarks/out/lava.md``. The second: wrong labels in eight data sets, 500 training and 100 validation rows; the folder has
adult.parquet and mnist_train.parquet. Writes ``benchmarks/out/lava_variants.md``.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown, read_pixels
from peers import machine as machine_name

import datassay as da
from datassay.engines import transport
from datassay.engines.machine import blas_threads
from datassay.evaluation import detection, plant_wrong_labels
from datassay.evaluation.datasets import drawn
from datassay.methods.lava import EPS, lava
from datassay.methods.lossval_released import annealed

SETS = ("digits", "breast-cancer", "wine", "iris", "2dplanes", "fried", "adult", "mnist")
RATES = (0.05, 0.1, 0.2)
UNBALANCED = (4.0, 2.0, 1.0, 0.5, 0.25)


def one(path: Path, n: int, m: int, back: multiprocessing.Queue) -> None:
    pixels = read_pixels(path)
    X, y = np.asarray(pixels.X, np.float32), pixels.codes
    data, wrong = plant_wrong_labels(da.Dataset(X[:n], y[:n], X[-m:], y[-m:]), 0.2)
    del pixels, X
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    values = da.value(data, "lava", progress=False)
    seconds = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    back.put((n, m, seconds, more, values.stats["steps"], values.stats["error"], detection(values.scores, wrong)["auc"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, help="Parquet file of images: seconds and memory")
    parser.add_argument("--path", type=Path, help="folder with adult.parquet and mnist_train.parquet: what is found")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[6250, 12500, 25000, 50000])
    parser.add_argument("--val", type=int, nargs="+", default=[1000, 2000])
    args = parser.parse_args()
    if not args.mnist and not args.path:
        parser.error("give --mnist or --path.")
    OUT.mkdir(exist_ok=True)
    if args.path:
        variants(args)
    if args.mnist:
        at_size(args)


def variants(args: argparse.Namespace) -> None:
    """ROC AUC of wrong labels on each data set, seeds and rates averaged."""
    lines: dict[str, list[object]] = {}
    for name in SETS:
        found: dict[str, list[float]] = {}
        for seed in range(args.seeds):
            rows = drawn(name, seed=seed, train=500, val=100, test=10, paths={"": args.path}).data
            for rate in RATES:
                data, wrong = plant_wrong_labels(rows, rate, seed=1000 + seed)
                for title, scores in scored(data):
                    found.setdefault(title, []).append(detection(scores, wrong)["auc"])
        for title, auc in found.items():
            lines.setdefault(title, []).append(float(np.mean(auc)))
        print(name, {title: round(line[-1], 3) for title, line in lines.items()}, flush=True)
    table = [[title, *(f"{v:.3f}" for v in (*line, np.mean(line)))] for title, line in lines.items()]
    what = f"{args.seeds} seeds, rates {', '.join(map(str, RATES))}; {machine_name(blas_threads())}."
    text = f"{markdown(['', *SETS, 'mean'], table)}\n\n{what}\n"
    (OUT / "lava_variants.md").write_text(f"# LAVA, what is found\n\n{text}", encoding="utf-8")
    print(text)


def scored(data: da.Dataset):
    values = lava(data, unbalanced=None, progress=False)
    yield "all mass moved", values.scores
    yield "debiased", lava(data, unbalanced=None, debias=True, progress=False).scores
    for u in UNBALANCED:
        yield f"unbalanced={u:g}", lava(data, unbalanced=u, progress=False).scores
    C = transport.half_squared_distances(np.asarray(data.X, float), np.asarray(data.X_val, float))
    C += np.array(values.stats["class_distances"])[data.codes][:, data.codes_val]
    yield "stopped early", -stopped(C, 0.5)
    yield "the same, slower", -stopped(C, 0.9)
    yield "cost of the nearest validation row", -C.min(1)


def stopped(C: np.ndarray, scaling: float) -> np.ndarray:
    """Potentials after one step at each of a few eps, as geomloss's `SamplesLoss` takes them and with it the released code."""
    (n, m), blur = C.shape, np.sqrt(EPS * np.median(C))
    alone = np.zeros((n, n)), np.zeros((m, m))
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    found = annealed(C, *alone, a, b, diameter=np.sqrt(2 * C.max()), blur=blur, scaling=scaling)
    return found.da  # costs of 0 among themselves leave the potential of the others as it is


def at_size(args: argparse.Namespace) -> None:
    spawn, rows = multiprocessing.get_context("spawn"), []
    for m in args.val:
        found = []
        for n in args.rows:
            back = spawn.Queue()
            process = spawn.Process(target=one, args=(args.mnist, n, m, back))
            process.start()
            found.append(back.get())
            process.join()
            n, m, seconds, more, steps, error, auc = found[-1]
            rows.append([n, m, f"{seconds:.1f}", f"{more:.2f}", steps, f"{error:.1e}", f"{auc:.3f}"])
            print(rows[-1], flush=True)
        if len(found) > 1:
            slope = np.polyfit(np.log([f[0] for f in found]), np.log([f[2] for f in found]), 1)[0]
            rows.append([f"n^{slope:.2f}", m, "", "", "", "", ""])
    head = [
        "rows",
        "validation rows",
        "seconds",
        "GB beyond the pixels",
        "steps",
        "last change, in eps",
        "AUC, 20 % wrong labels",
    ]
    text = f"{markdown(head, rows)}\n\n{machine_name(blas_threads())}.\n"
    (OUT / "lava.md").write_text(f"# LAVA\n\n{text}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
