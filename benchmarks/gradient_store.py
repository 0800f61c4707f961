"""Gradients of many rows kept on disk, and what a question costs that is answered from them.

    python benchmarks/gradient_store.py                                   # 1,000,000 rows x 20 columns; minutes
    python benchmarks/gradient_store.py --rows 100000 --numbers 2048

A perceptron 20-64-64-5 (5,829 parameters) is trained for an epoch; then 512 coordinates of every row's gradient are kept, in float32 and
in float16. Each question is a process of its own, on one thread: the first is killed after a minute (--kill) and started again; "again"
asks the same of other validation rows; "one row" is a further question in the same process, about one validation row. The floor of a
question is one reading of the file. Rank correlation of the scores of both precisions. Writes ``benchmarks/out/gradient_store.md``.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from cg_score import OUT, markdown
from plan import held
from scipy.stats import spearmanr
from torch import nn

import datassay as da
from datassay.engines.training import Recipe

CLASSES, COLUMNS = 5, 20
RECIPE = Recipe(epochs=1, batch_size=256, lr=0.05, momentum=0.9)


def perceptron(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def rows(n: int, m: int, asked: int) -> da.Dataset:
    """Five classes about five points, a tenth of the labels wrong; the validation rows of this question."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, COLUMNS)).astype(np.float32)
    y = rng.integers(0, CLASSES, n)
    X = centres[y] + rng.normal(size=(n, COLUMNS)).astype(np.float32)
    wrong = rng.random(n) < 0.1
    y[wrong] = rng.integers(0, CLASSES, wrong.sum())
    rng = np.random.default_rng(1 + asked)
    y_val = rng.integers(0, CLASSES, m)
    return da.Dataset(X, y, centres[y_val] + rng.normal(size=(m, COLUMNS)).astype(np.float32), y_val, standardise=False)


def one(call: argparse.Namespace) -> None:
    """A question: its seconds, memory and scores."""
    torch.set_num_threads(1)
    data = rows(call.rows, 100, call.asked)
    _ = data.hash  # which every result has
    before, start = held("VmRSS"), time.perf_counter()

    def answered(query: int | None = None) -> da.Values:
        return da.value(
            data, "trak", model=perceptron, training=RECIPE, runs=1, projection=call.numbers, precision=call.precision,
            gradients=call.folder, query=query, progress=False, n_jobs=1,
        )  # fmt: skip

    values = answered()
    seconds = time.perf_counter() - start
    each = []
    for query in range(5):
        start = time.perf_counter()
        answered(query)
        each.append(time.perf_counter() - start)
    np.save(call.folder / f"scores-{call.precision}-{call.asked}.npy", values.scores)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "one": float(np.median(each)),
                "GB": held("VmHWM") - before,
                "numbers": values.stats["numbers"],
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--numbers", type=int, default=512)
    parser.add_argument(
        "--kill", type=float, default=60.0, help="seconds after which the first process is killed; 0: it is not"
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--asked", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    call = parser.parse_args()
    if call.one:
        one(call)
        return
    OUT.mkdir(exist_ok=True)
    folder = call.folder or Path(tempfile.mkdtemp(dir=OUT))
    lines = []
    for precision in ("float32", "float16"):
        me = [
            sys.executable,
            __file__,
            "--one",
            "--rows",
            str(call.rows),
            "--numbers",
            str(call.numbers),
            "--folder",
            str(folder),
        ]
        me += ["--precision", precision]
        folder.mkdir(parents=True, exist_ok=True)
        killed = "none"
        if call.kill:
            run = subprocess.Popen(me, stdout=subprocess.PIPE)
            time.sleep(call.kill)
            run.send_signal(signal.SIGKILL)
            run.wait()
            found = sorted(folder.glob("training-*/gradients/done.npy"), key=lambda f: f.stat().st_mtime)
            killed = f"{np.load(found[-1]).mean():.0%}" if found else "none"
        for asked in (0, 1, 2):
            told = subprocess.run([*me, "--asked", str(asked)], check=True, stdout=subprocess.PIPE, text=True).stdout
            said = json.loads(told.splitlines()[-1])
            file = max(folder.glob("training-*/gradients/numbers.npy"), key=lambda f: f.stat().st_mtime)
            start = time.perf_counter()
            total = 0.0
            kept = np.load(file, mmap_mode="r")
            for part in range(0, len(kept), 100_000):
                total += float(kept[part : part + 100_000].view(np.uint8)[:, ::64].sum())
            floor = time.perf_counter() - start
            what = "first" if asked == 0 else "again"
            lines.append([precision, what, killed if asked == 0 else "", said["numbers"], f"{file.stat().st_size / 1e9:.2f}",
                          f"{said['seconds']:.2f}", f"{said['one']:.3f}", f"{floor:.2f}", f"{said['GB']:.2f}"])  # fmt: skip
            print(*lines[-1], flush=True)
    one_, half = (np.load(folder / f"scores-{kind}-2.npy") for kind in ("float32", "float16"))
    text = markdown(
        ["precision", "question", "found after a kill", "numbers", "GB on disk", "seconds", "one reading", "GB of memory"],
        lines,
    )
    text += (
        f"\n{call.rows:,} rows; rank correlation of the scores of both precisions {spearmanr(one_, half).statistic:.6f}\n"
    )
    print(text)
    (OUT / "gradient_store.md").write_text(text)
    if call.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
