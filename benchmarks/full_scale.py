"""CG-score where n^3 hurts: all of MNIST exactly, and approximations beside the exact score.

    python benchmarks/full_scale.py exact --data mnist_train.parquet            # 60,000 rows: about 20 minutes, 8 GB
    python benchmarks/full_scale.py exact --data mnist_train.parquet --rows 20000 --kill 0.4
    python benchmarks/full_scale.py picture --data mnist_train.parquet --values out/mnist_train-60000-planted.parquet --out mnist.png
    python benchmarks/full_scale.py quality --data mnist_train.parquet --data cifar10_train.parquet
    python benchmarks/full_scale.py linear --rows-at large
    python benchmarks/full_scale.py serial --rows-at large

``exact`` values all rows with labels planted wrong, tells the rate beside that of one large product in the same run, and how well
the bar foretold the end; ``--clean`` plants nothing and keeps the scores; ``--kill 0.4`` kills the run at 40 % and goes on from its
folder. ``quality`` compares approximations with the exact score of the same 20,000 rows. ``linear`` takes the rows that
``large_rows.py make`` wrote and values growing parts of them, each in a process of its own; ``serial`` times
what is not spread over workers. Tables go to ``benchmarks/out/``.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.linalg import get_blas_funcs
from scipy.stats import spearmanr

import datassay as da
from datassay.engines import gram, low_rank, machine, panels, partition
from datassay.evaluation import detection, plant_wrong_labels
from datassay.methods import cg_score as module
from datassay.methods.cg_score import cg_score

OUT = Path(__file__).parent / "out"


def images(path: Path, rows: int | None, seed: int = 0) -> da.Dataset:
    """A Parquet file of encoded images; ``rows`` of them drawn at random."""
    names = pq.read_schema(path).names
    data = da.read(path, label="label", drop=[name for name in names if name not in ("image", "label")])
    if rows is None or rows >= len(data):
        return data
    return data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:rows]))


def product_rate(n: int, dtype: str, seconds: float = 5.0) -> float:
    """Operations a second of the products that the factorisation is made of: (n x b) by (b x b), b a panel's width."""
    rng = np.random.default_rng(0)
    b = panels.PANEL
    A, B = rng.random((n, b)).astype(dtype), rng.random((b, b)).astype(dtype)
    C = np.zeros((n, b), dtype)
    (gemm,) = get_blas_funcs(("gemm",), (A,))
    gemm(-1.0, B.T, A.T, beta=1.0, c=C.T, trans_a=1, overwrite_c=1)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        gemm(-1.0, B.T, A.T, beta=1.0, c=C.T, trans_a=1, overwrite_c=1)
        count += 1
    return count * 2.0 * n * b**2 / (time.perf_counter() - start)


def peak_memory() -> float:
    """GB that this process held at most (VmHWM), file pages included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e9
    return float("nan")


class Watch:
    """In the bar's place: what time the share done so far foretells for the whole."""

    def __init__(self, *_: object, **__: object) -> None:
        self.done, self.start, self.told = 0.0, time.perf_counter(), {}

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        watches.append(self)

    def update(self, share: float) -> None:
        self.done += share
        for at in (0.05, 0.1, 0.25, 0.5, 0.75):
            if self.done >= at and at not in self.told:
                self.told[at] = (time.perf_counter() - self.start) / self.done
                print(f"  {self.done:.0%}: {self.told[at]:.0f} s foretold", flush=True)


watches: list[Watch] = []


def exact(path: Path, rows: int | None, clean: bool, folder: Path | None, device: str, dtype: str) -> dict[str, object]:
    data = images(path, rows)
    wrong = np.zeros(len(data), bool)
    if not clean:
        data, wrong = plant_wrong_labels(data, 0.2, seed=0)
    rate = product_rate(len(data), dtype) if device == "cpu" else float("nan")
    module.progress_bar = Watch
    values = cg_score(data, approx="exact", dtype=dtype, device=device, checkpoint=folder, seed=0)
    n, seconds = len(data), values.stats["seconds"]
    watch = watches[-1]
    found = {} if clean else detection(values.scores, wrong)
    line = {
        "data": path.stem, "rows": n, "columns": data.X.shape[1], "dtype": dtype, "device": values.stats["device"],
        "seconds": seconds, "GB": peak_memory(), "residual": values.stats["residual"], "ridge": values.stats["ridge"],
        "Gflop/s": 2 / 3 * n**3 / seconds / 1e9, "product Gflop/s": rate / 1e9, "of the product's rate": 2 / 3 * n**3 / seconds / rate,
        "foretold": {f"{at:.0%}": round(told) for at, told in watch.told.items()}, **found,
    }  # fmt: skip
    OUT.mkdir(exist_ok=True)
    values.save(OUT / f"{path.stem}-{n}-{'clean' if clean else 'planted'}.parquet")
    return line


def killed(path: Path, rows: int | None, share: float, dtype: str) -> None:
    """Value the rows once whole; once killed (SIGKILL) at a share of the time, and gone on: the same bits?"""
    me = [sys.executable, __file__, "exact", "--data", str(path), "--dtype", dtype] + (["--rows", str(rows)] if rows else [])
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.perf_counter()
        subprocess.run(me, check=True)
        whole_s = time.perf_counter() - start
        (saved,) = OUT.glob(f"{path.stem}-{rows or '*'}-planted.parquet")
        whole = da.Values.load(saved).scores
        at = Path(folder) / "run"
        run = subprocess.Popen([*me, "--checkpoint", str(at)], start_new_session=True)
        time.sleep(share * whole_s)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        finished = len(list(at.glob("panel-*.npy")))
        start = time.perf_counter()
        subprocess.run([*me, "--checkpoint", str(at)], check=True)
        rest_s = time.perf_counter() - start
        same = bool((da.Values.load(saved).scores == whole).all())
    line = {
        "whole s": whole_s,
        "killed after s": share * whole_s,
        "panels kept": finished,
        "rest s": rest_s,
        "same bits": same,
    }
    write("full_scale_killed", [line])
    if not same:
        sys.exit("the resumed run differs")


def picture(path: Path, values: Path, out: Path, across: int = 20, down: int = 4) -> None:
    """The most suspicious and the most typical images whose labels were not planted, and a table of all scores."""
    from PIL import Image, ImageDraw

    found, data = da.Values.load(values), images(path, None)
    planted, wrong = plant_wrong_labels(data, 0.2, seed=0)
    wrong &= bool((planted.y == found.given_label).all())  # of a run with --clean none is
    shown, order = np.asarray(data.shown), np.argsort(found.scores, kind="stable")
    frame = found.to_frame()[["id", "score", "flagged", "given_label", "suggested_label"]].assign(planted=wrong)
    order = order[~wrong[order]]
    side, margin = 56, 14
    page = Image.new("L", (across * (side + 4), 2 * (down * (side + margin) + 24)), 255)
    draw = ImageDraw.Draw(page)
    many = across * down
    for part, (title, rows) in enumerate(
        (
            ("most suspicious of the labels that were not planted: given > suggested", order[:many]),
            ("most typical", order[-many:][::-1]),
        )
    ):
        top = part * (down * (side + margin) + 24)
        draw.text((2, top + 6), f"{title}", fill=0)
        for at, row in enumerate(rows):
            x, y = at % across * (side + 4), top + 24 + at // across * (side + margin)
            page.paste(Image.fromarray(shown[row]).resize((side, side)), (x, y + margin - 2))
            given, other = found.given_label[row], found.suggested_label[row]
            draw.text((x + 2, y), f"{given}" if given == other else f"{given} > {other}", fill=0)
    page.save(out, optimize=True)
    frame.astype({"score": "float32"}).to_parquet(out.with_suffix(".parquet"), compression="zstd", index=False)
    print(f"{out} and {out.with_suffix('.parquet')}; {found.flagged.sum()} of {len(found)} rows flagged")


SETTINGS = [
    {"approx": "landmarks"},
    {"approx": "landmarks", "rank": 1024, "block": 2000},
    {"approx": "landmarks", "rank": 1024, "landmarks": 1024, "block": 2000},
    {"approx": "landmarks", "rank": 1024, "landmarks": 1024, "block": 2000, "choice": "kmeans"},
    {"approx": "landmarks", "rank": 1024, "landmarks": 1024, "block": 2000, "choice": "leverage"},
    {"approx": "landmarks", "rank": 1024, "landmarks": 1024, "block": 1},
    {"approx": "landmarks", "rank": 1, "landmarks": 1, "block": 4000},
    {"approx": "neighbours"},
]


def quality(paths: list[Path], rows: int) -> None:
    lines = []
    for path in paths:
        data, wrong = plant_wrong_labels(images(path, rows), 0.2, seed=0)
        whole = cg_score(data, approx="exact", dtype="float32", seed=0)
        print(path.stem, whole.stats, flush=True)
        fixed = {"ridge": whole.stats["ridge"], "bias": whole.stats["bias"]}
        lines.append(
            {
                "data": path.stem,
                "way": "exact",
                "spearman": 1.0,
                **detection(whole.scores, wrong),
                "seconds": whole.stats["seconds"],
            }
        )
        for setting in SETTINGS:
            near = cg_score(data, **fixed, **setting, seed=0)
            agree = spearmanr(whole.scores, near.scores).statistic
            way = ", ".join(f"{k}={v}" for k, v in setting.items() if k != "approx")
            lines.append({
                "data": path.stem, "way": f"{setting['approx']} {way}", "spearman": agree, **detection(near.scores, wrong),
                "seconds": near.stats["seconds"], "spearman of the sample": near.stats["sample_spearman"],
            })  # fmt: skip
            print(lines[-1], flush=True)
            write("full_scale_quality", lines)


def linear(folder: Path, sizes: list[int], options: dict[str, object]) -> None:
    lines: list[dict[str, object]] = []
    for n in sizes:
        result = subprocess.run(
            [sys.executable, __file__, "one", "--rows-at", str(folder), "--rows", str(n), "--options", json.dumps(options)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines.append(json.loads(result.stdout.splitlines()[-1]))
        print(lines[-1], flush=True)
        write(f"full_scale_linear_{options.get('approx', 'landmarks')}", lines)
    if len(lines) > 1:
        x, y = np.log([line["rows"] for line in lines]), np.log([line["seconds"] for line in lines])
        print(f"time grows with rows to the power {np.polyfit(x, y, 1)[0]:.3f}")


def one(folder: Path, rows: int, options: dict[str, object]) -> None:
    """A part of the million rows, in a process of its own."""
    X = np.load(folder / "X.npy", mmap_mode="r")[:rows]
    y, wrong = np.load(folder / "y.npy")[:rows], np.load(folder / "wrong.npy")[:rows]
    start = time.perf_counter()
    data = da.Dataset(X, y)
    values = cg_score(data, seed=0, **{"approx": "landmarks", "rank": 1024, "block": 2000, **options})
    line = {
        "rows": rows, "seconds": time.perf_counter() - start, "GB": peak_memory(), **detection(values.scores, wrong),
        "spearman of the sample": values.stats["sample_spearman"], "ridge": values.stats["ridge"],
    }  # fmt: skip
    print(json.dumps(line))


def serial(folder: Path, rows: int) -> None:
    """What one process does for all rows, while the workers of a cluster wait; and what travels with a task."""
    X = np.load(folder / "X.npy", mmap_mode="r")[:rows]
    data = da.Dataset(X, np.load(folder / "y.npy")[:rows])
    Z = low_rank.dense_unit_rows(X[:: max(1, rows // 4096)][:4096], True)
    line: dict[str, object] = {"rows": rows}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = work()
        line[name] = time.perf_counter() - start
        return result

    timed("rows without direction, s", lambda: gram.zero_rows(X))
    timed("equal rows, s", lambda: gram.equal_rows(X, bias=True))
    T = timed("project, s", lambda: partition.project(rows, lambda index: low_rank.dense_unit_rows(X[index], True), Z))
    timed("partition, s", lambda: partition.partition(T, 2000))
    timed("hash, s", lambda: data.hash)
    basis = timed("basis, s", lambda: low_rank.basis(Z, 1024, 0))
    line["basis, MB"] = (basis.Z.nbytes + basis.R.nbytes) / 1e6
    line["rows of a task, MB"] = low_rank.CHUNK * X.shape[1] * X.itemsize / 1e6
    line["sums of a task, MB"] = 1024**2 * 8 / 1e6
    write("full_scale_serial", [line])


def write(name: str, lines: list[dict[str, object]]) -> None:
    OUT.mkdir(exist_ok=True)
    frame = pd.DataFrame(lines)
    text = "| " + " | ".join(frame.columns) + " |\n|" + " --- |" * frame.shape[1] + "\n"
    for row in frame.itertuples(index=False):
        text += "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row) + " |\n"
    (OUT / f"{name}.md").write_text(f"{machine.blas_threads()} threads\n\n{text}")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    a = commands.add_parser("exact")
    a.add_argument("--data", type=Path, required=True, help="Parquet file with columns image (encoded) and label")
    a.add_argument("--rows", type=int)
    a.add_argument("--clean", action="store_true", help="plant no wrong labels")
    a.add_argument("--checkpoint", type=Path)
    a.add_argument("--kill", type=float, help="share of the time after which the run is killed")
    a.add_argument("--device", default="cpu")
    a.add_argument("--dtype", default="float32")
    b = commands.add_parser("quality")
    b.add_argument("--data", type=Path, action="append", required=True)
    b.add_argument("--rows", type=int, default=20_000)
    d = commands.add_parser("picture")
    d.add_argument("--data", type=Path, required=True, help="the images that were valued")
    d.add_argument("--values", type=Path, required=True, help="what `exact` wrote")
    d.add_argument("--out", type=Path, required=True, help="PNG; a table of all scores goes beside it")
    for name in ("linear", "one", "serial"):
        c = commands.add_parser(name)
        c.add_argument("--rows-at", type=Path, required=True, help="folder that large_rows.py make wrote")
        c.add_argument("--rows", type=int, nargs="+", default=[125_000, 250_000, 500_000, 1_000_000])
        c.add_argument("--options", type=json.loads, default={}, help="of cg_score, as JSON")
    call = parser.parse_args()
    if call.command == "exact" and call.kill:
        killed(call.data, call.rows, call.kill, call.dtype)
    elif call.command == "exact":
        write("full_scale_exact", [exact(call.data, call.rows, call.clean, call.checkpoint, call.device, call.dtype)])
    elif call.command == "picture":
        picture(call.data, call.values, call.out)
    elif call.command == "quality":
        quality(call.data, call.rows)
    elif call.command == "serial":
        serial(call.rows_at, call.rows[-1])
    elif call.command == "linear":
        linear(call.rows_at, call.rows, call.options)
    else:
        one(call.rows_at, call.rows[0], call.options)


if __name__ == "__main__":
    main()
