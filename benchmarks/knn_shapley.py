"""KNN-Shapley: how it grows to a million rows, beside other libraries on the same rows in the same run, and form by form.

    python benchmarks/knn_shapley.py scale                          # 125,000 to 1,000,000 rows, 1,000 validation rows
    python benchmarks/knn_shapley.py scale --sizes 20000 40000 --judges 100
    python benchmarks/knn_shapley.py peers                          # n = 10,000 and 20,000; cleanlab's needs an n x n matrix
    python benchmarks/knn_shapley.py peers --sizes 2000
    python benchmarks/knn_shapley.py forms                          # wrong labels found by each form on three data sets

Rows of ``scale`` and ``peers`` are generated: clusters in 64 dimensions, a fifth of the labels wrong; there every run is a process of
its own, whose peak memory is its resident set with the interpreter and all libraries. The peers' virtual environments are those of
``peers.py``.
The tables go to ``benchmarks/out/knn_scale.md``, ``knn_peers.md`` and ``knn_forms.md``.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import OUT, PEERS, interpreter, machine, plant, run
from peers import rows as planted_rows
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

RATE, CLASSES, D = 0.2, 10, 64


def clusters(n: int, m: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """n training and m validation rows in float32 around three random centres a class; which training labels are wrong."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3 * CLASSES, D)).astype(np.float32)
    which, which_val = rng.integers(len(centres), size=n), rng.integers(len(centres), size=m)
    X = 1.5 * rng.standard_normal((n, D), np.float32)
    X += centres[which]
    X_val = 1.5 * rng.standard_normal((m, D), np.float32) + centres[which_val]
    y, wrong = plant(which % CLASSES, RATE, rng)
    return {"X": X, "y": y, "X_val": X_val, "y_val": which_val % CLASSES}, wrong


def markdown(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; floats to three digits."""
    cells = [[f"{c:#.3g}".rstrip(".") if isinstance(c, float) else str(c) for c in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *cells])


# --------------------------------------------------------------------------------------------------------------- scale


def scale_once(n: int, m: int, cores: int, options: dict) -> dict[str, float]:
    """In this process: seconds, quality, peak memory."""
    import datassay as da

    arrays, wrong = clusters(n, m)
    data = da.Dataset(**arrays)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    values = da.value(data, "knn-shapley", n_jobs=cores, progress=False, **options)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    auc = float(roc_auc_score(wrong, -values.scores))
    return {"seconds": seconds, "rows": before / 1e9, "peak": peak / 1e9, "auc": auc}


def floor_once(n: int, m: int, cores: int) -> dict[str, float]:
    """Seconds that m x n distances by one product, and the sort of m times n of them, take at the least on these cores."""
    from threadpoolctl import threadpool_limits

    arrays, _ = clusters(n, 32)
    X, Q = arrays["X"].astype(np.float64), arrays["X_val"].astype(np.float64)
    product, sort = np.empty((32, n)), []
    with threadpool_limits(cores, "blas"):
        np.matmul(Q, X.T, out=product)
        start = time.perf_counter()
        np.matmul(Q, X.T, out=product)
        multiply = (time.perf_counter() - start) * m / 32
    for d in product[:8]:
        d = d.copy()
        start = time.perf_counter()
        d.sort()
        sort.append(time.perf_counter() - start)
    return {"multiply": multiply, "sort": min(sort) * m / cores}


def scale(sizes: list[int], judges: int, cores: int) -> str:
    rows, seconds = [], []
    for n in sizes:
        line = [n]
        for job in ("floor", "exact", "float32", "nearest"):
            command = [sys.executable, __file__, "once", job, str(n), str(judges), "--cores", str(cores)]
            found = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
            )
            print(n, job, found, file=sys.stderr, flush=True)
            if job == "floor":
                floor = found["multiply"] + found["sort"]
                line += [found["multiply"], found["sort"]]
            elif job == "exact":
                seconds.append(found["seconds"])
                line += [found["seconds"], found["seconds"] / floor, found["rows"], found["peak"], found["auc"]]
            else:
                line.append(found["seconds"])
        rows.append(line)
    growth = np.polyfit(np.log(sizes), np.log(seconds), 1)[0] if len(sizes) > 1 else float("nan")
    header = [
        "rows",
        "floor: product, s",
        "floor: sort, s",
        "exact, s",
        "exact / floor",
        "process with the rows, GB",
        "peak, GB",
    ]
    header += ["ROC AUC", "float32, s", "tolerance .1, s"]
    return f"""# KNN-Shapley: growth

Generated clusters, {D} columns, float32, {CLASSES} classes, {judges} validation rows, k = 10; {RATE:.0%} of the training labels wrong.
{machine(cores)}; Python {platform.python_version()}, numpy {np.__version__}.
Floor: one float64 product of the same size, and one sort of as many float64 values, a core sorting one judge's at a time.
Peak: of the whole process (ru_maxrss). ROC AUC: of the exact values against the wrong labels.

{markdown(header, rows)}

Growth of the exact values' seconds: n^{growth:.2f}.
"""


# --------------------------------------------------------------------------------------------------------------- peers


def once(library: str, arrays: Path, folder: Path, judge: str, k: int, cores: int, tolerance: float = 0.0) -> dict:
    """One library on the rows of a file; its interpreter is made at the first run."""
    target = folder / "out.npz"
    python = sys.executable if library == "datassay" else interpreter(library)
    command = [python, PEERS / "knn_scale.py", arrays, target, "--library", library, "--judge", judge]
    run([*command, "--k", k, "--cores", cores, "--tolerance", tolerance], 7200, cores)
    with np.load(target, allow_pickle=False) as out:
        return {name: out[name] for name in ("scores", "seconds", "peak")} | {"versions": str(out["versions"])}


def peers(sizes: list[int], judges: int, cores: int) -> str:
    rows, versions = [], {}
    for n in sizes:
        arrays, wrong = clusters(n, judges)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "in.npz", **arrays)
            for judge, peer, k in (("validation", "pydvl", 5), ("rows", "cleanlab", 10)):
                runs: list[tuple[str, str, float]] = [(peer, peer, 0.0), ("datassay", "datassay, exact", 0.0)]
                if peer == "cleanlab":  # K* = K: what cleanlab computes
                    runs.append(("datassay", f"datassay, tolerance 1/{k}", 1 / k))
                theirs = None
                for library, title, tolerance in runs:
                    try:
                        found = once(library, folder / "in.npz", folder, judge, k, cores, tolerance)
                    except RuntimeError as failure:
                        rows.append([n, judge, k, title, "FAILED", str(failure).replace("|", "/"), "", "", ""])
                        continue
                    versions[library] = found["versions"]
                    theirs = found if library == peer else theirs
                    off = "" if theirs is None else f"{abs(found['scores'] - theirs['scores']).max():.1e}"
                    faster = "" if theirs is None else f"{theirs['seconds'] / found['seconds']:.1f}"
                    cells = [
                        float(found["seconds"]),
                        faster,
                        found["peak"] / 1e9,
                        float(roc_auc_score(wrong, -found["scores"])),
                    ]
                    rows.append([n, judge, k, title, *cells, off])
                    print(rows[-1], file=sys.stderr, flush=True)
    header = [
        "rows",
        "judged by",
        "k",
        "library",
        "s",
        "times faster than the peer",
        "peak, GB",
        "ROC AUC",
        "largest difference from the peer",
    ]
    lines = "\n".join(
        f"- {library}: {', '.join(f'{k} {v}' for k, v in json.loads(found).items())}" for library, found in versions.items()
    )
    return f"""# KNN-Shapley beside other libraries

Generated clusters, {D} columns, float32, {CLASSES} classes; {judges} validation rows; {RATE:.0%} of the training labels wrong;
Euclidean distance.
{machine(cores)}. One run each, in a process of its own; the seconds of the call alone, the peak of the whole process (pyDVL: and
of its workers, the largest times their number).

{lines}

{markdown(header, rows)}

- pyDVL computes Theorem 1 of Jia et al. for the validation rows, and so does datassay; K is below n, where the published
  base term is right.
- cleanlab lets the rows judge one another, takes the k nearest of each and sets the value of the k-th to 0: Theorem 2 with
  K* = K, whose error is at most 1/k. That is datassay with `judge="rows", max_error=1/k`; the exact values differ from it.
  cleanlab's values are (s + 1) / 2, and were turned back.
"""


# --------------------------------------------------------------------------------------------------------------- forms


def three_sets(seed: int) -> dict[str, tuple[dict[str, np.ndarray], np.ndarray]]:
    """Rows with a fifth of the labels wrong, and which they are: two of ``peers.py``, and wine."""
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    train, val = order[:100], order[100:]
    X = StandardScaler().fit(X[train]).transform(X)
    given, wrong = plant(y[train], RATE, rng)
    wine = {"X": X[train], "y": given, "X_val": X[val], "y_val": y[val]}, wrong
    return {"digits": planted_rows("digits", seed), "breast cancer": planted_rows("breast-cancer", seed), "wine": wine}


def forms(seeds: int, k: int) -> str:
    """A line for each form and data set: means over the seeds."""
    import datassay as da

    lines = []
    for name in ("digits", "breast cancer", "wine"):
        for form in ("hard", "soft", "threshold", "calibrated", "weighted", "weighted-soft"):
            found = []
            for seed in range(seeds):
                arrays, wrong = three_sets(seed)[name]
                data = da.Dataset(**arrays)
                start = time.process_time()
                values = da.value(data, "knn-shapley", form=form, k=k, n_jobs=1, progress=False)
                seconds, below = time.process_time() - start, values.scores < 0
                right = (below & wrong).sum()
                auc = roc_auc_score(wrong, -values.scores)
                found.append([auc, right / max(1, below.sum()), right / wrong.sum(), seconds])
            lines.append([f"{name}, {len(data)} rows, {len(data.y_val)} judges", form, *np.mean(found, axis=0).tolist()])
            print(lines[-1], file=sys.stderr, flush=True)
    header = ["data", "form", "ROC AUC", "below 0: wrong, share", "wrong: below 0, share", "CPU s"]
    return f"""# KNN-Shapley: its forms

{RATE:.0%} of the training labels wrong, k = {k}, means over {seeds} draws. {machine(1)}; numpy {np.__version__}.

{markdown(header, lines)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, sizes in (("scale", [125_000, 250_000, 500_000, 1_000_000]), ("peers", [10_000, 20_000])):
        command = commands.add_parser(name)
        command.add_argument("--sizes", type=int, nargs="+", default=sizes)
        command.add_argument("--judges", type=int, default=1000, help="validation rows (default 1000)")
    command = commands.add_parser("forms")
    command.add_argument("--seeds", type=int, default=5, help="draws of the wrong labels (default 5)")
    command.add_argument("--k", type=int, default=10)
    command = commands.add_parser("once", help="one line of scale, as JSON")
    command.add_argument("job", choices=("floor", "exact", "float32", "nearest"))
    command.add_argument("n", type=int)
    command.add_argument("judges", type=int)
    for command in commands.choices.values():
        command.add_argument("--cores", type=int, default=2, help="threads or processes, the same for all (default 2)")
    call = parser.parse_args()
    if call.command == "once":
        options = {"exact": {}, "float32": {"dtype": "float32"}, "nearest": {"max_error": 0.1}}
        if call.job == "floor":
            print(json.dumps(floor_once(call.n, call.judges, call.cores)))
        else:
            print(json.dumps(scale_once(call.n, call.judges, call.cores, options[call.job])))
        return
    if call.command == "forms":
        text = forms(call.seeds, call.k)
    else:
        text = (scale if call.command == "scale" else peers)(call.sizes, call.judges, call.cores)
    OUT.mkdir(exist_ok=True)
    (OUT / f"knn_{call.command}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
