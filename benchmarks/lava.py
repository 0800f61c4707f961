"""LAVA's seconds and memory, from 6,250 to 50,000 rows by 1,000 and 2,000 validation rows.

    python benchmarks/lava.py --mnist mnist_train.parquet

Pixels from 0 to 1 in float32, the last rows of the file as validation rows. Memory is the most that one process held, less what the pixels
take. Each line is a process of its own. Writes ``benchmarks/out/lava.md``.
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
from datassay.engines.machine import blas_threads
from datassay.evaluate import detection, plant_wrong_labels


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
    parser.add_argument("--mnist", type=Path, required=True, help="Parquet file of images")
    parser.add_argument("--rows", type=int, nargs="+", default=[6250, 12500, 25000, 50000])
    parser.add_argument("--val", type=int, nargs="+", default=[1000, 2000])
    args = parser.parse_args()
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
        "mass in the wrong place",
        "AUC, 20 % wrong labels",
    ]
    text = f"{markdown(head, rows)}\n\n{machine_name(blas_threads())}.\n"
    OUT.mkdir(exist_ok=True)
    (OUT / "lava.md").write_text(f"# LAVA\n\n{text}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
