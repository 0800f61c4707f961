"""Memory by the plan beside the most that a run held, for every method, each in a process of its own.

    python benchmarks/memory.py                          100,000 rows, 20 columns, 2 classes, 500 validation rows
    python benchmarks/memory.py --rows 20000 --method ame

Fewer trainings and epochs than by default, where memory does not depend on them or the plan takes them into account: those are
printed. What is measured is what the process held at most (VmHWM) beyond what it held with the data, before the method was imported,
without other processes.
The exit status is 1 where the plan is off by more than a factor of 2 and 100 MB. The table goes to ``benchmarks/out/memory.md``.
"""

import argparse
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from plan import held

import datassay as da
from datassay.methods import METHODS
from datassay.methods.definition import planned_memory

OUT = Path(__file__).parent / "out"
FEWER = {"n_models": 100, "epochs": 1, "runs": 2, "iterations": 20}
WAYS = {"cg-score": {"approx": "landmarks", "rank": 1024, "block": 2000}}  # of those that it chooses from by what is free
FEWEST = {"leave-one-out": 3_000}  # rows: n trainings would take days
ASKED = {"datamodels": 8}  # validation rows: as would 500 LASSOs


def one(method: str, rows: int) -> dict[str, object]:
    """Plan and measurement."""
    n, d, m = min(rows, FEWEST.get(method, rows)), 20, ASKED.get(method, 500)
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=n + m)
    X = rng.standard_normal((n + m, d), np.float32) + codes[:, None].astype(np.float32)
    data = da.Dataset(X[:n], codes[:n], X[n:], codes[n:])
    small = da.Dataset(X[:200], codes[:200], X[200 : 200 + min(m, 40)], codes[200 : 200 + min(m, 40)])
    entry = METHODS[method]
    before = held("VmRSS")  # libraries that the method imports are part of its plan
    takes = inspect.signature(entry.load()).parameters
    options = {o: v for o, v in FEWER.items() if o in takes and (entry.model == "network" or o == "n_models")}
    if method == "lossval":
        options["batch_size"] = 500
    options |= WAYS.get(method, {})
    alone = {o: v for o, v in {"progress": False, "n_jobs": 1}.items() if o in takes}
    da.value(small, method, **options, **alone)  # and no part of its time
    need = planned_memory(entry, data, {p: takes[p].default for p in takes} | options)
    start = time.perf_counter()
    da.value(data, method, **options, **alone)
    return {
        "method": method, "rows": n, "options": " ".join(f"{k}={v}" for k, v in options.items()),
        "plan GB": (need or 0) / 1e9, "measured GB": held("VmHWM") - before, "s": time.perf_counter() - start,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--method", action="append", help="may be repeated; default: all")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    call = parser.parse_args()
    if call.one is not None:
        print(json.dumps(one(call.one, call.rows)))
        return 0
    lines, off = [], 0
    for method in call.method or METHODS:
        words = [sys.executable, __file__, "--one", method, "--rows", str(call.rows)]
        try:
            child = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=1800)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{method}: {str(error)[-200:]}", flush=True)
            off += 1
            continue
        line = json.loads(child.stdout.splitlines()[-1])
        plan, found = line["plan GB"], max(line["measured GB"], 1e-3)
        line["off by"] = max(plan / found, found / max(plan, 1e-3))
        off += line["off by"] > 2 and abs(plan - found) > 0.1
        lines.append(line)
        print(line, flush=True)
    names = list(lines[0])
    text = "| " + " | ".join(names) + " |\n|" + " --- |" * len(names) + "\n"
    for line in lines:
        text += "| " + " | ".join(f"{line[k]:.3g}" if isinstance(line[k], float) else str(line[k]) for k in names) + " |\n"
    OUT.mkdir(exist_ok=True)
    (OUT / "memory.md").write_text(text)
    print(f"{text}{off} of {len(lines)} off by more than a factor of 2 and 100 MB")
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
