"""CG-score beside deletion by its definition and beside the authors' procedure: same rows, same run, same answer.

    python benchmarks/cg_score.py                                    # generated rows, needs no files; 10 minutes
    python benchmarks/cg_score.py --path mnist_train.parquet         # pixels: columns image (encoded) and label
    python benchmarks/cg_score.py --sizes 250 500 1000 --budget 10

Deletion and the authors' procedure go row by row; where all rows would take longer than ``--budget`` seconds, the rows done
by then (drawn at random) are timed, and the table says how many. The tables go to ``benchmarks/out/cg_score.md``.
"""

import argparse
import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.linalg
from threadpoolctl import threadpool_limits

import datassay as da
from datassay.engines.gp_loo import choose, solve
from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.machine import blas_threads
from datassay.engines.panels import Panels
from datassay.methods.cg_score import SAMPLE

OUT = Path(__file__).resolve().parent / "out"
PAPER = {"ridge": 0.0, "classes": "own", "device": "cpu", "progress": False}


# ---------------------------------------------------------------------------------------------------------- the rows


def gaussian_classes(n: int, *, classes: int = 10, d: int = 64, seed: int = 0) -> da.Dataset:
    """n rows of equally many classes around random means; a tenth of the labels is wrong, so that scores differ."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % classes
    X = rng.normal(size=(classes, d))[y] + rng.normal(size=(n, d))
    return da.Dataset(X, np.where(rng.random(n) < 0.1, rng.integers(classes, size=n), y))


def read_pixels(path: Path) -> da.Dataset:
    """All rows of a Parquet file with a column of encoded images and a column ``label``; other columns are left out."""
    names = pq.read_schema(path).names
    return da.read(path, label="label", drop=[name for name in names if name not in ("image", "label")])


# ------------------------------------------------------------------------------------------------------- the procedures


def by_definition(H: np.ndarray, y: np.ndarray, i: int) -> float:
    """y_-i' H_-i^-1 y_-i: a system of n - 1 equations for one row."""
    rest = np.arange(len(y)) != i
    smaller, labels = np.delete(np.delete(H, i, 0), i, 1), y[rest]
    return labels @ scipy.linalg.solve(smaller, labels, assume_a="pos", overwrite_a=True, check_finite=False)


def by_downdate(inverse: np.ndarray, y: np.ndarray, i: int) -> float:
    """The same number as the authors compute it: H_-i^-1 = (H^-1)_-i - h h' / d, an (n - 1) x (n - 1) copy for one row."""
    rest = np.arange(len(y)) != i
    labels, h = y[rest], inverse[rest, i]
    smaller = np.delete(np.delete(inverse, i, 0), i, 1)
    smaller -= np.outer(h, h) / inverse[i, i]
    return labels @ smaller @ labels


def row_by_row(energy_without: Callable[[int], float], n: int, budget: float) -> tuple[np.ndarray, float]:
    """Rows in random order until the budget is spent: what remains without each (nan: not done), and seconds for one.

    The seconds are the lower decile: other work on the machine adds to them, and ours is the best of several calls too.
    """
    found, seconds, begin = np.full(n, np.nan), [], time.perf_counter()
    for i in np.random.default_rng(1).permutation(n):
        start = time.perf_counter()
        found[i] = energy_without(i)
        seconds.append(time.perf_counter() - start)
        if time.perf_counter() - begin > budget:
            break
    return found, float(np.quantile(seconds, 0.1))


def seconds_of(work: Callable[[], object], repeats: int = 1) -> float:
    """The best of several repetitions."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def product_rate(n: int, dtype: str, repeats: int) -> float:
    """Operations a second in a product of two n x n matrices, by the same BLAS as the factorisation's."""
    A = np.asfortranarray(np.random.default_rng(0).normal(size=(n, n)), dtype)
    (gemm,) = scipy.linalg.get_blas_funcs(("gemm",), (A,))
    C = np.empty_like(A)
    return 2 * n**3 / seconds_of(lambda: gemm(1.0, A, A, c=C, overwrite_c=1), repeats)


def peak_memory(work: Callable[[], object]) -> int:
    """Bytes at the highest point, beyond what was there before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# ----------------------------------------------------------------------------------------------------------- measuring


def measure_slow(data: da.Dataset, budget: float) -> dict[str, float]:
    """Deletion and the authors' procedure, all classes; and how far our scores are from either, of the mean score."""
    H, n, k = np.ascontiguousarray(arc_cosine(unit_rows(data.X))), len(data), len(data.classes)
    ys = [np.where(data.codes == c, 1.0, -1.0) for c in range(k)]
    ours = da.value(data, **PAPER).columns["cg_score"]
    inverse = np.linalg.inv(H)
    all_there = np.array([ys[c] @ inverse @ ys[c] for c in range(k)])[data.codes]
    line = {"n": n}
    for name, once, row in (
        ("definition", 0.0, lambda i: by_definition(H, ys[data.codes[i]], i)),
        ("authors", seconds_of(lambda: np.linalg.inv(H), 3), lambda i: by_downdate(inverse, ys[data.codes[i]], i)),
    ):
        without, each = row_by_row(row, n, budget)
        done = np.isfinite(without)
        off = abs(all_there - without - ours)[done]
        if not np.allclose((all_there - without)[done], ours[done], rtol=1e-6, atol=1e-9 * ours.mean()):
            raise AssertionError(f"{name} and ours disagree at n = {n}: by {off.max():.2g}, mean score {ours.mean():.2g}")
        line |= {name: k * once + n * each, f"{name}_rows": int(done.sum()), f"{name}_off": off.max() / ours.mean()}
    return line


def measure_ours(data: da.Dataset, dtype: str, repeats: int) -> dict[str, float]:
    """Seconds of the whole call and of its parts, in turns with the product that sets the floor; peak memory."""
    n, U = len(data), unit_rows(data.X, dtype=dtype)
    Y = np.where(data.codes[:, None] == np.arange(len(data.classes)), 1.0, -1.0)
    best = {"n": n, "rate": 0.0, "gram": np.inf, "solve": np.inf, "whole": np.inf}
    for _ in range(repeats * max(1, 2000 // n)):
        start = time.perf_counter()
        H = arc_cosine(U)
        middle = time.perf_counter()
        solve(lambda rows, columns, H=H: H[rows, columns], 0.5, np.zeros(n), Y, Panels(n, dtype, n))
        best["solve"] = min(best["solve"], time.perf_counter() - middle)
        best["gram"] = min(best["gram"], middle - start)
        del H
        best["whole"] = min(best["whole"], seconds_of(lambda: da.value(data, dtype=dtype, **PAPER)))
        best["rate"] = max(best["rate"], product_rate(n, dtype, 1 if n >= 2000 else 5))
    best["peak"] = peak_memory(lambda: da.value(data, dtype=dtype, **PAPER)) / (n * n * np.dtype(dtype).itemsize)
    exact = da.value(data, **PAPER).scores
    best["off"] = float(np.max(abs(da.value(data, dtype=dtype, **PAPER).scores - exact)) / abs(exact).mean())
    return best


def measure_choice(data: da.Dataset, repeats: int) -> dict[str, float]:
    """Seconds that ridge="auto" takes, with and without bias="auto", before the factorisation; and the defaults' whole call."""
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:SAMPLE])
    Y = np.where(data.codes[rows, None] == np.arange(len(data.classes)), 1.0, -1.0)
    X = data.X[rows]
    return {
        "n": len(data),
        "ridge": seconds_of(lambda: choose(X, Y, None, False, None, False, ()), repeats),
        "both": seconds_of(lambda: choose(X, Y, None, None, None, False, ()), repeats),
        "whole": seconds_of(lambda: da.value(data, device="cpu", progress=False), repeats),
    }


# ------------------------------------------------------------------------------------------------------------ reporting


def exponent(lines: list[dict[str, float]], name: str, least: int = 1000) -> str:
    """b in seconds = a n^b, by least squares on logarithms over the sizes from ``least`` on."""
    n, s = np.array([(line["n"], line[name]) for line in lines if line["n"] >= least]).reshape(-1, 2).T
    return f"{np.polyfit(np.log(n), np.log(s), 1)[0]:.2f}" if len(n) > 1 else "-"


def markdown(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; floats to three digits."""
    cells = [[f"{c:#.3g}".rstrip(".") if isinstance(c, float) else str(c) for c in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *cells])


def speed_table(slow: list[dict[str, float]], ours: list[dict[str, float]]) -> str:
    def seconds(line: dict[str, float], name: str) -> str:
        rows, n = line[f"{name}_rows"], line["n"]
        return f"{line[name]:.3g}" if rows == n else f"~{line[name]:.3g} ({rows} rows)"

    rows = []
    for s, o in zip(slow, ours, strict=True):
        row = [s["n"], seconds(s, "definition"), seconds(s, "authors"), o["whole"], o["gram"], o["solve"]]
        row += [f"{s[name] / o['whole']:,.0f}" for name in ("definition", "authors")]
        rows.append([*row, *(f"{s[name]:.0e}" for name in ("definition_off", "authors_off"))])
    growth = [exponent(slow, name) for name in ("definition", "authors")]
    growth += [exponent(ours, name) for name in ("whole", "gram", "solve")]
    header = ["n", "(a) definition, s", "(b) authors, s", "(c) ours, s", "of it gram", "of it solve", "a/c", "b/c"]
    return markdown([*header, "a off", "b off"], [*rows, ["growth n^", *growth, *[""] * 4]])


def floor_table(lines: list[dict[str, float]]) -> str:
    top = lines[-1]["rate"]
    rows = []
    for line in lines:
        floor = 2 / 3 * line["n"] ** 3 / top
        own = 2 / 3 * line["n"] ** 3 / line["rate"]
        kernel = line["gram"] + line["solve"]
        times = [line["solve"] / floor, kernel / floor, line["whole"] / floor, line["whole"] / own]
        rows.append([line["n"], line["rate"] / 1e9, floor, line["whole"], *times, line["peak"], f"{line['off']:.0e}"])
    header = ["n", "product, Gflop/s", "floor, s", "ours, s", "solve / floor", "gram + solve / floor", "ours / floor"]
    return markdown([*header, "ours / floor at this n's rate", "peak memory / n² numbers", "off"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, help="Parquet file with columns image and label; default: generated rows")
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each row-by-row procedure at each size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of BLAS; on a machine that is busy with other work, 1 is steadier")
    args = parser.parse_args()
    if args.threads:
        threadpool_limits(args.threads, "blas")

    every = gaussian_classes(max(args.sizes)) if args.path is None else read_pixels(args.path)
    order = np.random.default_rng(0).permutation(len(every))
    sets = [every.take(np.sort(order[:n])) for n in sorted(args.sizes)]
    da.value(sets[0], **PAPER)  # pays for what is loaded at first use
    single, double, choice, slow = [], [], [], []
    for data in sets:
        before = [measure_ours(data, dtype, args.repeats) for dtype in ("float64", "float32")]
        slow.append(measure_slow(data, args.budget))
        after = [measure_ours(data, dtype, args.repeats) for dtype in ("float64", "float32")]  # other work comes and goes
        both = [
            {key: (max if key == "rate" else min)(a[key], b[key]) for key in a} for a, b in zip(before, after, strict=True)
        ]
        double.append(both[0])
        single.append(both[1])
        choice.append(measure_choice(data, args.repeats))
        line = f"n = {len(data)}: ours {both[0]['whole']:.3g} s, definition {slow[-1]['definition']:.3g} s"
        print(f"{line}, authors {slow[-1]['authors']:.3g} s", flush=True)

    what = "generated Gaussian classes" if args.path is None else args.path.stem
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    text = f"""# CG-score: seconds, growth, floor

{what}, {len(every.classes)} classes, d = {every.X.shape[1]}; ridge=0, classes="own", float64, all classes at once.
{versions}, {blas_threads()} BLAS threads, {os.cpu_count()} cores.
(c): best of {2 * args.repeats} or more, half before and half after (a) and (b). (a), (b): n times the lower decile of
the seconds of a row, rows timed for at most {args.budget:g} s ("~ (rows)": how many that were); in (b) one inverse, best of 3,
is counted once a class. Off: largest difference from (c), of the mean score. Growth: fitted from n = 1000 on.

{speed_table(slow, double)}

## The floor: (2/3) n³ operations at the rate of a plain matrix product

Floor: at the rate of the largest product. Peak memory: tracemalloc, in a call of its own, beyond the data.

{floor_table(double)}

float32, the same options; off: largest difference from float64, of the mean score.

{floor_table(single)}

## What "auto" costs before the factorisation

On a sample of {SAMPLE} rows, if there are more. The whole call is the defaults': ridge, bias "auto", sum over classes.

{markdown(["n", 'ridge="auto", s', 'ridge and bias "auto", s', "whole call, s"], [list(line.values()) for line in choice])}
"""
    OUT.mkdir(exist_ok=True)
    (OUT / "cg_score.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
